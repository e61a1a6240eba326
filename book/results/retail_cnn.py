"""Chapter 05 on Online Retail: from which categories does a customer order in the next seven days?

Three weeks teach and the two that follow ask, of the same customers, as a shop would do it. A
customer of another week counts as another user, moved to the same date, so that each model is
fitted once. Whoever bought nothing in the 64 days before is left out.
"""

import numpy as np
import pandas as pd

from recsys_evo.collect import datasets
from recsys_evo.collect.events import Log
from recsys_evo.evaluate.forecasts import auc, bootstrap_auc
from recsys_evo.models.classifiers import Boosted, Classic
from recsys_evo.models.cnn import CategoryCNN
from recsys_evo.prepare.hand import recency_frequency_money
from recsys_evo.prepare.images import category_order
from recsys_evo.prepare.splits import touches

MODULES = [
    "recsys_evo.collect.datasets",
    "recsys_evo.collect.events",
    "recsys_evo.collect.frames",
    "recsys_evo.collect.sources.retail",
    "recsys_evo.evaluate.forecasts",
    "recsys_evo.models.classifiers",
    "recsys_evo.models.cnn",
    "recsys_evo.models.networks",
    "recsys_evo.prepare.hand",
    "recsys_evo.prepare.images",
    "recsys_evo.prepare.splits",
]
SEEDS = [0, 1, 2]  # of the networks and of the bootstrap

AHEAD, DAYS = 7, 64
END = np.datetime64(
    "2011-11-25"
)  # the last week that is asked begins here
ASK = END - AHEAD * np.arange(2)
TEACH = ASK[-1] - AHEAD * np.arange(1, 4)


def run(seed):
    """AUC by model, and differences with 95% over customers."""
    log = datasets.load("online-retail").clean()[0]
    log = log.where(log.purchase)
    order = category_order(
        log.where(before(log, TEACH[-1])), end=TEACH[-1]
    )
    learn, _ = stacked(log, TEACH)
    ask, customer = stacked(log, ASK)
    truth = touches(ask, END, AHEAD).ravel()
    models = {
        "classic": Classic(ahead=AHEAD),
        "trees": Boosted(order=order, ahead=AHEAD, max_iter=100),
        "network": CategoryCNN(
            order=order, ahead=AHEAD, epochs=2, size=32, seed=seed
        ),
        "network, code order": CategoryCNN(
            ahead=AHEAD, epochs=2, size=32, seed=seed
        ),
    }
    chance = {
        name: model.fit(learn, end=END)
        .predict(ask, end=END)
        .touch.ravel()
        for name, model in models.items()
    }
    chance["mean"] = odds(chance["network"]) + odds(chance["trees"])
    pairs = (
        ("trees", "classic"),
        ("network", "classic"),
        ("network", "trees"),
        ("network", "network, code order"),
        ("mean", "trees"),
    )
    return {
        "rows": [learn.n_users, ask.n_users, len(np.unique(customer))],
        "happened": truth.mean(),
        "auc": {
            name: auc(truth, score) for name, score in chance.items()
        },
        "differences": {
            f"{one} - {other}": bootstrap_auc(
                truth,
                chance[one],
                np.repeat(customer, 64),
                against=chance[other],
                rng=np.random.default_rng(seed),
                n=200,
            )[1]
            for one, other in pairs
        },
    }


def before(log, end):
    return (log.events["time"] < pd.Timestamp(end)).to_numpy()


def stacked(log, ends):
    """One log of the customers of several weeks, each moved so that its week begins at END.

    Returns the log and, for each of its users, whose week it is.
    """
    frames, customers, known = [], [], 0
    for end in ends:
        seen = recency_frequency_money(log, end=end, days=DAYS)[:, 1] > 0
        chosen = np.flatnonzero(seen)
        code = np.full(log.n_users, -1)
        code[chosen] = known + np.arange(len(chosen))
        events = log.events
        near = (events["time"] < pd.Timestamp(end + AHEAD)) & (
            events["time"] >= pd.Timestamp(end - DAYS)
        )
        kept = events[near & seen[events["user"]]]
        frames.append(
            kept.assign(
                user=code[kept["user"]],
                time=kept["time"] + (END - end),
            )
        )
        customers.append(chosen)
        known += len(chosen)
    events = pd.concat(frames, ignore_index=True)
    names = log.category_names
    return (
        Log(events, log.items, category_names=names),
        np.concatenate(customers),
    )


def odds(chance):
    chance = np.clip(chance, 1e-6, 1 - 1e-6)
    return np.log(chance / (1 - chance))
