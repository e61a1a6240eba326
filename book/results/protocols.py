"""Chapter 08 on MovieLens 100k: the same models under many protocols.

The last film of each user is asked for (leave last out), all that comes before it teaches and is
not ranked again. What changes from table to table:

    what is ranked   "full": all films · "uniform": the film and 100 others that the user has not
                     rated · "popular": the same, drawn by the number of their ratings
    ties of time     half of the neighbouring ratings share a second. "file": the order of the
                     file · "random": shuffled, anew for each seed · "id": the lower film first
    ties of scores   "mean" in all tables but `ties`, where popularity and neighbours are asked
                     under each rule
    leak             what is learned of the films counts the held-out ratings too; the histories
                     that are asked do not hold them

Settings are chosen by NDCG@10 (full, file order) on the last film but one, by a grid in each run.
Those of the networks were set beforehand, by the same film: 16 epochs for the Transformer; for
Caser the cross-entropy over all films, which beat its own loss, whatever the epoch. Then all models
learn anew from all but the last film, which is looked at once. Networks learn from the shuffled and
the id order under the first seeds only. A figure is (point, low, high) with 95% over users;
"against" is the difference to recency-weighted EASE on the same users.
"""

import time

import numpy as np

from recsys_evo.collect import datasets
from recsys_evo.collect.events import Log
from recsys_evo.evaluate.ranking import average, measures, sampled
from recsys_evo.models.baselines import (
    EASE,
    ItemNeighbours,
    Popularity,
    RecentEASE,
    touched,
)
from recsys_evo.models.caser import Caser
from recsys_evo.models.transformer import Transformer
from recsys_evo.prepare.splits import leave_last_out

MODULES = [
    "recsys_evo.collect.datasets",
    "recsys_evo.collect.events",
    "recsys_evo.collect.frames",
    "recsys_evo.collect.sources.movielens",
    "recsys_evo.evaluate.forecasts",
    "recsys_evo.evaluate.ranking",
    "recsys_evo.models.baselines",
    "recsys_evo.models.caser",
    "recsys_evo.models.hurdle",
    "recsys_evo.models.networks",
    "recsys_evo.models.transformer",
    "recsys_evo.prepare.splits",
]
SEEDS = [0, 1, 2, 3, 4]  # of models, shuffles, draws and bootstrap
NETWORK_SEEDS = 2  # so many learn from the other two orders as well

GRID = {
    Popularity: [{}],
    ItemNeighbours: [{"neighbours": n} for n in (5, 10, 20, 50, 100)],
    EASE: [{"regularisation": r} for r in (50, 100, 300, 1000)],
    RecentEASE: [
        {"regularisation": r, "tau": t}
        for r in (100, 300, 1000)
        for t in (5, 10, 20)
    ],
}
NETWORKS = {
    Caser: {"loss": "softmax", "epochs": 12, "dropout": 0.3},
    Transformer: {"width": 64, "blocks": 2, "epochs": 16},
}
LEARNED = {  # of the films
    Popularity: "popularity",
    ItemNeighbours: "similarity",
    EASE: "weight",
    RecentEASE: "weight",
}
K, OTHERS = 10, 100


def run(seed):
    """HR@10 and NDCG@10 of each model under each protocol."""
    log = datasets.load("movielens-100k")
    settings = choose(log)
    orders = {"file": log} | {
        name: ordered(log, by, seed) for name, by in ORDERS.items()
    }
    found = {
        "settings": {
            kind.__name__: chosen for kind, chosen in settings.items()
        },
        "moved": {},
        "seconds": {},
        "tables": {},
    }
    for name, log in orders.items():
        rest, test = leave_last_out(log)
        asked = Asked(rest, test, seed)
        models = dict(settings)
        if name == "file" or seed < NETWORK_SEEDS:
            models |= NETWORKS
        scores, found["seconds"][name] = {}, {}
        for kind, options in models.items():
            start = time.process_time()
            scores[kind] = fitted(kind, options, rest, seed).scores()
            spent = time.process_time() - start
            found["seconds"][name][kind.__name__] = round(spent, 1)
        found["tables"][name] = asked.table(scores)
        found["moved"][name] = moved(orders["file"], log)
        if name == "file":
            found["ties"] = {
                rule: asked.table(
                    {m: scores[m] for m in (Popularity, ItemNeighbours)},
                    rule,
                )
                for rule in ("id", "worst")
            }
            leaky = {
                kind: leaked(kind, settings[kind], log, rest)
                for kind in LEARNED
            }
            found["leak"] = asked.table(leaky)
            found["places"] = asked.places(scores)
    return found


def choose(log):
    """The settings of each model that does not take long, by the last film but one."""
    rest, test = leave_last_out(leave_last_out(log)[0])
    asked = Asked(rest, test, 0)

    def worth(kind, options):
        scores = kind(**options).fit(rest).scores()
        return asked.values(scores, "full")["NDCG"].mean()

    return {
        kind: max(grid, key=lambda options: worth(kind, options))
        for kind, grid in GRID.items()
    }


class Asked:
    """The held-out films and what they are ranked among."""

    def __init__(self, rest, test, seed):
        self.users = np.unique(test.events["user"])
        self.seen, self.relevant = (
            touched(log)[self.users] for log in (rest, test)
        )
        self.seed = seed
        count = np.bincount(rest.events["item"], minlength=rest.n_items)
        rng = np.random.default_rng([seed, 8])
        self.candidates = {"full": None} | {
            name: sampled(
                self.relevant, self.seen, OTHERS, weights=weights, rng=rng
            )
            for name, weights in (("uniform", None), ("popular", count))
        }

    def values(self, scores, ranked, ties="mean"):
        return measures(
            scores[self.users],
            self.relevant,
            k=K,
            seen=self.seen,
            candidates=self.candidates[ranked],
            ties=ties,
        )

    def table(self, scores, ties="mean"):
        """What is ranked → model → figures; scores: model → (users, films)."""
        return {
            ranked: self.figures(
                {
                    kind: self.values(each, ranked, ties)
                    for kind, each in scores.items()
                }
            )
            for ranked in self.candidates
        }

    def figures(self, values):
        def mean(*columns):
            rng = np.random.default_rng(self.seed)
            against = columns[1] if columns[1:] else None
            return [
                round(x, 5)
                for x in average(columns[0], against=against, rng=rng)
            ]

        rival = values.get(RecentEASE)
        return {
            kind.__name__: {
                name: mean(each[name]) for name in ("HR", "NDCG")
            }
            | {
                f"{name} against": mean(each[name], rival[name])
                for name in ("HR", "NDCG")
                if rival and kind is not RecentEASE
            }
            for kind, each in values.items()
        }

    def places(self, scores):
        """Model → the place of each user's film among the first ten, 0 below, as text."""
        return {
            kind.__name__: " ".join(
                str(round(1 / r) if r else 0)
                for r in self.values(each, "full", "worst")["MRR"]
            )
            for kind, each in scores.items()
        }


def fitted(kind, options, rest, seed):
    seeded = {"seed": seed} if kind in NETWORKS else {}
    return kind(**options, **seeded).fit(rest)


def leaked(kind, options, log, rest):
    """Scores of a model that learned of the films from the whole log."""
    model, leaky = (kind(**options).fit(part) for part in (rest, log))
    learned = LEARNED[kind]
    setattr(model, learned, getattr(leaky, learned))
    return model.scores()


def by_chance(events, rng):
    return rng.random(len(events))


def by_film(events, rng):
    return events["item"]


ORDERS = {"random": by_chance, "id": by_film}


def ordered(log, by, seed):
    """The log with its ties of time in another order."""
    events = log.events
    rng = np.random.default_rng([seed, 9])
    order = np.lexsort((by(events, rng), events["time"], events["user"]))
    return Log(
        events.iloc[order],
        log.items,
        log.users,
        log.source,
        category_names=log.category_names,
    )


def moved(log, other):
    """Share of users whose last film is another one."""
    one, two = (
        leave_last_out(each)[1].events["item"].to_numpy()
        for each in (log, other)
    )
    return (one != two).mean()
