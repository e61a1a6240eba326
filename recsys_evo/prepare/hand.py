"""Features made by hand: recency, frequency and money, the classic summary of a customer.

    ───────────t────t──────t──┬──▶     recency    days from the last t to `end`
               │←── days ────→│        frequency  number of t in the window
                             end       money      sum of what was paid in it

Chapters 01 and 02 use it as the simple rival that every network has to beat; chapter 04 teaches it.
"""

import numpy as np

from recsys_evo.prepare.splits import midnight, positive, room_for_categories, user_codes

# Touching and buying are told apart: a shopper who looks every day may buy once a month.
FEATURES = ("days since touch", "touches", "days since purchase", "purchases", "money")


def recency_frequency_money(log, *, end, days=64, users=None, categories=None):
    """Summarise each user, or each user's dealings with each category, before `end`.

    Only the `days` days before `end` count, as in a behaviour image, so that an image and these
    features know equally much. A touch on the day before `end` is 1 day old; `days` stands for
    one on the window's first day and also for none at all (then the frequency is 0).

    Parameters
    ----------
    log : Log. Unknown users (-1) are not counted.
    end : midnight after the window's last day.
    days : int, length of the window.
    users : array of user codes, the order of the rows; default all of the log's users.
    categories : int, number of categories to tell apart; None for all of them together.

    Returns
    -------
    float32 (users, 5), or (users, categories, 5) where `categories` is given. The last axis is
    `FEATURES`; money is in the log's currency, purchases only.

    Raises
    ------
    ValueError for a wrong argument or more categories in the log than `categories`.
    """
    chosen = user_codes(log, users)
    stop = midnight(end)
    time = log.events["time"].to_numpy()
    user = log.events["user"].to_numpy()
    window = (time >= stop - positive(days=days)) & (time < stop) & (user >= 0)

    rows = np.flatnonzero(window & log.touch)
    cell, shape = user[rows].astype(np.intp), (log.n_users,)
    if categories is not None:
        shape += (room_for_categories(log, categories),)
        cell = cell * categories + log.events["category"].to_numpy()[rows]
    age = np.ceil((stop - time[rows]) / np.timedelta64(1, "D")).astype(np.float32)
    bought = log.purchase[rows]
    paid = log.events["amount"].to_numpy()[rows[bought]]

    features = np.empty((np.prod(shape), len(FEATURES)), np.float32)
    features[:, 0], features[:, 1] = _last_and_number(cell, age, days, len(features))
    features[:, 2], features[:, 3] = _last_and_number(
        cell[bought], age[bought], days, len(features)
    )
    features[:, 4] = np.bincount(cell[bought], paid, len(features))
    features = features.reshape(*shape, len(FEATURES))
    return features if users is None else features[chosen]


def _last_and_number(cell, age, days, n):
    last = np.full(n, days, np.float32)
    np.minimum.at(last, cell, age)
    return last, np.bincount(cell, minlength=n)
