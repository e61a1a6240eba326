"""Chapter 14: a front page whose articles are old before their clicks are many.

Articles come by the hour and age; every hour the editor's rule learns from all clicks so far. Each
rule earns a share of what the oracle does, by readers a day, days in which news fades, and how much
the topic says about an article. The law of the click, its ageing and the attention are the world's.
"""

import numpy as np
from scipy.special import expit

from recsys_evo.collect.laws import CATEGORIES, CLICK, NEWS
from recsys_evo.recommend.loop import ATTENTION

MODULES = ["recsys_evo.collect.laws", "recsys_evo.recommend.loop"]
SEEDS = [0, 1, 2, 3, 4]
READERS, FADES = (100, 1_000, 10_000), (0.5, 2, 8)
DAYS = 10  # that count, after the first articles have grown old


class Paper:
    """Articles of 64 topics, born by the hour, and readers all alike."""

    def __init__(
        self, *, readers, fade=2.0, topics=0.5, own=0.3, days=DAYS, rng
    ):
        self.readers, self.fade = readers, fade  # a day; in days
        self.window = int(24 * max(2, 4 * fade))  # hours on the page
        self.hours = self.window + 24 * days
        n = 20 * self.hours // 24  # twenty articles a day
        self.born = np.sort(rng.integers(0, self.hours, n))
        topic = rng.integers(0, CATEGORIES, n)
        taste = rng.normal(0, topics, CATEGORIES)
        self.odds = CLICK + taste[topic] + rng.normal(0, own, n)
        archive = taste[:, None] + rng.normal(0, own, (CATEGORIES, 500))
        rates = expit(CLICK + archive)  # of old articles, by topic
        mean, spread = rates.mean(axis=1), rates.std(axis=1)
        self.by_topic = mean[topic], ((mean / spread) ** 2)[topic]
        self.flat = (
            np.full(n, rates.mean()),
            np.full(n, (rates.mean() / rates.std()) ** 2),
        )

    def news(self, articles, hour, fade):
        """What being news adds to the log-odds of a click."""
        age = (hour - self.born[articles]) / 24
        return NEWS * np.exp(-age / fade)

    def chance(self, articles, hour):
        """True chance of a click on top of the page."""
        return expit(
            self.odds[articles] + self.news(articles, hour, self.fade)
        )


def live(paper, rule, prior, fade=None, forget=None, *, rng):
    """Expected clicks a reader (hours,) of one editor's rule.

    `fade`, days in which the editor takes news to fade (default: never);
    `forget`, days after which a click counts for a third (default: never).
    """
    base, strength = prior
    attention = ATTENTION
    kept = np.exp(-1 / (24 * forget)) if forget else 1
    clicks, expected = np.zeros((2, len(paper.born)))
    earned, each = np.zeros(paper.hours), max(paper.readers // 24, 1)
    for hour in range(paper.hours):
        old = hour - paper.window
        on = np.flatnonzero((paper.born <= hour) & (paper.born > old))
        if len(on) < len(attention):
            continue
        news = NEWS if fade is None else paper.news(on, hour, fade)
        today = base[on] * expit(CLICK + news) / expit(CLICK)
        seen = strength[on] + clicks[on], strength[on] + expected[on]
        true = paper.chance(on, hour)
        pages = min(each, 50)  # versions of the page in an hour
        scores = rule(today, *seen, true, pages, rng)
        slates = np.argsort(-scores, axis=1)[:, : len(attention)]
        chance = true[slates] * attention
        n = len(slates)  # whole readers a version, as even as can be
        looks = (each // n + (np.arange(n) < each % n))[:, None]
        earned[hour] = (looks * chance).sum() / each
        came = rng.binomial(looks, chance)
        clicks, expected = kept * clicks, kept * expected
        np.add.at(clicks, on[slates], came)
        np.add.at(expected, on[slates], looks * attention * today[slates])
    return earned[paper.window :]


def best(today, a, b, true, pages, rng):
    return (today * a / b)[None]


def epsilon(today, a, b, true, pages, rng, share=0.1):
    order = np.tile(np.argsort(-today * a / b), (pages, 1))
    for slot in range(len(ATTENTION)):
        row = np.flatnonzero(rng.random(pages) < share)
        other = rng.integers(slot, len(today), len(row))
        order[row, slot], order[row, other] = (
            order[row, other],
            order[row, slot],
        )
    return -np.argsort(order, axis=1)


def upper(today, a, b, true, pages, rng):
    return (today * (a + np.sqrt(a)) / b)[None]


def thompson(today, a, b, true, pages, rng):
    return today * rng.gamma(a, 1 / b, (pages, len(a)))


def chance(today, a, b, true, pages, rng):
    return rng.random((pages, len(a)))


def truth(today, a, b, true, pages, rng):
    return true[None]


def counts(today, a, b, true, pages, rng):
    return (a + 1e-9 * today)[None]


RULES = {
    "best": best,
    "ε-greedy": epsilon,
    "upper bound": upper,
    "Thompson": thompson,
}
# What is held of time: days to fade and to forget, in units of the true fade.
TIMES = {
    "constant": (None, None),
    "forgets": (None, 1),
    "ages": (1, None),
}


def compare(seed, whole=True, **options):
    """Share of the oracle's clicks by rule, prior and what is held of time.

    Not `whole`: only for those that know how news fades.
    """

    def earned(rule, prior="flat", fade=None, forget=None):
        paper = Paper(rng=np.random.default_rng(seed), **options)
        prior = paper.by_topic if prior == "topic" else paper.flat
        days = (part and part * paper.fade for part in (fade, forget))
        rng = np.random.default_rng([seed, 1])
        return live(paper, rule, prior, *days, rng=rng).mean()

    top = earned(truth)
    shares = {
        "chance": earned(chance) / top,
        "most clicks": earned(counts) / top,
    }
    for name, rule in RULES.items():
        for prior in ("flat", "topic"):
            for time, days in TIMES.items():
                if not whole and time != "ages":
                    continue
                key = f"{name}, {prior}, {time}"
                shares[key] = earned(rule, prior, *days) / top
    for times in (0.5, 2) if whole else ():
        key = f"best, topic, ages × {times:g}"
        shares[key] = earned(best, "topic", times) / top
    return shares


def run(seed):
    grid = {
        f"{readers} {fade:g}": compare(
            seed,
            (readers, fade) == (1_000, 2),
            readers=readers,
            fade=fade,
        )
        for readers in READERS
        for fade in FADES
    }
    grid["weak topics"] = compare(
        seed, readers=1_000, fade=2, topics=0.2, own=0.55
    )
    return grid
