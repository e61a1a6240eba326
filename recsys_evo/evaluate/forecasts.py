"""How good a forecast is: the area under the ROC curve, and how sure of it we may be.

Everything here takes arrays. Chapter 01 uses it first, chapter 02 works an AUC by hand.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit


class Interval(NamedTuple):
    """A figure with the ends of its interval."""

    point: float
    low: float
    high: float


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
    weight = np.ones(pairs.n_rows) if weight is None else _column("weight", weight, pairs.n_rows)
    if not (weight >= 0).all():
        raise ValueError(f"`weight` must not be negative. Received: {weight.min()}")
    value = pairs.auc(weight)
    if np.isnan(value):
        raise ValueError("`weight` must leave a positive and a negative row. Received: none left")
    return value


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
    user = _column("user", user, models[0].n_rows)
    names, user = np.unique(user, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"`user` must hold two users or more. Received: {len(names)}")
    point = np.array([model.auc(np.ones(model.n_rows)) for model in models])
    draws = np.empty((n, len(models)))
    for draw in draws:
        times = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        weight = times.astype(float)[user]
        draw[:] = [model.auc(weight) for model in models]
    result = _percentiles(point[0], draws[:, 0], level)
    if against is None:
        return result
    return result, _percentiles(point[0] - point[1], draws[:, 0] - draws[:, 1], level)


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
    mean = values.mean()
    return Interval(float(mean), float(mean - half), float(mean + half))


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


def _percentiles(point, draws, level):
    low, high = np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(point), float(low), float(high))
