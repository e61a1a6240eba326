"""How much room the log of the world leaves above hand features.

Five worlds. In each, 10,000 users train a logistic regression on recency, frequency and money, a
model a day; 2,000 users of another simulation ask both questions on three days. The ceiling is the
mean forecast of two particle filters that share nothing but the log: how far the two lie apart
tells the error by chance. Chapter 02 shows the table.
"""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from recsys_evo.collect.ceiling import HORIZON, ceiling, oracle
from recsys_evo.collect.laws import CATEGORIES
from recsys_evo.collect.world import FIRST_DAY, World
from recsys_evo.evaluate.forecasts import auc, bootstrap_auc
from recsys_evo.prepare.hand import FEATURES, recency_frequency_money
from recsys_evo.prepare.splits import buys, touches

MODULES = [
    "recsys_evo.collect.ceiling",
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.evaluate.forecasts",
    "recsys_evo.prepare.hand",
    "recsys_evo.prepare.images",
    "recsys_evo.prepare.splits",
]
SEEDS = [0, 1, 2, 3, 4]

DAYS = [50, 57, 64]  # on which both questions are asked
TRAINED, ASKED, PARTICLES, COPIES = 10_000, 2_000, 500, 100


def run(seed):
    """For both questions: AUC of hand features, ceiling and oracle, and the room between.

    `ceiling` and `difference` (ceiling less hand features) are [point, low, high] over users,
    `filters` the AUC of each filter alone, `happened` the share of positive rows.
    """
    streams = np.random.default_rng(seed).spawn(6)
    world, n_days = World(), DAYS[-1] + HORIZON
    others = world.simulate(
        TRAINED, n_days, rng=streams[0], impressions=False
    ).log
    simulation = world.simulate(ASKED, n_days, rng=streams[1])
    log = simulation.log
    filters = [
        ceiling(world, log, end=DAYS, particles=PARTICLES, rng=r)
        for r in streams[2:4]
    ]
    truths = [
        oracle(world, simulation, end=day, copies=COPIES, rng=streams[4])
        for day in DAYS
    ]

    figures = {}
    for question, columns in (("touch", CATEGORIES), ("buy", 1)):
        happened = np.concatenate(
            [label(question, log, day) for day in DAYS]
        )
        user = np.tile(np.repeat(np.arange(ASKED), columns), len(DAYS))
        by_hand = np.concatenate(
            [hand_features(question, others, log, day) for day in DAYS]
        )
        one, two = (
            np.concatenate([getattr(f, question).ravel() for f in fs])
            for fs in filters
        )
        known = np.concatenate(
            [getattr(f, question).ravel() for f in truths]
        )
        found, room = bootstrap_auc(
            happened,
            (one + two) / 2,
            user,
            rng=streams[5],
            against=by_hand,
        )
        figures[question] = {
            "rfm": auc(happened, by_hand),
            "ceiling": found,
            "difference": room,
            "filters": [auc(happened, one), auc(happened, two)],
            "oracle": auc(happened, known),
            "happened": happened.mean(),
        }
    return figures


def label(question, log, day):
    """What happened in the days from `day` on, a row a user or a user's category."""
    return {"touch": touches, "buy": buys}[question](
        log, FIRST_DAY + day, HORIZON
    ).ravel()


def hand_features(question, others, log, day):
    """Chances by a logistic regression that learnt from `others` on the same day."""
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(
        features(question, others, day), label(question, others, day)
    )
    return model.predict_proba(features(question, log, day))[:, 1]


def features(question, log, day):
    """Recency, frequency and money: of the user, or of the user's dealings with a category."""
    categories = {"touch": CATEGORIES, "buy": None}[question]
    found = recency_frequency_money(
        log, end=FIRST_DAY + day, categories=categories
    )
    return np.log1p(found).reshape(-1, len(FEATURES))
