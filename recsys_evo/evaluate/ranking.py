"""How good a ranking is: is what a user took next among the first k of all items?

    scores (users, items) ──▶ rank of each relevant item ──▶ HR, NDCG, MAP, MRR, …

    what is ranked   full: every item · sampled: the relevant among n drawn ones (`sampled`)
    seen items       not ranked, where they are given
    equal scores     a rule that the caller may choose: see `measures`
    certainty        `average`, over users

A figure means nothing before these are said: the same model's NDCG@10 may double from one protocol
to another. Everything here takes arrays. Chapter 08 holds its models against each other with it.
"""

import numpy as np
from scipy import sparse

from .forecasts import bootstrap, weighted_mean

TIES = ("mean", "id", "worst", "best")
_BLOCK = 250  # users whose scores are in hand at a time


def top(scores, k, *, seen=None):
    """Return the `k` best items of each user, best first; of equal ones the lower code comes first.

    Parameters
    ----------
    scores : (users, items), -inf for what must not be recommended.
    k : int, at most the number of items.
    seen : sparse bool (users, items), what must not be recommended either; default nothing.

    Returns
    -------
    int32 (users, k), codes of items; -1 where a user has fewer than k left.

    Raises
    ------
    ValueError for NaN among the scores, for other shapes and another k. Chapter 08 uses it.
    """
    scores = np.asarray(scores)
    if scores.ndim != 2:
        raise ValueError(f"`scores` must be (users, items). Received: shape {scores.shape}")
    n_users, n_items = scores.shape
    k, seen = _number("k", k, n_items), _sparse("seen", seen, scores.shape)
    out = np.empty((n_users, k), np.int32)
    for users in _blocks(np.arange(n_users)):
        for user, row in zip(users, _values(scores, users, n_items)):
            row[_items(seen, user)] = -np.inf
            least = np.partition(row, n_items - k)[n_items - k]
            near = np.flatnonzero(row >= least)  # k, or more where the k-th score is shared
            best = near[np.argsort(-row[near], kind="stable")[:k]]
            out[user] = np.where(row[best] > -np.inf, best, -1)
    return out


def measures(scores, relevant, *, k=10, seen=None, candidates=None, ties="mean"):
    """Measure each user's ranking of the items by what is relevant to the user.

        HR         is a relevant item among the first k?
        precision  share of the first k that is relevant
        recall     share of the relevant that is among the first k
        MRR        1 / rank of the first relevant item, 0 past k (mean reciprocal rank)
        NDCG       sum of 1 / log2(1 + rank) over the relevant among the first k, divided by the
                   largest sum that k places and so many relevant items allow
        MAP        sum of the precision at the rank of each relevant item among the first k, divided
                   by the number of the relevant, or by k where that is less

    With one relevant item a user, as `leave_last_out` gives, HR is recall, and MAP is MRR.

    Parameters
    ----------
    scores : (users, items), -inf for what is not recommended; or a function that returns the rows
        of some users (int array), such as a ranker's `scores`, where all would not fit into memory.
    relevant : sparse bool (users, items).
    k : int, at most the number of items.
    seen : sparse bool (users, items), items that are not ranked: those that the user knew before.
    candidates : int (users, n), what is ranked beside the relevant items, from `sampled`; default
        all items.
    ties : whose turn it is among equal scores. "mean": nobody's; the expectation over all orders
        (McSherry and Najork 2008), so that a model that knows nothing gets what chance gives.
        "id": the lower code's, as in a stable sort. "worst" and "best": relevant items come last,
        or first, as where a rank is 1 plus the number of higher scores: then a model that gives
        all items the same score has an HR of 1.

    Returns
    -------
    dict of name → float (users,), NaN for users without a relevant item.

    Raises
    ------
    ValueError for NaN among the scores, for other shapes, another k or rule, and for relevant items
    that are seen ones: whether to ask for them is for the caller to say.

    Source: Järvelin and Kekäläinen (2002) for NDCG. Chapter 08 uses it.
    """
    if ties not in TIES:
        raise ValueError(f"`ties` must be one of {list(TIES)}. Received: ties={ties!r}")
    relevant = _sparse("relevant", relevant, relevant.shape)
    n_users, n_items = relevant.shape
    k, seen = _number("k", k, n_items), _sparse("seen", seen, relevant.shape)
    if both := seen.multiply(relevant).nnz:
        raise ValueError(
            "`seen` must not hold relevant items: drop them from one of the two. "
            f"Received: {both} in both"
        )
    if not callable(scores):
        _check_shape("scores", scores, relevant.shape)
    if candidates is not None:
        candidates = np.asarray(candidates)
        _check_shape("candidates", candidates, (n_users, *candidates.shape[1:2]))
        if candidates.size and not 0 <= candidates.min() <= candidates.max() < n_items:
            raise ValueError(
                f"`candidates` must be codes from 0 to {n_items - 1}. "
                f"Received: {candidates.min()} to {candidates.max()}"
            )
    n_relevant = np.diff(relevant.indptr)
    tested = np.flatnonzero(n_relevant)
    places = []
    for users in _blocks(tested):
        for user, row in zip(users, _values(scores, users, n_items)):
            own = _items(relevant, user)
            if candidates is not None:
                kept = np.concatenate([own, candidates[user]])
                row, every = np.full_like(row, -np.inf), row
                row[kept] = every[kept]
            row[_items(seen, user)] = -np.inf
            places += (_place(row, item, ties) for item in own)
    above, size = np.array(places, int).reshape(-1, 2).T
    found = {}
    for name, values in _measure(above, size, n_relevant[tested], k, ties).items():
        found[name] = np.full(n_users, np.nan)
        found[name][tested] = values
    return found


def sampled(relevant, seen, n, *, weights=None, rng):
    """Draw items for each user that are neither relevant nor seen, for sampled ranking.

    A rank among 100 says little about a rank among all, and may put two models in the wrong order
    (Krichene and Rendle 2020); much that is published used it.

    Parameters
    ----------
    relevant, seen : sparse bool (users, items); None for `seen` is nothing.
    n : int, items a user.
    weights : non-negative (items,), such as the popularity; default all the same.
    rng : numpy Generator.

    Returns
    -------
    int32 (users, n), all of a row different: one after the other is drawn from those left over,
    with a chance in proportion to its weight.

    Raises
    ------
    ValueError where a user has fewer than `n` items of positive weight to draw, and for weights
    that will not do. Chapter 08 uses it.
    """
    relevant = _sparse("relevant", relevant, relevant.shape)
    n_users, n_items = relevant.shape
    taken = relevant + _sparse("seen", seen, relevant.shape)
    weights = np.ones(n_items) if weights is None else np.asarray(weights, dtype=float)
    if weights.shape != (n_items,) or not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(
            f"`weights` must be {n_items} finite numbers, none negative. "
            f"Received: shape {weights.shape}, least {weights.min()}"
        )
    out = np.empty((n_users, _number("n", n, n_items)), np.int32)
    for users in _blocks(np.arange(n_users)):
        speed = np.where(taken[users].toarray(), 0, weights)
        left = np.count_nonzero(speed, axis=1)
        if left.min() < n:
            raise ValueError(
                "`n` must leave every user enough items to draw. "
                f"Received: n={n}; user {users[left.argmin()]} has {left.min()}"
            )
        # A race: times to arrive are exponential, the first n are in (Efraimidis & Spirakis 2006).
        with np.errstate(divide="ignore"):
            arrival = rng.standard_exponential(speed.shape) / speed
        out[users] = np.argpartition(arrival, n - 1, axis=1)[:, :n]
    return out


def average(values, *, against=None, rng, n=1000, level=0.95):
    """Average a measure over the users who have one, with a bootstrap interval over users.

    Parameters
    ----------
    values : (users,), one of `measures`; NaN is left out.
    against : (users,), another model's; then the average difference, `values` minus `against`, with
        its interval: the same users are drawn for both.
    rng, n, level : as for `forecasts.bootstrap`.

    Returns
    -------
    Interval. It says how the figure would move with other users; another training, another seed and
    another protocol move it too. Chapter 08 uses it.
    """
    values = np.asarray(values, dtype=float)
    values = values if against is None else values - np.asarray(against)
    values = values[~np.isnan(values)]
    user = np.arange(len(values))
    return bootstrap(weighted_mean, values, user=user, rng=rng, n=n, level=level)


def _place(row, item, ties):
    """Where an item stands in a row of scores: how many above it, how many share its place."""
    score = row[item]
    if score == -np.inf:
        return len(row), len(row)  # past any k
    above = np.count_nonzero(row > score)
    if ties == "id":
        return above + np.count_nonzero(row[:item] == score), 1
    return above, np.count_nonzero(row == score)


def _measure(above, size, n_relevant, k, ties):
    """The measures (users,) from the places (relevant,) of all relevant items, user by user."""
    user = np.repeat(np.arange(len(n_relevant)), n_relevant)
    order = np.lexsort((above, user))
    above, size = above[order], size[order]
    # A tie's relevant ones now stand behind each other: how many, and how many before them?
    begins = np.flatnonzero(np.diff(user, prepend=-1) | np.diff(above, prepend=-1))
    share = np.diff(begins, append=len(user))
    begin, share = np.repeat(begins, share), np.repeat(share, share)
    first = np.cumsum(n_relevant) - n_relevant
    before = begin - first[user]
    if ties in ("worst", "best"):
        back = np.arange(len(user)) - begin
        above, before = above + back, before + back
        if ties == "worst":
            above += size - share
        size = share = np.ones_like(size)

    rank = np.arange(1, k + 1)
    gains, inverse = (np.append(0, np.cumsum(1 / each)) for each in (np.log2(1 + rank), rank))
    low, high = np.minimum(above, k), np.minimum(above + size, k)  # of its ranks, those in reach
    others = (share - 1) / np.maximum(size - 1, 1)  # chance that one it ties with is relevant too
    hit = (high - low) / size
    gain = (gains[high] - gains[low]) / size
    precision = (1 + before - others * (above + 1)) * (inverse[high] - inverse[low])
    precision = (precision + others * (high - low)) / size

    def total(values):
        return np.bincount(user, values, minlength=len(n_relevant))

    ideal = np.minimum(n_relevant, k)
    missed, reciprocal = _first(above[first], size[first], share[first], k)
    return {
        "HR": 1 - missed,
        "NDCG": total(gain) / gains[ideal],
        "MAP": total(precision) / ideal,
        "MRR": reciprocal,
        "recall": total(hit) / n_relevant,
        "precision": total(hit) / k,
    }


def _first(above, size, share, k):
    """The chance that no relevant item is among k, and the expectation of 1 / rank of the first."""
    none, reciprocal = np.ones(len(above)), np.zeros(len(above))
    for rank in range(1, k + 1):
        left = above + size - rank + 1  # of the tie, from this rank on
        chance = np.where((rank > above) & (left > 0), share / np.maximum(left, 1), 0)
        chance = np.minimum(chance, 1)
        reciprocal += none * chance / rank
        none *= 1 - chance
    return none, reciprocal


def _number(name, number, most):
    whole = isinstance(number, (int, np.integer)) and not isinstance(number, bool)
    if not whole or not 1 <= number <= most:
        raise ValueError(
            f"`{name}` must be an integer from 1 to the number of items, {most}. "
            f"Received: {name}={number!r}"
        )
    return int(number)


def _check_shape(name, array, shape):
    if np.shape(array) != shape:
        raise ValueError(f"`{name}` must be {shape}. Received: shape {np.shape(array)}")


def _sparse(name, matrix, shape):
    if matrix is None:
        return sparse.csr_array(shape, dtype=bool)
    _check_shape(name, matrix, shape)
    matrix = sparse.csr_array(matrix, dtype=bool)
    matrix.eliminate_zeros()
    return matrix


def _items(matrix, user):
    return matrix.indices[matrix.indptr[user] : matrix.indptr[user + 1]]


def _blocks(users):
    return (users[low : low + _BLOCK] for low in range(0, len(users), _BLOCK))


def _values(scores, users, n_items):
    """The scores of some users, as floats that may be written to."""
    values = np.array(scores(users), order="C") if callable(scores) else scores[users]
    _check_shape("scores", values, (len(users), n_items))
    if values.dtype.kind != "f":
        values = values.astype(float)
    if np.isnan(values.max()):
        raise ValueError("`scores` must be numbers, none missing. Received: nan")
    return values
