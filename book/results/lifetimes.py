"""Chapter 12 on Online Retail: who still is a customer, and how many orders are to come?

At a Monday all who have bought before are asked about the thirteen weeks that follow. What learns
from examples has learnt at the Monday thirteen weeks before, so that its answers lie in the past.
"""

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import betaln
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from recsys_evo.collect import datasets
from recsys_evo.evaluate.forecasts import bootstrap_auc
from recsys_evo.evaluate.ranking import average
from recsys_evo.models.classifiers import Boosted
from recsys_evo.models.cnn import CategoryCNN
from recsys_evo.prepare import splits
from recsys_evo.prepare.images import category_order

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
SEEDS = [0, 1]  # quarters that are asked about

MONDAYS = np.array(["2011-06-06", "2011-09-05"], "M8[D]")
WEEKS = 13


def log_likelihood(theta, x, last, n):
    """Of x occasions used, the last of them number `last`, out of n."""
    alpha, beta, gamma, delta = theta
    x, last, n = np.broadcast_arrays(x, last, n)

    def using(upto):
        return betaln(alpha + x, beta + upto - x) - betaln(alpha, beta)

    def leaving(died, upto):
        return betaln(gamma + died, delta + upto) - betaln(gamma, delta)

    total = using(n) + leaving(0, n)
    for silent in range(int((n - last).max())):
        upto = np.minimum(last + silent, n)
        died = using(upto) + leaving(1, upto)
        died = np.where(last + silent < n, died, -np.inf)
        total = np.logaddexp(total, died)
    return total


def fit(x, last, n):
    """The four parameters of highest likelihood, and its logarithm."""
    cells = np.stack(np.broadcast_arrays(x, last, n))
    cells, size = np.unique(cells, axis=1, return_counts=True)

    def loss(log_theta):
        return -(size * log_likelihood(np.exp(log_theta), *cells)).sum()

    found = minimize(
        loss, np.zeros(4), method="L-BFGS-B", bounds=[(-7, 7)] * 4
    )
    return np.exp(found.x), -found.fun


def expected(theta, x, last, n, ahead):
    """Occasions used among the next `ahead`, in the mean."""
    alpha, beta, gamma, delta = theta
    known = log_likelihood(theta, x, last, n)
    use = betaln(alpha + x + 1, beta + n - x) - betaln(alpha, beta)
    steps = np.arange(1, ahead + 1)[:, None]
    stay = betaln(gamma, delta + n + steps) - betaln(gamma, delta)
    return np.exp(use + stay - known).sum(axis=0)


def any_use(theta, x, last, n, ahead):
    """Chance that one of the next `ahead` occasions is used."""
    none = log_likelihood(theta, x, last, n + ahead)
    return 1 - np.exp(none - log_likelihood(theta, x, last, n))


def weeks_of(log, end):
    """Customers, and their weeks with an order as (x, last, n), counted from the first one."""
    rows = splits.past(log, end).events
    day = rows["time"].to_numpy().astype("M8[D]")
    ago = ((end - day).astype(int) - 1) // 7
    weeks = pd.DataFrame({"user": rows["user"], "ago": ago})
    weeks = weeks.drop_duplicates().groupby("user")["ago"]
    n = weeks.max().to_numpy()
    return (
        weeks.max().index.to_numpy(),
        weeks.size().to_numpy() - 1,
        n - weeks.min().to_numpy(),
        n,
    )


def orders(log, end, users):
    """Weeks with an order among the next ones, (users,)."""
    rows = splits.future(log, end, 7 * WEEKS).events
    week = (rows["time"].to_numpy().astype("M8[D]") - end).astype(
        int
    ) // 7
    pairs = np.unique(rows["user"].to_numpy() * WEEKS + week)
    return np.bincount(pairs // WEEKS, minlength=log.n_users)[users]


def described(log, end):
    """Recency, frequency, money and the like of all customers (users, 8), in logarithms."""
    users, x, last, n = weeks_of(log, end)
    rows = splits.past(log, end).events
    day = rows["time"].to_numpy().astype("M8[D]")

    def of_last(days):
        near = rows[day >= end - days]
        pairs = near.assign(day=day[day >= end - days])
        lines = np.bincount(near["user"], minlength=log.n_users)
        paid = np.bincount(near["user"], near["amount"], log.n_users)
        pairs = pairs[["user", "day"]].drop_duplicates()
        days_with = np.bincount(pairs["user"], minlength=log.n_users)
        return lines[users], np.maximum(paid[users], 0), days_with[users]

    table = np.column_stack(
        [x, n, n - last, *of_last(400), of_last(28)[2], of_last(91)[2]]
    )
    return users, np.log1p(table)


def run(seed):
    log = datasets.load("online-retail").clean()[0]
    log = log.where(log.purchase)
    rng = np.random.default_rng(seed)
    end = MONDAYS[seed]
    before = end - 7 * WEEKS
    taught, table = described(log, before)
    answers = orders(log, before, taught)
    users, asked = described(log, end)
    truth = orders(log, end, users)
    came = truth > 0
    _, x, last, n = weeks_of(log, end)

    theta, height = fit(x, last, n)
    chance = {
        "last seen": -(n - last).astype(float),
        "own rate": x / np.maximum(n, 1),
        "BG/BB": any_use(theta, x, last, n, WEEKS),
    }
    count = {
        "own rate": WEEKS * x / np.maximum(n, 1),
        "BG/BB": expected(theta, x, last, n, WEEKS),
        "everybody's mean": np.full(len(users), answers.mean()),
    }
    line = make_pipeline(StandardScaler(), LogisticRegression())
    line.fit(table[:, :3], answers > 0)
    chance["regression"] = line.predict_proba(asked[:, :3])[:, 1]
    few = {
        "max_iter": 80,
        "learning_rate": 0.06,
        "max_leaf_nodes": 6,
        "min_samples_leaf": 40,
        "random_state": 0,
    }
    trees = HistGradientBoostingClassifier(**few)
    trees.fit(table, answers > 0)
    chance["trees"] = trees.predict_proba(asked)[:, 1]
    counted = HistGradientBoostingRegressor(loss="poisson", **few)
    count["trees"] = counted.fit(table, answers).predict(asked)

    order = category_order(splits.past(log, before), end=before)
    ahead = 7 * WEEKS
    for name, model in (
        ("pairs, trees", Boosted(order=order, ahead=ahead, max_iter=100)),
        (
            "pairs, network",
            CategoryCNN(
                order=order, ahead=ahead, epochs=4, size=32, seed=seed
            ),
        ),
    ):
        model.fit(splits.past(log, end), end=before, users=taught)
        chance[name] = model.predict(log, end=end, users=users).buy

    gaps = {
        f"{one} − {other}": bootstrap_auc(
            came, chance[one], users, against=chance[other], rng=rng
        )[1]
        for one, other in (
            ("BG/BB", "last seen"),
            ("BG/BB", "own rate"),
            ("BG/BB", "regression"),
            ("trees", "BG/BB"),
            ("pairs, network", "BG/BB"),
            ("pairs, network", "trees"),
        )
    }
    misses = {name: told - truth for name, told in count.items()}
    errors = {
        "absolute": {name: np.abs(miss) for name, miss in misses.items()},
        "squared": {name: miss**2 for name, miss in misses.items()},
    }
    return {
        "from": str(end),
        "customers": len(users),
        "came": float(came.mean()),
        "orders": float(truth.mean()),
        "theta": theta,
        "log-likelihood": float(height),
        "without leaving": float(still(x, n)),
        "silent a quarter": float((n - last >= WEEKS).mean()),
        "they came": float(came[n - last >= WEEKS].mean()),
        "alive": float(
            expected_alive(theta, x, last, n)[n - last >= WEEKS].mean()
        ),
        "auc": {
            name: bootstrap_auc(came, score, users, rng=rng)
            for name, score in chance.items()
        },
        "mean": {
            name: float(score.mean())
            for name, score in chance.items()
            if name != "last seen"
        },
        "gaps": gaps,
        "error": {
            kind: {
                name: average(values, rng=rng)
                for name, values in table.items()
            }
            for kind, table in errors.items()
        },
        "told": {
            name: float(told.mean()) for name, told in count.items()
        },
        "error gaps": {
            kind: {
                f"{one} − {other}": average(
                    table[one], against=table[other], rng=rng
                )
                for one, other in (
                    ("BG/BB", "own rate"),
                    ("trees", "BG/BB"),
                )
            }
            for kind, table in errors.items()
        },
    }


def expected_alive(theta, x, last, n):
    """Chance that the customer has not left after n occasions."""
    alpha, beta, gamma, delta = theta
    here = betaln(alpha + x, beta + n - x) - betaln(alpha, beta)
    here = here + betaln(gamma, delta + n) - betaln(gamma, delta)
    return np.exp(here - log_likelihood(theta, x, last, n))


def still(x, n):
    """The log-likelihood if nobody ever leaves: a beta-binomial in each customer's weeks."""

    def loss(logs):
        alpha, beta = np.exp(logs)
        return -(
            betaln(alpha + x, beta + n - x) - betaln(alpha, beta)
        ).sum()

    return -minimize(loss, np.zeros(2)).fun
