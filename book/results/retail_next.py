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
# Chosen in month 0: days after which a purchase counts half, touches after which it fades, and the
# weight of what others say in the blend.
CHOSEN = {
    "items": {"half_life": 120, "tau": 200, "weight": 0.5},
    "categories": {"half_life": 240, "tau": 100, "weight": 0.01},
}
GRID = {
    "half_life": (15, 30, 60, 120, 240),
    "tau": (10, 25, 50, 100, 200),
    "weight": (0.01, 0.05, 0.1, 0.25, 0.5, 1.0),
}


def of_categories(log):
    """The log with its categories in the items' place."""
    kinds = pd.DataFrame({"id": np.arange(log.n_categories)})
    kinds["category"] = kinds["id"]
    rows = log.events.assign(item=log.events["category"].astype("int32"))
    return Log(rows, kinds, log.users, log.source)


def own(log, half_life, users):
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
    return found[users].toarray()


def scaled(scores):
    return scores / np.maximum(scores.max(axis=1, keepdims=True), 1e-12)


def models(past, users, settings):
    """Scores (users, items) by model; what only repeats leaves ties to what is in fashion."""
    fashion = RecentPopularity(half_life=30.0).fit(past).scores(users)
    ties = 1e-6 * scaled(fashion)
    count = own(past, None, users)
    others = RecentEASE(regularisation=500.0, tau=settings["tau"]).fit(
        past
    )
    plain = EASE(regularisation=500.0)
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
        worth = {
            name: judged(scores, bought, seen)
            for name, scores in models(past, users, CHOSEN[what]).items()
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
                ("own and EASE", "own, by count"),
                ("EASE, recency", "EASE"),
                ("EASE, recency", "recent popularity"),
            )
        }
        if seed == 0:
            found["grid"] = tuned(past, users, bought, CHOSEN[what])
        figures[what] = found
    return figures


def tuned(past, users, bought, chosen):
    """Mean NDCG@10 by setting, one setting changed at a time."""
    column = {
        "half_life": "own, by recency",
        "tau": "EASE, recency",
        "weight": "own and EASE",
    }
    found = {}
    for name, values in GRID.items():
        found[name] = {}
        for value in values:
            scores = models(past, users, chosen | {name: value})
            found[name][str(value)] = float(
                np.mean(
                    ranking.measures(scores[column[name]], bought)["NDCG"]
                )
            )
    return found
