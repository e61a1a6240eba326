"""Chapter 03: would these logs show a drift as large as the world's? Their times, its users.

Each row of a real log keeps user and time; its category is what a user of the world would have
visited then. The test of the chapter is asked whether it finds the change.
"""

from functools import cache
from itertools import pairwise

import numpy as np

from recsys_evo.collect import datasets
from recsys_evo.collect.events import Log
from recsys_evo.collect.laws import MECHANISMS, choose
from recsys_evo.collect.world import World
from recsys_evo.prepare import drift

MODULES = [
    "recsys_evo.collect.datasets",
    "recsys_evo.collect.events",
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.prepare.drift",
    "recsys_evo.prepare.splits",
]
# fmt: off
SEEDS = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19,
    20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39,
    40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59,
    60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79,
    80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99,
]
# fmt: on
LOGS = [
    "online-retail",
    "movielens-100k",
    "movielens-latest-small-2016",
    "lastfm-hetrec-2011",
    "complete-journey-sample",
]
FIRST = 20  # seeds; later ones ask only the log whose share lies near one half
STRENGTHS = {
    "no change": {},
    "drift": {"drift": 1},
    "drift and shift": {"drift": 1, "shift": 1},
}


@cache
def times(name):
    """The touches of a log, with the last 20 years at most (a few dates are absurd)."""
    log, _ = datasets.load(name).clean()
    recent = log.end - np.timedelta64(20 * 365, "D")
    return log.where(
        log.touch & (log.events["time"].to_numpy() >= recent)
    )


def run(seed):
    return {
        name: {
            label: fall(
                lived(
                    times(name), strengths, np.random.default_rng(seed)
                ),
                np.random.default_rng(seed),
            )
            for label, strengths in STRENGTHS.items()
        }
        for name in (LOGS if seed < FIRST else ["movielens-100k"])
    }


def lived(log, strengths, rng):
    """The log with categories that users of a world with these laws would have visited."""
    world = World(**dict.fromkeys(MECHANISMS, 0) | strengths)
    hidden = world.newcomers(log.n_users, rng)
    goods, nobody = (
        world.catalogue,
        np.zeros((log.n_users, 6), np.float32),
    )
    user = log.events["user"].to_numpy()
    day = log.events["time"].to_numpy().astype("M8[D]") - log.start
    day = day.astype(int)
    order = np.argsort(day, kind="stable")
    cuts = np.searchsorted(day[order], np.arange(day.max() + 2))
    category = np.zeros(len(log), np.int16)
    for first, last in pairwise(cuts):
        rows = order[first:last]
        if len(rows):
            appeal = (
                hidden.taste[user[rows]] @ goods.vectors.T + goods.base
            )
            category[rows] = choose(np.exp(appeal), rng)
        world.move_taste(hidden, nobody, rng)
    return Log(log.events.assign(category=category))


def fall(log, rng):
    days = (log.end - log.start).astype(int)
    seen = drift.similarity(
        log, longest=min(364, days // 28 * 28), step=28
    )
    n = len(seen.pairs)
    times = rng.multinomial(n, np.full(n, 1 / n), size=400)
    times = np.vstack([np.ones(n), times])
    curves, weight = seen.curves(times), times @ seen.pairs
    own, null = (
        np.nan_to_num(weight * c) for c in (curves.own, curves.shuffled)
    )
    far = own[:, 1:].sum(axis=1) / null[:, 1:].sum(axis=1)
    ratio = own[:, 0] / null[:, 0] - far
    return [ratio[0], *np.quantile(ratio[1:], [0.025, 0.975])]
