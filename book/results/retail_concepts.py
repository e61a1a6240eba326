"""Chapter 02 on Online Retail: components, likeness of spans, diversity, each beside its null.

Another account of what the chapter computes where the log is there; it holds the two together.
"""

import numpy as np

from recsys_evo.collect import datasets
from recsys_evo.prepare import hand

MODULES = [
    "recsys_evo.collect.datasets",
    "recsys_evo.collect.events",
    "recsys_evo.collect.frames",
    "recsys_evo.collect.sources.cards",
    "recsys_evo.collect.sources.retail",
    "recsys_evo.prepare.hand",
    "recsys_evo.prepare.images",
    "recsys_evo.prepare.splits",
]
SEEDS = [0]  # of the nulls
SPAN = 28  # days


def run(seed):
    log, _ = datasets.load("online-retail").clean()
    span = (log.end - log.start).astype(int) // SPAN
    by_span = np.stack(
        [purchases(log, log.start + SPAN * (k + 1)) for k in range(span)],
        axis=1,
    )
    counts = purchases(log, log.end, (log.end - log.start).astype(int))
    counts = counts[counts.sum(axis=1) >= 20]
    return {
        "components": components(counts, np.random.default_rng(seed)),
        "likeness": [
            likeness(by_span),
            likeness(shuffled(by_span, seed)),
            between(by_span),
        ],
        "diversity": diversity(counts, np.random.default_rng(seed)),
    }


def purchases(log, end, days=SPAN):
    """Purchases (users, 64) in the days before `end`."""
    features = hand.recency_frequency_money(
        log, end=end, days=days, categories=64
    )
    return features[..., hand.FEATURES.index("purchases")].astype(float)


def components(counts, rng):
    table = np.log1p(counts)
    mixed = np.stack([rng.permutation(c) for c in table.T], axis=1)
    found, null = (
        np.linalg.eigvalsh(np.cov(t.T))[::-1] for t in (table, mixed)
    )
    found, null = found / found.sum(), null / null.sum()
    first = (table - table.mean(axis=0)) @ np.linalg.eigh(
        np.cov(table.T)
    )[1][:, -1]
    busy = np.corrcoef(first, np.log(counts.sum(axis=1)))[0, 1] ** 2
    return [found, null, int((found > null.max()).sum()), busy]


def shuffled(by_span, seed):
    """Each user's purchases dealt anew to spans of the same sizes: as good as shuffling."""
    rng = np.random.default_rng(seed)
    mixed = np.zeros_like(by_span)
    for user, spans in enumerate(by_span):
        left = spans.sum(axis=0).astype(int)
        for k, size in enumerate(spans.sum(axis=1).astype(int)):
            mixed[user, k] = rng.multivariate_hypergeometric(left, size)
            left = left - mixed[user, k].astype(int)
    return mixed


def likeness(by_span):
    length = np.linalg.norm(by_span, axis=2)
    found = []
    for lag in range(1, 9):
        both = (length[:, lag:] > 0) & (length[:, :-lag] > 0)
        cosine = np.einsum(
            "usc,usc->us", by_span[:, lag:], by_span[:, :-lag]
        )
        found.append(
            (
                cosine[both] / (length[:, lag:] * length[:, :-lag])[both]
            ).mean()
        )
    return found


def between(by_span):
    """Likeness of spans of two different customers, over all pairs of them."""
    length = np.linalg.norm(by_span, axis=2)
    mix = by_span / np.where(length > 0, length, 1)[..., None]
    found = []
    for lag in range(1, 9):
        total, pairs = 0.0, 0
        for k in range(by_span.shape[1] - lag):
            cosines = mix[:, k + lag] @ mix[:, k].T
            total += cosines.sum() - np.trace(cosines)
            both = np.outer(length[:, k + lag] > 0, length[:, k] > 0)
            pairs += both.sum() - np.trace(both)
        found.append(total / pairs)
    return found


def diversity(counts, rng):
    everybody = counts.sum(axis=0) / counts.sum()
    null = np.stack(
        [rng.multinomial(int(n), everybody) for n in counts.sum(axis=1)]
    )
    return [
        [float(np.median(effective(t))), unlikeness(t)]
        for t in (counts, null)
    ]


def effective(counts):
    share = counts / counts.sum(axis=1, keepdims=True)
    return np.exp(
        -(share * np.log(np.where(share > 0, share, 1))).sum(axis=1)
    )


def unlikeness(counts):
    """1 - cosine, the mean over all pairs of different users."""
    mix = counts / np.linalg.norm(counts, axis=1, keepdims=True)
    n = len(mix)
    return float(1 - ((mix.sum(axis=0) ** 2).sum() - n) / (n * (n - 1)))
