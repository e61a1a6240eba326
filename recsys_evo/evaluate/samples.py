"""How good sampled futures are: a model draws some a user, and one happened.

    past of a user ──▶ model ──▶ draw 1, draw 2, …, draw m
                   ──▶ life  ──▶ what happened               is it one of them, by all signs?

    one by one        energy_score, crps     lower is better; the true law is the best (proper)
                      pit, coverage          are the draws as wide as the outcomes?
    all together      two_sample             can a critic tell generated weeks from real ones?
                      transfer               what does a model learn from generated weeks?

Everything here takes arrays. Chapter 06 holds its generators against it, and never one measure
alone: a generator that has learnt its users by heart may please the critic and not the score.
"""

from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import pdist
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from .forecasts import Interval, auc, bootstrap_auc

# Early stopping would begin, unasked, at 10,000 rows. Chance plays a part past 200,000 only.
_TREES = HistGradientBoostingClassifier(max_leaf_nodes=15, early_stopping=False, random_state=0)
_LOGISTIC = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def energy_score(draws, happened):
    """Score each user's draws against what happened; lower is better.

        mean ‖draw − happened‖ − ½ · mean ‖draw − other draw‖

    The first term asks the draws to be near, the second rewards them for differing. Pairs of a draw
    with itself are left out, so that the score is unbiased: its expectation is the same for any
    number of draws (the fair score, Ferro 2014). One user's score may be negative.

    Parameters
    ----------
    draws : (users, m, dims), two draws a user or more, on the scale on which distance means
        something: `week_features`, say, each divided by its spread in training.
    happened : (users, dims), on the same scale.

    Returns
    -------
    (users,). 10,000 users with 32 draws in 21 dimensions take half a second.

    Raises
    ------
    ValueError for arrays of other shapes, fewer than two draws, and numbers that are not finite.

    Source: Gneiting and Raftery (2007), section 4.3. Chapter 06 uses it.
    """
    draws, happened = _sampled(draws, happened, 3)
    pairs = zip(draws, happened)
    return np.array([np.linalg.norm(x - y, axis=1).mean() - pdist(x).mean() / 2 for x, y in pairs])


def crps(draws, happened):
    """Score one number a user: the energy score in one dimension, by sorting.

    Parameters
    ----------
    draws : (users, m), two draws a user or more.
    happened : (users,).

    Returns
    -------
    (users,), in the units of the draws, unbiased; for a single sure forecast it would be the
    absolute error.

    Raises
    ------
    ValueError as for `energy_score`.

    Source: Gneiting and Raftery (2007), section 4.2. Chapter 06 uses it.
    """
    draws, happened = _sampled(draws, happened, 2)
    m = draws.shape[1]
    error = np.sort(draws - happened[:, None], axis=1)
    # In a sorted row, the k-th of m is the larger one of a pair k times and the smaller m - 1 - k.
    spread = error @ (2 * np.arange(m) - (m - 1)) / (m * (m - 1))
    return abs(error).mean(axis=1) - spread


def pit(draws, happened, *, rng):
    """Rank what happened among the draws: uniform on [0, 1] where the draws follow the true law.

        draws  ▪ ▪▪  ▪   ▪▪  ▪         how many lie below? a tie is broken at random,
        happened   ▲                   so that many zeros do no harm

    Parameters
    ----------
    draws : (users, m), two draws a user or more.
    happened : (users,).
    rng : numpy Generator, for the place among ties and within a rank.

    Returns
    -------
    (users,). A heap in the middle: the draws are too wide; at both ends: too narrow.

    Raises
    ------
    ValueError as for `energy_score`.

    Source: the randomised probability integral transform of Czado, Gneiting and Held (2009), for a
    law that is known by m draws; exactly uniform for any m. Chapter 06 uses it.
    """
    draws, happened = _sampled(draws, happened, 2)
    below = (draws < happened[:, None]).sum(axis=1)
    ties = (draws == happened[:, None]).sum(axis=1)
    return (below + rng.random(len(draws)) * (ties + 1)) / (draws.shape[1] + 1)


def coverage(draws, happened, *, rng, level=0.9):
    """Say for each user whether the central interval of the draws covers what happened.

    Read from `pit`: an outcome that ties with the interval's end (a zero among zeros) is inside in
    the share of cases that makes the mean `level` for the true law, and so does no harm.

    Parameters
    ----------
    draws, happened, rng : as for `pit`.
    level : float between 0 and 1, what the mean should be.

    Returns
    -------
    bool (users,).

    Raises
    ------
    ValueError as for `energy_score`, and for a level outside of (0, 1).

    Chapter 06 uses it.
    """
    if not 0 < level < 1:
        raise ValueError(f"`level` must lie between 0 and 1. Received: level={level!r}")
    return abs(pit(draws, happened, rng=rng) - 0.5) <= level / 2


def week_features(week):
    """Lay weeks flat for a critic or a score: log1p of each day's channels and of their totals.

    Parameters
    ----------
    week : non-negative (users, days, channels).

    Returns
    -------
    (users, days · channels + channels), day by day, the totals last: (users, 24) for 7 days of 3
    channels.

    Raises
    ------
    ValueError for another shape and for numbers that are negative or not finite.

    Chapter 06 uses it.
    """
    week = np.asarray(week, dtype=float)
    if week.ndim != 3 or not (np.isfinite(week) & (week >= 0)).all():
        raise ValueError(
            "`week` must be (users, days, channels), finite and not negative. "
            f"Received: shape {week.shape}"
        )
    days = week.reshape(len(week), np.prod(week.shape[1:]))
    return np.log1p(np.column_stack([days, week.sum(axis=1)]))


class TwoSample(NamedTuple):
    """How well a critic tells generated from real: .5 not at all, 1 always."""

    auc: Interval
    critic: str  # "trees" or "logistic", whichever told them better


def two_sample(real, generated, past=None, *, rng):
    """Ask two critics to tell generated rows from real ones, on users whom they have not seen.

        half of the users: both rows of each ──▶ boosted trees, logistic regression
        other half:        both rows of each ──▶ AUC of real against generated

    With `past`, a row that would do for somebody but not for its own user is told as well. Only the
    trees can tell that, since a user's past is the same on both sides.

    The larger AUC of the two counts, and both are judged on the same users, so that it lies above
    .5 by a little even for the true law: by half a standard error or so, which is .003 with 5,000
    users held out. An AUC below .5 is returned as it is: luck, or generated rows that are
    real rows of others here, which a critic has learnt as real. Draw such rows from other users.

    Parameters
    ----------
    real, generated : (users, k), a row a user of each, such as `week_features`; in the same order.
    past : (users, p), what is known of each user.
    rng : numpy Generator, for the halves and the bootstrap over held-out users.

    Returns
    -------
    TwoSample(auc, critic). 10,000 users with 75 columns take two seconds.

    Raises
    ------
    ValueError for arrays of other shapes and fewer than four users.

    Source: Lopez-Paz and Oquab (2017). Chapter 06 uses it.
    """
    real, generated = np.asarray(real, dtype=float), np.asarray(generated, dtype=float)
    past = np.empty((len(real), 0)) if past is None else np.asarray(past, dtype=float)
    if real.ndim != 2 or generated.shape != real.shape or len(real) < 4:
        raise ValueError(
            "`real` and `generated` must be (users, k), of four users or more. "
            f"Received: shapes {real.shape} and {generated.shape}"
        )
    if past.ndim != 2 or len(past) != len(real):
        raise ValueError(f"`past` must be ({len(real)}, p). Received: shape {past.shape}")

    def table(users):
        rows = np.concatenate([real[users], generated[users]])
        return np.column_stack([rows, np.tile(past[users], (2, 1))]), np.repeat([1, 0], len(users))

    order = rng.permutation(len(real))
    learn, judge = np.split(order, [len(order) // 2])
    critics = {"trees": _TREES, "logistic": _LOGISTIC}
    rows, truth = table(judge)
    scores = {name: _answers(critic, *table(learn), rows) for name, critic in critics.items()}
    best = max(scores, key=lambda name: auc(truth, scores[name]))
    return TwoSample(bootstrap_auc(truth, scores[best], np.tile(judge, 2), rng=rng), best)


class Transfer(NamedTuple):
    """AUC on real users of a model taught by real rows and by synthetic ones."""

    real: Interval
    synthetic: Interval
    difference: Interval  # synthetic − real, on the same draws of users


def transfer(train, synthetic, test, *, model=_TREES, user=None, rng):
    """Teach one model with real rows and once more with synthetic ones; ask both about real users.

        real rows      ──▶ model ─┐
                                  ├──▶ the same real users ──▶ AUC, AUC, difference
        synthetic rows ──▶ model ─┘

    The intervals say how the figures would move with other users of `test`; other rows to learn
    from are another matter (`forecasts.interval`, over seeds).

    Parameters
    ----------
    train, synthetic, test : pairs (features (rows, k), outcome bool or 0/1 (rows,)). Nobody of
        `test` should be in `train`, nor among those from whom the synthetic rows were learnt.
    model : scikit-learn classifier with `predict_proba`, cloned for each training; default boosted
        trees.
    user : int (rows,), whose row of `test` it is; default one row a user.
    rng : numpy Generator, for the bootstrap over the users of `test`.

    Returns
    -------
    Transfer(real, synthetic, difference).

    Raises
    ------
    ValueError for an outcome that is the same in all rows, and for arrays of other shapes.

    Source: train on synthetic, test on real, Esteban, Hyland and Rätsch (2017). Chapter 06 uses it.
    """
    features, truth = test
    scores = []
    for name, (rows, outcome) in {"train": train, "synthetic": synthetic}.items():
        if len(np.unique(outcome)) != 2:
            raise ValueError(
                f"`{name}` must hold rows of both outcomes. Received: {np.unique(outcome)} only"
            )
        scores.append(_answers(model, rows, outcome, features))
    user = np.arange(len(truth)) if user is None else user
    real = bootstrap_auc(truth, scores[0], user, rng=rng)
    return Transfer(real, *bootstrap_auc(truth, scores[1], user, rng=rng, against=scores[0]))


def _answers(model, rows, outcome, asked):
    # One thread: two that fight for a busy core take ten times as long, and gain little at rest.
    with threadpool_limits(1):
        return clone(model).fit(rows, outcome).predict_proba(asked)[:, 1]


def _sampled(draws, happened, ndim):
    draws, happened = np.asarray(draws), np.asarray(happened)
    shape = ("(users, m, dims)", "(users, dims)") if ndim == 3 else ("(users, m)", "(users,)")
    if draws.ndim != ndim or happened.shape != draws.shape[:1] + draws.shape[2:]:
        raise ValueError(
            f"`draws` must be {shape[0]} and `happened` {shape[1]}. "
            f"Received: shapes {draws.shape} and {happened.shape}"
        )
    if draws.shape[1] < 2:
        raise ValueError(f"`draws` must hold two draws or more. Received: {draws.shape[1]}")
    for name, numbers in {"draws": draws, "happened": happened}.items():
        if not np.isfinite(numbers).all():
            raise ValueError(f"`{name}` must be finite. Received: a number that is not")
    return draws, happened.astype(float)  # unsigned counts cannot be subtracted
