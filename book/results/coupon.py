"""Chapter 12 in the world: a coupon with a known effect, and who buys because of it.

Six thousand customers are in a randomised experiment of a week and teach; three thousand others
are asked. Each customer's true effect is the mean over twin futures with and without the coupon.
"""

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier as Trees
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from recsys_evo.collect.continuation import continued
from recsys_evo.collect.laws import BUY, CATEGORIES, ERRANDS, GOALS, IDLE
from recsys_evo.collect.world import FIRST_DAY, World
from recsys_evo.models.weeks import PAST as PAST_FIGURES
from recsys_evo.models.weeks import past_features
from recsys_evo.prepare import splits

MODULES = [
    "recsys_evo.collect.continuation",
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.models.weeks",
    "recsys_evo.prepare.hand",
    "recsys_evo.prepare.images",
    "recsys_evo.prepare.splits",
]
SEEDS = [0, 1, 2, 3, 4, 5]  # worlds

TAUGHT, ASKED = 6_000, 3_000
PAST, DAYS, COPIES, REPEATS = 56, 7, 24, 6
SHARES = np.linspace(0, 1, 21)  # of the customers who get a coupon


class CouponWorld(World):
    """Who is only looking buys with a coupon as one buys who needs."""

    def buying_chance(self, hidden, rows, category):
        chance = super().buying_chance(hidden, rows, category)
        looks = hidden.kind[rows] == IDLE
        looks &= hidden.need[rows] == category
        return np.where(looks, BUY, chance)


def buyers(log):
    """Who bought anything, bool (users,)."""
    found = np.zeros(log.n_users, bool)
    found[log.events["user"][log.purchase]] = True
    return found


def twins(n_users, copies, seed):
    """A world so far, and who buys in its next week without a coupon and with one.

    Without contagion, so that nobody's coupon moves anybody else. The twins draw from the same
    stream, so that they are alike until a coupon first matters.
    """
    plain, generous = World(contagion=0), CouponWorld(contagion=0)
    lived = plain.simulate(n_users, PAST, rng=np.random.default_rng(seed))
    outcomes = []
    for world in (plain, generous):
        rng = np.random.default_rng([seed, 1])
        futures = continued(
            world, lived, end=PAST, days=DAYS, copies=copies, rng=rng
        )
        outcomes.append(np.array([buyers(log) for log in futures]))
    return lived, *outcomes


def focus(log, end):
    """Of the category that a user looked at most in seven days: how, when, and what he bought."""
    rows = log.events
    age = (end - rows["time"].to_numpy().astype("M8[D]")).astype(int)
    cell = (
        rows["user"].to_numpy() * CATEGORIES + rows["category"].to_numpy()
    )
    click, buy = (
        (rows["action"] == name).to_numpy()
        for name in ("click", "purchase")
    )
    shape = log.n_users, CATEGORIES
    dwell = np.nan_to_num(rows["dwell"].to_numpy())

    def sums(mask, weight=None):
        weight = None if weight is None else weight[mask]
        total = np.bincount(cell[mask], weight, np.prod(shape))
        return total.reshape(shape)

    spans = [
        click & (age >= young) & (age <= old)
        for young, old in ((1, 2), (3, 4), (5, 7))
    ]
    clicks = [sums(span) for span in spans]
    read = [sums(span, dwell) for span in spans]
    top, row = sum(clicks).argmax(axis=1), np.arange(log.n_users)
    last = np.full(np.prod(shape), PAST)
    np.minimum.at(last, cell[buy], age[buy])
    return np.column_stack(
        [c[row, top] for c in clicks]
        + [c.sum(axis=1) for c in clicks]
        + [(c > 0).sum(axis=1) for c in clicks]
        + [
            r[row, top] / np.maximum(c[row, top], 1)
            for r, c in zip(read, clicks, strict=True)
        ]
        + [
            (sums(buy).sum(0) / sums(click).sum(0))[top],
            last.reshape(shape)[row, top],
        ]
    )


def features(log, end):
    """What the shop knows of its customers, (users, p), on a logarithmic scale."""
    log = splits.past(log, end)
    table = np.column_stack(
        [past_features(log, end=end), focus(log, end)]
    )
    return np.sign(table) * np.log1p(np.abs(table))


def trees():
    return Trees(
        max_iter=60,
        learning_rate=0.05,
        max_leaf_nodes=6,
        min_samples_leaf=60,
        random_state=0,
    )


def line():
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1))


def chance(model, table, answer, asked):
    return model.fit(table, answer).predict_proba(asked)[:, 1]


def targeting(table, given, bought, asked):
    """Scores (asked,) by method, from an experiment in which half got the coupon."""
    found = {}
    for name, make in (("trees", trees), ("regression", line)):
        with_it = chance(make(), table[given], bought[given], asked)
        without = chance(make(), table[~given], bought[~given], asked)
        found[f"response, {name}"] = with_it
        found[f"two models, {name}"] = with_it - without
    # What is expected of a customer has not seen what he did: two folds, each asked of the other.
    usual = cross_val_predict(
        trees(), table, bought, cv=2, method="predict_proba"
    )[:, 1]
    moved = (bought - usual) * (given - 0.5) / 0.25
    ridge = make_pipeline(
        StandardScaler(), RidgeCV(np.logspace(0, 5, 11))
    )
    found["transformed outcome"] = ridge.fit(table, moved).predict(asked)
    return found


def gained(score, effect):
    """Buyers won per customer (shares,) if the best shares of customers get the coupon."""
    order = np.argsort(-score, kind="stable")
    total = np.append(0, np.cumsum(effect[order])) / len(effect)
    return np.interp(SHARES, np.linspace(0, 1, len(total)), total)


def qini(score, effect):
    """Area between the curve of `gained` and the line that chance gives."""
    order = np.argsort(-score, kind="stable")
    return (
        np.cumsum(effect[order]).mean() / len(effect) - effect.mean() / 2
    )


def run(seed):
    n, rng = TAUGHT + ASKED, np.random.default_rng([seed, 2])
    lived, without, with_it = twins(n, COPIES, seed)
    kind = lived.truth.needs[:, PAST, 0]
    table = features(lived.log, FIRST_DAY + PAST)
    teach, ask = slice(0, TAUGHT), slice(TAUGHT, n)
    half = COPIES // 2
    # What a copy taught may not judge; and what ranks by the truth is not judged by itself.
    known, effect = (
        (with_it[part] * 1.0 - without[part]).mean(axis=0)
        for part in (slice(1, half), slice(half, COPIES))
    )
    given = rng.random(n) < 0.5
    bought = np.where(given, with_it[0], without[0])
    scores = targeting(
        table[teach], given[teach], bought[teach], table[ask]
    )
    scores["the truth, other futures"] = known[ask]
    scores["needs of today"] = (kind[ask] == IDLE) * 1.0
    effect = effect[ask]
    usual = chance(trees(), table[teach], bought[teach], table[ask])
    observed = {
        name: qini_observed(score, given[ask], bought[ask] - usual)
        for name, score in scores.items()
    }
    kinds = {
        name: [
            float((kind == code).mean()),
            float(without[:, kind == code].mean()),
            float(with_it[:, kind == code].mean()),
        ]
        for name, code in (
            ("none", 0),
            ("errand", ERRANDS),
            ("goal", GOALS),
            ("idle", IDLE),
        )
    }
    return {
        "effect": float((with_it * 1.0 - without).mean()),
        "estimate": float(bought[given].mean() - bought[~given].mean()),
        "kinds": kinds,
        "gained": {
            name: gained(score, effect) for name, score in scores.items()
        }
        | {"chance": SHARES * effect.mean()},
        "qini": {
            name: float(qini(score, effect))
            for name, score in scores.items()
        },
        "qini observed": observed,
        "targeted": targeted(lived, table, without, with_it, rng),
    }


def qini_observed(score, given, surprise):
    """The same area from outcomes of an experiment, less what was expected of the customers."""
    return float(qini(score, (given - 0.5) / 0.25 * surprise))


def given_to(lived, table, hidden, rng):
    """A shop's own choice: who clicked much in two days, and who spoke of a need (`hidden`)."""
    clicks = table[:, len(PAST_FIGURES) + 3]
    kind = lived.truth.needs[:, PAST, 0]
    odds = (clicks - clicks.mean()) / clicks.std()
    odds = (
        odds
        + hidden * 2.0 * np.isin(kind, (ERRANDS, GOALS))
        - hidden * 0.5
    )
    return rng.random(len(table)) < 1 / (1 + np.exp(-odds))


def adjusted(table, given, bought):
    """Three estimates of the mean effect: naive; outcomes modelled; weighted by propensity."""
    with_it = chance(line(), table[given], bought[given], table)
    without = chance(line(), table[~given], bought[~given], table)
    likely = chance(line(), table, given, table)
    means = [
        np.average(bought[group], weights=1 / share[group])
        for group, share in ((given, likely), (~given, 1 - likely))
    ]
    return {
        "naive": float(bought[given].mean() - bought[~given].mean()),
        "regression": float((with_it - without).mean()),
        "propensity": float(means[0] - means[1]),
    }


def targeted(lived, table, without, with_it, rng):
    """What a shop would find whose coupons were drawn, or given by what it saw, or by more."""
    found = {}
    for name, hidden in (("drawn", None), ("seen", 0), ("hidden", 1)):
        rows = []
        for copy in range(REPEATS):
            if hidden is None:
                given = rng.random(len(table)) < 0.5
            else:
                given = given_to(lived, table, hidden, rng)
            bought = np.where(given, with_it[copy], without[copy])
            rows.append(adjusted(table, given, bought))
        found[name] = {
            way: float(np.mean([row[way] for row in rows]))
            for way in rows[0]
        }
    return found
