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

from recsys_evo.prepare import splits
from recsys_evo.prepare.images import image_blocks, places
from recsys_evo.prepare.splits import acts, midnight, positive, within

# Touching and buying are told apart: a shopper who looks every day may buy once a month.
FEATURES = ("days since touch", "touches", "days since purchase", "purchases", "money")

LAST = (1, 3, 7, 14, 28)  # days over which touches are counted
NEAR = (1, 2, 3)  # steps along the order of the categories to either side
CAREFUL = (
    *FEATURES, *(f"touches in {n} days" for n in LAST), "days with a touch",
    "trend of touches", "touches on the weekdays to come",
    "dwell a touch", "dwell a touch in 3 days", "trend of dwell",
    "usual days between purchases", "days since purchase / usual",
    *(f"{what} at distance {n}" for n in NEAR
      for what in ("touches in 3 days", "touches in 7 days", "dwell in 3 days")),
    *(f"user's {name}" for name in (
        *FEATURES, "touches in 3 days", "touches in 7 days", "days with a touch",
        "dwell a touch in 3 days", "categories in 3 days", "categories in 7 days")),
    "share of user's touches in 7 days", "popularity", "place",
)  # fmt: skip


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
    chosen = splits.user_codes(log, users)
    stop = midnight(end)
    window = within(log, stop - positive(days=days), days)
    shape = (log.n_users,)
    if categories is not None:
        shape += (splits.room_for_categories(log, categories),)
    features = np.empty((*shape, len(FEATURES)), np.float32)
    for place, rows in ((0, log.touch), (2, log.purchase)):
        columns = ("user", "category", "time", "amount")
        user, category, time, paid = acts(log, window & rows, *columns)
        cell = user if categories is None else user * categories + category
        age = np.ceil((stop - time) / np.timedelta64(1, "D")).astype(np.float32)
        last = np.full(shape, days, np.float32)
        np.minimum.at(last.reshape(-1), cell, age)
        features[..., place] = last
        features[..., place + 1] = np.bincount(cell, minlength=last.size).reshape(shape)
    # Purchases came last, so that `cell` and `paid` are theirs.
    features[..., 4] = np.bincount(cell, paid, last.size).reshape(shape)
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
    chosen = splits.user_codes(log, users)
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
    put(slice(None), {"usual days between purchases": usual, "place": place})
    put(slice(None), {"days since purchase / usual": classic[..., 2] / usual})
    put(slice(None), {"popularity": _popularity(log, end, categories)})
    coming = np.flatnonzero(np.arange(-days, 0) % 7 < positive(ahead=ahead))
    for block, image in image_blocks(log, chosen, **window):
        put(block, _from_images(image[..., 0], image[..., 1], coming, place))
    return features


def fading_touches(log, *, end, half_life=16, days=64, users=None, categories=64):
    """Count touches with weights that fall by half in every `half_life` days, as log(1 + sum).

    Arguments and errors as for `careful_features`. Returns float32 (users, categories).
    """
    chosen = splits.user_codes(log, users)
    weight = 0.5 ** ((np.arange(positive(days=days), 0, -1) - 0.5) / half_life)
    found = np.empty((len(chosen), categories), np.float32)
    for block, image in image_blocks(log, chosen, end=end, days=days, categories=categories):
        found[block] = np.einsum("udc,d->uc", image[..., 0], weight)
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
    whole = clicks.shape[1]
    touches = {n: clicks[:, -n:].sum(1) for n in (*LAST, whole)}
    seconds = {n: dwell[:, -n:].sum(1) for n in (3, whole)}
    mean = {n: seconds[n] / np.maximum(touches[n], 1) for n in seconds}
    columns = {f"touches in {n} days": touches[n] for n in LAST} | {
        "days with a touch": (clicks > 0).sum(1),
        "trend of touches": 2 * touches[7] - touches[14],
        "touches on the weekdays to come": clicks[:, coming].sum(1),
        "dwell a touch": mean[whole],
        "dwell a touch in 3 days": mean[3],
        "trend of dwell": mean[3] - mean[whole],
    }
    for n in NEAR:
        columns[f"dwell in 3 days at distance {n}"] = _beside(seconds[3], n, place)
    for days in (3, 7):
        total = touches[days].sum(1, keepdims=True)
        columns[f"user's touches in {days} days"] = total
        columns[f"user's categories in {days} days"] = (touches[days] > 0).sum(1, keepdims=True)
        for n in NEAR:
            columns[f"touches in {days} days at distance {n}"] = _beside(touches[days], n, place)
    dwell, touched = (x[3].sum(1, keepdims=True) for x in (seconds, touches))
    return columns | {
        "user's days with a touch": clicks.any(2).sum(1, keepdims=True),
        "user's dwell a touch in 3 days": dwell / np.maximum(touched, 1),
        "share of user's touches in 7 days": touches[7] / np.maximum(total, 1),
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
    (category,) = acts(log, log.touch & within(log, midnight(end) - 7, 7), "category")
    return np.bincount(category, minlength=categories) / max(log.n_users, 1)


def purchase_days(log, *, end, days, categories):
    """The days on which users bought, by cells of user and category: (rows,) each, both sorted.

    A cell is user · `categories` + category. Days are counted from the first of the `days` days
    before `end`, and two purchases of one day are one.
    """
    start = midnight(end) - positive(days=days)
    rows = log.purchase & within(log, start, days)
    user, category, day = acts(log, rows, "user", "category", "day")
    cell = user * categories + category
    return np.divmod(np.unique(cell * days + (day - start).astype(np.int64)), days)


def _usual_gap(log, end, days, categories):
    """The usual days between purchase days (users, categories): see `careful_features`."""
    cell, day = purchase_days(log, end=end, days=days, categories=categories)
    same = cell[1:] == cell[:-1]
    gap, cell = np.diff(day)[same], cell[1:][same]
    shape = (log.n_users, categories)
    sums, counts = (np.bincount(cell, w, np.prod(shape)).reshape(shape) for w in (gap, None))
    usual = pd.Series(gap).groupby(cell % categories).median()
    usual = usual.reindex(range(categories), fill_value=days).to_numpy()
    return np.where(counts > 0, sums / np.maximum(counts, 1), usual)
