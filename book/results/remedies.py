"""Chapter 10: what helps? Exploration, calibration, variety, rest, at several strengths each.

1,000 users live four weeks with the world's default policy and then twelve with a platform that
learns factors from the latest four weeks of its log, plain or with one remedy. Every history of a
seed begins with the same users and the same four weeks. Two spans are kept: the first week, which
is what a short test sees, and the last four.
"""

import numpy as np

from recsys_evo.collect.world import World
from recsys_evo.models.baselines import ALS
from recsys_evo.recommend.bandits import LinUCB, Thompson
from recsys_evo.recommend.loop import evolve
from recsys_evo.recommend.phenomena import phenomena
from recsys_evo.recommend.policies import Greedy, Oracle, Random, Softmax
from recsys_evo.recommend.rerank import (
    MMR,
    Calibrated,
    PopularityCorrected,
    Rested,
)

MODULES = [
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.evaluate.ranking",
    "recsys_evo.evaluate.society",
    "recsys_evo.models.baselines",
    "recsys_evo.prepare.splits",
    "recsys_evo.recommend.bandits",
    "recsys_evo.recommend.loop",
    "recsys_evo.recommend.phenomena",
    "recsys_evo.recommend.policies",
    "recsys_evo.recommend.rerank",
]
SEEDS = [0, 1, 2, 3, 4]

USERS, ROUNDS, LAST, EVERY = 1_000, 84, 28, 3


class OwnVisits(Greedy):
    """Learns only from what users visited by themselves, so not from what it showed."""

    def learn(self, log):
        super().learn(log.where((log.events["slate"] < 0).to_numpy()))


def factors(kind=Greedy, **options):
    ranker = ALS(factors=16, iterations=5)
    return kind(ranker, every=EVERY, **options)


def remedies():
    """(remedy, strength) → platform; strengths grow with what is given up of the ranking."""
    found = {("nothing", 0): factors()}
    for epsilon in (0.05, 0.1, 0.2, 0.4):
        found["chance", epsilon] = factors(epsilon=epsilon)
    for temperature in (0.8, 1.6):
        found["softmax", temperature] = factors(
            Softmax, temperature=temperature
        )
    for name, kind in {
        "variety": MMR,
        "calibration": Calibrated,
        "less popular": PopularityCorrected,
        "rest": Rested,
    }.items():
        for given in (0.2, 0.5, 0.8):
            found[name, given] = factors(rerank=kind(weight=1 - given))
    for alpha in (0.5, 2):
        found["LinUCB", alpha] = LinUCB(alpha=alpha, every=EVERY)
    found["Thompson", 0] = Thompson(every=EVERY)
    found["own visits", 0] = factors(OwnVisits)
    found["pure chance", 0] = Random()
    found["the truth, today", 0] = Oracle()
    return found


def run(seed):
    """A list of remedy, strength, and the phenomena of the first week and of the last four."""
    figures = []
    for (name, strength), platform in remedies().items():
        lived = evolve(
            World(),
            platform,
            users=USERS,
            rounds=ROUNDS,
            rng=np.random.default_rng(seed),
        )
        start, end = lived.start, lived.start + ROUNDS
        figures.append(
            {
                "remedy": name,
                "strength": strength,
                "first": phenomena(lived, start, start + 7),
                "last": phenomena(lived, end - LAST, end),
            }
        )
    return figures
