"""Chapter 01 on Online Retail: hit shares of a frozen, a reweighted and a fresh picture.

Written with the package's splits and features, not with the chapter's own lines: the two check each
other, in the chapter, where the log is there.
"""

import numpy as np

from recsys_evo.collect import datasets
from recsys_evo.evaluate.forecasts import interval
from recsys_evo.prepare import hand, splits

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
SEEDS = [0]  # nothing is drawn
WINDOW, AHEAD, FROZEN, STEPS = 120, 28, 180, 7


def run(seed):
    log, _ = datasets.load("online-retail").clean()

    def bought(end, days):
        """How often each customer bought from each category in the days before `end`."""
        features = hand.recency_frequency_money(
            log, end=end, days=days, categories=64
        )
        return features[..., hand.FEATURES.index("purchases")].astype(
            float
        )

    first = log.start + FROZEN
    old = bought(first, WINDOW)
    shares, users = [], []
    for day in first + AHEAD * np.arange(STEPS):
        new, lately = bought(day, WINDOW), bought(day, AHEAD)
        label = splits.touches(log, day, AHEAD)
        asked = label.any(axis=1) & old.any(axis=1)
        season = (lately.sum(0) / lately.sum()) / np.maximum(
            old.sum(0) / old.sum(), 1e-9
        )
        pictures = (
            old + old.sum(0) / old.sum(),
            old * season + lately.sum(0) / lately.sum(),
            new + new.sum(0) / new.sum(),
        )
        best = [
            np.argsort(-picture[asked], axis=1, kind="stable")[:, :5]
            for picture in pictures
        ]
        hits = [
            np.take_along_axis(label[asked], top, axis=1).mean(1)
            for top in best
        ]
        shares.append([hit.mean() for hit in hits])
        users.append(int(asked.sum()))
    return {
        "shares": shares,
        "users": users,
        "beyond_season": interval(hits[2] - hits[1]),
    }
