"""Chapter 12 in the world: what a feed of anything on sale does to the rates of a funnel.

Forty worlds, each lived through twice from the same start: with the default feed, and with slots
drawn at random from all items on sale that day.
"""

import numpy as np

from recsys_evo.collect.world import FIRST_DAY, World

MODULES = ["recsys_evo.collect.laws", "recsys_evo.collect.world"]
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
]  # worlds

USERS, DAYS = 600, 35


class Anything:
    """Shows any items on sale, whoever comes."""

    def slates(self, users, log, n, *, rng):
        today = log.end if len(log) else FIRST_DAY
        sale = log.items["born"].to_numpy() <= today
        shape = len(users), n
        items = rng.choice(np.flatnonzero(sale), shape)
        return items, np.full(shape, 1 / sale.sum())


def rates(log):
    """Clicks a shown slot, and orders by clicks and by users."""
    action = log.events["action"]
    seen, click, order = (
        (action == name).sum()
        for name in ("impression", "click", "purchase")
    )
    fed = ((action == "click") & (log.events["slate"] >= 0)).sum()
    return {
        "clicks on the feed, a slot": fed / seen,
        "clicks a user": click / log.n_users,
        "orders a user": order / log.n_users,
        "orders a click": order / click,
    }


def run(seed):
    found = {}
    for name, policy in (("the default", None), ("anything", Anything())):
        dice = np.random.default_rng([seed, 5, 1_000])
        log = World().simulate(USERS, DAYS, policy, rng=dice).log
        found[name] = rates(log)
    return found
