"""Chapter 16 in the world: a decoder that writes semantic ids, against one that names items.

Three codes an item: two levels of residual k-means on a picture of known noise, and a number that
tells apart what shares both. The same causal Transformer learns these codes, the same codes dealt
out by chance, and plain item ids, from the same last 20 touches. A fifth of the items are probes
without a touch. NDCG@10 of what a user seeks out in the week after, among the probes (cold) and
the others (warm).

The rivals of equal information have the same picture, or the same two letters that were made of
it: likeness, and a ridge regression of EASE's scores (the map), also blended with EASE.
"""

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.linear_model import Ridge
from sklearn.preprocessing import normalize

from recsys_evo.collect.events import Log
from recsys_evo.collect.laws import (
    CATALOGUE,
    CATEGORIES,
    DIMENSIONS,
    ITEMS,
)
from recsys_evo.collect.world import FIRST_DAY, World
from recsys_evo.evaluate import ranking
from recsys_evo.models.baselines import (
    Popularity,
    RecentEASE,
    touched,
)
from recsys_evo.models.transformer import Transformer
from recsys_evo.prepare import splits

MODULES = [
    "recsys_evo.collect.events",
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.evaluate.forecasts",
    "recsys_evo.evaluate.ranking",
    "recsys_evo.models.baselines",
    "recsys_evo.models.hurdle",
    "recsys_evo.models.networks",
    "recsys_evo.models.transformer",
    "recsys_evo.prepare.splits",
]
SEEDS = [0, 1, 2]  # worlds and trainings

USERS, PAST, WEEK = 300, 49, 7
N = CATEGORIES * ITEMS
CATEGORY = np.repeat(np.arange(CATEGORIES), ITEMS)
NOISE, WIDTH, LEVEL, BEAMS, ITEMS_SEEN = 0.15, 16, 16, 20, 20
EPOCHS, EASE = 5, {"regularisation": 1600.0, "tau": 50.0}
RIDGE, KAPPA = 1.0, 10.0  # of the map, of the blend


def semantic_ids(x, *, levels=2, seed=0):
    """Codes (items, levels + 1): residual k-means, and a number within the rest."""
    codes, rest = [], x
    for _ in range(levels):
        means = KMeans(LEVEL, n_init=4, random_state=seed).fit(rest)
        codes.append(means.labels_)
        rest = rest - means.cluster_centers_[means.labels_]
    table = pd.DataFrame(np.stack(codes, axis=1))
    codes.append(table.groupby(list(table)).cumcount().to_numpy())
    return np.stack(codes, axis=1)


def in_tokens(log, tokens):
    """The log with a row for each token (items, 3) of what was touched."""
    events = log.events
    item = events["item"].to_numpy()
    rows = events[["user", "time"]].loc[
        events.index.repeat(tokens.shape[1])
    ]
    rows = rows.assign(item=tokens[item].ravel())
    words = pd.DataFrame({"id": np.arange(tokens.max() + 1)})
    return Log(rows, words, log.users)


def log_softmax(logits):
    top = logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
    return logits - top - total


def beam_search(net, tokens, shown, users):
    """Log-chances (users, items) of the items that the beams end at; -inf for all others.

    `tree` says which codes may follow which, so that only items `shown` are written.
    """
    size = tokens.max() + 1
    tree = np.zeros((size,) * 3, bool)
    tree[tuple(tokens[shown].T)] = True
    may = (tree.any(axis=(1, 2)), tree.any(axis=2), tree)
    model = net.model
    past = net.histories.last(users, model.length)
    written = np.zeros((len(users), 1, 0), int)
    chance = np.zeros((len(users), 1))
    for level in range(3):
        beams = written.shape[1]
        rows = np.repeat(past, beams, axis=0)
        rows = np.hstack([rows, written.reshape(len(rows), level) + 1])
        rows = rows[:, -model.length :].astype("int32")
        told = [
            model.logits(rows[low : low + 1_000]).numpy()
            for low in range(0, len(rows), 1_000)
        ]
        told = log_softmax(np.concatenate(told))
        told = told.reshape(len(users), beams, size)
        allowed = may[level][tuple(np.moveaxis(written, 2, 0))]
        told = np.where(allowed, told, -np.inf) + chance[:, :, None]
        flat = told.reshape(len(users), -1)
        best = np.argsort(-flat, axis=1)[:, :BEAMS]
        chance = np.take_along_axis(flat, best, axis=1)
        before = np.take_along_axis(
            written, (best // size)[:, :, None], axis=1
        )
        written = np.concatenate(
            [before, (best % size)[:, :, None]], axis=2
        )
    item_of = np.zeros(tree.shape, int)
    item_of[tuple(tokens.T)] = np.arange(len(tokens))
    found = item_of[tuple(np.moveaxis(written, 2, 0))]
    scores = np.full((len(users), len(tokens)), -np.inf)
    real = np.isfinite(chance)
    row = np.broadcast_to(np.arange(len(users))[:, None], real.shape)
    scores[row[real], found[real]] = chance[real]
    return scores


def network(log, length, seed):
    return Transformer(
        length=length,
        width=48,
        blocks=2,
        heads=2,
        dropout=0.1,
        epochs=EPOCHS,
        size=32,
        rate=3e-3,
        seed=seed,
    ).fit(log)


def told_of(code, known):
    """Bits that a code says about what is known, over the items."""
    table = np.zeros((code.max() + 1, known.max() + 1))
    np.add.at(table, (code, known), 1 / len(code))
    alone = table.sum(1, keepdims=True) * table.sum(0, keepdims=True)
    there = table > 0
    return float(
        (
            table[there]
            * np.log2((table / np.where(alone, alone, 1))[there])
        ).sum()
    )


def likeness(history, features):
    """Scores (users, items): the cosines with what the user touched, added up."""
    x = normalize(features)
    return (history @ x) @ x.T


def mapped(scores, features, warm):
    """Scores (users, items): each user's, foretold from the items' features.

    A ridge regression, with an intercept, on the scores of the warm items.
    """
    ridge = Ridge(RIDGE).fit(features[warm], scores[:, warm].T)
    return ridge.predict(features).T


def standardised(scores, shown):
    part = scores[:, shown]
    spread = np.maximum(part.std(axis=1, keepdims=True), 1e-9)
    return (scores - part.mean(axis=1, keepdims=True)) / spread


def blend(behaviour, content, count, kappa, shown):
    """The more touches an item has, the more its behaviour counts."""
    trust = count / (count + kappa + 1e-9)
    return trust * standardised(behaviour, shown) + (
        1 - trust
    ) * standardised(content, shown)


def run(seed):
    rng = np.random.default_rng([seed, 161])
    log = (
        World()
        .simulate(USERS, PAST + WEEK, rng=rng, impressions=False)
        .log
    )
    end = FIRST_DAY + PAST
    shown = CATALOGUE.born.ravel() <= PAST - 28
    old = np.flatnonzero(shown)
    cold = np.zeros(N, bool)
    cold[rng.choice(old, len(old) // 5, replace=False)] = True
    week = splits.future(log, end, WEEK)
    sought = touched(week.where((week.events["slate"] < 0).to_numpy()))
    past = splits.past(log, end)
    past = past.where(~cold[past.events["item"].to_numpy()])
    parts = {"cold": cold, "warm": shown & ~cold}
    users = np.arange(USERS)

    view = np.linalg.qr(rng.normal(size=(WIDTH, DIMENSIONS)))[0].T
    picture = CATALOGUE.vectors[CATEGORY] @ view
    picture = picture + NOISE * rng.normal(size=picture.shape)
    codes = semantic_ids(picture, seed=seed)
    tokens = codes + LEVEL * np.arange(3)

    def answer(scores_of):
        found = {}
        for name, part in parts.items():
            wanted = sparse.csr_array(
                sought.multiply(part[None]), dtype=bool
            )
            values = np.where(part, scores_of(part), -np.inf)
            found[name] = float(
                np.nanmean(ranking.measures(values, wanted)["NDCG"])
            )
        return found

    model = RecentEASE(**EASE).fit(past)
    ease = model.scores()
    letters = np.hstack([np.eye(LEVEL)[code] for code in codes.T[:2]])
    whole = np.eye(LEVEL**2)[codes[:, 0] * LEVEL + codes[:, 1]]
    content = {
        "picture": picture,
        "letters": np.hstack([letters, whole]),
    }
    told = {
        name: mapped(ease, x, parts["warm"])
        for name, x in content.items()
    }
    touches = np.bincount(past.events["item"], minlength=N)
    fashion = Popularity().fit(past).scores()
    count = np.zeros((USERS, N))
    rows = past.events
    np.add.at(
        count, (rows["user"].to_numpy(), rows["item"].to_numpy()), 1
    )
    repeat = count + 1e-6 * fashion
    plain = network(past, ITEMS_SEEN, seed).scores()
    found = {
        "popularity": answer(lambda part: fashion),
        "own, by count": answer(lambda part: repeat),
        "EASE, recency": answer(lambda part: ease),
        "item ids": answer(lambda part: plain),
    }
    for name, x in content.items():
        for way, scores in (
            ("likeness", likeness(model.history, x)),
            ("map", told[name]),
            (
                "EASE and map",
                blend(ease, told[name], touches, KAPPA, shown),
            ),
        ):
            found[f"{way}, {name}"] = answer(lambda part, x=scores: x)
    for name, words in (
        ("semantic ids", tokens),
        ("shuffled ids", rng.permutation(tokens)),
    ):
        net = network(in_tokens(past, words), 3 * ITEMS_SEEN, seed)
        found[name] = answer(
            lambda part, net=net, words=words: beam_search(
                net, words, part, users
            )
        )
    family = CATALOGUE.position // 8
    first, pair = codes[:, 0], codes[:, 0] * LEVEL + codes[:, 1]
    _, sizes = np.unique(pair, return_counts=True)
    return {
        "NDCG": found,
        "bits": {
            "first code, family": told_of(first, family[CATEGORY]),
            "first code, category": told_of(first, CATEGORY),
            "both codes, category": told_of(pair, CATEGORY),
            "both codes, of the picture's order shuffled": told_of(
                rng.permutation(pair), CATEGORY
            ),
        },
        "prefixes": len(sizes),
        "alone": float((sizes == 1).sum() / N),
        "largest": int(sizes.max()),
    }
