"""Chapter 04: does the interval of the half-life hold the truth as often as it says?

A world in which taste only drifts, lived through again and again by 500 users for 120 days. Each
time its half-life is estimated from own visits, with an interval, twice: by the package, and by a
naive fit to the cosines of weekly counts with the interval that the fit itself reports. Then one
more law is switched on beside drift, each in its turn, and at last all of them; there the estimate
is made twice, from all lags and from those of two weeks and more.
"""

import warnings

import numpy as np
from scipy.optimize import OptimizeWarning, curve_fit

from recsys_evo.collect.laws import MECHANISMS
from recsys_evo.collect.world import World
from recsys_evo.prepare.drift import half_life, similarity

MODULES = [
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.prepare.drift",
    "recsys_evo.prepare.splits",
]
SEEDS = [
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    11,
    12,
    13,
    14,
    15,
    16,
    17,
    18,
    19,
    20,
    21,
    22,
    23,
    24,
    25,
    26,
    27,
    28,
    29,
    30,
    31,
    32,
    33,
    34,
    35,
    36,
    37,
    38,
    39,
]

USERS, DAYS, LONGEST, REPEATS = 500, 120, 80, 5


def run(seed):
    """Half-lives, each (point, low, high) in days.

    `drift`: five worlds, each [ours, naive]; all others: one world, [all lags, two weeks on].
    """
    streams = iter(np.random.default_rng(seed).spawn(60))
    figures = {
        "drift": [
            [
                ours(
                    log := own_visits({"drift": 1}, next(streams)),
                    next(streams),
                ),
                naive(log),
            ]
            for _ in range(REPEATS)
        ]
    }
    beside = {
        law: {"drift": 1, law: 1} for law in MECHANISMS if law != "drift"
    }
    for name, on in (
        beside | {"all": dict.fromkeys(MECHANISMS, 1)}
    ).items():
        log = own_visits(on, next(streams))
        figures[name] = [
            ours(log, next(streams), shortest) for shortest in (1, 14)
        ]
    return figures


def own_visits(strengths, rng):
    world = World(**dict.fromkeys(MECHANISMS, 0) | strengths)
    log = world.simulate(USERS, DAYS, rng=rng, impressions=False).log
    return log.where(
        log.touch & ~log.purchase & (log.events["slate"] < 0).to_numpy()
    )


def ours(log, rng, shortest=1):
    alike = similarity(log, longest=LONGEST)
    return list(half_life(alike, rng=rng, shortest=shortest).half_life)


def naive(log):
    """A + B 2^(-lag/h), fitted to the mean cosine of a user's weeks by their distance."""
    user, category = (
        log.events[c].to_numpy() for c in ("user", "category")
    )
    day = (
        log.events["time"].to_numpy() - log.start.astype("M8[s]")
    ).astype(int)
    weeks = np.zeros((log.n_users, DAYS // 7 + 1, 64))
    np.add.at(weeks, (user, day // (7 * 86_400), category), 1)
    length = np.linalg.norm(weeks, axis=2, keepdims=True)
    mix = weeks / np.maximum(length, 1)
    lags = np.arange(1, LONGEST // 7 + 1)
    alike = [
        (mix[:, k:] * mix[:, :-k]).sum()
        / (length[:, k:] * length[:, :-k] > 0).sum()
        for k in lags
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)
        found, spread = curve_fit(
            lambda lag, floor, fall, half: (
                floor + fall * 0.5 ** (lag / half)
            ),
            7 * lags,
            alike,
            p0=(0.2, 0.1, 14),
            bounds=((-1, -1, 1), (1, 1, 10 * LONGEST)),
        )
    reach = 1.96 * np.sqrt(spread[2, 2])
    return [found[2], found[2] - reach, found[2] + reach]
