"""Needs, recovered from the log alone: how long one is open before a purchase, and when it is back.

    lead            visits in the days before a purchase  ──▶  how long a need is seen before
    replenishment   days between two purchases            ──▶  interval of each category, share seen

Chapter 10 uses both.
"""

from typing import NamedTuple

import numpy as np

from recsys_evo.evaluate.forecasts import Interval
from recsys_evo.evaluate.impulse import _normal
from recsys_evo.evaluate.recovery import _came, _own_visits
from recsys_evo.prepare.splits import acts


class Replenishment(NamedTuple):
    """What `replenishment` finds, a row each of the categories that come back: (rows, …)."""

    category: np.ndarray  # code
    interval: np.ndarray  # (rows, 3): days from a purchase to the next, low, high
    seen: Interval  # share of purchases that the next one follows here, over all categories
    regularity: Interval  # spread over mean of the intervals; of no rhythm it would be .289


def replenishment(log, *, least=20, level=0.95):
    """Estimate after how many days what was bought is bought again.

    Half of the purchases may be made elsewhere: then the next one here comes after two intervals,
    or three. And the log ends before many came. So the mean of all gaps is too long for the first
    reason and too short for the second. The interval m is the mean of the gaps between m / 2 and
    3 m / 2, which holds its own mean; only purchases with 3 m / 2 days left in the log count,
    whether another followed or not. It starts from the commonest gap. Purchases of a category that
    lie less than five days apart are one.

    Parameters
    ----------
    log : Log with purchases.
    least : int, gaps that a category must have to be judged.
    level : float, share of logs whose intervals are to hold the truth.

    Returns
    -------
    Replenishment. Without any category to judge it has no rows, and Intervals of NaN.
    """
    user, category, day = acts(log, log.purchase, "user", "category", "day")
    key = user * log.n_categories + category
    order = np.lexsort((day, key))
    key, day = key[order], day[order].astype(int)
    new = np.append(True, (np.diff(key) != 0) | (np.diff(day) >= 5))[: len(key)]
    key, day = key[new], day[new]
    gap = np.append(np.where(np.diff(key) == 0, np.diff(day), np.inf), np.inf)[: len(key)]
    left, category = log.end.astype(int) - 1 - day, key % log.n_categories
    rows, followed, parts = [], [], []
    reach = _normal(level)
    for code in range(log.n_categories):
        mine = category == code
        gaps, rest = gap[mine], left[mine]
        known = gaps[np.isfinite(gaps)]
        if len(known) < least:
            continue
        near = np.bincount(known.astype(int), minlength=3)
        mean = float(np.argmax(np.convolve(near, [1, 1, 1], "same")))
        for _ in range(20):
            fair = rest >= 1.5 * mean
            inside = fair & (gaps > 0.5 * mean) & (gaps < 1.5 * mean)
            if inside.sum() < 3 or mean == gaps[inside].mean():
                break
            mean = gaps[inside].mean()
        if inside.sum() < 3:
            continue
        spread = gaps[inside].std(ddof=1)
        far = reach * spread / np.sqrt(inside.sum())
        rows.append((code, mean, mean - far, mean + far))
        followed.append((inside.sum(), fair.sum()))
        parts.append((gaps[inside] / mean - 1) ** 2)
    if not rows:
        nothing = Interval(np.nan, np.nan, np.nan)
        return Replenishment(np.zeros(0, int), np.zeros((0, 3)), nothing, nothing)
    rows, (yes, all_) = np.array(rows), np.sum(followed, axis=0)
    share, squares = yes / all_, np.concatenate(parts)
    far = reach * np.sqrt(share * (1 - share) / all_)
    wide = reach * squares.std() / np.sqrt(len(squares))
    ends = np.sqrt(np.maximum(squares.mean() + np.array([0, -wide, wide]), 0))
    return Replenishment(
        rows[:, 0].astype(int),
        rows[:, 1:],
        Interval.around(share, far),
        Interval(*ends.tolist()),
    )


class Lead(NamedTuple):
    """Visits before a purchase, by the days between: arrays (lags,)."""

    lags: np.ndarray
    lift: np.ndarray  # visits to the category bought, over those on the user's other days
    low: np.ndarray
    high: np.ndarray


def lead(log, lags, *, level=0.95):
    """Estimate how much oftener users visit a category in the days before they buy from it.

    The visits `lag` days before a purchase (after it, where negative) are held against the user's
    mean daily visits to that category on days more than 20 days away from all his purchases there.
    1 is as always. Only days on which the user came count.

    Parameters
    ----------
    log : Log with own visits and purchases.
    lags : ints (lags,), days, within 20 of 0.
    level : float, share of logs whose interval is to hold the truth.

    Raises
    ------
    ValueError for other lags.
    """
    lags = np.asarray(lags)
    if lags.ndim != 1 or lags.dtype.kind not in "iu" or not len(lags) or abs(lags).max() > 20:
        raise ValueError(f"`lags` must be whole numbers of days within 20. Received: {lags!r}")
    user, day, category = _own_visits(log)
    came = _came(log)
    shape = came.shape[1], log.n_users, log.n_categories
    own = np.zeros(shape, np.uint16)
    np.add.at(own, (day, user, category), 1)
    who, what, day = acts(log, log.purchase, "user", "category", "day")
    cells = np.stack([(day - log.start).astype(int), who, what])
    when, who, what = np.unique(cells, axis=1)
    far = np.ones(shape, bool)
    for lag in range(-20, 21):
        inside = (when + lag >= 0) & (when + lag < shape[0])
        far[when[inside] + lag, who[inside], what[inside]] = False
    usual = (own * far).sum(0, dtype=float) / np.maximum((far & came.T[:, :, None]).sum(0), 1)
    lift, reach = np.full((2, len(lags)), np.nan)
    for place, lag in enumerate(lags):
        then = when - lag
        rows = np.flatnonzero((then >= 0) & (then < shape[0]))
        rows = rows[came[who[rows], then[rows]]]
        seen = np.bincount(who[rows], own[then[rows], who[rows], what[rows]], log.n_users)
        expected = np.bincount(who[rows], usual[who[rows], what[rows]], log.n_users)
        if expected.sum() > 0:
            lift[place] = seen.sum() / expected.sum()
            spread = np.sqrt(((seen - lift[place] * expected) ** 2).sum()) / expected.sum()
            reach[place] = _normal(level) * spread
    return Lead(lags, lift, lift - reach, lift + reach)
