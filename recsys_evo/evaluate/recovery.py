"""When tastes moved, recovered from the log alone: the cycle of the week, and life events.

    seasonality     own visits by category and day   ──▶  amplitude and phase of a cycle
    life_events     a user's early and late visits   ──▶  events a day; for each user whether, when

`prepare.drift` finds the half-life of drift; `evaluate.needs`, what comes back and when;
`evaluate.impulse`, what exposure, clicks and friends do, for which it needs chance in the log. Here
no chance is needed: time is nobody's choice. Both look at *own visits*, the clicks outside slates,
and their intervals draw whole users. Chapter 10 uses them.
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import i0e, i1e

from recsys_evo.evaluate.forecasts import Interval
from recsys_evo.evaluate.impulse import _normal
from recsys_evo.prepare.splits import acts, counted, positive


class Cycle(NamedTuple):
    """What `seasonality` finds: Interval of the amplitude, and phases (categories,) in days."""

    amplitude: Interval  # of the appeal, on the logarithmic scale: mean over categories
    phase: np.ndarray  # days from the log's first day to the peak


def seasonality(log, *, days=7, rng, n=200, level=0.95):
    """Estimate a cycle of the appeal of categories, of known length and unknown phases.

    Visits whose rate goes like exp(A cos) are spread over the cycle like von Mises's law: the mean
    of exp(2πi day / 7) over them has the length I₁(A) / I₀(A), and its angle is the phase. But
    categories compete: while one rises, it takes visits from those that rise with it. To first
    order the cycles C of the rates are (1 - M) times those of the appeals, where M says, of a visit
    to one category, how likely another turn of that user on that day goes to the other. The other
    visits of the day show it: a user is taken to have as many turns a day as he ever used.

    Days count equally, however many users come. A category's square amplitude is found too large
    by its variance, which is taken off; so that the mean may come out negative, and 0 is not at
    the edge. Reinforcement and satiation that answer to the cycle count as part of it.

    Parameters
    ----------
    log : Log with own visits in two cycles or more; a rest at the end that fills none is left out.
    days : int, length of the cycle.
    rng : numpy Generator; `n` draws of whole users give the interval.
    level : float, share of logs whose interval is to hold the truth.

    Returns
    -------
    Cycle. Amplitudes are signed roots of (mean) squares.

    Raises
    ------
    ValueError for a log that is too short, for a category without own visits, and wrong arguments.
    """
    user, day, category = _own_visits(log)
    length = (day.max(initial=0) + 1) // positive(days=days) * days
    if length < 2 * days:
        raise ValueError(f"`log` must last two cycles or more. Received: {length} days")
    inside = day < length
    user, day, category = user[inside], day[inside], category[inside]
    shape = log.n_users, log.n_categories
    came = _came(log)[:, :length].sum(0)
    number = np.bincount(category, minlength=shape[1])
    if not number.all():
        raise ValueError(f"each category must have own visits. Received: {number.min()} of one")
    turn = np.exp(2j * np.pi * day / days)

    def by_user(weight):
        return counted(shape, user, category, weight=weight)

    weight = 1 / came[day]
    visits = by_user(weight)
    sums = by_user(weight * turn.real) + 1j * by_user(weight * turn.imag)
    times = _draws(log.n_users, n, rng)
    rates = _von_mises(times @ sums / (times @ visits))
    # A visit at the peak meets more company than the mean day holds: weigh that away.
    calm = weight * np.exp(-(rates[0][category] * turn.conj()).real)
    undo = np.linalg.inv(np.eye(shape[1]) - _company(user * length + day, category, calm)).T
    appeals = rates @ undo
    each = 2 * (sums - sums.sum(0) / visits.sum(0) * visits) / visits.sum(0)  # a user's part
    variance = (np.abs(each @ undo) ** 2).sum(0)
    draws = (np.abs(appeals) ** 2 - 2 * variance).mean(1)  # the log's and the draws' own
    square = np.array([draws[0] + variance.mean(), *_ends(draws[1:], level)])
    root = np.sign(square) * np.sqrt(np.abs(square))
    return Cycle(Interval(*root.tolist()), np.angle(appeals[0]) * days / (2 * np.pi) % days)


class LifeEvents(NamedTuple):
    """What `life_events` finds: the rate, and of each user (users,) whether and when."""

    rate: Interval  # events a day of a user
    chance: np.ndarray  # that one lies between the user's first and last `window`; NaN: too few
    day: np.ndarray  # the likeliest day of it, from the log's first; NaN likewise


def life_events(log, *, window=30, axes=6, rng, n=100, level=0.95):
    """Estimate how often users become other people, and who did when.

    A user's *profile* is the mean position of `window` visits on the main axes of all users'
    categories. Two profiles of one user, brought to the axes on which they agree most, are normal
    with correlations r; but if a life event lies between, they are as those of two strangers, with
    correlation 0. Drift makes r smaller, an event makes it vanish: a mixture tells them apart,

        first and last profile of a user, `gap` days between their centres
            ~ exp(-rate · gap) · agree(r) + (1 - exp(-rate · gap)) · strangers

    by maximum likelihood. For whether and when, the profiles before and after each day are held
    against the same two laws, by Bayes's rule, with at most one event a user.

    Of one user and day, each category counts once, so that an open need is not taken for a new
    life. An event inside a profile counts by half. The interval knows the luck of users, not the
    error of the model: profiles are not quite normal, and where much else moves with taste or
    little does, the rate comes out some tenths too high.

    Parameters
    ----------
    log : Log in which users have several times `window` own visits.
    window, axes : int, visits of a profile (category and day), and axes of it.
    rng : numpy Generator; `n` draws of whole users give the interval of the rate.
    level : float, share of logs whose interval is to hold the truth.

    Returns
    -------
    LifeEvents.

    Raises
    ------
    ValueError where fewer than 50 users have 2.5 windows of visits, and for wrong arguments.
    """
    user, day, place = _positions(log, positive(axes=axes))
    window = positive(window=window)
    total = np.vstack([np.zeros(axes), place.cumsum(0)])
    centre = np.append(0, day.cumsum())

    def profiles(start):
        return [(sums[start + window] - sums[start]) / window for sums in (total, centre)]

    first = np.searchsorted(user, np.arange(log.n_users + 1))
    who = np.flatnonzero(np.diff(first) >= 2.5 * window)
    if len(who) < 50:
        raise ValueError(
            f"`log` must have 50 users with {2.5 * window:.0f} visits or more. Received: {len(who)}"
        )
    (early, then), (late, now) = profiles(first[who]), profiles(first[who + 1] - window)
    early, late = _agreement(early, late)(early, late)
    times, start = _draws(len(who), n, rng), np.append(0.5, np.full(axes, 0.6))
    start = _mixture(early, late, now - then, times[0], start)
    rates = [start[0], *(_mixture(early, late, now - then, t, start)[0] for t in times[1:])]
    rate = Interval(float(start[0]) / 100, *(_ends(np.array(rates[1:]), level) / 100).tolist())

    # Each visit that is the first of its day, with a whole profile of the user before and after.
    split = np.arange(window, len(user) - window + 1)
    whole = user[split - window] == user[split + window - 1]
    split = split[whole & (day[split] != day[split - 1])]
    (before, then), (after, now) = profiles(split - window), profiles(split)
    before, after = _agreement(before, after)(before, after)
    middle = _middle(user[split])
    pairs = before[middle], after[middle], (now - then)[middle]
    found = _mixture(*pairs, np.ones(len(middle)), start)
    odds = np.exp(-_agreeing(before, after, found[1:])[0])
    odds *= rate.point * (day[split] - day[split - 1])  # a day on which nobody looked counts too
    sums = np.bincount(user[split], odds, log.n_users)
    chance, when = np.full((2, log.n_users), np.nan)
    seen = np.unique(user[split])
    chance[seen] = sums[seen] / (1 + sums[seen])
    order = np.argsort(odds, kind="stable")
    when[user[split[order]]] = day[split[order]]
    return LifeEvents(rate, chance, when)


def _days(log):
    return (log.events["time"].to_numpy().astype("M8[D]") - log.start).astype(int)


def _own_visits(log):
    """User, day and category (rows,) of the clicks outside slates, sorted by user and day."""
    rows = log.touch & ~log.purchase & (log.events["slate"].to_numpy() < 0)
    user, day, category = acts(log, rows, "user", "day", "category")
    return user, (day - log.start).astype(int), category


def _came(log):
    """Who came (users, days): whoever has an event, be it an impression."""
    user, day = log.events["user"].to_numpy(), _days(log)
    came = np.zeros((log.n_users, day.max() + 1), bool)
    came[user[user >= 0], day[user >= 0]] = True
    return came


def _von_mises(mean):
    """Concentration times direction of von Mises's law, from its complex `mean`."""
    grid = np.linspace(0, 5, 5_001)
    return np.interp(np.abs(mean), i1e(grid) / i0e(grid), grid) * np.exp(1j * np.angle(mean))


def _company(user_day, category, weight):
    """Of a visit to a category, the chance (categories, categories) of each at another turn."""
    row = np.unique(user_day, return_inverse=True)[1]
    shape = row.max() + 1, category.max() + 1
    counts = np.ones(len(row)), weight
    visits, weighed = (sparse.csr_array((w, (row, category)), shape) for w in counts)
    number = np.bincount(category, weight)
    turns = visits.sum(1).max()
    return ((weighed.T @ visits).toarray() - np.diag(number)) / ((turns - 1) * number[:, None])


def _positions(log, axes):
    """User, day and position (rows, axes) of own visits, one a user, day and category."""
    user, day, category = np.unique(np.stack(_own_visits(log)), axis=1)
    crowd = np.bincount(category, minlength=log.n_categories) / max(len(category), 1)
    counts = counted((log.n_users, log.n_categories), user, category)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    scale = np.sqrt(np.maximum(crowd, 1e-9))
    unlike = ((share - crowd) / scale)[counts.sum(1) > 0]
    main = np.linalg.eigh(unlike.T @ unlike)[1][:, ::-1][:, :axes] / scale[:, None]
    return user, day, main[category] - crowd @ main


def _agreement(one, other):
    """A function that turns profiles to axes of variance 1 on which pairs agree, each by itself."""
    n = 2 * len(one)
    whiten = np.linalg.inv(np.linalg.cholesky((one.T @ one + other.T @ other) / n)).T
    turn = whiten @ np.linalg.eigh(whiten.T @ (one.T @ other + other.T @ one) @ whiten)[1]
    return lambda *profiles: [profile @ turn for profile in profiles]


def _agreeing(one, other, r):
    """Log-likelihood ratio (rows,) of one user to two strangers, and slope (rows, axes) by `r`."""
    rest, squares, product = 1 - r**2, one**2 + other**2, one * other
    ratio = -np.log(rest) - (r**2 * squares - 2 * r * product) / rest
    slope = r / rest - (r * squares - (1 + r**2) * product) / rest**2
    return ratio.sum(1) / 2, slope


def _mixture(one, other, gap, times, start):
    """Events in 100 days, and the correlations, of the largest likelihood."""

    def loss(p):
        events = p[0] * gap / 100
        ratio, slope = _agreeing(one, other, p[1:])
        none, some = ratio - events, np.log(-np.expm1(-events))
        both = np.logaddexp(none, some)
        same = np.exp(none - both)  # the chance that no event lies between
        faster = gap / 100 * ((1 - same) / np.expm1(events) - same)
        return -(times * both).sum(), -np.append(times @ faster, times * same @ slope)

    bounds = [(1e-6, 20)] + [(0, 0.98)] * one.shape[1]
    return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x


def _middle(user):
    """The middle row of each user of a sorted column."""
    first = np.flatnonzero(np.append(True, np.diff(user) != 0))
    return (first + np.append(first[1:], len(user)) - 1) // 2


def _draws(users, n, rng):
    """How often each user counts (n + 1, users): once, then in draws with replacement."""
    return np.vstack([np.ones(users), rng.multinomial(users, np.full(users, 1 / users), n)])


def _ends(draws, level):
    _normal(level)
    return np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
