"""Behaviour images: what each user did, as a picture that a network can look at.

    (users, days, categories, 3)          a row for each day, the oldest first
                                          a column for each category
      category ▶   0  1  2  3  …          a channel for each measure:
    day 0          ·  ▒  ·  ·               0  clicks
    day 1          ·  █  ▒  ·               1  dwell, seconds
     …             ·  ·  ·  ·               2  amount, in the log's currency
    day 63         ▒  ·  ·  █
                           ↑ the day before `end`

Chapter 02 shows the first one; chapters 04, 05 and 06 learn from them.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.sparse import csr_array
from scipy.spatial.distance import pdist

from recsys_evo.collect.events import PURCHASE, touching
from recsys_evo.prepare import splits
from recsys_evo.prepare.splits import midnight, positive, room_for_categories, user_codes

CHANNELS = ("clicks", "dwell seconds", "amount")
_BLOCK = 75 * 64 * 64  # cells at a time: so many fit into a processor's cache
_USERS = 256  # at a time in `image_blocks`: their images take 50 MB


def behaviour_images(
    log, *, end=None, days=64, categories=64, users=None, order=None, out=None, threads=None
):
    """Count what users did in the `days` days before `end`, by day and category.

    *Clicks* counts touches: every event that is neither an impression nor a return. *Dwell* sums
    their dwell where it is known. *Amount* sums purchases; what a return gives back is left out,
    since its purchase may lie before the window. Unknown users (-1) are not counted.

    Parameters
    ----------
    log : Log.
    end : midnight after the last day shown; default the day after the log's last event.
    days, categories : int, size of an image.
    users : array of user codes, one an image, repeats allowed; default all of the log's users.
    order : permutation of the categories; column j shows category order[j]. Default code order.
    out : float32 array of the result's shape to write into; what it held is lost. Filling the
        same array again saves the cost of fresh memory.
    threads : int, default all cores; changes the speed only.

    Returns
    -------
    float32 (users, days, categories, 3), channels as in `CHANNELS`.

    Raises
    ------
    ValueError for more categories in the log than `categories`, or a wrong argument.
    """
    positive(days=days)
    room_for_categories(log, categories)
    if days * categories * len(CHANNELS) >= 2**31:
        raise ValueError(
            "`days` x `categories` must stay below 2**31 / 3, or a cell has no number. "
            f"Received: {days} x {categories}"
        )
    column = None if order is None else places(order, categories)
    chosen = user_codes(log, users)
    shape = (len(chosen), days, categories, len(CHANNELS))
    out = np.empty(shape, np.float32) if out is None else _checked(out, shape)
    if not len(log):
        out[:] = 0
        return out
    stop = (log.end if end is None else midnight(end)).astype("datetime64[s]").astype(np.int64)
    start = stop - days * 86_400

    user, category, dwell, amount = (
        log.events[name].to_numpy() for name in ("user", "category", "dwell", "amount")
    )
    action = log.events["action"].cat.codes.to_numpy()
    second = log.events["time"].to_numpy().view(np.int64)
    chosen = chosen.astype(user.dtype)
    if column is not None:
        category = column[category]
    step = max(1, _BLOCK // (days * categories))

    def fill(low):
        block = slice(low, low + step)
        # The log is sorted by user, so the rows of a user lie side by side.
        starts, stops = (np.searchsorted(user, chosen[block], side) for side in ("left", "right"))
        rows = _rows(starts, stops)
        offset = second[rows] - start
        seen = touching(action[rows]) & (offset.view(np.uint64) < days * 86_400)  # wraps below 0
        paid = np.flatnonzero((action[rows] == PURCHASE) & seen)

        # One list of additions, a part for each channel. Rows that do not count stay in it, as
        # zeros in some cell of their user: that costs less than to pick the others out.
        n = len(seen)
        cells = np.empty(2 * n + len(paid), np.uint32)
        values = np.empty(len(cells), np.float32)
        cell, dwell_cell, paid_cell = np.split(cells, [n, 2 * n])
        cell[:] = offset.astype(np.uint32)
        cell //= np.uint32(86_400)
        np.minimum(cell, np.uint32(days - 1), out=cell)
        cell += np.repeat(np.arange(len(starts), dtype=np.uint32) * np.uint32(days), stops - starts)
        cell *= np.uint32(categories)
        cell += category[rows].astype(np.uint32)
        cell *= np.uint32(len(CHANNELS))
        np.add(cell, np.uint32(1), out=dwell_cell)
        np.add(cell[paid], np.uint32(2), out=paid_cell)
        values[:n], values[2 * n :] = seen, amount[rows][paid]
        np.multiply(np.fmax(dwell[rows], 0), values[:n], out=values[n : 2 * n])  # fmax(NaN, 0) is 0

        # A sparse row that names a cell twice adds up its values when it is written out: in C,
        # without holding up the other threads.
        ends = np.array([0, len(cells)], np.int32)
        sums = csr_array((values, cells.view(np.int32), ends), shape=(1, out[block].size))
        sums.toarray(out=out[block].reshape(1, -1))

    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        list(pool.map(fill, range(0, len(chosen), step)))
    return out


def image_blocks(log, users, **window):
    """Yield the images of some users at a time, each time with the slice of `users` that they are.

    So they need not all be in memory. `window`: `end`, `days` and `categories`.
    """
    for low in range(0, len(users), _USERS):
        block = slice(low, low + _USERS)
        yield block, behaviour_images(log, users=users[block], **window)


def category_order(log, *, end, categories=64):
    """Order the categories so that those that the same users touch become neighbours.

    Each category is described by how often each user touched it before `end`; the categories are
    joined into a tree by the cosine distance of these descriptions, and the leaves of the tree are
    laid out so that neighbours differ least (Bar-Joseph, Gifford & Jaakkola 2001). Nothing after
    `end` is looked at. Untouched categories come last.

    Returns
    -------
    int64 (categories,), a permutation for `behaviour_images(order=…)`. It turns on no random
    number.

    Raises
    ------
    ValueError for more categories in the log than `categories`.
    """
    room_for_categories(log, categories)
    before = log.touch & (log.events["time"].to_numpy() < midnight(end))
    codes = splits.acts(log, before, "user", "category")
    counts = splits.counted((log.n_users, categories), *codes)
    seen, unseen = (np.flatnonzero(counts.any(axis=0) == state) for state in (True, False))
    if len(seen) > 2:
        profile = np.log1p(counts[:, seen])  # so that a few busy users do not decide
        distance = pdist(profile.T, "cosine")
        seen = seen[leaves_list(optimal_leaf_ordering(linkage(distance, "average"), distance))]
    return np.concatenate([seen, unseen])


def places(order, categories):
    """The column (categories,) in which `order` shows each category; ValueError for no order."""
    order = np.asarray(order)
    if order.shape != (categories,) or not np.array_equal(np.sort(order), np.arange(categories)):
        raise ValueError(
            f"`order` must be a permutation of 0 … {categories - 1}. Received: {order}"
        )
    return np.argsort(order)


def _checked(out, shape):
    fits = isinstance(out, np.ndarray) and out.dtype == np.float32 and out.shape == shape
    if not fits or not out.flags.c_contiguous or not out.flags.writeable:
        received = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else repr(type(out))
        raise ValueError(
            f"`out` must be a writeable, C-contiguous float32 array of shape {shape}. "
            f"Received: {received}"
        )
    return out


def _rows(starts, stops):
    """The rows starts[0]:stops[0], starts[1]:stops[1], …; as one slice where they are adjacent."""
    if np.array_equal(starts[1:], stops[:-1]):
        return slice(starts[0], stops[-1])
    counts = stops - starts
    return np.arange(counts.sum()) + np.repeat(starts - np.cumsum(counts) + counts, counts)
