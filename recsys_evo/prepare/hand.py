"""Features made by hand: what a careful analyst tells a model about a customer.

    ───────────t────t──────t──┬──▶     recency    days from the last t to `end`
               │←── days ────→│        frequency  number of t in the window
                             end       money      sum of what was paid in it

`recency_frequency_money` is the classic summary, and the simple rival of chapters 01 and 02.
`careful_features` adds all that we know how to count, so that boosted trees on it are the
strongest simple rival of every network. Chapter 04 teaches both.
"""

import numpy as np
import pandas as pd
from sklearn.decomposition import TruncatedSVD

from recsys_evo.prepare.images import behaviour_images, places
from recsys_evo.prepare.splits import (
    midnight,
    positive,
    room_for_categories,
    user_codes,
    within,
)

# Touching and buying are told apart: a shopper who looks every day may buy once a month.
FEATURES = ("days since touch", "touches", "days since purchase", "purchases", "money")

LAST = (1, 3, 7, 14, 28)  # days over which touches are counted
NEAR = (1, 2, 3)  # steps along the order of the categories to either side
CAREFUL = (
    *FEATURES,
    *(f"touches in {n} days" for n in LAST),
    "days with a touch",
    "trend of touches",
    "touches on the weekdays to come",
    "dwell a touch",
    "dwell a touch in 3 days",
    "trend of dwell",
    "usual days between purchases",
    "days since purchase / usual",
    *(f"{what} at distance {n}" for n in NEAR
      for what in ("touches in 3 days", "touches in 7 days", "dwell in 3 days")),
    *(f"user's {name}" for name in FEATURES),
    "user's touches in 3 days",
    "user's touches in 7 days",
    "user's days with a touch",
    "user's dwell a touch in 3 days",
    "user's categories in 3 days",
    "user's categories in 7 days",
    "share of user's touches in 7 days",
    "popularity",
    "place",
)  # fmt: skip
_BLOCK = 256  # users at a time: their images take 50 MB


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


def careful_features(log, *, end, days=64, ahead=3, users=None, categories=64, order=None):
    """Describe each user's dealings with each category by all that we know how to count.

    Everything is a function of the user's behaviour image of the same `days` days, of the number
    of purchases, and of three facts about the category: its place in `order`, its popularity and
    the usual interval between purchases in it. So boosted trees on these features and a network
    on images that are ordered alike have equal information.

    - *touches in n days*, *days with a touch*: counts. *Trend*: the last week less the one before.
    - *touches on the weekdays to come*: on days of the window that share a weekday with one of the
      `ahead` days from `end`.
    - *dwell a touch*: mean seconds, 0 without a touch; *trend*: the last 3 days less the window.
    - *usual days between purchases*: the mean gap between the user's days with a purchase in the
      category; where there are fewer than two, the median gap of all users of the log in it, and
      `days` where nobody bought twice. Next to it, the days since the last purchase as a share.
    - *at distance n*: sums over the two categories n steps away in `order`.
    - *user's …*: of all categories together. *Popularity*: touches a user in the last 7 days.

    Parameters
    ----------
    log, end, days, users, categories : as for `recency_frequency_money`; popularity and usual gaps
        are taken from all users of the log.
    ahead : int, days that the forecast is about.
    order : permutation of the categories, such as `category_order` gives; default code order.

    Returns
    -------
    float32 (users, categories, 41), categories in code order; the last axis is `CAREFUL`. 10,000
    users of 64 categories take 102 MB.

    Raises
    ------
    ValueError for a wrong argument or more categories in the log than `categories`.
    """
    chosen = user_codes(log, users)
    place = np.arange(categories) if order is None else places(order, categories)
    window = {"end": end, "days": positive(days=days), "categories": categories}
    features = np.empty((len(chosen), categories, len(CAREFUL)), np.float32)

    def put(rows, columns):
        for name, values in columns.items():
            features[rows, :, CAREFUL.index(name)] = values

    classic = recency_frequency_money(log, users=chosen, **window)
    of_user = recency_frequency_money(log, end=end, days=days, users=chosen)
    usual = _usual_gap(log, **window)[chosen]
    for k, name in enumerate(FEATURES):
        put(slice(None), {name: classic[..., k], f"user's {name}": of_user[:, None, k]})
    put(
        slice(None),
        {
            "usual days between purchases": usual,
            "days since purchase / usual": classic[..., 2] / usual,
            "popularity": _popularity(log, end, categories),
            "place": place,
        },
    )
    coming = np.flatnonzero(np.arange(-days, 0) % 7 < positive(ahead=ahead))
    for low in range(0, len(chosen), _BLOCK):
        block = slice(low, low + _BLOCK)
        image = behaviour_images(log, users=chosen[block], **window)
        put(block, _from_images(image[..., 0], image[..., 1], coming, place))
    return features


def fading_touches(log, *, end, half_life=16, days=64, users=None, categories=64):
    """Count touches with weights that fall by half in every `half_life` days, as log(1 + sum).

    Arguments and errors as for `careful_features`. Returns float32 (users, categories).
    """
    chosen = user_codes(log, users)
    weight = 0.5 ** ((np.arange(positive(days=days), 0, -1) - 0.5) / half_life)
    found = np.empty((len(chosen), categories), np.float32)
    for low in range(0, len(chosen), _BLOCK):
        block = slice(low, low + _BLOCK)
        clicks = behaviour_images(
            log, end=end, days=days, users=chosen[block], categories=categories
        )[..., 0]
        found[block] = np.einsum("udc,d->uc", clicks, weight)
    return np.log1p(found)


def taste_basis(fading, rank=8):
    """The directions (rank, categories) in which users differ most: the low-rank taste.

    `fading` (users, categories) is what `fading_touches` gives; `fading @ basis.T @ basis` is the
    taste of its users without most of the noise (Deerwester et al. 1990). Chapter 04 draws it.
    """
    found = TruncatedSVD(positive(rank=rank), random_state=0).fit(fading)
    return found.components_.astype(np.float32)


def _from_images(clicks, dwell, coming, place):
    """The features that need the days: clicks and dwell (users, days, categories)."""
    touches = {n: clicks[:, -n:].sum(1) for n in (*LAST, clicks.shape[1])}
    seconds = {n: dwell[:, -n:].sum(1) for n in (3, clicks.shape[1])}
    mean = {n: seconds[n] / np.maximum(touches[n], 1) for n in seconds}
    whole = clicks.shape[1]
    columns = {f"touches in {n} days": touches[n] for n in LAST} | {
        "days with a touch": (clicks > 0).sum(1),
        "trend of touches": 2 * touches[7] - touches[14],
        "touches on the weekdays to come": clicks[:, coming].sum(1),
        "dwell a touch": mean[whole],
        "dwell a touch in 3 days": mean[3],
        "trend of dwell": mean[3] - mean[whole],
    }
    for n in NEAR:
        columns |= {
            f"touches in 3 days at distance {n}": _beside(touches[3], n, place),
            f"touches in 7 days at distance {n}": _beside(touches[7], n, place),
            f"dwell in 3 days at distance {n}": _beside(seconds[3], n, place),
        }
    total = {n: touches[n].sum(1, keepdims=True) for n in (3, 7)}
    return columns | {
        "user's touches in 3 days": total[3],
        "user's touches in 7 days": total[7],
        "user's days with a touch": clicks.any(2).sum(1, keepdims=True),
        "user's dwell a touch in 3 days": seconds[3].sum(1, keepdims=True)
        / np.maximum(total[3], 1),
        "user's categories in 3 days": (touches[3] > 0).sum(1, keepdims=True),
        "user's categories in 7 days": (touches[7] > 0).sum(1, keepdims=True),
        "share of user's touches in 7 days": touches[7] / np.maximum(total[7], 1),
    }


def _beside(values, n, place):
    """The sums (users, categories) over the two categories n places away."""
    placed = values[:, np.argsort(place)]
    sums = np.zeros_like(placed)
    sums[:, n:] += placed[:, :-n]
    sums[:, :-n] += placed[:, n:]
    return sums[:, place]


def _popularity(log, end, categories):
    """Touches a user (categories,) in the week before `end`."""
    user, category = (log.events[name].to_numpy() for name in ("user", "category"))
    rows = log.touch & (user >= 0) & within(log, midnight(end) - 7, 7)
    return np.bincount(category[rows], minlength=categories) / max(log.n_users, 1)


def _usual_gap(log, end, days, categories):
    """The usual days between purchase days (users, categories): see `careful_features`."""
    user, category, time = (log.events[name].to_numpy() for name in ("user", "category", "time"))
    start = midnight(end) - days
    rows = log.purchase & (user >= 0) & within(log, start, days)
    cell = user[rows].astype(np.int64) * categories + category[rows]
    day = (time[rows].astype("datetime64[D]") - start).astype(np.int64)
    cell, day = np.divmod(np.unique(cell * days + day), days)
    same = cell[1:] == cell[:-1]
    gap, cell = np.diff(day)[same], cell[1:][same]
    shape = (log.n_users, categories)
    sums, counts = (np.bincount(cell, w, np.prod(shape)).reshape(shape) for w in (gap, None))
    usual = pd.Series(gap).groupby(cell % categories).median()
    usual = usual.reindex(range(categories), fill_value=days).to_numpy()
    return np.where(counts > 0, sums / np.maximum(counts, 1), usual)


def _last_and_number(cell, age, days, n):
    last = np.full(n, days, np.float32)
    np.minimum.at(last, cell, age)
    return last, np.bincount(cell, minlength=n)
