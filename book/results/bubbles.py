"""Chapter 13: the bubble of each user, by platform, and what is left when the feed is opened.

USERS live four weeks with the world's default policy, BUBBLE days with one of the platforms, and
then OPEN days with slates of pure chance. Every history of a seed begins with the same users and
the same four weeks. Once with all laws on, once with reinforcement off.
"""

import numpy as np
from scipy import sparse

from recsys_evo.collect.laws import CATALOGUE, CATEGORIES, ITEMS
from recsys_evo.collect.world import FIRST_DAY, World
from recsys_evo.evaluate import society
from recsys_evo.models.baselines import ALS
from recsys_evo.recommend.loop import evolve
from recsys_evo.recommend.policies import Greedy, Oracle, Random

MODULES = [
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.evaluate.society",
    "recsys_evo.models.baselines",
    "recsys_evo.prepare.splits",
    "recsys_evo.recommend.loop",
    "recsys_evo.recommend.policies",
]
SEEDS = [0, 1, 2, 3, 4]

USERS, BUBBLE, OPEN, SPAN = 1_000, 42, 28, 14
CORE = 8  # categories that are nearest to a user's core
PLATFORMS = ("chance", "factors", "friends", "half friends", "the truth")


def run(seed):
    """World → platform → measure → spans of two weeks; the first is the one before."""
    figures = {}
    for laws_on, world in (
        ("all", World()),
        ("no reinforcement", World(reinforcement=0)),
    ):
        figures[laws_on] = {
            name: spans(live(name, seed, world)) for name in PLATFORMS
        }
    return figures


def live(name, seed, world, users=USERS, days=BUBBLE, opened=OPEN):
    return evolve(
        world,
        Opened(platform(name), days),
        users=users,
        rounds=days + opened,
        rng=np.random.default_rng(seed),
    )


def platform(name):
    factors = ALS(factors=16, iterations=5)
    return {
        "chance": Random(),
        "factors": Greedy(factors, every=7),
        "friends": Greedy(Friends(), every=1),
        "half friends": Halves(
            Greedy(factors, every=7), Greedy(Friends())
        ),
        "the truth": Oracle(),
    }[name]


class Opened:
    """A platform for some days; from then on slates of pure chance."""

    def __init__(self, policy, days):
        self.policy, self.days, self.chance = policy, days, Random()

    def see(self, odds):
        if hasattr(self.policy, "see"):
            self.policy.see(odds)

    def slates(self, users, log, n, *, rng):
        self.days -= 1
        policy = self.policy if self.days >= 0 else self.chance
        return policy.slates(users, log, n, rng=rng)


class Friends:
    """A ranker: how often friends clicked the item in the last week; ties by the crowd's clicks."""

    def fit(self, log):
        events = log.events
        day = (
            log.end - events["time"].to_numpy().astype("M8[D]")
        ).astype(int)
        recent = (events["action"] == "click").to_numpy() & (day <= 7)
        shape = (log.n_users, log.n_items)
        self.clicks = sparse.csr_array(
            (
                np.ones(recent.sum(), np.float32),
                (
                    events["user"].to_numpy()[recent],
                    events["item"].to_numpy()[recent],
                ),
            ),
            shape,
        )
        friends = log.users["friends"].to_numpy()
        row = np.repeat(
            np.arange(len(friends)), [len(one) for one in friends]
        )
        column = np.concatenate(friends).astype(int)
        self.near = sparse.csr_array(
            (np.ones(len(row), np.float32), (row, column)),
            (shape[0], shape[0]),
        )
        crowd = self.clicks.sum(0)
        self.crowd = crowd / (1 + crowd.max())  # below one click
        return self

    def scores(self, users):
        return (self.near[users] @ self.clicks).toarray() + self.crowd


class Halves:
    """Every second slot by another policy."""

    def __init__(self, one, other):
        self.one, self.other = one, other

    def slates(self, users, log, n, *, rng):
        items, chance = self.one.slates(users, log, n, rng=rng)
        others, theirs = self.other.slates(users, log, n, rng=rng)
        items, chance = items.copy(), chance.copy()
        items[:, 1::2], chance[:, 1::2] = others[:, ::2], theirs[:, ::2]
        return items, chance


def spans(lived):
    ends = range(lived.start, lived.items.shape[1] + 1, SPAN)
    found = [bubble(lived, end - SPAN, end) for end in ends]
    return {key: [one[key] for one in found] for key in found[0]}


def bubble(lived, first, last):
    """Figures of the days from `first` to before `last`; means over users, but for `inside`.

    - `shown`, `own`: effective number of categories in the slates, and among own visits; `inside`:
      share of users whose slates have less than half the diversity of their own visits.
    - `core_shown`, `core_own`: share of the slots, and of own visits, in the CORE best categories
      of the user's core taste on the first day of the platform.
    - `new_shown`: share of the slots in categories not clicked in the four weeks before.
    - `distance`: of the appeals from those of the core taste, log-odds.
    """
    shown = society.tally(
        categories(lived.items[:, first:last]), CATEGORIES
    )
    own = visits(lived, first, last)
    before = visits(lived, max(first - 28, 0), first) + society.tally(
        np.where(lived.clicked, lived.items // ITEMS, -1)[
            :, max(first - 28, 0) : first
        ],
        CATEGORIES,
    )
    home = (
        lived.truth.core[:, lived.start] @ CATALOGUE.vectors.T
        + CATALOGUE.base
    )
    home = home >= np.sort(home, axis=1)[:, -CORE, None]
    wide, narrow = society.diversity(own), society.diversity(shown)
    both = np.isfinite(wide) & np.isfinite(narrow) & (own.sum(1) >= 10)
    now, core = lived.appeals(last)
    return {
        "shown": effective(narrow),
        "own": effective(wide),
        "inside": float((1 - narrow > 2 * (1 - wide))[both].mean()),
        "core_shown": share(shown, home),
        "core_own": share(own, home),
        "new_shown": share(shown, before == 0),
        "distance": float(society.distance(now, core).mean()),
        "click": float(np.nanmean(lived.chance[:, first:last])),
    }


def effective(diversity):
    return float(1 / (1 - np.nanmean(diversity)))


def share(counts, which):
    """Mean over users of the share of their counts in categories `which`."""
    some = counts.sum(1) > 0
    return float(
        ((counts * which).sum(1)[some] / counts.sum(1)[some]).mean()
    )


def categories(items):
    return np.where(items >= 0, items // ITEMS, -1)


def visits(lived, first, last):
    """Own visits (users, 64)."""
    events = lived.log.events
    day = (events["time"].to_numpy().astype("M8[D]") - FIRST_DAY).astype(
        int
    )
    rows = (
        (day >= first)
        & (day < last)
        & (events["action"] == "click").to_numpy()
    )
    rows &= events["slate"].to_numpy() < 0
    cells = (
        events["user"].to_numpy()[rows] * CATEGORIES
        + events["category"].to_numpy()[rows]
    )
    n_users = len(lived.items)
    return np.bincount(cells, minlength=n_users * CATEGORIES).reshape(
        n_users, -1
    )
