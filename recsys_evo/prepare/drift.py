"""How far behaviour has moved: likeness over time, half-life of taste, turnover, distance.

All of it but turnover compares *visits*: a user's day with at least one touch. The *shares* of a
visit say which part of its touches fell into each category, so every visit counts once, however
busy. The dot product of two visits' shares is the chance that a touch of one and a touch of the
other fall into the same category:

    visit   day 3       day 4       day 9
            a a b       c           a b
    pairs     └──── 0 ────┘           │
              └────────── ½ ──────────┘      lag 6: (⅔, ⅓, 0) · (½, ½, 0) = ½

It is an unbiased guess at the dot product of the tastes behind the two, however few the touches,
because they are two: within one visit, touches resemble each other by chance and for the need of
the day. Therefore nothing here compares a visit with itself. Chapters 03 and 04 use this module.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from recsys_evo.collect.events import Log
from recsys_evo.prepare.splits import acts, counted, positive, room_for_categories, summing


def shuffle_days(log, *, rng):
    """Return the log of users who act as they do, but in no order of days: a null for all change.

    Within each user the days change places, each with all that happened on it. When a user acts
    stays as it is, and so does what a visit is made of; which visit came when is lost.

        user 0   aab··c·b   ──▶   b··aab·c      one of 3! orders

    Single events must not be shuffled: the events of a visit resemble each other, and spread over
    other days they make visits alike that never were. Choose rows before shuffling, not afterwards
    (`log.where(log.touch)`), or days without a touch change places too. Rows of unknown users stay
    where they are.
    """
    user, day = log.events["user"].to_numpy(), _days(log)
    second = log.events["time"].to_numpy() - day.astype("M8[s]")
    first, visit = _runs(user, day)
    order = np.lexsort((rng.random(len(first)), user[first]))  # at random, within each user
    order = np.where(user[first] < 0, np.arange(len(first)), order)
    moved = np.empty_like(day[first])
    moved[order] = day[first]
    shuffled = Log(
        log.events.assign(time=moved[visit] + second),
        log.items, log.users, log.source, category_names=log.category_names,
    )  # fmt: skip
    shuffled.n_categories = log.n_categories
    return shuffled


class Curves(NamedTuple):
    """Chances that two touches, some days apart, fall into the same category: see `Similarity`."""

    own: np.ndarray  # both by one user
    others: np.ndarray  # the second by anybody else who acted on that day
    shuffled: np.ndarray  # both by one user, were the order of the visits lost
    still: np.ndarray  # both by one user, were the crowd all that moves


@dataclass(frozen=True)
class Similarity:
    """How alike the visits of a user are, by the days between them; made by `similarity`.

    `lags` (lags,), mean days between. Sums over the pairs of a user's visits at each lag, (users,
    lags): `pairs`, their number; `own`, `others`, their chances. Means over all pairs of a user, at
    whatever lag, (users,): `own_rate`, `others_rate`. A user's pairs weigh 1 / (visits - 1) each,
    so that a user counts by his visits: by the number of pairs, the busiest few would be all.
    """

    lags: np.ndarray
    pairs: np.ndarray
    own: np.ndarray
    others: np.ndarray
    own_rate: np.ndarray
    others_rate: np.ndarray

    def curves(self, times=None):
        """Return `Curves` of shape (lags,); with `times` (draws, users), of (draws, lags).

        `times` says how often each user counts: 0 leaves a user out, and
        `rng.multinomial(n, np.full(n, 1 / n), size=draws)` draws whole users with replacement.

        - `own` falls with the lag where tastes move, but also where the crowd does;
        - `others` falls where the crowd moves: season, fashion, stock;
        - `own / others`, the *lift*, is what a taste of one's own adds;
        - `own / shuffled` is 1, but for chance, where visits have no order. This is exact:
          `shuffled` is the mean of `own` over all orders that `shuffle_days` may give;
        - `own / still` is 1, but for chance, where each user's lift stays the same. As in
          `shuffled`, each user is held against his own mean; so the curve does not bend when users
          who are gone soon, and weigh at short lags only, have tastes of another kind.
        """
        times = np.ones(len(self.own)) if times is None else np.asarray(times, dtype=float)
        lift = self.own_rate / np.where(self.others_rate > 0, self.others_rate, np.inf)
        shuffled, still = self.own_rate[:, None] * self.pairs, lift[:, None] * self.others
        weight = times @ self.pairs
        with np.errstate(invalid="ignore"):  # NaN at a lag without pairs
            parts = (self.own, self.others, shuffled, still)
            return Curves(*(times @ part / weight for part in parts))


def similarity(log, *, longest, step=1, categories=64):
    """Compare each two visits of a user that lie `longest` days apart or less, for every user.

    Only touches of known users count. On a day on which nobody else acts, the user is the crowd.
    Time grows with the sum of the squares of users' numbers of visits.

    Parameters
    ----------
    log : Log.
    longest : int, days; lags run from 1 to `longest`.
    step : int, so many lags are pooled, for logs in which users come rarely; a divisor of
        `longest`.
    categories : int, at least the log's number.

    Returns
    -------
    Similarity with a row for every user of the log.

    Raises
    ------
    ValueError for a wrong argument.
    """
    if positive(longest=longest) % positive(step=step):
        raise ValueError(
            f"`step` must divide `longest`. Received: step={step} with longest={longest}"
        )
    user, day, shares = _visits(log, categories)
    day -= day.min(initial=0)
    of_day = summing(day, day.max(initial=0) + 1)
    crowd, present = (of_day @ shares).toarray(), of_day.sum(axis=1)
    pairs, own, others = np.zeros((3, log.n_users, longest))
    own_rate, others_rate = np.zeros((2, log.n_users))
    for who, rows in _users(user):
        if rows.stop - rows.start < 2:
            continue
        on, mine = day[rows], shares[rows].toarray()
        alike, company = mine @ mine.T, present[on] - 1
        unlike = (mine @ crowd[on].T - alike * (company > 0)) / np.maximum(company, 1)
        gap = np.abs(on[:, None] - on)  # each pair stands in it twice, each visit with itself once
        two, near = gap > 0, (gap > 0) & (gap <= longest)
        own_rate[who], others_rate[who] = alike[two].mean(), unlike[two].mean()
        weight = 0.5 / (len(on) - 1)
        for sums, values in ((pairs, near), (own, alike), (others, unlike)):
            sums[who] = weight * np.bincount(gap[near], values[near], longest + 1)[1:]
    pooled = (sums.reshape(-1, longest // step, step).sum(axis=2) for sums in (pairs, own, others))
    lags = np.arange(1, longest + 1).reshape(-1, step).mean(axis=1)
    return Similarity(lags, *pooled, own_rate, others_rate)


class Decay(NamedTuple):
    """What `half_life` finds: figures as (point, low, high), and the lift fitted at each lag."""

    half_life: tuple  # days; inf: no decay, or none whose end is in sight
    renewal: tuple  # life events a day
    lift: np.ndarray


def half_life(similarity, *, rng, shortest=1, renewal=(0.0,), n=500, level=0.95):
    """Estimate in how many days a taste forgets half of its deviation from its core.

    A taste that returns to its core as an Ornstein–Uhlenbeck process remembers exp(-θ lag) of a
    deviation. Where appeals are linear in taste, shares are about log-normal, and the lift is
    A exp(B exp(-θ lag)). Users whom life events befall, λ a day, become strangers to themselves:

        lift = 1 + (A exp(B exp(-θ lag)) - 1) exp(-λ lag),        half-life = log(2) / θ

    The lift is `own / still`, brought to the level of `own / others`. With λ undone, its logarithm
    is linear in B given θ: least squares, weighted by `pairs`, on a grid of θ and λ. The interval
    is the percentile interval of `n` draws of whole users.

    Parameters
    ----------
    similarity : Similarity, best with lags of three half-lives and more.
    rng : numpy Generator.
    shortest : float, days; shorter lags are left out, where needs and satiation rule.
    renewal : sequence of float, the λ to choose from; by default there are no life events.
    n : int, number of draws.
    level : float, share of the draws that the interval holds.

    Returns
    -------
    Decay. Half-lives from half the shortest to ten times the longest lag are tried.

    Raises
    ------
    ValueError for fewer than four lags, and where nobody's visits at a lag have anything in common,
    since the lift has no logarithm there.
    """
    used, users = similarity.lags >= shortest, len(similarity.own)
    times = redrawn(users, positive(n=n), rng)
    curves, pairs = similarity.curves(times), times @ similarity.pairs
    if used.sum() < 4 or not (curves.own[:, used] > 0).all():
        raise ValueError(
            "`similarity` must have four lags or more from `shortest` on, with visits alike at "
            f"each; a larger `step` may help. Received: {used.sum()} lags"
        )
    mean_lift = (pairs * curves.own).sum(axis=1) / (pairs * curves.others).sum(axis=1)
    lift = mean_lift[:, None] * (curves.own / curves.still)[:, used]
    fits = [_fit(lift, pairs[0, used], similarity.lags[used], rate) for rate in renewal]
    misfit, halves, lifts = zip(*fits)
    best = np.argmin(misfit, axis=0)

    def interval(values):
        ends = np.quantile(values[1:], [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
        return float(values[0]), *ends.tolist()

    half = np.take_along_axis(np.array(halves), best[None], axis=0)[0]
    return Decay(interval(half), interval(np.asarray(renewal)[best]), lifts[best[0]])


def _fit(lift, weight, lags, rate):
    """Misfit and half-life (draws,) of the best curve for each `lift` (draws, lags) at this rate of
    life events, and the curve (lags,) of the first."""
    grown = 1 + (lift - 1) * np.exp(rate * lags)
    y = np.log(np.maximum(grown, 1e-6))
    # Errors of y are larger than those of log(lift): how many times.
    weight = weight * (grown[0] / (lift[0] * np.exp(rate * lags))) ** 2
    halves = np.geomspace(lags[0] / 2, 10 * lags[-1], 600)
    x = 0.5 ** (lags / halves[:, None])
    level = np.average(y, axis=1, weights=weight)
    x, y = x - np.average(x, axis=1, weights=weight)[:, None], y - level[:, None]
    slope = np.maximum((y * weight) @ x.T / (x**2 @ weight), 0)  # (draws, half-lives)
    misfit = (y**2 @ weight)[:, None] - slope**2 * (x**2 @ weight)
    place = misfit.argmin(axis=1)
    row = np.arange(len(y))
    falls = (slope[row, place] > 0) & (place < len(halves) - 1)
    line = level[0] + slope[0, place[0]] * x[place[0]]
    curve = 1 + (np.exp(line) - 1) * np.exp(-rate * lags)
    return misfit[row, place], np.where(falls, halves[place], np.inf), curve


def turnover(log, *, days=7, of="category"):
    """Return which share of a user's touches in a period is new: not touched in the period before.

        days      └─ 7 ─┘└─ 7 ─┘└─ 7 ─┘
        user 0     a a b   a c     ·         (½, nan): of a and c, c is new
        user 1       b      b      b b a     (0, ⅓)

    Under fixed shares p and m touches in the period before, Σ p (1 - p)^m is expected: few touches
    alone make a high turnover. What evolution adds is the difference from `shuffle_days(log)`.

    Parameters
    ----------
    log : Log; only touches of known users count. Periods begin with the log's first day; days at
        its end that do not fill a period are left out.
    days : int, length of a period.
    of : "category" or "item", what is new.

    Returns
    -------
    float (users, periods - 1), NaN where a user is absent in the period or the one before.

    Raises
    ------
    ValueError for a wrong argument.
    """
    if of not in ("category", "item"):
        raise ValueError(f'`of` must be "category" or "item". Received: of={of!r}')
    positive(days=days)
    if not len(log):
        return np.full((log.n_users, 0), np.nan)
    periods = (log.end - log.start).astype(int) // days
    rows = log.touch & (_days(log) < log.start + days * periods)
    user, code, day = acts(log, rows, "user", of, "day")
    # A user's periods are numbered from 1, so that number 0 is one before which nothing was.
    period = 1 + (day - log.start).astype(int) // days
    shape, n_codes = (log.n_users, periods + 1), code.max(initial=0) + 1
    touched = np.ravel_multi_index((user, period, code), (*shape, n_codes))
    new = ~np.isin(touched - n_codes, touched)
    counts, fresh = (counted(shape, user, period, weight=w)[:, 1:] for w in (None, new))
    both = (counts[:, 1:] > 0) & (counts[:, :-1] > 0)
    return np.where(both, fresh[:, 1:] / np.maximum(counts[:, 1:], 1), np.nan)


@dataclass(frozen=True)
class Distance:
    """How far users moved from one window to another; made by `distance`.

    `users` (n,), codes of those who acted in both. `change` (n, categories), the share of each
    category in the visits of the second window less that in the first: `change.mean(axis=0)` says
    which categories gained, and each user is one witness. `own` (n,), the squared distance between
    the tastes behind the two windows, unbiased (so it may be negative); NaN for users with fewer
    than two visits in a window.
    """

    users: np.ndarray
    change: np.ndarray
    own: np.ndarray

    def crowd(self, times=None):
        """Return the squared length of the change that all users share; unbiased.

        `times` (draws, users) as in `Similarity.curves`. The mean of `own` is this and what users
        moved each by themselves. Only pairs of different users are multiplied, so that a user's
        own chance does not count.
        """
        times = np.ones(len(self.users)) if times is None else np.asarray(times, dtype=float)
        alone = times**2 @ (self.change**2).sum(axis=1)
        together = ((times @ self.change) ** 2).sum(axis=-1)
        return (together - alone) / (times.sum(axis=-1) ** 2 - (times**2).sum(axis=-1))


def distance(before, after, *, categories=64):
    """Compare what users did in two windows: two logs of the same users that share no day.

        before ░░░░░░░░░│            │▒▒▒▒▒▒▒▒▒ after      future(log, start, days) of each

    With k the mean dot product of two visits, the squared distance of a user is k(before, before) +
    k(after, after) - 2 k(before, after), each over pairs of different visits.

    Parameters
    ----------
    before, after : Log, with the same users. Only touches of known users count.
    categories : int, at least the logs' number.

    Returns
    -------
    Distance.

    Raises
    ------
    ValueError for logs of different users, or with a day in common.
    """
    if before.n_users != after.n_users:
        raise ValueError(
            "`before` and `after` must have the same users. "
            f"Received: {before.n_users} and {after.n_users}"
        )
    common = np.intersect1d(_days(before), _days(after))
    if len(common):
        raise ValueError(f"`before` and `after` must share no day. Received: both on {common[0]}")
    means, squares, visits = [], [], []
    for log in (before, after):
        user, _, shares = _visits(log, categories)
        of_user = summing(user, log.n_users)
        count = of_user.sum(axis=1)
        total = (of_user @ shares).toarray()
        alone = of_user @ shares.power(2).sum(axis=1)
        means.append(total / np.maximum(count, 1)[:, None])
        squares.append(((total**2).sum(axis=1) - alone) / np.maximum(count * (count - 1), 1))
        visits.append(count)
    least = np.minimum(*visits)
    users = np.flatnonzero(least > 0)
    own = sum(squares) - 2 * (means[0] * means[1]).sum(axis=1)
    own[least < 2] = np.nan
    return Distance(users, (means[1] - means[0])[users], own[users])


def redrawn(users, n, rng):
    """How often each user counts (n + 1, users): once, then in draws with replacement."""
    return np.vstack([np.ones(users), rng.multinomial(users, np.full(users, 1 / users), n)])


def _days(log):
    return log.events["time"].to_numpy().astype("M8[D]")


def _runs(user, day):
    """First row of each visit of a sorted log, and the visit of each row."""
    new = np.ones(len(user), bool)
    new[1:] = (user[1:] != user[:-1]) | (day[1:] != day[:-1])
    return np.flatnonzero(new), np.cumsum(new) - 1


def _visits(log, categories):
    """User and day (a number) of each visit, and its shares, sparse (visits, categories)."""
    room_for_categories(log, categories)
    user, category, day = acts(log, log.touch, "user", "category", "day")
    first, visit = _runs(user, day)
    share = 1 / np.bincount(visit)[visit]
    shares = csr_array((share, (visit, category)), (len(first), categories))
    shares.sum_duplicates()
    return user[first], day[first].astype(int), shares


def _users(user):
    """Each user of a sorted column, with the slice of its rows."""
    names, starts = np.unique(user, return_index=True)
    for name, start, stop in zip(names, starts, [*starts[1:], len(user)]):
        yield name, slice(start, stop)
