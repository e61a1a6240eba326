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

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import pdist

from recsys_evo.prepare.splits import midnight, positive, purchase, room_for_categories, user_codes

CHANNELS = ("clicks", "dwell seconds", "amount")
_BLOCK = 100  # users at a time: 100 images of 64 x 64 x 3 fit into the processor's cache


def behaviour_images(log, *, end=None, days=64, categories=64, users=None, order=None, out=None):
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

    Returns
    -------
    float32 (users, days, categories, 3), channels as in `CHANNELS`.

    Raises
    ------
    ValueError for more categories in the log than `categories`, or a wrong argument.
    """
    positive(days=days)
    room_for_categories(log, categories)
    column = None if order is None else _columns(order, categories)
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
    second = log.events["time"].to_numpy().view(np.int64)
    touch, bought = log.touch, purchase(log)
    # The log is sorted by user, so the rows of a user lie side by side.
    chosen = chosen.astype(user.dtype)
    starts, stops = (np.searchsorted(user, chosen, side) for side in ("left", "right"))
    if column is not None:
        category = column[category]
    for low in range(0, len(chosen), _BLOCK):
        block = slice(low, low + _BLOCK)
        rows = _rows(starts[block], stops[block])
        values = out[block].reshape(-1)
        values[:] = 0
        # Rows that do not count stay in, with a weight of 0: picking the others out costs more.
        offset = second[rows] - start
        seen = touch[rows] & (offset.view(np.uint64) < days * 86_400)  # wraps where negative
        offset *= seen
        cell = offset.astype(np.uint32) // np.uint32(86_400)
        image = np.arange(len(starts[block]), dtype=np.uint32)
        cell += np.repeat(image * np.uint32(days), stops[block] - starts[block])
        cell *= np.uint32(categories)
        cell += category[rows].astype(np.uint32)
        cell = cell.astype(np.intp) * len(CHANNELS)
        np.add.at(values, cell, seen.astype(np.float32))
        read = np.where(seen, np.fmax(dwell[rows], 0), np.float32(0))  # fmax(NaN, 0) is 0
        np.add.at(values[1:], cell, read)
        paid = np.flatnonzero(bought[rows] & seen)
        np.add.at(values[2:], cell[paid], amount[rows][paid])
    return out


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
    user, category = log.events["user"].to_numpy(), log.events["category"].to_numpy()
    before = log.touch & (log.events["time"].to_numpy() < midnight(end)) & (user >= 0)
    cell = user[before].astype(np.int64) * categories + category[before]
    counts = np.bincount(cell, minlength=log.n_users * categories).reshape(-1, categories)
    seen, unseen = (np.flatnonzero(counts.any(axis=0) == state) for state in (True, False))
    if len(seen) > 2:
        profile = np.log1p(counts[:, seen])  # so that a few busy users do not decide
        distance = pdist(profile.T, "cosine")
        seen = seen[leaves_list(optimal_leaf_ordering(linkage(distance, "average"), distance))]
    return np.concatenate([seen, unseen])


def _columns(order, categories):
    """The column in which each category is shown."""
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
