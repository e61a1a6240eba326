"""Chapter 13: on Last.fm, are friends more alike than strangers, and what do the months say?

All 1,892 users, their friendships and their 50 most played artists, without times; tags with the
month. Strangers are the friends of a rewired network, in which everybody has as many friends as
before. A figure of a user is the mean over his friends; intervals are over users.
"""

import warnings

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_evo.collect import datasets
from recsys_evo.collect.datasets import _places
from recsys_evo.collect.sources import lastfm

MODULES = [
    "recsys_evo.collect.sources.cards",
    "recsys_evo.collect.sources.lastfm",
]
SEEDS = [0]

NAME, NETWORKS, SHUFFLES = "lastfm-hetrec-2011", 20, 100


def run(seed):
    """`alike`: listens and tags → [point, low, high] for friends, strangers, and the difference.

    `months`: share of common tags of friends that fall into one month; the same with dates dealt
    out anew (mean and spread), within each artist and within each user. `sizes`: what was counted.
    """
    rng = np.random.default_rng(seed)
    log, played, edges = data()
    plays = [played["user"], played["item"], np.log1p(played["plays"])]
    tags = log.events.groupby(["user", "item"]).size().reset_index()
    figures = {
        "alike": {
            "listens": alike(profiles(*plays, log.n_users), edges, rng),
            "tags": alike(
                profiles(*tags.to_numpy().T, log.n_users), edges, rng
            ),
        }
    }
    figures["months"], pairs = months(log, edges, rng)
    figures["sizes"] = {
        "users": log.n_users,
        "friendships": len(edges),
        "artists": int(played["item"].nunique()),
        "common first tags of friends": pairs,
    }
    return figures


def data():
    """The log; plays with the log's user codes; friendships (pairs, 2), each once."""
    with warnings.catch_warnings():
        # A mirror lacks one of 186,479 tags: too little to be told of at each run.
        warnings.simplefilter("ignore")
        log = datasets.load(NAME)
    log = log.where((log.events["time"] >= "2005-01-01").to_numpy())
    folder = next(
        place
        for _, place in _places(datasets.card(NAME))
        if datasets.card(NAME).find(place) is not None
    )
    code = pd.Series(np.arange(log.n_users), log.users["id"])
    played = lastfm.listens(folder)
    played = played.assign(
        user=code[played["user"]].to_numpy(),
        item=pd.factorize(played["artist"])[0],
    )
    pairs = lastfm.friends(folder)
    pairs = np.stack(
        [code[pairs[name]] for name in ("user", "friend")], axis=1
    )
    return log, played, pairs[pairs[:, 0] < pairs[:, 1]]


def profiles(user, item, weight, n_users):
    """Rows of length 1 (users, items): weights, those of artists that everybody has count less."""
    user, item = np.asarray(user, int), np.asarray(item, int)
    rare = np.log(n_users / np.maximum(np.bincount(item), 1))
    cells = sparse.csr_array(
        (np.asarray(weight, float) * rare[item], (user, item)),
        (n_users, item.max() + 1),
    )
    length = np.sqrt(cells.multiply(cells).sum(1))
    return sparse.diags_array(1 / np.maximum(length, 1e-9)) @ cells


def alike(unit, edges, rng, networks=NETWORKS):
    """Cosine to friends, to strangers, and the difference, [point, low, high] each."""
    unit = unit.tocsr()
    known = np.asarray(unit.multiply(unit).sum(1)) > 0.5
    edges = edges[known[edges].all(1)]
    friends = nearness(unit, edges)
    strangers = np.mean(
        [nearness(unit, rewired(edges, rng)) for _ in range(networks)],
        axis=0,
    )
    some = ~np.isnan(friends)
    return {
        "friends": over_users(friends[some]),
        "strangers": over_users(strangers[some]),
        "difference": over_users((friends - strangers)[some]),
        "users": int(some.sum()),
    }


def nearness(unit, edges):
    """Mean cosine of each user to those at the other end of his edges; NaN without any."""
    one, other = edges.T
    cosine = np.asarray(unit[one].multiply(unit[other]).sum(1))
    ends, n_users = np.concatenate([one, other]), unit.shape[0]
    total = np.bincount(ends, np.tile(cosine, 2), minlength=n_users)
    number = np.bincount(ends, minlength=n_users)
    with np.errstate(invalid="ignore"):
        return total / number


def rewired(edges, rng, rounds=30):
    """Another network with the same number of friends for each: two edges swap their ends."""
    edges, half = edges.copy(), len(edges) // 2
    n = edges.max() + 1
    for _ in range(rounds):
        order = rng.permutation(len(edges))
        here, there = order[:half], order[half : 2 * half]
        one, other = edges[here], edges[there]
        turned = rng.random(half) < 0.5
        other = np.where(turned[:, None], other[:, ::-1], other)
        new = np.stack([one, other], axis=1)  # (half, 2 edges, 2 ends)
        new[:, [0, 1], 1] = new[:, [1, 0], 1]
        new.sort(axis=2)
        key = new @ [n, 1]
        _, place, times = np.unique(
            key, return_inverse=True, return_counts=True
        )
        wrong = (new[:, :, 0] == new[:, :, 1]) | np.isin(
            key, edges @ [n, 1]
        )
        wrong |= times[place].reshape(key.shape) > 1
        right = ~wrong.any(axis=1)
        edges[here[right]], edges[there[right]] = new[right].swapaxes(
            0, 1
        )
    return edges


def over_users(values):
    reach = 1.96 * values.std() / np.sqrt(len(values))
    return [values.mean(), values.mean() - reach, values.mean() + reach]


def months(log, edges, rng, n=SHUFFLES):
    """Of artists that both friends tagged: the share with both first tags in one month."""
    first = pd.DataFrame(
        {
            "user": log.events["user"],
            "item": log.events["item"],
            "month": log.events["time"].dt.year * 12
            + log.events["time"].dt.month,
        }
    )
    first = first.groupby(["user", "item"], as_index=False)["month"].min()
    user, item, month = first.to_numpy().T
    took = sparse.csr_array(
        (np.arange(1, len(first) + 1), (user, item)),
        (log.n_users, log.n_items),
    )
    mine, theirs = (took[end].tocoo() for end in edges.T)
    keys = [t.row * np.int64(log.n_items) + t.col for t in (mine, theirs)]
    _, here, there = np.intersect1d(
        *keys, assume_unique=True, return_indices=True
    )
    one, other = mine.data[here] - 1, theirs.data[there] - 1
    found = {"real": float((month[one] == month[other]).mean())}
    for name, group in (("artist", item), ("user", user)):
        order, shares = np.argsort(group, kind="stable"), []
        for _ in range(n):
            dealt = np.empty_like(month)
            dealt[np.lexsort((rng.random(len(month)), group))] = month[
                order
            ]
            shares.append((dealt[one] == dealt[other]).mean())
        found[name] = [np.mean(shares), np.std(shares)]
    return found, len(one)
