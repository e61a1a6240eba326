"""Chapter 08 on Amazon Beauty, sequences as S3-Rec publishes them: do we agree with its table?

The last item of each of 22,363 users is asked for, ranked among all 12,101 items but those that the
user had before; nobody reviews an item twice. All that comes before it teaches. "Popularity, leak"
counts the held-out items too. SASRec is the Transformer, width 64 and 2 blocks, with the paper's
loss (a real item against a drawn one), with the same for four times as many passes, and with the
softmax over the next item and 512 drawn ones. Models without a seed run under the first seed only.

Settings are chosen by NDCG@10 on the last item but one, by a grid in the run. Those of SASRec were
set beforehand, with a look at that item and no search; epochs were limited by the time at hand. The
longer training was added after a first look at the last item, since the paper trains for longer.
Then all models learn anew from all but the last item, which is looked at once. A figure is (point,
low, high) with 95% over users; "against" is the difference to recency-weighted EASE on the same
users.
"""

import time

import numpy as np

from recsys_evo.collect import datasets
from recsys_evo.evaluate.ranking import average, measures
from recsys_evo.models.baselines import (
    EASE,
    ItemNeighbours,
    Popularity,
    RecentEASE,
    touched,
)
from recsys_evo.models.transformer import Transformer
from recsys_evo.prepare.splits import leave_last_out

MODULES = [
    "recsys_evo.collect.datasets",
    "recsys_evo.collect.events",
    "recsys_evo.collect.frames",
    "recsys_evo.collect.sources.beauty",
    "recsys_evo.evaluate.forecasts",
    "recsys_evo.evaluate.ranking",
    "recsys_evo.models.baselines",
    "recsys_evo.models.hurdle",
    "recsys_evo.models.networks",
    "recsys_evo.models.transformer",
    "recsys_evo.prepare.splits",
]
SEEDS = [0]

GRID = {
    Popularity: [{}],
    ItemNeighbours: [{"neighbours": n} for n in (20, 100, 300)],
    EASE: [{"regularisation": r} for r in (50, 200, 800)],
    RecentEASE: [
        {"regularisation": r, "tau": t}
        for r in (200, 800)
        for t in (2, 5)
    ],
}
SASREC = {"length": 50, "width": 64, "blocks": 2, "dropout": 0.4}
LOSSES = {
    "SASRec, BCE": {"loss": "bce", "epochs": 20, "rate": 3e-3},
    "SASRec, BCE, longer": {"loss": "bce", "epochs": 80, "rate": 3e-3},
    "SASRec, softmax": {
        "loss": "sampled",
        "negatives": 512,
        "epochs": 16,
        "rate": 3e-3,
    },
}
K = 10


def run(seed):
    """HR@10 and NDCG@10 of each model, its settings and its CPU-seconds."""
    log = datasets.load("amazon-beauty-s3rec")
    rest, test = leave_last_out(log)
    settings = choose(rest) if seed == SEEDS[0] else {}
    models = {
        kind.__name__: (kind, o) for kind, o in settings.items()
    } | {
        name: (Transformer, SASREC | options | {"seed": seed})
        for name, options in LOSSES.items()
    }
    values, seconds = {}, {}
    for name, (kind, options) in models.items():
        start = time.process_time()
        model = kind(**options).fit(rest)
        values[name] = asked(model.scores(), rest, test)
        seconds[name] = round(time.process_time() - start)
    if seed == SEEDS[0]:
        leaky = Popularity().fit(log).scores()
        values["Popularity, leak"] = asked(leaky, rest, test)
    return {
        "settings": {
            name: options for name, (_, options) in models.items()
        },
        "seconds": seconds,
        "figures": {
            name: figures(each, values.get("RecentEASE"), seed)
            for name, each in values.items()
        },
    }


def choose(log):
    """The settings of each model that does not take long, by the last item but one."""
    rest, test = leave_last_out(log)

    def worth(kind, options):
        scores = kind(**options).fit(rest).scores()
        return np.nanmean(asked(scores, rest, test)["NDCG"])

    return {
        kind: max(grid, key=lambda options: worth(kind, options))
        for kind, grid in GRID.items()
    }


def asked(scores, rest, test):
    found = measures(scores, touched(test), k=K, seen=touched(rest))
    return {name: found[name] for name in ("HR", "NDCG")}


def figures(values, rival, seed):
    rng = np.random.default_rng(seed)
    found = {
        name: average(each, rng=rng) for name, each in values.items()
    }
    if rival and rival is not values:
        found |= {
            f"{name} against": average(each, against=rival[name], rng=rng)
            for name, each in values.items()
        }
    return {
        name: [round(x, 5) for x in each] for name, each in found.items()
    }
