"""Explanations of an answer: made from the model alone, and scored against a known cause.

    model, history ── integrated_gradients, occlusion ──▶ a number a cell: the attribution
    attribution, cells of the true cause ── pointing ──▶ does it point at them?   (floor: `chance`)
    model, attribution ── deletion ──▶ what is left of the answer without the cells named first

An attribution can be *faithful*, true of the model, without being true of the world. `deletion`
asks for the first, `pointing` for the second. Models come in as functions of arrays, so that any
will do. Chapter 19 uses all of it.

Integrated gradients: Sundararajan, Taly & Yan (2017). Occlusion: Zeiler & Fergus (2014). Deletion
curves: Samek et al. (2017). Pointing: the pointing game of Zhang et al. (2018), made soft.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from recsys_evo.prepare.splits import positive


def integrated_gradients(gradient, images, baseline=0.0, *, steps=32):
    """Share out f(image) − f(baseline) among the inputs, by gradients on the straight way between.

        attribution = (image − baseline) · mean of the gradient over the way

    The mean is taken at the middles of `steps` equal pieces. That is exact where the gradient is
    linear along the way, so for every f that is linear or quadratic; else the sum differs from
    f(image) − f(baseline) by an error that falls as 1 / steps², for smooth f.

    Parameters
    ----------
    gradient : function of images (users, …) → gradients of each image's own answer, same shape.
    images : (users, …), what was answered.
    baseline : broadcasts to images; what stands for «nothing».
    steps : int.

    Returns
    -------
    float64, the shape of images, in the unit of the answer.

    Raises
    ------
    ValueError for gradients of another shape, or `steps` that are not positive.
    """
    images = np.asarray(images)
    way = images - np.asarray(baseline)
    total = np.zeros(images.shape)
    for middle in (np.arange(positive(steps=steps)) + 0.5) / steps:
        # The same dtype as the images: a network that takes float32 gets float32.
        slope = np.asarray(gradient((images - (1 - middle) * way).astype(images.dtype)))
        if slope.shape != images.shape:
            raise ValueError(
                f"`gradient` must return the shape of `images`, {images.shape}. "
                f"Received: {slope.shape}"
            )
        total += slope
    return way * total / steps


def occlusion(predict, images, blocks, *, baseline=0.0, size=1024):
    """Return by how much each user's answer falls when one block of the image is hidden.

    Parameters
    ----------
    predict : function of (images (rows, …), users (rows,)) → answers (rows,): `users` are row
        numbers of `images`, for questions that differ from user to user.
    images : (users, days, categories, channels) or (users, …).
    blocks : whole numbers, whose shape is that of the images or of their first axes: the number,
        from 0, of the block that a cell belongs to, and −1 where it is never hidden.
    baseline : broadcasts to images; what stands in the place of a hidden cell.
    size : int, images asked at a time.

    Returns
    -------
    float64 (users, blocks): f(image) − f(image without the block); 0 for a block of no cell.

    Raises
    ------
    ValueError for `blocks` of another shape or of numbers that are not whole.
    """
    images, blocks = np.asarray(images), np.asarray(blocks)
    if blocks.dtype.kind not in "iu" or blocks.shape != images.shape[: blocks.ndim]:
        raise ValueError(
            "`blocks` must be whole numbers with the shape of the first axes of `images`, "
            f"{images.shape}. Received: {blocks.dtype} {blocks.shape}"
        )
    n_users = len(images)
    cells = blocks.reshape(n_users, -1)
    found = np.zeros((n_users, cells.max(initial=-1) + 1))
    present = np.zeros(found.shape, bool)
    rows, columns = np.nonzero(cells >= 0)
    present[rows, cells[rows, columns]] = True
    users, block = np.nonzero(present)
    nothing = np.broadcast_to(np.asarray(baseline, images.dtype), images.shape)
    whole = np.asarray(predict(images, np.arange(n_users)), float)
    for low in range(0, len(users), positive(size=size)):
        user, number = users[low : low + size], block[low : low + size]
        hidden = cells[user] == number[:, None]
        hidden = hidden.reshape(len(user), *blocks.shape[1:], *[1] * (images.ndim - blocks.ndim))
        answer = predict(np.where(hidden, nothing[user], images[user]), user)
        found[user, number] = whole[user] - answer
    return found


def deletion(predict, images, score, counts, *, baseline=0.0):
    """Return what is left of the answers when the cells of the highest scores are taken away.

    Parameters
    ----------
    predict : as for `occlusion`.
    images : (users, …).
    score : its first axes; −inf for a cell that must stay. Of equal scores the first goes first,
        so break ties by chance beforehand.
    counts : ints (steps,), how many cells to take; more than there are takes all of them.
    baseline : broadcasts to images.

    Returns
    -------
    float64 (users, steps), the answers.

    Raises
    ------
    ValueError for a `score` of another shape.
    """
    images, score = np.asarray(images), np.asarray(score, float)
    flat = _rows("score", score, images.shape[: score.ndim])
    place = np.argsort(np.argsort(-flat, axis=1, kind="stable"), axis=1)
    users, answers = np.arange(len(images)), []
    for count in counts:
        gone = ((place < count) & (flat > -np.inf)).reshape(score.shape)
        gone = gone.reshape(*score.shape, *[1] * (images.ndim - score.ndim))
        answers.append(predict(np.where(gone, baseline, images).astype(images.dtype), users))
    return np.array(answers, float).T


class Pointing(NamedTuple):
    """How well attributions point at the cells of a true cause: arrays (users,)."""

    auc: np.ndarray  # a cell of the cause ranks above another cell
    share: np.ndarray  # of the positive attribution, what lies on cells of the cause
    top: np.ndarray  # the first cell is one of the cause


def pointing(attribution, cause, among):
    """Score attributions by the cells that they should point at.

    Ties count one half in the AUC. Where several cells are first, `top` is the share of them that
    belong to the cause. Where nothing is positive nothing was said, and `share` is that of an even
    split.

    Parameters
    ----------
    attribution : (users, …), larger where a cell speaks for the answer more.
    cause : bool, same shape: the cells of the true cause.
    among : bool, same shape: the cells that are ranked, the user's clicked ones for instance.

    Returns
    -------
    Pointing.

    Raises
    ------
    ValueError for arrays of other shapes, attributions among the cells that are not finite, or a
    user without any cell of the cause, or without any other.
    """
    cause, among = (np.asarray(a, bool) for a in (cause, among))
    attribution = _rows("attribution", attribution, among.shape)
    cause, among = _rows("cause", cause, among.shape), among.reshape(len(among), -1)
    cause = cause & among
    floor = chance(cause, among)
    if not np.isfinite(attribution[among]).all():
        raise ValueError("`attribution` must be finite among the cells. Received: NaN or inf")
    scored = np.where(among, attribution, -np.inf)
    count, yes = among.sum(1), cause.sum(1)
    # Cells that do not count are all last, so they take the lowest ranks.
    rank = rankdata(scored, axis=1) - (among.shape[1] - count)[:, None]
    auc = ((rank * cause).sum(1) - yes * (yes + 1) / 2) / (yes * (count - yes))
    mass = np.where(among, np.maximum(attribution, 0), 0)
    total = mass.sum(1)
    share = np.where(total > 0, (mass * cause).sum(1) / np.where(total > 0, total, 1), floor.share)
    first = scored == scored.max(axis=1, keepdims=True)
    return Pointing(auc, share, (first & cause).sum(1) / first.sum(1))


def chance(cause, among):
    """Return what `pointing` finds on average for an attribution that is drawn at random.

    Random: positive, and any order of the cells as likely as any other. Then the AUC is one half,
    and share and top are the share of the cells that belong to the cause.
    """
    among = np.asarray(among, bool)
    cause = _rows("cause", np.asarray(cause, bool), among.shape)
    among = among.reshape(len(among), -1)
    count, yes = among.sum(1), (cause & among).sum(1)
    if not ((yes > 0) & (yes < count)).all():
        user = np.flatnonzero((yes == 0) | (yes == count))[0]
        raise ValueError(
            "`cause` must hold some of the cells `among`, and not all, for every user. "
            f"Received: {yes[user]} of {count[user]} for user {user}"
        )
    return Pointing(np.full(len(count), 0.5), yes / count, yes / count)


def _rows(name, values, shape):
    """The values as one row a user; ValueError for another shape."""
    values = np.asarray(values)
    if values.shape != shape or values.ndim < 2:
        raise ValueError(
            f"`{name}` must have a row for each user, in the shape {shape}. "
            f"Received: {values.shape}"
        )
    return values.reshape(len(values), -1)
