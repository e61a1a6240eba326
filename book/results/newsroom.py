"""Chapter 14: what a newsroom's wishes for the page cost, over four weeks and five worlds.

The desk ranks by topic, article, age and user. How news fades it has learnt from the four weeks of
chance before its first day. Each wish rearranges its slates; the oracle, who knows all chances of
today, is given the same wishes.
"""

import numpy as np
from scipy.optimize import minimize

from recsys_evo.collect.laws import CATEGORIES, FAMILIES, ITEMS
from recsys_evo.collect.world import World
from recsys_evo.evaluate.ranking import top
from recsys_evo.models.baselines import ALS
from recsys_evo.recommend.bandits import LinUCB
from recsys_evo.recommend.loop import ATTENTION, evolve
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
USERS, ROUNDS = 800, 28
GOODS = World().catalogue
TOPIC = np.repeat(np.arange(CATEGORIES), ITEMS)
SECTION = GOODS.position[TOPIC] // (CATEGORIES // FAMILIES)
DUTY = np.argsort(GOODS.base)[:2]  # the two topics that draw least


def feed(log):
    """User, item, day, age in days, attention and click of the feed's slots."""
    events = log.events[log.events["slate"].to_numpy() >= 0]
    slot = (
        events["slate"] * len(ATTENTION) + events["position"]
    ).to_numpy()
    shown = (events["action"] == "impression").to_numpy()
    clicked = np.isin(
        slot[shown], slot[(events["action"] == "click").to_numpy()]
    )
    user, item, place = (
        events[name].to_numpy()[shown].astype(int)
        for name in ("user", "item", "position")
    )
    born = log.items["born"].to_numpy().astype("M8[D]")
    day = events["time"].to_numpy()[shown].astype("M8[D]")
    age = (day - born[item]).astype(int)
    return (
        user,
        item,
        (day - log.start).astype(int),
        age,
        ATTENTION[place],
        clicked,
    )


def pace(group, age, looks, clicks):
    """Gain (log click rate) and fade (days) of being news."""
    ages = age.max() + 1
    cell, row = np.unique(group * ages + age, return_inverse=True)
    group, age = np.divmod(cell, ages)
    looks, clicks = np.bincount(row, looks), np.bincount(row, clicks)
    of_group = np.bincount(group, clicks)

    def loss(parameters):
        gain, log_fade = parameters
        news = gain * np.exp(-age * np.exp(-log_fade))
        expected = np.bincount(group, looks * np.exp(news))
        expected = np.log(np.maximum(expected, 1e-9))
        return of_group @ expected - clicks @ news

    gain, log_fade = minimize(loss, (0.5, 2.3), method="Nelder-Mead").x
    return gain, np.exp(log_fade)


def learnt(seed):
    """The pace in the log that every platform of this seed starts with."""
    rng = np.random.default_rng(seed)
    lived = evolve(World(), Random(), users=USERS, rounds=1, rng=rng)
    _, item, day, *rest = feed(lived.log)
    before = day < lived.start
    group = item // ITEMS * 8 + day // 7
    return pace(group[before], *(part[before] for part in rest))


class Desk:
    """Chance of a click = topic × article × user's liking × news."""

    def __init__(self, gain, fade, personal=True):
        self.gain, self.fade, self.personal = gain, fade, personal

    def news(self, age):
        return np.exp(self.gain * np.exp(-np.maximum(age, 0) / self.fade))

    def fit(self, log):
        user, item, _, age, looks, clicked = feed(log)
        topic = item // ITEMS
        expected = looks * self.news(age)
        rate = pooled(topic, clicked, expected, CATEGORIES, 1, 10)
        expected *= rate[topic]
        article = pooled(item, clicked, expected, log.n_items, 10, 10)
        expected *= article[item]
        cell = user * CATEGORIES + topic
        liking = pooled(
            cell, clicked, expected, log.n_users * CATEGORIES, 3, 3
        )
        self.liking = liking.reshape(-1, CATEGORIES)
        born = log.items["born"].to_numpy().astype("M8[D]")
        age = (log.end - born).astype(int)
        self.page = np.log(np.repeat(rate, ITEMS) * article)
        self.page += np.log(self.news(age))
        return self

    def scores(self, users):
        if not self.personal:
            return np.tile(self.page, (len(users), 1))
        return self.page + np.log(self.liking[users])[:, TOPIC]


def pooled(group, clicks, expected, n, a, b):
    """(a + clicks) / (b + expected) of each of n groups."""
    clicks = np.bincount(group, clicks, n)
    return (a + clicks) / (b + np.bincount(group, expected, n))


def ranks(scores, members):
    """Rank (users, items) by score among the members; others -1."""
    rank = np.full(scores.shape, -1)
    order = np.argsort(-scores[:, members], axis=1, kind="stable")
    rank[:, members] = np.argsort(order, axis=1, kind="stable")
    return rank


class Wishes:
    """Slots kept for the fresh and for duty, at most so many a section.

    `fresh`, `duty`: slots of a page for articles of up to `days` days, and for the topics of
    duty. `most`: articles of one section at most. `pick`: the editor's choice stands on top.
    """

    def __init__(self, fresh=0, duty=0, most=10, pick=False, days=7):
        self.fresh, self.duty = fresh, duty
        self.most, self.pick, self.days = most, pick, days

    def learn(self, log):
        born = log.items["born"].to_numpy().astype("M8[D]")
        self.age = (log.end - born).astype(int)

    def best(self, users, scores, n):
        young = (self.age >= 0) & (self.age < self.days)
        value = np.array(scores, float)
        for slots, members in (
            (self.fresh, young),
            (self.duty, np.isin(TOPIC, DUTY)),
        ):
            if slots:
                rank = ranks(np.asarray(scores), np.flatnonzero(members))
                value += 100.0 * ((rank >= 0) & (rank < slots))
        if self.most < n:
            for section in range(FAMILIES):
                rank = ranks(value, np.flatnonzero(section == SECTION))
                value -= 1000.0 * (rank >= self.most)
        place = np.array(scores, float)
        if self.pick:  # the newest article, whatever it is worth
            newest = np.flatnonzero(
                self.age == self.age[self.age >= 0].min()
            )
            for aim in (value, place):
                aim[:, newest[0]] += 10_000
        slate = top(value, n)
        order = np.argsort(-np.take_along_axis(place, slate, axis=1))
        return np.take_along_axis(slate, order, axis=1)


class Knowing(Oracle):
    """The oracle, with the newsroom's wishes."""

    def __init__(self, wishes):
        self.wishes = wishes

    def learn(self, log):
        self.wishes.learn(log)

    def draw(self, users, n, *, rng):
        odds = np.where(self.offered, self._odds, -np.inf)
        items = self.wishes.best(users, odds, n)
        return items, np.ones(items.shape)


WISHES = {
    **{f"fresh {k}": {"fresh": k} for k in (1, 3, 5, 8)},
    **{f"duty {k}": {"duty": k} for k in (1, 3, 5)},
    **{f"most {k}": {"most": k} for k in (5, 3, 2)},
    "pick": {"pick": True},
    "all": {"fresh": 3, "duty": 1, "most": 3, "pick": True},
}
TWICE = ("fresh 3", "duty 1", "duty 3", "most 2", "pick", "all")


def platforms(gain, fade):
    desk, blind = Desk(gain, fade), Desk(0, fade)
    yield "chance", Random()
    yield "the truth", Oracle()
    yield "desk", Greedy(desk)
    yield "desk, blind to age", Greedy(blind)
    for k in (3, 5):
        wishes = Wishes(fresh=k)
        yield f"blind, fresh {k}", Greedy(blind, rerank=wishes)
    yield "factors", Greedy(ALS(factors=16, iterations=5))
    yield "linear", LinUCB(alpha=0)
    yield "one page for all", Greedy(Desk(gain, fade, False))
    for name, wish in WISHES.items():
        yield name, Greedy(desk, rerank=Wishes(**wish))
    for name in TWICE:
        yield f"the truth, {name}", Knowing(Wishes(**WISHES[name]))


def page(lived, first, last):
    """What a newsroom looks at, on the pages of these days."""
    items = lived.items[:, first:last]
    came = items[:, :, 0] >= 0
    day = np.broadcast_to(
        np.arange(first, last)[None, :, None], items.shape
    )[came]
    items = items[came].astype(int)
    age = day - GOODS.born.ravel()[items]
    sections = np.sort(SECTION[items], axis=1)
    return {
        "fresh share": float((age < 7).mean()),
        "sections a page": float(
            1 + (np.diff(sections, axis=1) > 0).sum(axis=1).mean()
        ),
        "duty, share of slots": float(np.isin(TOPIC[items], DUTY).mean()),
        "duty, share of pages": float(
            np.isin(TOPIC[items], DUTY).any(axis=1).mean()
        ),
    }


def run(seed):
    gain, fade = learnt(seed)
    figures = {"pace": {"gain": gain, "fade": fade}}
    for name, policy in platforms(gain, fade):
        lived = evolve(
            World(),
            policy,
            users=USERS,
            rounds=ROUNDS,
            rng=np.random.default_rng(seed),
        )
        days = lived.start + ROUNDS // 2, lived.start + ROUNDS
        found = phenomena(lived, *days)
        figures[name] = {
            key: found[key]
            for key in ("click", "engagement", "welfare", "coming",
                        "newcomers", "overlap", "own_variety")
        } | page(lived, *days)  # fmt: skip
    return figures
