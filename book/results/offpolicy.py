"""Chapter 09: what an estimate from another policy's log is worth, against the truth.

One morning of a world: its users, the log of four weeks, and the true chance of every click. Three
policies write logs of that day, again and again; six others are judged from them. The truth is
exact: the sum over all items of the target's chance times the true chance of a click. Then a week
is lived, to see how long what holds for a day goes on holding.
"""

import numpy as np

from recsys_evo.collect.laws import CATEGORIES, FEED, ITEMS
from recsys_evo.collect.world import World
from recsys_evo.models.baselines import ALS, EASE, RecentPopularity
from recsys_evo.recommend.bandits import LinUCB
from recsys_evo.recommend.loop import ATTENTION, evolve
from recsys_evo.recommend.offpolicy import (
    diagnose,
    doubly_robust,
    ips,
    snips,
    unsupported,
)
from recsys_evo.recommend.policies import Greedy, Random, Softmax

MODULES = [
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.evaluate.forecasts",
    "recsys_evo.models.baselines",
    "recsys_evo.prepare.splits",
    "recsys_evo.recommend.bandits",
    "recsys_evo.recommend.loop",
    "recsys_evo.recommend.offpolicy",
    "recsys_evo.recommend.policies",
]
SEEDS = [0, 1, 2, 3, 4, 5, 6]

USERS, DRAWN = 2_000, 500  # in the world; in a log
LOGS, DRAWS = 80, 200  # logs a pair of policies; bootstrap draws
WEEK, NEVER = 7, 10_000


class Morning(Random):
    """What is on the table; the loop is given this very object."""

    def __deepcopy__(self, memo):
        return self

    def see(self, odds):
        self.worth = 1 / (1 + np.exp(-odds))

    def slates(self, users, log, n, *, rng):
        self.users, self.log = users, log
        len(log)
        return super().slates(users, log, n, rng=rng)


class Beside(Morning):
    """Shows what one policy chooses, and notes what others would earn.

    `aims` (days, others): their value for these users, as they are.
    """

    def __init__(self, shown, others):
        self.shown, self.others, self.aims = shown, others, []

    def slates(self, users, log, n, *, rng):
        aims = []
        for other in self.others:
            other.slates(users, log, n, rng=np.random.default_rng(0))
            shares = other.chance(users, every_item(users))
            worth = (shares * self.worth).sum(axis=1).mean()
            aims.append(ATTENTION.mean() * worth)
        self.aims.append(aims)
        return self.shown.slates(users, log, n, rng=rng)


def factors():
    return ALS(factors=16, iterations=5)


def loggers():
    return {
        "softmax": Softmax(factors(), temperature=0.5),
        "epsilon": Greedy(factors(), epsilon=0.1),
        "random": Random(),
    }


def targets():
    return {
        "sharper": Softmax(factors(), temperature=0.3),
        "other model": Softmax(EASE(), temperature=0.5),
        "recent popularity": Softmax(
            RecentPopularity(half_life=3.0), temperature=0.5
        ),
        "greedy": Greedy(factors()),
        "other model, greedy": Greedy(EASE()),
        "linear, greedy": LinUCB(alpha=0),
    }


def every_item(users):
    return np.tile(np.arange(CATEGORIES * ITEMS), (len(users), 1))


def table(policy, users):
    """The chance of every item: (users, places, items)."""
    if hasattr(policy, "best"):
        best = policy.best(users, FEED)[:, :, None]
        epsilon = getattr(policy, "epsilon", 0)
        chance = (1 - epsilon) * (best == every_item(users)[:1])
        chance = chance + epsilon * policy.offered / policy.offered.sum()
    else:
        chance = policy.chance(users, every_item(users))[:, None]
    shape = len(users), FEED, CATEGORIES * ITEMS
    return np.broadcast_to(chance.astype(np.float32), shape)


def mean_over(chance, values):
    """Mean of values (users, items) by the chances, (users, places)."""
    return np.einsum("upi,ui->up", chance, values)


def one_day(seed):
    morning = Morning()
    rng = np.random.default_rng(seed)
    evolve(World(), morning, users=USERS, rounds=1, rng=rng)
    users, log, worth = morning.users, morning.log, morning.worth

    def learnt(policies):
        for policy in policies.values():
            policy.slates(users, log, FEED, rng=rng)
        return policies

    asked, logging = learnt(targets()), learnt(loggers())
    model = asked["linear, greedy"].score(users)[0].clip(0, 1)
    model = model / ATTENTION.mean()  # it has learnt from all places
    tables = {
        name: table(policy, users) for name, policy in asked.items()
    }
    true = {
        name: float((mean_over(t, worth) * ATTENTION).mean())
        for name, t in tables.items()
    }
    expected = {
        name: mean_over(t, model) * ATTENTION
        for name, t in tables.items()
    }
    figures = {"true": true, "pairs": {}, "earned": {}}
    figures["model alone"] = {
        name: float(values.mean()) for name, values in expected.items()
    }
    row, place = np.arange(len(users))[:, None], np.arange(FEED)
    for logger, policy in logging.items():
        own = table(policy, users)
        value = (mean_over(own, worth) * ATTENTION).mean()
        figures["earned"][logger] = float(value)
        missing = {
            name: float(unsupported(own, t).mean())
            for name, t in tables.items()
        }
        found = {name: [] for name in tables}
        for number in range(LOGS):
            rng = np.random.default_rng([seed, 9, number])
            items, logged = policy.draw(users, FEED, rng=rng)
            luck = rng.random(items.shape)
            click = luck < ATTENTION * worth[row, items]
            predicted = ATTENTION * model[row, items]
            drawn = rng.integers(len(users), size=DRAWN)
            who = np.repeat(np.arange(DRAWN), FEED)
            options = {"rng": rng, "n": DRAWS}
            for name, chance in tables.items():
                target = chance[row, place, items]
                columns = [
                    np.ravel(part[drawn])
                    for part in (
                        click.astype(float),
                        logged,
                        target.astype(float),
                        predicted,
                        expected[name],
                    )
                ]
                if not columns[2].any():
                    continue
                three = columns[:3]
                signs = diagnose(*columns[1:3], who, **options)
                found[name].append(
                    [
                        ips(*three, who, **options),
                        snips(*three, who, **options),
                        doubly_robust(*columns, who, **options),
                        signs.mean,
                        (signs.effective, signs.largest, 0),
                    ]
                )
        figures["pairs"][logger] = {
            name: summary(np.array(values), true[name], missing[name])
            for name, values in found.items()
        }
    return figures


def summary(values, true, missing):
    """What came of the logs (logs, 5, 3), for one pair of policies."""
    point, low, high = values[:, :3].transpose(2, 0, 1)
    return {
        "bias": (point - true).mean(axis=0),
        "spread": point.std(axis=0, ddof=1),
        "error": np.sqrt(((point - true) ** 2).mean(axis=0)),
        "held": ((low <= true) & (true <= high)).mean(axis=0),
        "first": values[0, :3],
        "weight": values[:, 3].mean(axis=0),
        "below one": (values[:, 3, 2] < 1).mean(),
        "effective": values[:, 4, 0].mean(),
        "largest": values[:, 4, 1].mean(),
        "unsupported": missing,
    }


def week(seed):
    """By day: what others aim at in the log's world, and in their own."""

    def others():
        return {
            "sharper": Softmax(factors(), temperature=0.3, every=NEVER),
            "softer": Softmax(factors(), temperature=1.0, every=NEVER),
            "other model": Softmax(EASE(), temperature=0.5, every=NEVER),
        }

    def lived(policy):
        rng = np.random.default_rng(seed)
        return evolve(World(), policy, users=USERS, rounds=WEEK, rng=rng)

    logger = Softmax(factors(), temperature=0.5, every=NEVER)
    beside = Beside(logger, list(others().values()))
    own = lived(beside)
    figures = {
        "log": np.nanmean(own.chance[:, own.start :], axis=(0, 2)),
        "aims": dict(zip(others(), np.transpose(beside.aims))),
        "lived": {},
    }
    for name, policy in others().items():
        run = lived(policy)
        chance = run.chance[:, run.start :]
        figures["lived"][name] = np.nanmean(chance, axis=(0, 2))
    return figures


def run(seed):
    return one_day(seed) | {"week": week(seed)}
