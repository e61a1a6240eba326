"""When appeals move, recovered from the log alone: the cycle of the week.

    seasonality     own visits by category and day   ──▶  amplitude and phase of a cycle

`prepare.drift` finds the half-life of drift; `evaluate.needs`, what comes back and when;
`evaluate.impulse`, what exposure, clicks and friends do, for which it needs chance in the log. Here
no chance is needed: time is nobody's choice. It looks at *own visits*, the clicks outside slates,
and its interval draws whole users. Chapter 10 uses it; how life events are found is in its stored
result `recovery`.
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.special import i0e, i1e

from recsys_evo.evaluate.forecasts import Interval
from recsys_evo.evaluate.impulse import _normal
from recsys_evo.prepare.drift import redrawn
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
    times = redrawn(log.n_users, n, rng)
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


def _ends(draws, level):
    _normal(level)
    return np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
