"""Questions and answers: the article's types of recommender, side by side.

Seeds are worlds; on MovieLens they are draws of the hidden films and of the order within a second.
A fifth of the items are *probes*: whatever was done with them before the cut is taken out of the
log. Models are then asked for what each user touches next and has not touched before, ranked among
the probes (cold), among the others (warm) and among both (all).

    world       800 users; next is what they seek out by themselves in the week after the cut
    MovieLens   943 users; next is the last fifth of a user's ratings, the cut each user's own

The question before (the week before; the last fifth of what is left), with other probes, chooses
each model's settings by the NDCG@10 among all. Grids were written down before the first run.
"""

import time
from itertools import product

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_evo.collect import datasets
from recsys_evo.collect.ceiling import oracle
from recsys_evo.collect.events import Log
from recsys_evo.collect.laws import CATALOGUE, ITEMS
from recsys_evo.collect.world import FIRST_DAY, World
from recsys_evo.evaluate import ranking
from recsys_evo.models.baselines import (
    ALS,
    BPR,
    EASE,
    ContentBased,
    ItemNeighbours,
    KnowledgeGraph,
    Popularity,
    RecentEASE,
    touched,
)
from recsys_evo.prepare import splits

MODULES = [
    "recsys_evo.collect.ceiling",
    "recsys_evo.collect.datasets",
    "recsys_evo.collect.events",
    "recsys_evo.collect.frames",
    "recsys_evo.collect.laws",
    "recsys_evo.collect.sources.movielens",
    "recsys_evo.collect.world",
    "recsys_evo.evaluate.forecasts",
    "recsys_evo.evaluate.ranking",
    "recsys_evo.models.baselines",
    "recsys_evo.prepare.splits",
]
SEEDS = [0, 1, 2, 3, 4]

USERS, PAST, WEEK = 800, 49, 7
PROBES = 5  # one item in so many
K = 10

WORLD = (["category"], ["category", "level"], ["level"])
GENRES = [  # of MovieLens
    "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime",
    "Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical",
    "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
]  # fmt: skip
FILMS = (GENRES, [*GENRES, "year"], [*GENRES, "year", "title"])

BLENDS = (0, 1, 3, 10, 30, 100, 300, 1e9)
COLLABORATIVE = ("neighbours", "EASE", "ALS", "BPR")


def grid(kind, **values):
    """A model's kind and settings, for each combination of the values."""
    rows = product(*values.values())
    return [(kind, dict(zip(values, row))) for row in rows]


def models(columns, seed):
    """Name → the models to choose from."""
    return {
        "popularity": grid(Popularity),
        "content-based": grid(ContentBased, columns=columns),
        "neighbours": grid(ItemNeighbours, neighbours=(10, 30, 100, 300)),
        "EASE": grid(EASE, regularisation=(100, 300, 1000, 3000, 10000)),
        "ALS": grid(
            ALS,
            factors=(16, 64),
            weight=(1, 10),
            regularisation=(0.1, 10),
            seed=(seed,),
        ),
        "BPR": grid(
            BPR, factors=(16, 64), iterations=(30, 100), seed=(seed,)
        ),
        "knowledge graph": grid(
            KnowledgeGraph,
            columns=columns,
            follow=(0.1, 0.3, 0.6),
            weight=(10, 100, 1000),
        ),
        "EASE that forgets": grid(
            RecentEASE,
            regularisation=(300, 1000, 3000, 10000),
            tau=(10, 50),
        ),
    }


class Question:
    """What is known (`past`), what may be shown, which of it is cold, what was next."""

    def __init__(self, past, next_ones, shown, rng):
        old = np.flatnonzero(shown)
        probes = rng.choice(old, len(old) // PROBES, replace=False)
        self.cold = np.zeros(past.n_items, bool)
        self.cold[probes] = True
        self.shown = shown
        hidden = self.cold[past.events["item"].to_numpy()]
        self.past = past.where(~hidden)
        self.seen = touched(self.past)
        new = touched(next_ones).astype(int) - self.seen.astype(int)
        self.next = sparse.csr_array(new > 0)
        self.parts = {
            "warm": shown & ~self.cold,
            "cold": self.cold,
            "all": shown,
        }

    def measured(self, scores, part):
        """HR, NDCG (users,) of ranking a part of the items."""
        among = self.parts[part]
        wanted = sparse.csr_array(
            self.next.multiply(among[None]), dtype=bool
        )
        found = ranking.measures(
            np.where(among, scores, -np.inf), wanted, k=K, seen=self.seen
        )
        return found["HR"], found["NDCG"]

    def ndcg(self, scores):
        return np.nanmean(self.measured(scores, "all")[1])

    def coverage(self, scores):
        """Share of what may be shown that is in somebody's list."""
        ranked = np.where(self.shown, scores, -np.inf)
        lists = ranking.top(ranked, K, seen=self.seen)
        return len(np.unique(lists[lists >= 0])) / self.shown.sum()


def standardised(scores, shown):
    part = scores[:, shown]
    spread = np.maximum(part.std(axis=1, keepdims=True), 1e-9)
    return (scores - part.mean(axis=1, keepdims=True)) / spread


def blend(behaviour, content, question, kappa):
    """The more users touched an item, the more their behaviour counts."""
    count = question.seen.sum(axis=0)
    trust = count / (count + kappa + 1e-9)
    return trust * standardised(behaviour, question.shown) + (
        1 - trust
    ) * standardised(content, question.shown)


def chosen(question, columns, seed):
    """Each model with the settings that the question prefers, and the blend's three choices."""
    best, worth, scores = {}, {}, {}
    for name, candidates in models(columns, seed).items():
        made = [
            kind(**settings).fit(question.past).scores()
            for kind, settings in candidates
        ]
        values = [question.ndcg(each) for each in made]
        top = int(np.argmax(values))
        best[name], worth[name] = candidates[top], values[top]
        scores[name] = made[top]
    pairs = [
        (values, name, other, kappa)
        for name in COLLABORATIVE
        for other in ("content-based", "knowledge graph")
        for kappa in BLENDS
        for values in [
            question.ndcg(
                blend(scores[name], scores[other], question, kappa)
            )
        ]
    ]
    return best, worth, max(pairs)[1:]


def compared(before, now, columns, seed, truth=None):
    """All models on the question `now`, each with what `before` chose."""
    best, worth, (mate, other, kappa) = chosen(before, columns, seed)
    scores, seconds = {"random": np.zeros(now.next.shape)}, {}
    for name, (kind, settings) in best.items():
        started = time.process_time()
        scores[name] = kind(**settings).fit(now.past).scores()
        seconds[name] = round(time.process_time() - started, 3)
    scores["hybrid"] = blend(scores[mate], scores[other], now, kappa)
    seconds["hybrid"] = seconds[mate] + seconds[other]
    if truth is not None:
        scores["truth"] = truth
    rng = np.random.default_rng([seed, 21, 3])
    found = {}
    for name, values in scores.items():
        # With equal scores a list is a matter of chance, and so is what it covers.
        drawn = values + 1e-9 * rng.random(values.shape) * np.ptp(values)
        drawn = rng.random(values.shape) if name == "random" else drawn
        found[name] = {"coverage": now.coverage(drawn)}
        found[name]["seconds"] = seconds.get(name)
        for part in now.parts:
            HR, NDCG = now.measured(values, part)
            found[name][part] = {
                "HR": np.nanmean(HR),
                "NDCG": ranking.average(NDCG, rng=rng),
            }
    for part in now.parts:
        ease = now.measured(scores["EASE"], part)[1]
        for name, values in scores.items():
            own = now.measured(values, part)[1]
            found[name][part]["against EASE"] = ranking.average(
                own, against=ease, rng=rng
            )
    return {
        "models": found,
        "settings": {
            name: settings for name, (_, settings) in best.items()
        },
        "blend": [mate, other, kappa],
        "validation": worth,
        "users": int((np.diff(now.next.indptr) > 0).sum()),
        "items": int(now.shown.sum()),
        "touches": int(now.seen.sum()),
    }


def world(seed):
    """The same question in a world, and what the truth would have answered."""
    rng = np.random.default_rng([seed, 21, 1])
    laws = World()
    lived = laws.simulate(USERS, PAST + WEEK, rng=rng)
    log = with_level(lived.log.where(lived.log.touch))
    before, now = (asked(log, PAST - back, rng) for back in (WEEK, 0))
    touch = oracle(laws, lived, end=PAST, copies=30, rng=rng).touch
    value = np.exp(laws.item_value(PAST + 3))
    share = (value / value.sum(axis=1, keepdims=True)).ravel()
    truth = np.repeat(touch, ITEMS, axis=1) * share
    return compared(before, now, WORLD, seed, truth)


def with_level(log):
    """The log whose items have a price level: which twelfth of all prices."""
    items = log.items.assign(
        level=pd.qcut(log.items["price"], 12).cat.codes
    )
    return Log(log.events, items, log.users, log.source)


def asked(log, day, rng):
    """The question of a day: items on offer for four weeks, sought out in the week after."""
    end = FIRST_DAY + day
    week = splits.future(log, end, WEEK)
    own = (week.events["slate"] < 0).to_numpy()
    shown = CATALOGUE.born.ravel() <= day - 28
    return Question(splits.past(log, end), week.where(own), shown, rng)


def films(seed):
    """The same question on MovieLens 100k."""
    rng = np.random.default_rng([seed, 21, 2])
    log = datasets.load("movielens-100k")
    year = log.items["released"].dt.year
    items = log.items.assign(year=year.astype("Int64").astype(object))
    log = Log(shuffled(log.events, rng), items, log.users, log.source)
    rest, last = cut(log)
    now = films_asked(rest, last, rng)
    before = films_asked(*cut(rest), rng)
    return compared(before, now, FILMS, seed)


def shuffled(events, rng):
    """Ratings of one user within one second come in any order."""
    key = rng.random(len(events))
    return events.iloc[np.lexsort((key, events["time"], events["user"]))]


def cut(log):
    """What each user did, but for the last fifth; and the last fifth."""
    user = log.events["user"]
    place = user.groupby(user).cumcount().to_numpy()
    many = user.map(user.value_counts()).to_numpy()
    late = place >= many - many // 5
    return log.where(~late), log.where(late)


def films_asked(rest, last, rng):
    shown = np.bincount(rest.events["item"], minlength=rest.n_items) > 0
    return Question(rest, last, shown, rng)


def run(seed):
    return {"world": world(seed), "films": films(seed)}
