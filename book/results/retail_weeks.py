"""Chapter 06 on Online Retail: generators of a customer's next week of orders.

Three weeks teach and the two that follow ask, of the same customers, as a shop would do it. A
customer of another week counts as another user, moved to the same date. A week is seven days of
(orders, 0, amount): the log knows no dwell. Whoever bought nothing in the 64 days before is left
out. There is no true world to continue, so energy scores are compared, and there is no skill.
"""

import keras
import numpy as np
import pandas as pd

from recsys_evo.collect import datasets
from recsys_evo.collect.events import Log
from recsys_evo.evaluate.forecasts import bootstrap, weighted_mean
from recsys_evo.evaluate.samples import (
    energy_score,
    two_sample,
    week_features,
)
from recsys_evo.models.hurdle import HurdleWeek
from recsys_evo.models.weeks import (
    DAYS,
    PAST,
    Neighbours,
    OwnWeeks,
    past_features,
    weeks,
)

MODULES = [
    "recsys_evo.collect.datasets",
    "recsys_evo.collect.events",
    "recsys_evo.collect.frames",
    "recsys_evo.collect.sources.retail",
    "recsys_evo.evaluate.forecasts",
    "recsys_evo.evaluate.samples",
    "recsys_evo.models.hurdle",
    "recsys_evo.models.networks",
    "recsys_evo.models.weeks",
    "recsys_evo.prepare.hand",
    "recsys_evo.prepare.images",
    "recsys_evo.prepare.splits",
]
SEEDS = [0, 1, 2]  # of the networks, the draws and the bootstrap

WINDOW, DRAWS, EPOCHS, SIMILAR = 64, 32, 10, (32, 200)
END = np.datetime64(
    "2011-11-25"
)  # the last week that is asked begins here
ASK = END - DAYS * np.arange(2)
TEACH = ASK[-1] - DAYS * np.arange(1, 4)


def run(seed):
    """Energy score and two-sample AUC by generator, and differences of energy, with 95%.

    The bootstrap draws customers. `differences` are rival − likelihood: above 0, the likelihood is
    better.
    """
    log = datasets.load("online-retail").clean()[0]
    log = orders(log.where(log.purchase))
    (learn, _), (ask, customer) = stacked(log, TEACH), stacked(log, ASK)
    past, week = (
        past_features(learn, end=END),
        weeks(learn, end=END + DAYS)[:, 0],
    )
    asked, happened = (
        past_features(ask, end=END),
        weeks(ask, end=END + DAYS)[:, 0],
    )
    scale = np.log1p(week).std(axis=0)
    scale[scale == 0] = 1  # dwell
    rng = np.random.default_rng(seed)

    def flat(week):
        return (np.log1p(week) / scale).reshape(*week.shape[:-2], -1)

    model = trained(past, week, seed)
    n = DRAWS + 1
    draws = {
        "last week": OwnWeeks().sample(
            weeks(ask, end=END, n=1), n, rng=rng
        ),
        "own week": OwnWeeks().sample(
            weeks(ask, end=END, n=9), n, rng=rng
        ),
        **{
            f"neighbours, k = {k}": Neighbours(k)
            .fit(past, week)
            .sample(asked, n, rng=rng)
            for k in SIMILAR
        },
        # Where dwell is unknown, the network gives each order a second of it.
        "likelihood": model.sample(asked, n, rng=rng) * [1, 0, 1],
    }
    energy = {
        name: energy_score(flat(drawn[:, :DRAWS]), flat(happened))
        for name, drawn in draws.items()
    }

    def mean(values):
        found = bootstrap(
            weighted_mean, values, user=customer, rng=rng, n=300
        )
        return list(found)

    told = {
        name: list(
            two_sample(
                week_features(happened),
                week_features(drawn[:, DRAWS]),
                asked,
                rng=rng,
            ).auc
        )
        for name, drawn in draws.items()
    }
    return {
        "rows": [learn.n_users, ask.n_users, len(np.unique(customer))],
        "bought": (happened[..., 2] > 0).any(axis=1).mean(),
        "energy": {name: mean(e) for name, e in energy.items()},
        "two_sample": told,
        "differences": {
            name: mean(e - energy["likelihood"])
            for name, e in energy.items()
            if name != "likelihood"
        },
    }


def trained(past, week, seed):
    keras.utils.set_random_seed(seed)
    rows = len(past) // 128 * 128  # whole batches only
    model = HurdleWeek(len(PAST))
    falling = keras.optimizers.schedules.CosineDecay(
        4e-3, EPOCHS * rows // 128
    )
    model.compile(
        keras.optimizers.AdamW(falling, weight_decay=1e-2),
        steps_per_execution=10,
        jit_compile=False,
    )
    model.fit(
        past[:rows], week[:rows], epochs=EPOCHS, batch_size=128, verbose=0
    )
    return model


def orders(log):
    """One event an order, in one category: lines of an invoice share their time."""
    lines = log.events
    whole = lines.groupby(["user", "time"], as_index=False).agg(
        {
            name: "sum" if name == "amount" else "first"
            for name in lines.columns
            if name not in ("user", "time")
        }
    )
    whole = whole[lines.columns]
    whole["category"] = np.zeros(len(whole), lines["category"].dtype)
    return Log(whole, log.items, category_names=log.category_names)


def stacked(log, ends):
    """One log of the customers of several weeks, each moved so that its week begins at END.

    Returns the log and, for each of its users, whose week it is.
    """
    frames, customers, known = [], [], 0
    for end in ends:
        events = log.events
        near = (events["time"] < pd.Timestamp(end + DAYS)) & (
            events["time"] >= pd.Timestamp(end - WINDOW)
        )
        before = near & (events["time"] < pd.Timestamp(end))
        chosen = np.unique(events["user"][before])
        code = np.full(log.n_users, -1)
        code[chosen] = known + np.arange(len(chosen))
        kept = events[near & (code[events["user"]] >= 0)]
        frames.append(
            kept.assign(
                user=code[kept["user"]], time=kept["time"] + (END - end)
            )
        )
        customers.append(chosen)
        known += len(chosen)
    events = pd.concat(frames, ignore_index=True)
    names = log.category_names
    return Log(events, log.items, category_names=names), np.concatenate(
        customers
    )
