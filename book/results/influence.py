"""Chapter 13: who moved whom? Estimators of contagion, with the world's strength as truth.

A world of USERS whose contagion is off, at its default, and stronger. Each history under the
default policy is given to estimators that need a log only. One more needs an experiment, so
the same world lives once more with a campaign that gives each user a category by lot.

Every estimator answers (point, low, high) of a figure that is 0 without contagion if the estimator
is right. The units differ; whether the interval lies above 0 does not depend on them.
"""

import numpy as np
from scipy import sparse

from recsys_evo.collect.laws import CATEGORIES, ITEMS
from recsys_evo.collect.world import FIRST_DAY, TOWN, World
from recsys_evo.evaluate.impulse import contagion
from recsys_evo.recommend.loop import evolve
from recsys_evo.recommend.policies import Random

MODULES = [
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.evaluate.impulse",
    "recsys_evo.prepare.splits",
    "recsys_evo.recommend.loop",
    "recsys_evo.recommend.policies",
]
SEEDS = [0, 1, 2, 3, 4, 5, 6, 7]

USERS, DAYS, STRENGTHS = 3_000, 70, (0, 1, 2, 4)
SHELF = 8  # categories that count as like the one of the lottery
SETTLE = 7  # days of a campaign before visits are counted
SHUFFLES = 40


def run(seed):
    """Strength → estimator → [point, low, high]."""
    return {
        str(strength): answers(strength, seed) for strength in STRENGTHS
    }


def answers(strength, seed, users=USERS, days=DAYS):
    world = World(contagion=strength)
    rng = np.random.default_rng(seed)
    log = world.simulate(users, days, rng=rng, threads=1).log
    dice = np.random.default_rng([seed, 13])
    return {
        "naive": contagion(log, cause="clicked"),
        "shuffled": shuffled(log, rng=dice),
        "strangers": matched(log, rng=dice, random=True),
        "matched": matched(log, rng=dice),
        "chance": contagion(log),
        "campaign": campaign(world, seed, users, days),
    }


def clicks(log):
    """User, item, day, and whether it was an own visit, of each click."""
    events = log.events[(log.events["action"] == "click").to_numpy()]
    day = (events["time"].to_numpy().astype("M8[D]") - FIRST_DAY).astype(
        int
    )
    own = events["slate"].to_numpy() < 0
    return events["user"].to_numpy(), events["item"].to_numpy(), day, own


def circles(log):
    """Who names whom a friend, 0 or 1 (users, users), both ways."""
    friends = log.users["friends"].to_numpy()
    number = [len(one) for one in friends]
    row = np.repeat(np.arange(len(friends)), number)
    column = np.concatenate(friends).astype(int)
    shape = (len(friends), len(friends))
    return sparse.csr_array((np.ones(len(row)), (row, column)), shape)


def towns(users):
    """The number of each user's town (users,)."""
    cuts = np.linspace(0, users, -(-users // TOWN) + 1).astype(int)
    return np.repeat(np.arange(len(cuts) - 1), np.diff(cuts))


def shuffled(log, *, rng, within=7, n=SHUFFLES):
    """Friends who come to one item within a week: more than if its dates are dealt out anew?

    Excess in per cent, with the spread of the shuffles. After Anagnostopoulos et al. (2008).
    """
    user, item, day, _ = clicks(log)
    order = np.argsort(day, kind="stable")
    cell = item[order] * np.int64(log.n_users) + user[order]
    cell, first = np.unique(
        cell, return_index=True
    )  # first click of each
    date = day[order][first]
    item, user = np.divmod(cell, log.n_users)
    took = sparse.csr_array(
        (np.arange(1, len(cell) + 1), (user, item)),
        (log.n_users, log.n_items),
    )
    one, other = sparse.triu(circles(log)).nonzero()
    a, b = pairs(took, one, other)
    counts = [(np.abs(date[a] - date[b]) <= within).sum()]
    for _ in range(n):
        dealt = np.empty_like(date)
        dealt[np.lexsort((rng.random(len(date)), item))] = date
        counts.append((np.abs(dealt[a] - dealt[b]) <= within).sum())
    null = np.mean(counts[1:])
    point = 100 * (counts[0] / null - 1)
    reach = 1.96 * 100 * np.std(counts[1:]) / null
    return point, point - reach, point + reach


def pairs(took, one, other):
    """Places, in `took`'s numbers less 1, of the same item with both friends."""
    mine, theirs = took[one].tocoo(), took[other].tocoo()
    keys = [
        table.row * np.int64(took.shape[1]) + table.col
        for table in (mine, theirs)
    ]
    _, here, there = np.intersect1d(
        *keys, assume_unique=True, return_indices=True
    )
    return mine.data[here] - 1, theirs.data[there] - 1


def matched(log, *, rng, nearest=5, random=False):
    """Later visits along what friends clicked, less those of strangers with the same past.

    In per cent of what the crowd would visit there; interval over users. `random`: any strangers
    of the town. After Aral et al. (2009).
    """
    user, item, day, own = clicks(log)
    category, half = item // ITEMS, (day.max() + 1) // 2

    def shares(rows):
        cells = user[rows] * CATEGORIES + category[rows]
        counts = np.bincount(cells, minlength=log.n_users * CATEGORIES)
        counts = counts.reshape(log.n_users, -1) + 0.1
        return counts / counts.sum(1, keepdims=True)

    early, later = shares(own & (day < half)), shares(own & (day >= half))
    knows = circles(log)
    told = (knows @ shares(day < half)) / np.maximum(
        knows.sum(1)[:, None], 1
    )
    unit = np.sqrt(early)  # the angle between them: Hellinger's distance
    other = np.empty_like(later)
    numbers = towns(log.n_users)
    for number in range(numbers[-1] + 1):
        town = np.flatnonzero(numbers == number)
        like = unit[town] @ unit[town].T
        if random:
            like = rng.random(like.shape)
        like[knows[town][:, town].toarray() > 0] = -np.inf
        np.fill_diagonal(like, -np.inf)
        best = np.argsort(-like, axis=1)[:, :nearest]
        other[town] = later[town[best]].mean(1)
    usual = (told @ later.mean(0)).mean()
    gain = 100 * ((later - other) * told).sum(1) / usual
    reach = 1.96 * gain.std() / np.sqrt(len(gain))
    return gain.mean(), gain.mean() - reach, gain.mean() + reach


class Campaign(Random):
    """Every second slot is an item of one category, which the user drew by lot."""

    def __init__(self, prize):
        self.prize = prize

    def draw(self, users, n, *, rng):
        items, _ = super().draw(users, n, rng=rng)
        offers = self.offered.reshape(CATEGORIES, ITEMS).sum(1)
        mine = self.prize[users][:, None]
        place = rng.random((len(users), n // 2)) * offers[mine]
        items[:, ::2] = mine * ITEMS + place.astype(int)
        return items, self.chance(users, items)

    def chance(self, users, items):
        even = np.arange(items.shape[1]) % 2 == 0
        offers = self.offered.reshape(CATEGORIES, ITEMS).sum(1)
        category = items // ITEMS
        drawn = (category == self.prize[users][:, None]) / offers[
            category
        ]
        return np.where(even, drawn, super().chance(users, items))


def campaign(world, seed, users=USERS, days=DAYS):
    """Own visits to the shelf of a friend's category: by how much does a friend's lot raise them?

    In per cent, with the interval of the lottery itself: all lots of a town dealt out anew. One's
    own category is left out, for what one's own lot does is no friend's doing.
    """
    dice = np.random.default_rng([seed, 7])
    prize = dice.integers(0, CATEGORIES, users)
    lived = evolve(
        world,
        Campaign(prize),
        users=users,
        rounds=days - 28,
        rng=np.random.default_rng(seed),
    )
    return lottery(lived, prize, rng=dice)


def lottery(lived, prize, *, rng, n=400):
    user, item, day, own = clicks(lived.log)
    users = len(prize)

    def count(rows):
        cells = user[rows] * CATEGORIES + item[rows] // ITEMS
        counts = np.bincount(cells, minlength=users * CATEGORIES)
        return counts.reshape(users, -1).astype(float)

    before = count(own & (day < lived.start))
    after = count(own & (day >= lived.start + SETTLE))
    expected = foretell(before, after)
    surplus = after - expected
    mine = np.arange(users), prize
    surplus[mine] = expected[mine] = 0
    shelf, heard = shelves(before), circles(lived.log).T
    told = heard @ surplus @ shelf.T
    told -= told.mean(0)
    base = (heard @ expected @ shelf.T)[mine].sum()
    town = towns(users)
    sums = [told[mine].sum()]
    for _ in range(n):
        dealt = np.empty_like(prize)
        order = np.lexsort((rng.random(users), town))
        dealt[order] = prize
        sums.append(told[np.arange(users), dealt].sum())
    point = 100 * (sums[0] - np.mean(sums[1:])) / base
    reach = 1.96 * 100 * np.std(sums[1:]) / base
    return point, point - reach, point + reach


def foretell(before, after, strength=20):
    """Visits (users, categories) that the weeks before and the crowd would lead one to expect."""
    crowd = before.sum(0) / before.sum()
    share = before + strength * crowd
    share /= share.sum(1, keepdims=True)
    expected = share * after.sum(1, keepdims=True)
    return expected * (after.sum(0) / expected.sum(0))


def shelves(counts):
    """0 or 1 (64, 64): which categories the same users visit most, beside each one itself."""
    both = counts.T @ counts - np.diag(counts.sum(0))
    apart = np.outer(counts.sum(0), counts.sum(0)) / len(counts)
    like = both / (apart + 1)
    np.fill_diagonal(like, np.inf)
    shelf = np.zeros_like(like)
    best = np.argsort(-like, axis=1)[:, :SHELF]
    np.put_along_axis(shelf, best, 1, axis=1)
    return shelf
