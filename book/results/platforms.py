"""Chapter 10: what becomes of users and items under eight platforms, week by week.

2,000 users live four weeks with the world's default policy and then twelve with one of the
platforms. Every history of a seed begins with the same users and the same four weeks. The default
policy itself goes on as one of the platforms.
"""

import numpy as np

from recsys_evo.collect.world import World
from recsys_evo.models.baselines import ALS, Popularity, RecentEASE
from recsys_evo.recommend.bandits import LinUCB, Thompson
from recsys_evo.recommend.loop import evolve
from recsys_evo.recommend.phenomena import phenomena
from recsys_evo.recommend.policies import Greedy, Oracle, Random

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
]
SEEDS = [0, 1, 2, 3, 4]

USERS, ROUNDS, EVERY = 2_000, 84, 3


def platforms():
    return {
        "chance": Random(),
        "popularity": Greedy(Popularity(), every=EVERY),
        "factors": Greedy(ALS(factors=16, iterations=5), every=EVERY),
        "factors, 20% chance": Greedy(
            ALS(factors=16, iterations=5), epsilon=0.2, every=EVERY
        ),
        "EASE, recency": Greedy(RecentEASE(), every=EVERY),
        "Thompson": Thompson(every=EVERY),
        "LinUCB": LinUCB(every=EVERY),
        "the truth": Oracle(),
    }


def run(seed):
    """Platform → phenomenon → weeks; the first is the week before it."""
    figures = {}
    for name, platform in platforms().items():
        rng = np.random.default_rng(seed)
        lived = evolve(
            World(), platform, users=USERS, rounds=ROUNDS, rng=rng
        )
        ends = range(lived.start, lived.start + ROUNDS + 1, 7)
        weeks = [phenomena(lived, end - 7, end) for end in ends]
        figures[name] = {key: [w[key] for w in weeks] for key in weeks[0]}
    return figures
