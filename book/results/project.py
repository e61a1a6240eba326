"""Chapter 11 on Online Retail: the lists of a week, by candidates from the simplest to the dearest.

Three Mondays of September 2011 teach, the next week chooses, the one after it tests, and eight more
weeks show how the models age. All candidates get the categories in the same order and break ties
by what everybody bought in the four weeks before. Only the network, and so the mean, turns on the
seed.
"""

import time
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from recsys_evo.collect import datasets
from recsys_evo.collect.events import Log
from recsys_evo.evaluate import forecasts, ranking
from recsys_evo.models.classifiers import Boosted, Classic
from recsys_evo.models.cnn import CategoryCNN
from recsys_evo.prepare import hand, images, splits

MODULES = [
    "recsys_evo.collect.datasets",
    "recsys_evo.collect.events",
    "recsys_evo.collect.frames",
    "recsys_evo.collect.sources.retail",
    "recsys_evo.evaluate.forecasts",
    "recsys_evo.evaluate.ranking",
    "recsys_evo.models.classifiers",
    "recsys_evo.models.cnn",
    "recsys_evo.models.networks",
    "recsys_evo.prepare.hand",
    "recsys_evo.prepare.images",
    "recsys_evo.prepare.splits",
]
SEEDS = [0, 1, 2]  # of the network and of the bootstrap

DAYS, AHEAD, TOP = 64, 7, 10
VALIDATION = np.datetime64(
    "2011-09-26"
)  # a Monday, as are all that follow
WEEKS = VALIDATION + AHEAD * np.arange(10)
ROW = ("counts", "regression", "trees", "network", "mean")
PAIRS = [
    ("counts", "last week again"),
    *((b, a) for a, b in combinations(ROW, 2)),
]


class Counts(Classic):
    """Logistic regression on the touches of the pair alone: their order, as a chance."""

    def describe(self, past, end, users):
        return super().describe(past, end, users)[..., 1:2]


def run(seed):
    """Measures of every candidate, week by week, and gains with 95% over customers."""
    log = datasets.load("online-retail").clean()[0]
    models, users = taught(log, VALIDATION, seed)
    weeks = [asked(log, monday, models) for monday in WEEKS]
    rng = np.random.default_rng(seed)
    return {
        "taught": len(users),
        "weeks": [str(monday) for monday in WEEKS],
        "customers": [len(week["users"]) for week in weeks],
        "came": [int(week["truth"].any(axis=1).sum()) for week in weeks],
        **{
            measure: {
                name: [f[name] for f in column] for name in column[0]
            }
            for measure in ("list", "auc", "auc of who came", "who")
            for column in [[measured(week)[measure] for week in weeks]]
        },
        "gains": {
            "validation": gains(weeks[:1], rng),
            "test": gains(weeks[1:2], rng),
            "later": gains(weeks[2:], rng),
        },
        "auc gains": {
            "validation": auc_gains(weeks[0], rng),
            "test": auc_gains(weeks[1], rng),
        },
        # What follows has no network in it, so one seed has it all.
        "watched": watched(log, weeks, rng) if seed == SEEDS[0] else {},
        "seconds": seconds(log, models) if seed == SEEDS[0] else {},
    }


def taught(
    log, monday, seed, only=("counts", "regression", "trees", "network")
):
    """Candidates fitted on the customers of the three weeks before `monday`, and who these are."""
    mondays = monday - AHEAD * np.arange(3, 0, -1)
    order = images.category_order(log, end=mondays[0])
    candidates = {
        "counts": Counts(ahead=AHEAD),
        "regression": Classic(ahead=AHEAD),
        "trees": Boosted(
            order=order, ahead=AHEAD, max_iter=30, learning_rate=0.12
        ),
        "network": CategoryCNN(
            order=order, ahead=AHEAD, epochs=2, size=32, seed=seed
        ),
    }
    learn, users = several_weeks(log, mondays)
    models = {
        name: candidates[name].fit(learn, end=mondays[-1], users=users)
        for name in only
    }
    return models, users


def customers(log, monday):
    """Codes of those who acted in the DAYS before."""
    past = splits.past(log, monday)
    seen = hand.recency_frequency_money(past, end=monday, days=DAYS)
    return np.flatnonzero(seen[:, 1] > 0)


def several_weeks(log, mondays):
    """One log of some weeks' customers, each week's as users of their own, moved to the last."""
    parts, users = [], []
    for week, monday in enumerate(mondays):
        near = log.where(
            splits.within(log, monday - DAYS, DAYS + AHEAD)
        ).events
        code = near["user"] + week * log.n_users
        parts.append(
            near.assign(
                user=code, time=near["time"] + (mondays[-1] - monday)
            )
        )
        users.append(customers(log, monday) + week * log.n_users)
    ids = pd.DataFrame({"id": np.arange(len(mondays) * log.n_users)})
    stack = Log(
        pd.concat(parts),
        log.items,
        ids,
        category_names=log.category_names,
    )
    return stack, np.concatenate(users)


def everybody(log, monday):
    """Touches of each category in the four weeks before, so small that they only break ties."""
    rows = splits.within(log, monday - 28, 28) & log.touch
    counts = np.bincount(log.events["category"][rows], minlength=64)
    return 1e-9 * counts / counts.max()


def asked(log, monday, models):
    """What happened in the week from `monday`, and every candidate's scores."""
    users, past = customers(log, monday), splits.past(log, monday)
    chances = {
        name: model.predict(past, end=monday, users=users).touch.astype(
            float
        )
        for name, model in models.items()
    }
    if "network" in chances:
        both = odds(chances["network"]) + odds(chances["trees"])
        chances["mean"] = expit(both / 2)
    scores = dict(chances)
    week = images.behaviour_images(
        past, end=monday, users=users, days=AHEAD
    )
    scores["last week again"] = week[..., 0].sum(axis=1).astype(float)
    ties = everybody(past, monday)
    return {
        "users": users,
        "truth": splits.touches(log, monday, AHEAD, users=users),
        "chances": chances,
        "scores": {name: score + ties for name, score in scores.items()},
    }


def odds(chance):
    return logit(np.clip(chance, 1e-6, 1 - 1e-6))


def listed(week, name):
    """NDCG of each customer's list; NaN for those who did not come."""
    return ranking.measures(week["scores"][name], week["truth"], k=TOP)[
        "NDCG"
    ]


def measured(week):
    truth = week["truth"]
    came = truth.any(axis=1)
    return {
        "list": {
            name: np.nanmean(listed(week, name))
            for name in week["scores"]
        },
        "auc": {
            name: forecasts.auc(truth.ravel(), score.ravel())
            for name, score in week["scores"].items()
        },
        "auc of who came": {
            name: forecasts.auc(truth[came].ravel(), score[came].ravel())
            for name, score in week["scores"].items()
        },
        "who": {
            name: forecasts.auc(came, score.sum(axis=1))
            for name, score in week["scores"].items()
        },
    }


def watched(log, weeks, rng):
    """How inputs, chances and lists move over the weeks: models frozen, and taught anew weekly."""
    again = [
        asked(log, monday, taught(log, monday, 0, ("counts", "trees"))[0])
        for monday in WEEKS
    ]
    return {
        "inputs": moved(log, rng),
        "chances": {
            name: [ratio_interval(week, "counts", rng) for week in of]
            for name, of in (("frozen", weeks), ("retrained", again))
        },
        # The counts' order needs no training, so it cannot age; the trees are held against it.
        "lists": {
            name: [
                mean_of([gap(one, "trees", week, "counts")], rng)
                for one, week in zip(of, weeks, strict=True)
            ]
            for name, of in (("frozen", weeks), ("retrained", again))
        },
        "retraining": mean_of(
            [
                gap(new, "trees", old, "trees")
                for new, old in zip(again[2:], weeks[2:], strict=True)
            ],
            rng,
        ),
    }


def gap(week, name, week_of_other, other):
    """Each customer's difference of two lists' NDCG in the same week, and the customers."""
    difference = listed(week, name) - listed(week_of_other, other)
    return difference, week["users"]


def mean_of(rows, rng):
    """Mean of (values, users) of some weeks, drawing customers; NaN is left out."""
    values, user = np.concatenate(rows, axis=1)
    came = ~np.isnan(values)
    return forecasts.bootstrap(
        forecasts.weighted_mean, values[came], user=user[came], rng=rng
    )


def ratio_interval(week, name, rng):
    """What happened for each that was expected, drawing customers."""
    return forecasts.bootstrap(
        ratio,
        week["truth"].sum(axis=1),
        week["chances"][name].sum(axis=1),
        user=week["users"],
        rng=rng,
        n=300,
    )


def ratio(happened, expected, weight):
    return (weight @ happened) / (weight @ expected)


def moved(log, rng):
    """Stability index of the inputs: since the choice, usually before it, and by chance alone."""
    first, lags = WEEKS[0], range(1, len(WEEKS))
    # No window of these reaches back to Christmas, when the shop was closed.
    earlier = first - AHEAD * np.arange(28, 0, -1)
    inputs = {
        monday: described(log, monday) for monday in (*earlier, *WEEKS)
    }
    starts = earlier[: len(earlier) - max(lags) + 1]

    def apart(start, lag):
        return stability(inputs[start], inputs[start + AHEAD * lag])

    def drawn():
        reference = inputs[first]
        rows = rng.integers(len(reference), size=(2, len(reference)))
        return stability(*reference[rows])

    return {
        "since": [apart(first, lag) for lag in lags],
        "usual": [
            np.max([apart(start, lag) for start in starts], axis=0)
            for lag in lags
        ],
        "by chance": np.quantile(
            [drawn() for _ in range(1000)], 0.99, axis=0
        ),
    }


def described(log, monday):
    """Days since the last touch, touches and money of each customer."""
    users = customers(log, monday)
    return hand.recency_frequency_money(
        log, end=monday, days=DAYS, users=users
    )[:, [0, 1, 4]]


def stability(before, after, parts=10):
    """Population stability index of each column, in tenths of `before`."""
    return [psi(*columns, parts) for columns in zip(before.T, after.T)]


def psi(before, after, parts):
    edges = np.unique(np.quantile(before, np.arange(1, parts) / parts))
    p, q = (
        np.bincount(
            np.searchsorted(edges, values), minlength=len(edges) + 1
        )
        + 0.5
        for values in (before, after)
    )
    p, q = p / p.sum(), q / q.sum()
    return (q - p) @ np.log(q / p)


def gains(weeks, rng):
    """Differences of the lists' NDCG over these weeks, drawing customers."""
    return {
        f"{one} - {other}": mean_of(
            [gap(week, one, week, other) for week in weeks], rng
        )
        for one, other in PAIRS
    }


def auc_gains(week, rng):
    truth, scores = week["truth"].ravel(), week["scores"]
    return {
        f"{one} - {other}": forecasts.bootstrap_auc(
            truth,
            scores[one].ravel(),
            np.repeat(week["users"], 64),
            against=scores[other].ravel(),
            rng=rng,
            n=200,
        )[1]
        for one, other in PAIRS
    }


def seconds(log, models):
    """Seconds of processor time to answer for one customer and for 10,000, a model each."""
    monday = WEEKS[1]
    past = splits.past(log, monday)
    users = np.resize(customers(log, monday), 10_000)
    found = {}
    for name, model in models.items():
        model.predict(past, end=monday, users=users[:1])
        took = []
        for chosen in (users[:1], users):
            start = time.process_time()
            model.predict(past, end=monday, users=chosen)
            took.append(time.process_time() - start)
        found[name] = took
    return found
