"""Chapter 12 on Online Retail: what a customer buys in the next four weeks.

All products are ranked, and all categories; the customers asked are those who bought before and
buy in the four weeks. Beside the whole basket stand its two parts: what the customer had bought
before (ranked among what he had bought) and what is new to him (ranked among the rest).

Month 0 chooses the settings, the other months measure with these.
"""

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_evo.collect import datasets
from recsys_evo.collect.events import Log
from recsys_evo.evaluate import ranking
from recsys_evo.models.baselines import (
    EASE,
    Popularity,
    RecentEASE,
    RecentPopularity,
    touched,
)
from recsys_evo.prepare import splits

MODULES = [
    "recsys_evo.collect.datasets",
    "recsys_evo.collect.events",
    "recsys_evo.collect.frames",
    "recsys_evo.collect.sources.retail",
    "recsys_evo.evaluate.forecasts",
    "recsys_evo.evaluate.ranking",
    "recsys_evo.models.baselines",
    "recsys_evo.prepare.splits",
]
SEEDS = [0, 1, 2, 3, 4, 5, 6]  # months: 0 chooses, the others test

FIRST, DAYS = np.datetime64("2011-05-09"), 28
# Chosen in month 0: days after which a purchase counts half; EASE's penalty, where a row holds what
# was bought and where it holds on how many days; the touches after which it fades; the weight of
# what others say in the blend.
CHOSEN = {
    "items": {"half_life": 120, "bought": 500, "days": 1, "tau": 400, "weight": 0.5},
    "categories": {"half_life": 240, "bought": 100, "days": 5, "tau": 100, "weight": 0.01},
}  # fmt: skip
PENALTIES = (0.2, 1, 5, 20, 100, 500, 2500)
GRID = {
    "half_life": (15, 30, 60, 120, 240, 480, 960),
    "tau": (25, 50, 100, 200, 400, 800),
    "weight": (0.001, 0.01, 0.1, 0.25, 0.5, 1.0),
}


class CountingEASE(RecentEASE):
    """RecentEASE whose rows hold the logarithm of 1 + the days of purchase, not bought or not."""

    def _fit(self, log):
        days = own(log, None, slice(None), dense=False)
        self.touched = days.log1p().astype(np.float32)
        super()._fit(log)

    def _history(self, log):
        return sparse.csr_array(super()._history(log) * self.touched)


def of_categories(log):
    """The log with its categories in the items' place."""
    kinds = pd.DataFrame({"id": np.arange(log.n_categories)})
    kinds["category"] = kinds["id"]
    rows = log.events.assign(item=log.events["category"].astype("int32"))
    return Log(rows, kinds, log.users, log.source)


def own(log, half_life, users, dense=True):
    """What each bought: on how many days (half_life None), or an old day counts less."""
    rows = log.events
    day = rows["time"].to_numpy().astype("M8[D]")
    table = pd.DataFrame(
        {"user": rows["user"], "item": rows["item"], "day": day}
    ).drop_duplicates()
    worth = np.ones(len(table))
    if half_life is not None:
        ago = (
            day.max() - table["day"].to_numpy().astype("M8[D]")
        ).astype(int)
        worth = 0.5 ** (ago / half_life)
    found = sparse.csr_array(
        (worth, (table["user"], table["item"])),
        (log.n_users, log.n_items),
    )
    return found[users].toarray() if dense else found


def scaled(scores):
    return scores / np.maximum(scores.max(axis=1, keepdims=True), 1e-12)


def neighbours(kind, past, penalty, tau=np.inf):
    """EASE, learnt from the past; nothing fades unless `tau` says so."""
    return kind(regularisation=float(penalty), tau=tau).fit(past)


def models(past, users, settings, others, counting):
    """Scores (users, items) by model; what only repeats leaves ties to what is in fashion."""
    fashion = RecentPopularity(half_life=30.0).fit(past).scores(users)
    ties = 1e-6 * scaled(fashion)
    count = own(past, None, users)
    plain = EASE()
    plain.n_users, plain.n_items = past.n_users, past.n_items
    plain.touched, plain.popularity = others.touched, others.popularity
    plain.weight, plain.history = others.weight, others.touched
    faded = others.scores(users)
    return {
        "popularity": Popularity().fit(past).scores(users),
        "recent popularity": fashion,
        "own, by count": count + ties,
        "own, by recency": own(past, settings["half_life"], users) + ties,
        "EASE": plain.scores(users),
        "EASE, recency": faded,
        "EASE, days": counting.scores(users),
        "own and EASE": scaled(count)
        + settings["weight"] * scaled(faded),
    }


def asked(log, end):
    past = splits.past(log, end)
    bought, seen = touched(splits.future(log, end, DAYS)), touched(past)
    users = np.flatnonzero(
        (np.diff(bought.indptr) > 0) & (np.diff(seen.indptr) > 0)
    )
    return past, users, bought[users], seen[users]


def judged(scores, bought, seen):
    """NDCG@10 (users,) of the whole basket, of what is bought again, of what is new."""
    again, fresh = bought.multiply(seen), bought - bought.multiply(seen)
    known = np.where(seen.toarray(), scores, -np.inf)
    return {
        "all": ranking.measures(scores, bought)["NDCG"],
        "again": ranking.measures(known, sparse.csr_array(again))["NDCG"],
        "new": ranking.measures(
            scores, sparse.csr_array(fresh, dtype=bool), seen=seen
        )["NDCG"],
    }


def run(seed):
    rng = np.random.default_rng(seed)
    log = datasets.load("online-retail").clean()[0]
    log = log.where(log.purchase)
    end = FIRST + DAYS * seed
    figures = {"from": str(end)}
    for what, table in (
        ("items", log),
        ("categories", of_categories(log)),
    ):
        past, users, bought, seen = asked(table, end)
        size = np.diff(bought.indptr)
        again = np.asarray(bought.multiply(seen).sum(axis=1)).ravel()
        found = {
            "customers": len(users),
            "bought": float(np.median(size)),
            "share bought before": float((again / size).mean()),
        }
        chosen = CHOSEN[what]
        others = neighbours(
            RecentEASE, past, chosen["bought"], chosen["tau"]
        )
        counting = neighbours(CountingEASE, past, chosen["days"])
        worth = {
            name: judged(scores, bought, seen)
            for name, scores in models(
                past, users, chosen, others, counting
            ).items()
        }
        found["NDCG"] = {
            name: {
                part: ranking.average(values[part], rng=rng)
                for part in values
            }
            for name, values in worth.items()
        }
        found["gaps"] = {
            f"{one} − {other}": {
                part: ranking.average(
                    worth[one][part], against=worth[other][part], rng=rng
                )
                for part in worth[one]
            }
            for one, other in (
                ("own, by count", "popularity"),
                ("own, by recency", "own, by count"),
                ("own, by count", "EASE, recency"),
                ("own, by count", "EASE, days"),
                ("own and EASE", "own, by count"),
                ("EASE, recency", "EASE"),
                ("EASE, recency", "recent popularity"),
            )
        }
        if seed == 0:
            found["grid"] = tuned(
                past, users, bought, chosen, others, counting
            )
        figures[what] = found
    return figures


def tuned(past, users, bought, chosen, others, counting):
    """Mean NDCG@10 by setting, one changed at a time; EASE's penalty where nothing fades."""

    def mean(scores):
        return float(np.mean(ranking.measures(scores, bought)["NDCG"]))

    found = {}
    for name, kind in (("bought", RecentEASE), ("days", CountingEASE)):
        found[name] = {
            str(value): mean(neighbours(kind, past, value).scores(users))
            for value in PENALTIES
        }
    for name, column in (
        ("half_life", "own, by recency"),
        ("tau", "EASE, recency"),
        ("weight", "own and EASE"),
    ):
        found[name] = {}
        for value in GRID[name]:
            settings = chosen | {name: value}
            others.tau = settings["tau"]
            others.history = others._history(past)
            scores = models(past, users, settings, others, counting)
            found[name][str(value)] = mean(scores[column])
    return found
