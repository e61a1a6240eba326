"""Chapter 09: what four weeks of exploration cost, and what their log teaches the next model.

The same users begin with each of seven platforms, which learn every day from the latest four weeks
of their own log. On the last morning a newcomer, a linear model that does not explore, learns from
that log alone, and its slates are held against those of who knows the truth.
"""

import numpy as np

from recsys_evo.collect.laws import FEED
from recsys_evo.collect.world import World
from recsys_evo.evaluate.ranking import top
from recsys_evo.models.baselines import ALS
from recsys_evo.recommend.bandits import LinUCB, Thompson
from recsys_evo.recommend.loop import ATTENTION, evolve
from recsys_evo.recommend.phenomena import phenomena
from recsys_evo.recommend.policies import Greedy, Random, Softmax

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

USERS, ROUNDS = 1_000, 28


class LastMorning:
    """One policy's days, and then a look at what is on the table.

    The loop works with a copy of a policy; this one stays itself, so that
    we have what it kept: `users`, `log`, and the truth, `odds`.
    """

    def __init__(self, policy):
        self.policy, self.days = policy, 0

    def __deepcopy__(self, memo):
        return self

    def see(self, odds):
        self.odds = odds

    def slates(self, users, log, n, *, rng):
        self.days += 1
        if self.days > ROUNDS:
            self.users, self.log = users, log
            len(log)  # put together now
        return self.policy.slates(users, log, n, rng=rng)

    def worth(self, items):
        """Mean true chance of a click on the slates `items`."""
        odds = np.take_along_axis(self.odds, items, axis=1)
        return float((ATTENTION / (1 + np.exp(-odds))).mean())


def factors():
    return ALS(factors=16, iterations=5)


def platforms():
    return {
        "random": Random(),
        "greedy": Greedy(factors()),
        "epsilon .1": Greedy(factors(), epsilon=0.1),
        "softmax": Softmax(factors(), temperature=0.5),
        "linear, no bonus": LinUCB(alpha=0),
        "LinUCB": LinUCB(alpha=1),
        "Thompson": Thompson(),
    }


def run(seed):
    figures = {}
    for name, platform in platforms().items():
        morning = LastMorning(platform)
        lived = evolve(
            World(),
            morning,
            users=USERS,
            rounds=ROUNDS + 1,
            rng=np.random.default_rng(seed),
        )
        first, end = lived.start, lived.start + ROUNDS
        chance = np.nanmean(lived.chance[:, first:end], axis=(0, 2))
        newcomer = LinUCB(alpha=0)
        slates, _ = newcomer.slates(
            morning.users,
            morning.log,
            FEED,
            rng=np.random.default_rng(seed),
        )
        best = morning.worth(top(morning.odds, FEED))
        late = phenomena(lived, end - 7, end)
        figures[name] = {
            "weeks": chance.reshape(-1, 7).mean(axis=1),
            "newcomer": morning.worth(slates) / best,
            "coverage": late["coverage"],
            "newcomers": late["newcomers"],
            "welfare": late["welfare"],
        }
    return figures
