"""Chapter 14: ageing read from four comparisons, in worlds with the law and without it.

The default log lets chance decide which article of a topic is shown. After four weeks of it a
platform ranks by factors for four more, and leaves one slot in five to chance.
"""

import numpy as np

from recsys_evo.collect.laws import ITEMS
from recsys_evo.collect.world import World
from recsys_evo.models.baselines import ALS
from recsys_evo.recommend.loop import ATTENTION, evolve
from recsys_evo.recommend.policies import Greedy

MODULES = [
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.evaluate.ranking",
    "recsys_evo.models.baselines",
    "recsys_evo.prepare.splits",
    "recsys_evo.recommend.loop",
    "recsys_evo.recommend.policies",
]
SEEDS = [0, 1, 2, 3, 4]
USERS = 2_000
EDGES = np.array([0, 3, 7, 14, 28])


def slots(lived, days):
    """Item, day, age, attention, click and propensity of shown slots."""
    items = lived.items[:, days]
    shown = items >= 0
    _, day, place = np.nonzero(shown)
    item, day = items[shown].astype(int), day + days.start
    age = day - lived.world.catalogue.born.ravel()[item]
    clicked = lived.clicked[:, days][shown]
    chance = lived.propensity[:, days][shown]
    return item, day, age, ATTENTION[place], clicked, chance


def ageing(group, age, looks, clicks):
    """Log click rate (ages,) by age, over that of the oldest."""
    k = len(EDGES)
    cell = group * k + np.digitize(age, EDGES) - 1
    size = k * (group.max() + 1)
    looks = np.bincount(cell, looks, size).reshape(-1, k)
    clicks = np.bincount(cell, clicks, size).reshape(-1, k)
    seen = looks.any(axis=1)
    looks, clicks = looks[seen], clicks[seen]
    news = np.ones(k)
    for _ in range(300):
        rate = clicks.sum(axis=1) / (looks @ news)
        news = clicks.sum(axis=0) / np.maximum(rate @ looks, 1e-9)
    return np.log(np.maximum(news, 1e-9) / news[-1])


def run(seed):
    figures = {}
    for name, strength in (("ageing", 1), ("no ageing", 0)):
        policy = Greedy(
            ALS(factors=16, iterations=5), epsilon=0.2, every=7
        )
        lived = evolve(
            World(ageing=strength),
            policy,
            users=USERS,
            rounds=28,
            rng=np.random.default_rng(seed),
        )
        item, day, age, looks, clicked, _ = slots(lived, slice(0, 28))
        topic_week = item // ITEMS * 8 + day // 7
        of = {
            "other articles, same week": ageing(
                topic_week, age, looks, clicked
            ),
            "same article, other days": ageing(item, age, looks, clicked),
        }
        item, day, age, looks, clicked, chance = slots(
            lived, slice(28, 56)
        )
        topic_week = item // ITEMS * 8 + day // 7
        drawn = chance < 0.5
        of["ranked log, all slots"] = ageing(
            topic_week, age, looks, clicked
        )
        of["ranked log, slots left to chance"] = ageing(
            topic_week[drawn], age[drawn], looks[drawn], clicked[drawn]
        )
        figures[name] = of
    return figures
