"""Chapter 10: which mechanism makes which phenomenon? Each knocked out alone, in the closed loop.

A world of 1,000 users lives 12 weeks with a platform that learns factors from the latest four weeks
of its log, and shows the highest scores. Then again with one law of the users' off, and again, for
each law; and with one thing changed at the platform. Every history of a seed begins with the same
users. Figures are those of the last four weeks; the same under a platform of pure chance says which
part of an effect needs the recommender.
"""

import numpy as np

from recsys_evo.collect.laws import MECHANISMS
from recsys_evo.collect.world import World
from recsys_evo.models.baselines import ALS
from recsys_evo.recommend.loop import evolve
from recsys_evo.recommend.phenomena import phenomena
from recsys_evo.recommend.policies import Greedy, Random

MODULES = [
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.evaluate.ranking",
    "recsys_evo.evaluate.society",
    "recsys_evo.models.baselines",
    "recsys_evo.prepare.splits",
    "recsys_evo.recommend.loop",
    "recsys_evo.recommend.phenomena",
    "recsys_evo.recommend.policies",
]
SEEDS = [0, 1, 2, 3, 4, 5]

USERS, ROUNDS, LAST = 1_000, 84, 28


class OwnVisits(Greedy):
    """Learns only from what users visited by themselves, so not from what it showed."""

    def learn(self, log):
        super().learn(log.where((log.events["slate"] < 0).to_numpy()))


def factors(kind=Greedy, **options):
    ranker = ALS(factors=16, iterations=5)
    return kind(ranker, **{"every": 3} | options)


def conditions():
    """Name → (world, platform)."""
    kinds = {"all": {}}
    kinds |= {name: {name: 0} for name in MECHANISMS}
    kinds |= {
        "none": dict.fromkeys(MECHANISMS, 0),
        "reinforcement, contagion": {"reinforcement": 0, "contagion": 0},
        "reinforcement, satiation": {"reinforcement": 0, "satiation": 0},
        "drift, reinforcement, contagion": {
            "drift": 0,
            "reinforcement": 0,
            "contagion": 0,
        },
    }
    found = {}
    for name, off in kinds.items():
        found[f"factors / {name}"] = World(**off), factors()
        found[f"random / {name}"] = World(**off), Random()
    found["factors, trained once / all"] = World(), factors(every=10_000)
    found["factors, own visits / all"] = World(), factors(OwnVisits)
    found["factors, own visits / none"] = (
        World(**kinds["none"]),
        factors(OwnVisits),
    )
    return found


def run(seed):
    figures = {}
    for name, (world, platform) in conditions().items():
        rng = np.random.default_rng(seed)
        lived = evolve(
            world, platform, users=USERS, rounds=ROUNDS, rng=rng
        )
        end = lived.start + ROUNDS
        figures[name] = phenomena(lived, end - LAST, end)
    return figures
