"""Chapter 05 at larger size: the CNN, its rivals and the number of users they learn from.

A world a seed. 16,000 users teach (with 64 categories each, a million rows), 4,000 others of a
fresh draw are asked which categories they touch in the next three days, and whether they buy.
Trees and networks see the same neighbours. Every choice was made on users of other draws: there,
neither more trees (600) nor larger ones (31 leaves) made the trees better.
"""

import numpy as np

from recsys_evo.collect.ceiling import HORIZON, Forecast
from recsys_evo.collect.laws import CATALOGUE
from recsys_evo.collect.world import FIRST_DAY, World
from recsys_evo.evaluate.forecasts import auc, bootstrap_auc
from recsys_evo.models.classifiers import Boosted, Classic
from recsys_evo.models.cnn import CategoryCNN
from recsys_evo.prepare.images import category_order
from recsys_evo.prepare.splits import buys, touches

MODULES = [
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.evaluate.forecasts",
    "recsys_evo.models.classifiers",
    "recsys_evo.models.cnn",
    "recsys_evo.models.networks",
    "recsys_evo.prepare.hand",
    "recsys_evo.prepare.images",
    "recsys_evo.prepare.splits",
]
SEEDS = [0, 1, 2]

END = FIRST_DAY + 64
CURVE = (1_000, 4_000, 16_000)  # users who teach
ASKED = 4_000
PAIRS = (
    ("cnn", "trees"),
    ("cnn, taste", "trees, taste"),
    ("mean", "trees"),
    ("mean, taste", "trees, taste"),
    ("cnn", "cnn, code order"),
    ("trees", "trees, code order"),
)


def run(seed):
    """AUC by number of teachers, model and question; differences with 95% over users asked."""
    streams = np.random.default_rng([seed, 5]).spawn(2)
    world, days = World(), 64 + HORIZON
    learn, ask = (
        world.simulate(n, days, rng=rng, impressions=False).log
        for n, rng in zip((CURVE[-1], ASKED), streams)
    )
    truth = {
        "touch": touches(ask, END, HORIZON).ravel(),
        "buy": buys(ask, END, HORIZON),
    }
    who = {
        "touch": np.repeat(np.arange(ASKED), 64),
        "buy": np.arange(ASKED),
    }
    curve = {}
    for n in CURVE:
        forecasts = all_forecasts(learn, ask, n)
        curve[str(n)] = {
            name: {q: auc(truth[q], scores(f, q)) for q in truth}
            for name, f in forecasts.items()
        }
    differences = {
        q: {
            f"{one} - {other}": bootstrap_auc(
                truth[q],
                scores(forecasts[one], q),
                who[q],
                against=scores(forecasts[other], q),
                rng=np.random.default_rng(seed),
                n=200,
            )[1]
            for one, other in PAIRS
        }
        for q in truth
    }
    return {"curve": curve, "differences": differences}


def all_forecasts(learn, ask, n):
    users = np.arange(n)
    true = np.argsort(CATALOGUE.position)
    training = {"epochs": 3, "size": 32 if n > 8_000 else 16}
    models = {
        "classic": Classic(),
        "trees": Boosted(order=true),
        "trees, taste": Boosted(order=true, taste=True),
        "cnn": CategoryCNN(order=true, **training),
        "cnn, taste": CategoryCNN(order=true, taste=True, **training),
    }
    if n == CURVE[-1]:
        models |= {
            "trees, code order": Boosted(),
            "cnn, code order": CategoryCNN(**training),
        }
    if n == CURVE[1]:
        similar = category_order(learn, end=END)
        models |= {
            "cnn, similarity": CategoryCNN(order=similar, **training),
            "cnn, no neighbours": CategoryCNN(
                order=true, reach=0, **training
            ),
            "cnn, code order": CategoryCNN(**training),
        }
    found = {
        name: model.fit(learn, end=END, users=users).predict(ask, end=END)
        for name, model in models.items()
    }
    for kind in ("", ", taste"):
        found[f"mean{kind}"] = mean(
            found[f"cnn{kind}"], found[f"trees{kind}"]
        )
    return found


def mean(one, other):
    """The mean of two forecasts' log-odds."""

    def halfway(p, q):
        odds = [
            np.log(x / (1 - x)) for x in np.clip((p, q), 1e-6, 1 - 1e-6)
        ]
        return 1 / (1 + np.exp(-np.mean(odds, axis=0)))

    return Forecast(
        halfway(one.touch, other.touch), halfway(one.buy, other.buy)
    )


def scores(forecast, question):
    return getattr(forecast, question).ravel()
