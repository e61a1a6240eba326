"""Chapter 04 at larger size: features, orders of the category axis and dirt, with boosted trees.

Five worlds. In each, 3,000 users train and 2,000 others are asked which categories they touch in
the next three days. Both models see the same features: a logistic regression, on signed
logarithms set to unit spread, and boosted trees, on the figures as they are.
"""

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from recsys_evo.collect.ceiling import HORIZON
from recsys_evo.collect.laws import CATALOGUE
from recsys_evo.collect.world import FIRST_DAY, World
from recsys_evo.evaluate.forecasts import auc
from recsys_evo.prepare.hand import CAREFUL, FEATURES, careful_features
from recsys_evo.prepare.images import behaviour_images, category_order
from recsys_evo.prepare.splits import past, touches

MODULES = [
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.prepare.hand",
    "recsys_evo.prepare.images",
    "recsys_evo.prepare.splits",
    "recsys_evo.evaluate.forecasts",
]
SEEDS = [0, 1, 2, 3, 4]

TRAINED, ASKED, END = 3_000, 2_000, FIRST_DAY + 64
HALF_LIFE, RANK = 16, 8  # of the low-rank picture: days, components
GROUPS = {
    "counts in windows": (
        "touches in",
        "days with a touch",
        "trend of touches",
        "share of user's",
    ),
    "weekdays to come": ("touches on",),
    "dwell": ("dwell a touch", "trend of dwell"),
    "usual interval": ("usual days", "days since purchase / usual"),
    "neighbours": ("at distance",),
    "user's totals": ("user's",),
    "category": ("popularity", "place"),
    "low-rank taste": ("low-rank",),
}
NAMES = (*CAREFUL, "low-rank taste")


def run(seed):
    """AUC by [logistic, trees] of the features under three orders, and with groups left out.

    `rfm`: the five classic ones; `orders`: all careful features, with and without the low-rank
    taste. In the order by similarity, `added`: the classic ones and one group; `without`: all but
    one group.
    """
    streams = np.random.default_rng(seed).spawn(2)
    world, days = World(), 64 + HORIZON
    learn, ask = (
        world.simulate(n, days, rng=rng, impressions=False).log
        for n, rng in zip((TRAINED, ASKED), streams)
    )
    answers = [touches(log, END, HORIZON).ravel() for log in (learn, ask)]
    known = past(ask, END)
    orders = {
        "code": None,
        "similarity": category_order(learn, end=END),
        "true": np.argsort(CATALOGUE.position),
    }
    taste = [low_rank(log, learn) for log in (learn, known)]
    described = {
        name: [
            np.concatenate(
                [careful_features(log, end=END, order=order), extra],
                axis=2,
            ).reshape(-1, len(NAMES))
            for log, extra in zip((learn, known), taste)
        ]
        for name, order in orders.items()
    }

    def quality(tables, columns):
        return [
            auc(
                answers[1],
                model.fit(
                    tables[0][:, columns], answers[0]
                ).predict_proba(tables[1][:, columns])[:, 1],
            )
            for model in models()
        ]

    every = np.arange(len(NAMES))
    best = described["similarity"]
    return {
        "rfm": quality(best, every[: len(FEATURES)]),
        "orders": {
            name: {
                "alone": quality(tables, every[:-1]),
                "with taste": quality(tables, every),
            }
            for name, tables in described.items()
        },
        "added": {
            name: quality(
                best, np.r_[every[: len(FEATURES)], members(name)]
            )
            for name in GROUPS
        },
        "without": {
            name: quality(best, np.setdiff1d(every, members(name)))
            for name in GROUPS
        },
    }


def models():
    signed = FunctionTransformer(
        lambda x: np.sign(x) * np.log1p(np.abs(x))
    )
    return (
        make_pipeline(
            signed, StandardScaler(), LogisticRegression(max_iter=500)
        ),
        HistGradientBoostingClassifier(
            max_iter=100,
            learning_rate=0.1,
            max_leaf_nodes=15,
            min_samples_leaf=50,
            random_state=0,
        ),
    )


def members(group):
    """The columns of a group; a feature belongs to the first group whose beginning fits.

    The five classic features belong to none.
    """
    found = []
    for column, name in enumerate(
        NAMES[len(FEATURES) :], start=len(FEATURES)
    ):
        if "at distance" in name:
            of = "neighbours"
        else:
            of = next(
                g
                for g, starts in GROUPS.items()
                if name.startswith(starts)
            )
        if of == group:
            found.append(column)
    return found


def low_rank(log, learn):
    """Fading counts, seen through the main components of the training users' (users, 64, 1)."""
    basis = TruncatedSVD(RANK, random_state=0).fit(fading(learn))
    return basis.inverse_transform(basis.transform(fading(log)))[
        ..., None
    ]


def fading(log):
    age = np.arange(64, 0, -1) - 0.5
    clicks = behaviour_images(log, end=END)[..., 0]
    return np.log1p(
        np.einsum("udc,d->uc", clicks, 0.5 ** (age / HALF_LIFE))
    )
