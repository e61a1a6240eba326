"""How good a forecast is: does it rank well, do its chances come true, and how sure may we be?

    ranking      auc, average_precision
    chances      calibration
    certainty    bootstrap_auc, bootstrap (over users) · interval (over seeds)

Everything here takes arrays. Chapter 01 uses it first, chapter 02 works an AUC by hand, chapter 05
asks a network for chances.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit


class Interval(NamedTuple):
    """A figure with the ends of its interval."""

    point: float
    low: float
    high: float

    @classmethod
    def around(cls, point, reach):
        """The Interval that reaches as far to either side."""
        return cls(float(point), float(point - reach), float(point + reach))


def auc(truth, score, weight=None):
    """Return the chance that a positive row scores above a negative one; a tie counts one half.

    Parameters
    ----------
    truth : bool or 0/1 (rows,), what happened.
    score : (rows,), larger for what is held likelier.
    weight : non-negative (rows,), how much each row counts; default all the same.

    Raises
    ------
    ValueError for arrays of other shapes, scores or weights that will not do, and for a truth
    without positive or without negative weight, where no AUC exists.
    """
    pairs = _Pairs(truth, score)
    value = pairs.auc(_weights(weight, pairs.n_rows))
    if np.isnan(value):
        raise ValueError("`weight` must leave a positive and a negative row. Received: none left")
    return value


def average_precision(truth, score, weight=None):
    """Return the area under the precision-recall curve, as a sum of steps; ties are one step.

        sum over the scores, from the top:  (recall here − recall one step above) · precision here

    Unlike the AUC it depends on how many rows are positive: a score that knows nothing gets their
    share. It is the measure for what happens seldom. Chapter 05 uses it.

    Parameters
    ----------
    truth, score, weight : as for `auc`.

    Returns
    -------
    float; NaN where the weights leave no positive row, so that `bootstrap` leaves the draw out.

    Raises
    ------
    ValueError for arrays of other shapes, scores or weights that will not do, and for a truth
    without a positive row.
    """
    from sklearn.metrics import average_precision_score  # a second that other measures do not need

    truth = _outcomes(truth)
    score = _column("score", score, len(truth))
    weight = _weights(weight, len(truth))
    if not truth.any():
        raise ValueError(f"`truth` must hold a positive row. Received: none of {len(truth)}")
    if not weight[truth].any():
        return np.nan
    return float(average_precision_score(truth, score, sample_weight=weight))


class Calibration(NamedTuple):
    """Chances and what came of them: arrays (bins,) from the lowest chances to the highest."""

    expected: np.ndarray  # mean chance
    observed: np.ndarray  # share that happened
    share: np.ndarray  # share of all rows
    error: float  # mean of |expected − observed| over the rows


def calibration(truth, chance, weight=None, *, bins=10):
    """Compare chances with what happened, in bins of about equally many rows.

        observed │        ·
                 │    · ╱        above the line: it happened oftener than foretold
                 │   ╱
                 │╱ ·
                 └───────── expected

    Equal chances are never parted, so bins may differ in size, and there are fewer of them where
    there are few distinct chances. The error (expected calibration error, Naeini et al. 2015) of a
    perfect forecast is not 0: with n rows in a bin, luck alone moves its share by about
    sqrt(chance · (1 − chance) / n). Chapter 05 uses it.

    Parameters
    ----------
    truth : bool or 0/1 (rows,), what happened.
    chance : (rows,), between 0 and 1.
    weight : non-negative (rows,), how much each row counts; default all the same.
    bins : int, how many bins at most.

    Raises
    ------
    ValueError for arrays of other shapes, chances outside of [0, 1], weights that are negative or
    all 0, and a `bins` that is not a positive integer.
    """
    truth = _outcomes(truth)
    chance = _column("chance", chance, len(truth))
    weight = _weights(weight, len(truth))
    if not ((chance >= 0) & (chance <= 1)).all():
        raise ValueError(
            f"`chance` must lie between 0 and 1. Received: {chance.min()} to {chance.max()}"
        )
    if not isinstance(bins, (int, np.integer)) or bins < 1:
        raise ValueError(f"`bins` must be a positive integer. Received: bins={bins!r}")
    if not weight.any():
        raise ValueError("`weight` must leave a row. Received: none left")
    truth, chance, weight = (column[weight > 0] for column in (truth, chance, weight))
    # A value's bin is where the middle of its rows falls, so that all its rows share it.
    _, value = np.unique(chance, return_inverse=True)
    rows = np.bincount(value, weight)
    upto = np.cumsum(rows)
    place = np.ceil(bins * (upto - rows / 2) / upto[-1])[value]
    _, place = np.unique(place, return_inverse=True)
    size = np.bincount(place, weight)
    expected = np.bincount(place, weight * chance) / size
    observed = np.bincount(place, weight * truth) / size
    share = size / size.sum()
    return Calibration(expected, observed, share, float(share @ abs(expected - observed)))


def weighted_mean(values, weight=None):
    """Return the weighted mean of `values` (rows,): a measure for `bootstrap`. Chapter 06."""
    values = np.asarray(values)
    values = _column("values", values, values.size)
    return float(np.average(values, weights=_weights(weight, len(values))))


def bootstrap(measure, *columns, user, rng, n=1000, level=0.95):
    """Estimate any measure with a percentile interval, drawing whole users with replacement.

        bootstrap(average_precision, truth, score, user=user, rng=rng)
        bootstrap(weighted_mean, energy_score(draws, happened), user=np.arange(n_users), rng=rng)

    A difference of two models is a measure too: it takes both models' columns. What users and draws
    are is said at `bootstrap_auc`, which does the same for the AUC alone and is faster at it
    (Efron and Tibshirani 1993). Chapters 05 and 06 use it.

    Parameters
    ----------
    measure : function of the columns and of `weight`, the number of times that each row's user was
        drawn (rows,); it returns one number, or NaN for a draw of which it can say nothing. Such a
        draw is left out.
    columns : (rows,) each.
    user : int (rows,), whose row it is.
    rng : numpy Generator.
    n : int, number of draws.
    level : float, share of the draws that the interval holds.

    Raises
    ------
    ValueError for columns of other lengths, fewer than two users, and a measure that is not defined
    on the rows themselves.
    """
    n_rows = np.size(user)
    user = _column("user", user, n_rows)
    columns = [_column(f"columns[{k}]", column, n_rows) for k, column in enumerate(columns)]
    drawn = _drawn(user, n, rng)
    point = measure(*columns, weight=np.ones(n_rows))
    if np.isnan(point):
        raise ValueError("`measure` must be defined on all rows together. Received: nan")
    return _percentiles(point, [measure(*columns, weight=times) for times in drawn], level)


def bootstrap_auc(truth, score, user, *, rng, n=1000, level=0.95, against=None):
    """Estimate an AUC with a percentile interval, drawing whole users again with replacement.

    Rows of one user are no independent witnesses, so users are drawn, not rows. The interval says
    how the figure would move with other users; training again is another matter (`interval`).

    Parameters
    ----------
    truth, score : as for `auc`.
    user : int (rows,), whose row it is.
    rng : numpy Generator.
    n : int, number of draws.
    level : float, share of the draws that the interval holds.
    against : (rows,), another model's scores of the same rows.

    Returns
    -------
    Interval of the AUC. With `against`, also the Interval of the difference, AUC of `score` minus
    AUC of `against`, both computed on the same draw each time. A draw in which all rows have the
    same truth has no AUC and is left out.

    Raises
    ------
    ValueError as for `auc`, and for fewer than two users.
    """
    models = [_Pairs(truth, score)] + ([] if against is None else [_Pairs(truth, against)])
    drawn = _drawn(_column("user", user, models[0].n_rows), n, rng)
    points = [model.auc(np.ones(model.n_rows)) for model in models]
    draws = np.array([[model.auc(times) for model in models] for times in drawn])
    result = _percentiles(points[0], draws[:, 0], level)
    if against is None:
        return result
    return result, _percentiles(points[0] - points[1], draws[:, 0] - draws[:, 1], level)


def interval(values, level=0.95):
    """Return mean and Student's t interval of independent `values`, one a seed.

    Raises ValueError for fewer than two values, from which no spread can be read.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(
            f"`values` must be two or more finite numbers. Received: values={values.tolist()}"
        )
    half = stdtrit(len(values) - 1, (1 + level) / 2) * values.std(ddof=1) / np.sqrt(len(values))
    return Interval.around(values.mean(), half)


class _Pairs:
    """Positive and negative rows, compared once, so that any weights can be applied quickly."""

    def __init__(self, truth, score):
        truth = np.asarray(truth)
        score = _column("score", score, truth.size)
        if truth.ndim != 1 or not np.isin(truth, (0, 1)).all():
            raise ValueError(f"`truth` must be a column of 0 and 1. Received: {truth!r}")
        truth = truth.astype(bool)
        if truth.all() or not truth.any():
            raise ValueError(
                "`truth` must hold a positive and a negative row. "
                f"Received: {truth.sum()} positive of {truth.size}"
            )
        self.n_rows = truth.size
        self.positive = np.flatnonzero(truth)
        negative = np.flatnonzero(~truth)
        self.negative = negative[np.argsort(score[negative], kind="stable")]
        ladder = score[self.negative]
        # How many of the sorted negatives lie below each positive; and how many not above it.
        self.below = np.searchsorted(ladder, score[self.positive], "left")
        self.not_above = np.searchsorted(ladder, score[self.positive], "right")

    def auc(self, weight):
        sums = np.zeros(len(self.negative) + 1)
        np.cumsum(weight[self.negative], out=sums[1:])
        positive = weight[self.positive]
        won = positive @ (sums[self.below] + sums[self.not_above]) / 2
        possible = positive.sum() * sums[-1]
        return float(won / possible) if possible > 0 else np.nan


def _column(name, values, n_rows):
    values = np.asarray(values)
    if values.shape != (n_rows,) or (values.dtype.kind == "f" and np.isnan(values).any()):
        raise ValueError(
            f"`{name}` must be {n_rows} numbers, none missing. Received: shape {values.shape}"
        )
    return values


def _outcomes(truth):
    truth = np.asarray(truth)
    if truth.ndim != 1 or not truth.size or not np.isin(truth, (0, 1)).all():
        raise ValueError(f"`truth` must be a column of 0 and 1. Received: {truth!r}")
    return truth.astype(bool)


def _weights(weight, n_rows):
    weight = np.ones(n_rows) if weight is None else _column("weight", weight, n_rows)
    if not (weight >= 0).all():
        raise ValueError(f"`weight` must not be negative. Received: {weight.min()}")
    return weight


def _drawn(user, n, rng):
    """How often each row counts (rows,), in each of `n` draws of whole users with replacement."""
    names, user = np.unique(user, return_inverse=True)
    n_users = len(names)
    if n_users < 2:
        raise ValueError(f"`user` must hold two users or more. Received: {n_users}")
    draws = (rng.integers(n_users, size=n_users) for _ in range(n))
    return (np.bincount(draw, minlength=n_users).astype(float)[user] for draw in draws)


def _percentiles(point, draws, level):
    low, high = np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(point), float(low), float(high))
