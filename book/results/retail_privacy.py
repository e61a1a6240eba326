"""Chapter 15 on Online Retail: who is singled out, and who is found in EASE's matrix.

Each seed draws what the onlooker knows, and shares the customers out among those who teach, those
who do not, and the attacker's own. Who is singled out is also asked among as many customers as
the chapter's world has users.
"""

import numpy as np
import pandas as pd
from scipy import linalg, sparse

from recsys_evo import privacy
from recsys_evo.collect import datasets

MODULES = [
    "recsys_evo.privacy",
    "recsys_evo.collect.datasets",
    "recsys_evo.collect.events",
    "recsys_evo.collect.frames",
    "recsys_evo.collect.sources.retail",
]
SEEDS = [0, 1, 2, 3, 4]

KNOWN, ITEMS, LEAST, FEW = 4, 500, 5, 1_000
PENALTIES = (1, 10, 50, 200, 500, 2_000, 10_000)


def crowds(user, point, *, rng):
    """Customers who share 1, 2, … points of one (customers, KNOWN)."""
    code = pd.factorize(point)[0]
    has = sparse.csr_array((np.ones(len(code), bool), (user, code)))
    whose = has.tocsc()
    found = []
    for start, stop in zip(has.indptr[:-1], has.indptr[1:]):
        if stop - start < KNOWN:
            continue
        crowd, row = None, []
        for k in rng.permutation(has.indices[start:stop])[:KNOWN]:
            sharing = whose.indices[whose.indptr[k] : whose.indptr[k + 1]]
            crowd = (
                sharing
                if crowd is None
                else np.intersect1d(crowd, sharing)
            )
            row.append(len(crowd))
        found.append(row)
    return np.array(found)


def ease(rows, penalty):
    gram = rows.T @ rows + penalty * np.eye(rows.shape[1])
    inverse = linalg.inv(gram)
    weight = -inverse / np.diag(inverse)
    np.fill_diagonal(weight, 0)
    return weight


def run(seed):
    """Shares singled out by grain and number of points; hits and attacks by penalty."""
    rng = np.random.default_rng([15, seed])
    log = datasets.load("online-retail").clean()[0]
    bought = log.events[log.purchase]
    user, item = (bought[name].to_numpy() for name in ("user", "item"))
    time = bought["time"].to_numpy().astype("M8[s]").astype(np.int64)
    grains = {
        "item and day": item * 10**6 + time // 86_400,
        "item and week": item * 10**6 + time // (7 * 86_400),
        "item and four weeks": item * 10**6 + time // (28 * 86_400),
        "item": item,
    }
    found = {"alone": {}, "alone of few": {}, "ease": []}
    some = np.isin(user, rng.choice(np.unique(user), FEW, replace=False))
    for name, point in grains.items():
        for of, rows in (("alone", slice(None)), ("alone of few", some)):
            crowd = crowds(user[rows], point[rows], rng=rng)
            found[of][name] = [len(crowd), *(crowd == 1).mean(axis=0)]

    best = pd.Series(user).groupby(item).nunique().nlargest(ITEMS).index
    column = pd.Series(np.arange(ITEMS), best).reindex(item)
    known = column.notna().to_numpy()
    touched = np.zeros((user.max() + 1, ITEMS))
    touched[user[known], column[known].astype(int)] = 1
    touched = touched[touched.sum(axis=1) >= LEAST]
    members, others, apart = np.array_split(rng.permutation(touched), 3)
    hidden = np.array([rng.choice(np.flatnonzero(row)) for row in others])
    line = np.arange(len(others))
    asked = others.copy()
    asked[line, hidden] = 0
    for penalty in PENALTIES:
        weight, reference = ease(members, penalty), ease(apart, penalty)
        score = np.where(asked > 0, -np.inf, asked @ weight)
        place = (score > score[line, hidden][:, None]).sum(axis=1)
        errors = [
            [
                ((rows - rows @ b) ** 2).sum(axis=1)
                for b in (weight, reference)
            ]
            for rows in (members, others)
        ]
        plain = [
            -own / rows.sum(axis=1)
            for rows, (own, _) in zip((members, others), errors)
        ]
        fair = [np.log(other / own) for own, other in errors]
        found["ease"].append(
            [
                (place < 10).mean(),
                *privacy.attack(*plain),
                *privacy.attack(*fair),
            ]
        )
    return found
