"""Behaviour images of 10 million events against pandas, Polars and DuckDB, in one run.

    python benchmarks/bench_images.py [--events 10_000_000] [--runs 7]

10,000 users, 64 days, 64 categories, from a table that is sorted by user and from one that is
shuffled. Everyone drops impressions, adds up by user, day and category and fills the same dense
array, so that nobody pays for fresh memory. Ours starts from the Log, which is sorted once for all
images that it gives; a second row adds what it costs to make one, that is to check, type and sort
the table. pandas starts from the table; Polars and DuckDB from their own copy of it or, in a second
row each, from the pandas table itself. All but pandas use all cores. On a busy machine compare the
processor's seconds (all threads together) rather than the clock's.

All must agree with sums in double precision: clicks exactly, dwell and amount to 1e-6 of each
cell's own total (only positive numbers are added, so a relative error is a fair one).
"""

import argparse
import time

import duckdb
import numpy as np
import pandas as pd
import polars as pl

from recsys_evo.collect.events import ACTION, Log
from recsys_evo.prepare.images import behaviour_images

USERS, DAYS, CATEGORIES = 10_000, 64, 64
SHAPE = (USERS, DAYS, CATEGORIES, 3)
START = np.datetime64("2024-01-01", "s")
SHOWN = ("impression", "return")


def frame(n, rng):
    """Events of users who differ in activity and each have a few favourite categories."""
    activity = rng.lognormal(sigma=0.7, size=USERS)
    user = rng.choice(USERS, n, p=activity / activity.sum()).astype(np.int32)
    favourite = rng.integers(CATEGORIES, size=(USERS, 8))
    category = favourite[user, np.minimum(rng.geometric(0.4, n) - 1, 7)].astype(np.int16)
    seconds = rng.integers(DAYS, size=n) * 86_400 + rng.integers(86_400, size=n)
    action = rng.choice(np.array([0, 1, 2, 4], np.int8), n, p=[0.05, 0.15, 0.75, 0.05])
    dwell = rng.lognormal(3, 1, n).astype(np.float32)
    dwell[rng.random(n) < 0.1] = np.nan
    return pd.DataFrame(
        {
            "user": user,
            "item": category.astype(np.int32),
            "time": START + seconds.astype("timedelta64[s]"),
            "category": category,
            "action": pd.Categorical.from_codes(action, dtype=ACTION),
            "dwell": dwell,
            "amount": np.where(action == 4, rng.lognormal(3, 1, n), 0).astype(np.float32),
        }
    )


def exact(events):
    """The sums in double precision, by the slow and simple way."""
    events = events[~events["action"].isin(SHOWN)]
    day = ((events["time"].to_numpy() - START) // np.timedelta64(1, "D")).astype(np.int64)
    cell = (events["user"].to_numpy(np.int64) * DAYS + day) * CATEGORIES + events["category"]
    paid = events["amount"].where(events["action"] == "purchase", 0)
    sums = (None, events["dwell"].fillna(0), paid)
    size = USERS * DAYS * CATEGORIES
    return np.stack([np.bincount(cell, weight, size) for weight in sums], axis=-1).reshape(SHAPE)


def fill(out, user, day, category, *sums):
    cell = ((user.astype(np.int64) * DAYS + day) * CATEGORIES + category) * len(sums)
    out[:] = 0
    flat = out.reshape(-1)
    for channel, values in enumerate(sums):
        flat[cell + channel] = values
    return out


def prepared(events):
    """What both pandas ways need: a day, and columns that may simply be added up."""
    events = events[~events["action"].isin(SHOWN)]
    return pd.DataFrame(
        {
            "user": events["user"],
            "day": (events["time"] - START).dt.days,
            "category": events["category"],
            "clicks": np.float32(1),
            "dwell": events["dwell"],
            "amount": events["amount"].where(events["action"] == "purchase", 0),
        }
    )


def pandas_pivot(events, out):
    wide = prepared(events).pivot_table(
        index=["user", "day"], columns="category", aggfunc="sum", fill_value=0
    )
    rows = pd.MultiIndex.from_product([range(USERS), range(DAYS)])
    columns = pd.MultiIndex.from_product([["clicks", "dwell", "amount"], range(CATEGORIES)])
    wide = wide.reindex(index=rows, columns=columns, fill_value=0).to_numpy()
    out[:] = wide.reshape(USERS, DAYS, 3, CATEGORIES).transpose(0, 1, 3, 2)
    return out


def pandas_groupby(events, out):
    sums = prepared(events).groupby(["user", "day", "category"], sort=False).sum()
    cells = (sums.index.get_level_values(level).to_numpy() for level in range(3))
    return fill(out, *cells, *(sums[name] for name in ("clicks", "dwell", "amount")))


def polars(table, out):
    sums = (
        table.lazy()
        .filter(~pl.col("action").is_in(SHOWN))
        .group_by("user", ((pl.col("time") - START).dt.total_days()).alias("day"), "category")
        .agg(
            pl.len().alias("clicks"),
            pl.col("dwell").fill_nan(0).sum(),
            pl.col("amount").filter(pl.col("action") == "purchase").sum(),
        )
        .collect()
    )
    names = ("user", "day", "category", "clicks", "dwell", "amount")
    return fill(out, *(sums[name].to_numpy() for name in names))


def duck(connection, out):
    sums = connection.execute(
        """
        SELECT "user", date_diff('day', TIMESTAMP '2024-01-01', "time") AS "day", category,
               count(*) AS clicks,
               sum(CASE WHEN isnan(dwell) THEN 0 ELSE dwell END) AS dwell,
               sum(CASE WHEN "action" = 'purchase' THEN amount ELSE 0 END) AS amount
        FROM events WHERE "action" NOT IN ('impression', 'return') GROUP BY ALL
        """
    ).fetchnumpy()
    names = ("user", "day", "category", "clicks", "dwell", "amount")
    return fill(out, *(np.asarray(sums[name]) for name in names))


def duck_table(table):
    connection = duckdb.connect()
    connection.register("source", table.to_arrow())
    connection.execute(
        'CREATE TABLE events AS SELECT * REPLACE ("action"::ENUM(\''
        + "','".join(ACTION.categories)
        + '\') AS "action") FROM source'
    )
    return connection


def duck_view(events):
    connection = duckdb.connect()
    connection.register("events", events)
    return connection


def disagreement(out, right):
    """The largest error of a cell as a share of its own total; clicks must be exact."""
    assert np.array_equal(out[..., 0], right[..., 0])
    worst = 0
    for low in range(0, USERS, 500):  # in parts, to spare memory
        a, b = out[low : low + 500], right[low : low + 500]
        assert not a[b == 0].any()
        worst = max(worst, (np.abs(a - b)[b > 0] / b[b > 0]).max())
    assert worst <= 1e-6, worst
    return worst


def seconds(ways, runs):
    """Median seconds of each way by the clock and by the processor; all in turn, `runs` times."""
    taken = {name: [] for name in ways}
    for _ in range(runs):
        for name, work in ways.items():
            begin = time.perf_counter(), time.process_time()
            work()
            taken[name].append((time.perf_counter() - begin[0], time.process_time() - begin[1]))
    return {name: np.median(pairs, axis=0) for name, pairs in taken.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    shuffled = frame(options.events, np.random.default_rng(0))
    right = exact(shuffled)
    out = np.zeros(SHAPE, np.float32)
    log = Log(shuffled)
    size = {"days": DAYS, "categories": CATEGORIES, "end": START + np.timedelta64(DAYS, "D")}
    cells = np.count_nonzero(right[..., 0])
    print(
        f"{options.events:,} events, {USERS:,} users, {DAYS} days, {CATEGORIES} categories; "
        f"{cells / right[..., 0].size:.1%} of the cells not empty; median of {options.runs} runs"
    )
    ordered = log.events[list(shuffled.columns)]
    for order, events in (("sorted", ordered), ("shuffled", shuffled)):
        table = pl.from_pandas(events)
        connection = duck_table(table)
        ways = {
            "behaviour_images": lambda: behaviour_images(log, out=out, **size),
            "Log + images": lambda events=events: behaviour_images(Log(events), out=out, **size),
            "pandas pivot_table": lambda events=events: pandas_pivot(events, out),
            "pandas groupby": lambda events=events: pandas_groupby(events, out),
            "Polars": lambda table=table: polars(table, out),
            "Polars, from pandas": lambda events=events: polars(pl.from_pandas(events), out),
            "DuckDB": lambda connection=connection: duck(connection, out),
            "DuckDB, from pandas": lambda events=events: duck(duck_view(events), out),
        }
        errors = {}
        for name, work in ways.items():
            out[:] = -1
            work()
            errors[name] = disagreement(out, right)
        figures = seconds(ways, options.runs)
        print(f"\n{order:20s}  clock s  ratio  ratio | processor s  ratio  ratio | error")
        print(f"{'':20s}         to images to both |           to images to both |")
        for name, (clock, processor) in figures.items():
            bases = (figures["behaviour_images"], figures["Log + images"])
            print(
                f"{name:20s} {clock:8.2f}"
                + "".join(f" {clock / base[0]:6.1f}" for base in bases)
                + f" | {processor:11.2f}"
                + "".join(f" {processor / base[1]:6.1f}" for base in bases)
                + f" | {errors[name]:.0e}"
            )
        connection.close()

    print("\nThe parts, and the bound that memory sets")
    other = np.ones_like(out)
    names = ("user", "time", "category", "dwell", "amount")
    read = sum(log.events[name].nbytes for name in names) + len(log)  # the action is one byte
    copy = seconds({"copy": lambda: np.copyto(other, out)}, options.runs)["copy"][0]
    rate = 2 * out.nbytes / copy
    parts = {
        "Log() of the shuffled table": lambda: Log(shuffled),
        "Log() of the sorted table": lambda: Log(ordered),
        "images into an array in use": lambda: behaviour_images(log, out=out, **size),
        "images into fresh memory": lambda: behaviour_images(log, **size),
    }
    for name, (clock, processor) in seconds(parts, options.runs).items():
        print(f"{name:30s} {clock:7.3f} s by the clock, {processor:7.3f} s by the processor")
    print(
        f"a copy of the result, {out.nbytes / 1e6:.0f} MB, at {rate / 1e9:.1f} GB/s: {copy:.3f} s"
    )
    print(
        f"bound: write it, read {read / 1e6:.0f} MB of columns: {(out.nbytes + read) / rate:.3f} s"
    )


if __name__ == "__main__":
    main()
