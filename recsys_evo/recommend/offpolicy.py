"""What would another policy have earned? An answer from the log of the policy that was there.

    log of one policy ── weight = target / logged ──▶ value of another, the *target* policy

    ips             mean of weight · reward                              right on average, noisy
    snips           the same, over the mean weight                       calmer, nearly right
    doubly_robust   mean of expected + weight · (reward − predicted)     right if one of two is
    diagnose        is there enough in the log?                          before any of them

The unit is a slot of a slate: an item at a position. `logged` is the chance with which the policy
of the log put this item there, `target` that with which the other policy would have. A slate earns
the sum of its slots, and a slot's reward is taken not to depend on what stands in the others (the
item-position model, Li et al. 2018): so a value here is the mean reward of a slot, and that of a
slate is larger by the number of its slots.

It holds for users as the log's policy left them: the target would have left them otherwise, and
then chosen otherwise (`loop`). The target policy and a model of rewards must have learnt from other
days or users than those they are tried on. Everything here takes arrays. Chapter 09 uses it.
"""

from typing import NamedTuple

import numpy as np

from recsys_evo.evaluate.forecasts import Interval, bootstrap

from .policies import between


def ips(reward, logged, target, user, *, clip=np.inf, rng, n=1000, level=0.95):
    """Estimate a policy's mean reward a slot by inverse propensity scoring.

        mean of weight · reward,  weight = target / logged

    It is unbiased where the log's policy shows, now and then, whatever the target would. One slot
    with a large weight may decide everything. Adding 1 to all rewards adds the mean weight to the
    estimate, which is 1 only on average: `snips` mends this.

    Parameters
    ----------
    reward : (slots,), such as a click (0 or 1), or an amount.
    logged : (slots,), chance of the shown item at its position under the log's policy, in (0, 1].
    target : (slots,), the same under the policy in question, in [0, 1].
    user : int (slots,), to whom it was shown. Users are drawn, since a user's slots are alike.
    clip : float >= 1, the largest weight; a larger one is cut down to it (Ionides 2008), which
        calms the estimate and biases it: with rewards that are not negative it is too low by the
        mean of (weight − clip) · reward over all slots, 0 where the weight is within the limit.
    rng, n, level : as for `forecasts.bootstrap`.

    Returns
    -------
    Interval. It knows only weights that are in the log: where large ones are rare, it is too short.

    Raises
    ------
    ValueError for columns of other lengths or with missing numbers, chances outside of their range,
    a `clip` below 1, and fewer than two users.

    Source: Horvitz and Thompson (1952).
    """
    weight = _weights(logged, target, user, clip)
    (reward,) = _columns(len(weight), reward=reward)
    return _ratio(weight * reward, np.ones_like(weight), user, rng=rng, n=n, level=level)


def snips(reward, logged, target, user, *, clip=np.inf, rng, n=1000, level=0.95):
    """Estimate a policy's mean reward a slot by self-normalised inverse propensity scoring.

        sum of weight · reward / sum of weight

    A weighted mean of the rewards: it stays within their range, moves with them when all get larger
    by the same number, and does not mind propensities that are all wrong by the same factor. It is
    consistent; its bias falls as 1 / users. Of what the log's policy could not show, it takes for
    granted that it earns as much as the rest.

    Parameters
    ----------
    reward, logged, target, user, rng, n, level : as for `ips`.
    clip : as for `ips`; the bias may go either way.

    Returns
    -------
    Interval.

    Raises
    ------
    ValueError as for `ips`, and where all weights are 0.

    Source: Swaminathan and Joachims (2015).
    """
    weight = _heard(_weights(logged, target, user, clip))
    (reward,) = _columns(len(weight), reward=reward)
    return _ratio(weight * reward, weight, user, rng=rng, n=n, level=level)


def doubly_robust(
    reward, logged, target, predicted, expected, user, *, clip=np.inf, rng, n=1000, level=0.95
):
    """Estimate a policy's mean reward a slot from a model of rewards, put right by the log.

        mean of expected + weight · (reward − predicted)

    It is unbiased if the propensities are right, whatever the model; and if the model is right,
    whatever the propensities. The better the model, the less there is to put right, and the calmer
    the estimate. A bad one can make it noisier than `ips`.

    Parameters
    ----------
    predicted : (slots,), the model's reward of the item that was shown, at its position.
    expected : (slots,), the mean of the model's rewards over the items that the target policy
        might have put there: sum over items of its chance · the model's reward.
    reward, logged, target, user, rng, n, level : as for `ips`.
    clip : as for `ips`; what is biased is only the part that the model gets wrong.

    Returns
    -------
    Interval, for the model as it is: training it again is another matter.

    Raises
    ------
    ValueError as for `ips`.

    Source: Dudík, Langford and Li (2011).
    """
    weight = _weights(logged, target, user, clip)
    columns = {"reward": reward, "predicted": predicted, "expected": expected}
    reward, predicted, expected = _columns(len(weight), **columns)
    value = expected + weight * (reward - predicted)
    return _ratio(value, np.ones_like(weight), user, rng=rng, n=n, level=level)


class Diagnosis(NamedTuple):
    """Whether a log can tell what a policy would have earned: the signs of `diagnose`."""

    effective: float  # effective sample size, as a share of the slots: 1 is best
    largest: float  # share of all weight that the heaviest slot has
    mean: Interval  # of the weights: should be 1


def diagnose(logged, target, user, *, clip=np.inf, rng, n=1000, level=0.95):
    """See a failure coming: what the weights say before any reward is looked at.

    `effective` is (sum of weight)² / sum of weight², over the number of slots: so many slots of the
    target's own would tell as much (Kish 1965; Owen 2013, chapter 9). It takes slots for
    independent, so that the truth is worse, and it cannot miss what it never saw.

    `mean` tells more, since on average weights of right propensities have the mean 1 less the share
    of the target's choices that the log's policy could not make (`unsupported`). An interval below
    1: such choices, or choices so rare that none is in the log. Above 1: wrong propensities. An
    interval that holds 1 is no proof that all is well.

    Parameters
    ----------
    logged, target, user, rng, n, level : as for `ips`.
    clip : as for `ips`; then `mean` also falls by what is cut off.

    Returns
    -------
    Diagnosis.

    Raises
    ------
    ValueError as for `ips`, and where all weights are 0: then the log says nothing.
    """
    weight = _heard(_weights(logged, target, user, clip))
    total = weight.sum()
    return Diagnosis(
        effective=float(total**2 / (weight**2).sum() / len(weight)),
        largest=float(weight.max() / total),
        mean=_ratio(weight, np.ones_like(weight), user, rng=rng, n=n, level=level),
    )


def unsupported(logged, target):
    """Return the share of the target's choices that the log's policy never makes.

    No weighting can make up for them: IPS counts their reward as 0, SNIPS as the mean of the rest,
    and a doubly robust estimate has only the model's word (Sachdeva, Su and Joachims 2020).

    Parameters
    ----------
    logged, target : (…, items), chances of all items for the same user, day and position under the
        two policies; those of the target add up to 1.

    Returns
    -------
    float (…), between 0 and 1.

    Raises
    ------
    ValueError for tables of different shapes, and chances that are none or do not add up.
    """
    logged, target = np.asarray(logged, float), np.asarray(target, float)
    if logged.shape != target.shape or not logged.ndim:
        raise ValueError(
            "`logged` and `target` must be (…, items), both alike. "
            f"Received: shapes {logged.shape}, {target.shape}"
        )
    _check_range("logged", logged, logged >= 0, "[0")
    _check_range("target", target, target >= 0, "[0")
    total = target.sum(axis=-1)
    if not np.allclose(total, 1, atol=1e-4):
        worst = np.ravel(total)[np.abs(total - 1).argmax()]
        raise ValueError(f"`target` must add up to 1 over the items. Received: a sum of {worst}")
    return np.where(logged > 0, 0, target).sum(axis=-1)


def _weights(logged, target, user, clip):
    """How much each slot counts (slots,): target over logged, at most `clip`."""
    logged, target, _ = _columns(np.size(user), logged=logged, target=target, user=user)
    _check_range("logged", logged, logged > 0, "(0")
    _check_range("target", target, target >= 0, "[0")
    return np.minimum(target / logged, between("clip", clip, 1, np.inf))


def _heard(weight):
    if not weight.any():
        raise ValueError(
            "`target` must be above 0 at one slot or more: else the log says nothing of this "
            f"policy. Received: 0 at all {len(weight)}"
        )
    return weight


def _ratio(top, bottom, user, **options):
    """Sum of `top` over sum of `bottom` (slots,), with an interval over users.

    Users are drawn whole, so that their sums are all that is needed: a user's slots become one row.
    """
    _, user = np.unique(user, return_inverse=True)
    top, bottom = np.bincount(user, top), np.bincount(user, bottom)
    return bootstrap(_quotient, top, bottom, user=np.arange(len(top)), **options)


def _quotient(top, bottom, *, weight):
    bottom = weight @ bottom
    return weight @ top / bottom if bottom > 0 else np.nan  # NaN: a draw without any weight


def _columns(n_rows, **columns):
    """The columns as float64 (n_rows,); ValueError where one of them is not that."""
    arrays = [np.asarray(column, float) for column in columns.values()]
    for name, array in zip(columns, arrays):
        if array.shape != (n_rows,) or not np.isfinite(array).all():
            raise ValueError(
                f"`{name}` must be {n_rows} finite numbers, one a slot. "
                f"Received: shape {array.shape}, {np.count_nonzero(~np.isfinite(array))} not finite"
            )
    return arrays


def _check_range(name, values, fits, least):
    """ValueError unless all `values` are numbers up to 1 of which `fits` is true."""
    outside = ~(fits & (values <= 1))
    if outside.any():
        raise ValueError(f"`{name}` must lie in {least}, 1]. Received: {values[outside][0]}")
