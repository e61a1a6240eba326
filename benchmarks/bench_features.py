"""Hand features of 10,000 users against plain pandas, in one run, and how the cost grows.

    python benchmarks/bench_features.py [--users 10_000] [--runs 3]

The log is the world's: 67 days, 64 categories, impressions left out. pandas starts from the same
events with a day of its own already worked out, groups them by user and category, and spreads what
it finds over all cells, since that is what a model needs. Both give the same 41 columns: counts
exactly, sums and shares to 1e-4.
"""

import argparse
import time

import numpy as np
import pandas as pd

from recsys_evo.collect.laws import CATALOGUE, CATEGORIES
from recsys_evo.collect.world import FIRST_DAY, World
from recsys_evo.prepare.hand import (
    CAREFUL,
    FEATURES,
    LAST,
    NEAR,
    careful_features,
    recency_frequency_money,
)

DAYS, AHEAD = 64, 3
END = FIRST_DAY + DAYS


def table(log):
    """The touches of the window with their age in days, as an analyst would hold them."""
    events = log.events.loc[log.touch, ["user", "category", "time", "action", "dwell", "amount"]]
    age = np.ceil((END - events["time"].to_numpy()) / np.timedelta64(1, "D")).astype(int)
    events = events.assign(age=age, bought=events["action"] == "purchase")
    return events[events["age"].between(1, DAYS)].drop(columns=["time", "action"])


def pandas_rfm(events, n_users, keys=("user", "category")):
    keys = list(keys)
    touched = events.groupby(keys)["age"].agg(["min", "size"])
    paid = events[events["bought"]].groupby(keys).agg(
        {"age": ["min", "size"], "amount": "sum"}
    )  # fmt: skip
    sides = {"user": range(n_users), "category": range(CATEGORIES)}
    cells = pd.MultiIndex.from_product([sides[key] for key in keys], names=keys)
    cells = cells if len(keys) > 1 else pd.Index(sides["user"], name="user")
    found = pd.concat([touched, paid], axis=1).reindex(cells)
    found.columns = FEATURES
    recency = [FEATURES[0], FEATURES[2]]
    return found.fillna(dict.fromkeys(recency, DAYS)).fillna(0)


def pandas_careful(events, n_users, order):
    classic = pandas_rfm(events, n_users)
    cells = classic.index
    keys = ["user", "category"]

    def spread(series):
        return series.reindex(cells, fill_value=0)

    found = {name: classic[name] for name in FEATURES}
    touches, seconds = {}, {}
    for n in (*LAST, DAYS):
        late = events[events["age"] <= n].groupby(keys)["dwell"].agg(["size", "sum"])
        touches[n], seconds[n] = spread(late["size"]), spread(late["sum"])
    for n in LAST:
        found[f"touches in {n} days"] = touches[n]
    found["days with a touch"] = spread(events.groupby(keys)["age"].nunique())
    found["trend of touches"] = 2 * touches[7] - touches[14]
    coming = events[(-events["age"] % 7) < AHEAD]
    found["touches on the weekdays to come"] = spread(coming.groupby(keys).size())
    mean = {n: seconds[n] / touches[n].clip(lower=1) for n in (3, DAYS)}
    found["dwell a touch"], found["dwell a touch in 3 days"] = mean[DAYS], mean[3]
    found["trend of dwell"] = mean[3] - mean[DAYS]

    days = (
        events.loc[events["bought"], [*keys, "age"]].drop_duplicates().sort_values([*keys, "age"])
    )
    days["gap"] = days.groupby(keys)["age"].diff()
    usual = days.groupby("category")["gap"].median().reindex(range(CATEGORIES)).fillna(DAYS)
    own = days.groupby(keys)["gap"].mean().reindex(cells)
    found["usual days between purchases"] = own.fillna(
        pd.Series(usual.to_numpy()[cells.get_level_values("category")], index=cells)
    )
    found["days since purchase / usual"] = (
        classic["days since purchase"] / found["usual days between purchases"]
    )
    for n in NEAR:
        for name, values in (
            ("touches in 3 days", touches[3]),
            ("touches in 7 days", touches[7]),
            ("dwell in 3 days", seconds[3]),
        ):
            wide = values.unstack("category")[order]
            beside = wide.shift(n, axis=1, fill_value=0) + wide.shift(-n, axis=1, fill_value=0)
            found[f"{name} at distance {n}"] = beside.stack().reindex(cells)
    users = cells.get_level_values("user")
    whole = pandas_rfm(events, n_users, ["user"])
    for name in FEATURES:
        found[f"user's {name}"] = whole[name].reindex(users).to_numpy()
    total = {n: touches[n].groupby("user").transform("sum") for n in (3, 7)}
    found["user's touches in 3 days"] = total[3]
    found["user's touches in 7 days"] = total[7]
    active = events.groupby("user")["age"].nunique().reindex(users, fill_value=0)
    found["user's days with a touch"] = active.to_numpy()
    found["user's dwell a touch in 3 days"] = seconds[3].groupby("user").transform("sum") / total[
        3
    ].clip(lower=1)
    for n in (3, 7):
        found[f"user's categories in {n} days"] = (touches[n] > 0).groupby("user").transform("sum")
    found["share of user's touches in 7 days"] = touches[7] / total[7].clip(lower=1)
    popularity = touches[7].groupby("category").sum() / n_users
    category = cells.get_level_values("category")
    found["popularity"] = popularity.to_numpy()[category]
    found["place"] = np.argsort(order)[category]
    return pd.DataFrame(found, index=cells)[list(CAREFUL)]


def seconds(work, runs):
    """The median of the runs, and what the last one gave."""
    taken = []
    for _ in range(runs):
        begin = time.perf_counter()
        result = work()
        taken.append(time.perf_counter() - begin)
    return np.median(taken), result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    order = np.argsort(CATALOGUE.position)
    print(
        f"{'users':>8s} {'features':10s} {'ours, s':>8s} {'pandas, s':>9s} {'ratio':>6s} µs a cell"
    )
    for n_users in (options.users // 10, options.users):
        rng = np.random.default_rng(0)
        log = World().simulate(n_users, DAYS + AHEAD, rng=rng, impressions=False).log
        events = table(log)
        window = {"end": END, "days": DAYS, "categories": CATEGORIES}
        ways = {
            "classic": (
                lambda: recency_frequency_money(log, **window),  # noqa: B023
                lambda: pandas_rfm(events, n_users),  # noqa: B023
            ),
            "careful": (
                lambda: careful_features(log, ahead=AHEAD, order=order, **window),  # noqa: B023
                lambda: pandas_careful(events, n_users, order),  # noqa: B023
            ),
        }
        for name, (ours, theirs) in ways.items():
            (quick, found), (slow, expected) = (seconds(w, options.runs) for w in (ours, theirs))
            expected = expected.to_numpy(np.float32).reshape(found.shape)
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
            cost = quick / (n_users * CATEGORIES) * 1e6
            print(
                f"{n_users:8,} {name:10s} {quick:8.2f} {slow:9.2f} {slow / quick:6.1f} {cost:8.2f}"
            )


if __name__ == "__main__":
    main()
