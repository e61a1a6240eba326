"""Chapter 04 on Online Retail: what cleaning is worth, and which categories drift.

Another account of what the chapter computes where the log is there, and what takes too long for
a page: nulls, in which days change places within each customer, and how often a world that is
seen only on the days on which the shop's customers came would show its half-life.
"""

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from recsys_evo.collect import datasets
from recsys_evo.collect.events import Log
from recsys_evo.collect.laws import MECHANISMS
from recsys_evo.collect.world import World
from recsys_evo.evaluate.forecasts import bootstrap_auc
from recsys_evo.prepare.drift import (
    distance,
    half_life,
    shuffle_days,
    similarity,
)
from recsys_evo.prepare.hand import recency_frequency_money
from recsys_evo.prepare.splits import future, split_users, touches

MODULES = [
    "recsys_evo.collect.datasets",
    "recsys_evo.collect.events",
    "recsys_evo.collect.frames",
    "recsys_evo.collect.laws",
    "recsys_evo.collect.sources.retail",
    "recsys_evo.collect.world",
    "recsys_evo.evaluate.forecasts",
    "recsys_evo.prepare.drift",
    "recsys_evo.prepare.hand",
    "recsys_evo.prepare.images",
    "recsys_evo.prepare.splits",
]
SEEDS = [0]  # of the halves, the bootstrap and the nulls

AHEAD, WINDOW = 28, 180  # days
ENDS = [np.datetime64("2011-07-01") + AHEAD * k for k in range(3)]
# Two windows of a pair: (first day, days).
WINTER, SUMMER = ("2011-01-01", 90), ("2011-06-01", 92)
DECEMBERS = ("2010-12-01", 9), ("2011-12-01", 9)
SHUFFLES = 400
FIRST, SPAN = "2011-01-01", 273  # days before Christmas business begins
POWER, SLOW = 10, 3  # worlds; days of the shop to a day of the world


def run(seed):
    raw = datasets.load("online-retail")
    log, _ = raw.clean()
    rng = np.random.default_rng(seed)
    figures = {"cleaning": cleaning(raw, log, rng)}
    log = log.where(log.purchase)
    pairs = {
        "seasons": (log, WINTER, SUMMER),
        "same goods": (in_both(log, WINTER, SUMMER), WINTER, SUMMER),
        "Decembers": (log, *DECEMBERS),
        "Decembers, same goods": (in_both(log, *DECEMBERS), *DECEMBERS),
    }
    for name, (rows, before, after) in pairs.items():
        figures[name] = moved(rows, before, after, rng)
    figures["confirmed"] = confirmed(log, figures["same goods"])
    spring = future(log, FIRST, SPAN)
    alike = similarity(spring, longest=182, step=14)
    curves = alike.curves()
    return figures | {
        "names": list(log.category_names),
        "likeness": [curves.own, curves.shuffled, curves.still],
        "half-life": half_life(alike, rng=rng).half_life,
        "power": [power(spring, stream) for stream in rng.spawn(POWER)],
    }


def cleaning(raw, log, rng):
    """AUC of the clean log, and how far it lies above that of the raw one, over customers."""
    halves = split_users(
        log.n_users, (0.5, 0.5), rng=np.random.default_rng(0)
    )
    rows = [
        asked(raw, log, end, learn, ask)
        for end in ENDS
        for learn, ask in (halves, halves[::-1])
    ]
    truth, dirty, clean, user = map(np.concatenate, zip(*rows))
    return bootstrap_auc(
        truth, clean, user, rng=rng, n=300, against=dirty
    )


def asked(raw, log, end, learn, ask):
    """Truth, chances from the raw log, chances from the clean one, and whose row it is."""
    learn = learn[active(log, end - AHEAD, learn)]
    ask = ask[active(log, end, ask)]
    chances = []
    for one in (raw, log):
        model = make_pipeline(
            StandardScaler(), LogisticRegression(solver="newton-cholesky")
        )
        model.fit(
            features(one, end - AHEAD, learn),
            touches(one, end - AHEAD, AHEAD, users=learn).ravel(),
        )
        chances.append(model.predict_proba(features(one, end, ask))[:, 1])
    truth = touches(log, end, AHEAD, users=ask).ravel()
    return truth, *chances, np.repeat(ask, 64)


def active(log, end, users):
    return summary(log, end, users)[..., 1].any(axis=1)


def features(log, end, users):
    return np.log1p(summary(log, end, users)).reshape(-1, 5)


def summary(log, end, users):
    return recency_frequency_money(
        log, end=end, days=WINDOW, users=users, categories=64
    )


def in_both(log, before, after):
    """The rows of items that were bought in both windows."""
    items = [
        future(log, *window).events["item"] for window in (before, after)
    ]
    return log.where(
        log.events["item"].isin(np.intersect1d(*items)).to_numpy()
    )


def moved(log, before, after, rng):
    """Change of each category's share, in points of a customer's visits, and its null.

    `customers`, how many bought in both windows; `shares` (2, 64), of all purchases; `change`
    and `error` (64,); `bound`, what the largest |change / error| exceeds in one null in
    twenty; `own` (mean, error) and `crowd`, squared distances; `own null`, mean and spread.
    """
    windows = [future(log, *window) for window in (before, after)]
    found = distance(*windows)
    day = log.events["time"].to_numpy().astype("M8[D]")
    inside = [
        (day >= np.datetime64(start))
        & (day < np.datetime64(start) + length)
        for start, length in (before, after)
    ]
    both = log.where(inside[0] | inside[1])
    largest, still = [], []
    for _ in range(SHUFFLES):
        mixed = shuffle_days(both, rng=rng)
        null = distance(
            *(future(mixed, *window) for window in (before, after))
        )
        largest.append(
            np.nanmax(
                np.abs(null.change.mean(axis=0) / error(null.change))
            )
        )
        still.append(np.nanmean(null.own))
    known = found.own[np.isfinite(found.own)]
    return {
        "customers": len(found.users),
        "shares": [share(window) for window in windows],
        "change": found.change.mean(axis=0),
        "error": error(found.change),
        "bound": np.quantile(largest, 0.95),
        "own": [known.mean(), known.std(ddof=1) / np.sqrt(len(known))],
        "crowd": found.crowd(),
        "own null": [np.mean(still), np.std(still)],
    }


def confirmed(log, listed):
    """The categories of a list in two Decembers: summed change in the direction of the list.

    (mean, error) over customers, of goods that were sold in both.
    """
    z = np.nan_to_num(listed["change"] / listed["error"])
    direction = np.where(np.abs(z) > listed["bound"], np.sign(z), 0)
    same = in_both(log, *DECEMBERS)
    change = distance(
        *(future(same, *window) for window in DECEMBERS)
    ).change
    along = change @ direction
    return [along.mean(), along.std(ddof=1) / np.sqrt(len(along))]


def error(change):
    """Standard error of the mean change; NaN for a category that nobody bought."""
    spread = change.std(axis=0, ddof=1) / np.sqrt(len(change))
    return np.where(spread > 0, spread, np.nan)


def share(log):
    """Share (64,) of each category in all purchases."""
    counts = np.bincount(log.events["category"], minlength=64)
    return counts / counts.sum()


def power(log, rng):
    """The half-life, in days of the shop, that a world of drift alone shows through its calendar.

    User k of the world is seen only when customer k came; a day of the world lasts SLOW of the
    shop's, so the truth is SLOW times the world's half-life.
    """
    first = pd.Timestamp(FIRST)
    visits = log.events[["user"]].assign(
        day=(log.events["time"] - first).dt.days
    )
    visits = visits.assign(
        user=pd.factorize(visits["user"])[0], block=visits["day"] // SLOW
    )
    visits = visits.drop_duplicates(["user", "block"])
    world = World(**dict.fromkeys(MECHANISMS, 0) | {"drift": 1})
    lived = world.simulate(
        int(visits["user"].max()) + 1,
        SPAN // SLOW,
        rng=rng,
        impressions=False,
    ).log
    events = lived.events[(lived.events["slate"] < 0) & ~lived.purchase]
    block = (events["time"] - pd.Timestamp(lived.start)).dt.days
    seen = events[["user", "item", "category"]].assign(block=block)
    seen = seen.merge(visits, on=["user", "block"])
    time = first + pd.to_timedelta(seen["day"], unit="D")
    rows = seen[["user", "item", "category"]].assign(time=time)
    alike = similarity(
        Log(rows, lived.items, lived.users), longest=182, step=14
    )
    return half_life(alike, rng=rng).half_life
