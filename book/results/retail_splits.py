"""Chapter 09 on Online Retail: the same models under a random and under a time split.

A tenth of all purchases is held out at random, or the last four weeks. All products are ranked,
those bought before too, for a thousand customers who are in the test.
"""

import numpy as np

from recsys_evo.collect import datasets
from recsys_evo.evaluate import ranking
from recsys_evo.models.baselines import (
    ALS,
    Popularity,
    RecentEASE,
    RecentPopularity,
    touched,
)

MODULES = [
    "recsys_evo.collect.datasets",
    "recsys_evo.collect.events",
    "recsys_evo.collect.frames",
    "recsys_evo.collect.sources.retail",
    "recsys_evo.evaluate.forecasts",
    "recsys_evo.evaluate.ranking",
    "recsys_evo.models.baselines",
    "recsys_evo.prepare.splits",
]
SEEDS = [0, 1, 2]  # of the coin and of the customers who are asked

ASKED, WEEKS = 1_000, 4


def rankers():
    return {
        "popularity": Popularity(),
        "recent popularity": RecentPopularity(half_life=30.0),
        "ALS": ALS(factors=32, iterations=10),
        "EASE, recency": RecentEASE(regularisation=500.0, tau=200.0),
    }


def run(seed):
    """NDCG@10 by split and model, and the differences within each pair."""
    rng = np.random.default_rng(seed)
    log = datasets.load("online-retail").clean()[0]
    log = log.where(log.purchase)
    late = log.events["time"].to_numpy() >= log.end - 7 * WEEKS
    figures = {}
    for split, test in (
        ("random", rng.random(len(log)) < 0.1),
        ("time", late),
    ):
        held_out = touched(log.where(test))
        known = np.diff(touched(log.where(~test)).indptr) > 0
        asked = np.flatnonzero((np.diff(held_out.indptr) > 0) & known)
        asked = np.sort(rng.permutation(asked)[:ASKED])
        worth = {}
        for name, model in rankers().items():
            scores = model.fit(log.where(~test)).scores(asked)
            worth[name] = ranking.measures(scores, held_out[asked])[
                "NDCG"
            ]
        figures[split] = {name: v.mean() for name, v in worth.items()}
        figures[split]["gaps"] = {
            f"{one} − {other}": ranking.average(
                worth[one], against=worth[other], rng=rng
            )
            for one, other in (
                ("popularity", "recent popularity"),
                ("ALS", "EASE, recency"),
            )
        }
    return figures
