"""Chapter 03 on the real logs: quality, spans, cleaning, and the test for evolution.

The test is written anew, pair of days by pair of days, and so holds the package's to account.
"""

import numpy as np

from recsys_evo.collect import datasets
from recsys_evo.collect.events import group_categories
from recsys_evo.prepare.quality import quality

MODULES = [
    "recsys_evo.collect.datasets",
    "recsys_evo.collect.events",
    "recsys_evo.collect.frames",
    "recsys_evo.collect.sources.cards",
    "recsys_evo.collect.sources.ebnerd",
    "recsys_evo.collect.sources.journey",
    "recsys_evo.collect.sources.lastfm",
    "recsys_evo.collect.sources.movielens",
    "recsys_evo.collect.sources.otto",
    "recsys_evo.collect.sources.retail",
    "recsys_evo.prepare.quality",
]
SEEDS = [0]  # of the draws of users
LOGS = [
    "online-retail",
    "movielens-100k",
    "movielens-latest-small-2016",
    "lastfm-hetrec-2011",
    "complete-journey-sample",
    "ebnerd",
    "otto",
]
FEWEST = 500  # users, or nothing is concluded


def run(seed):
    logs = {name: datasets.load(name) for name in LOGS}
    reports = {name: quality(log)["value"] for name, log in logs.items()}
    cleaned = {name: log.clean() for name, log in logs.items()}
    retail, report = cleaned["online-retail"]
    return {
        "quality": {
            name: {k: None if np.isnan(v) else v for k, v in r.items()}
            for name, r in reports.items()
        },
        "spans": {name: tenths(log) for name, log in logs.items()},
        "clean": report["rows"].to_dict(),
        "left over": left_over(retail),
        "falls": {
            name: falls(log, np.random.default_rng(seed))
            for name, (log, _) in cleaned.items()
            if reports[name]["users"] >= FEWEST
        },
    }


def tenths(log):
    """The spans in seconds of the users who stand at the tenths of all."""
    rows = log.events[log.events["user"] >= 0].groupby("user")["time"]
    seconds = np.sort((rows.max() - rows.min()).dt.total_seconds())
    return [seconds[int(k * len(seconds) / 10)] for k in range(1, 10)]


def left_over(log):
    """Share of purchases that a later return undoes; of the money, of 1% of the customers."""
    events = log.events
    returned = {}
    for event in events[events["action"] == "return"].itertuples():
        key = event.user, event.item, event.amount
        returned[key] = event.time  # the last one
    sold = events[log.purchase]
    undone = {
        (event.user, event.item, event.amount)
        for event in sold.itertuples()
        if returned.get(
            (event.user, event.item, event.amount), event.time
        )
        > event.time
    }
    money = np.bincount(sold["user"], sold["amount"])
    money = np.sort(money[np.bincount(sold["user"]) > 0])[::-1]
    few = max(1, len(money) // 100)
    return [len(undone) / len(sold), money[:few].sum() / money.sum()]


def falls(log, rng):
    """Users with two visits, and the fall of likeness against both nulls, with intervals."""
    if log.n_categories > 64:
        log, _ = group_categories(log, 64)
    days = (log.end - log.start).astype(int)
    longest = min(364, days // 28 * 28)
    touches = log.events[log.touch]
    day = (touches["time"].to_numpy().astype("M8[D]") - log.start).astype(
        int
    )
    visits = [{} for _ in range(log.n_users)]
    for user, on, category in zip(
        touches["user"], day, touches["category"]
    ):
        visits[user].setdefault(on, np.zeros(log.n_categories))[
            category
        ] += 1
    crowd, present = np.zeros((days, log.n_categories)), np.zeros(days)
    for of_user in visits:
        for on in of_user:
            of_user[on] /= of_user[on].sum()
            crowd[on] += of_user[on]
            present[on] += 1
    # Per user and four weeks: pairs, their likeness, and what the two nulls expect.
    sums = np.zeros((log.n_users, longest // 28, 4))
    for user, of_user in enumerate(visits):
        on = np.array(sorted(of_user))
        if len(on) < 2:
            continue
        mix = np.stack([of_user[k] for k in on])
        alike = mix @ mix.T
        others = np.maximum(present[on] - 1, 1)
        unlike = (mix @ crowd[on].T - alike * (present[on] > 1)) / others
        unlike = (unlike + unlike.T) / 2
        later, earlier = np.tril_indices(len(on), -1)
        gap = on[later] - on[earlier]
        alike, unlike = alike[later, earlier], unlike[later, earlier]
        lift = alike.mean() / unlike.mean() if unlike.mean() > 0 else 0
        for k in range(longest // 28):
            part = (gap > 28 * k) & (gap <= 28 * (k + 1))
            sums[user, k, 0] = part.sum()
            sums[user, k, 1] = alike[part].sum()
            sums[user, k, 2] = alike.mean() * part.sum()
            sums[user, k, 3] = lift * unlike[part].sum()
        sums[user] /= len(on) - 1
    n = len(sums)
    times = rng.multinomial(n, np.full(n, 1 / n), size=400)
    times = np.vstack([np.ones(n), times])
    drawn = np.tensordot(times, sums, axes=1)  # (draws, four weeks, 4)
    _, own, order, crowd_only = np.moveaxis(drawn, 2, 0)
    found = {
        "visitors": int((sums[:, :, 0].sum(axis=1) > 0).sum()),
        "curve": interval(own / order),
    }
    for name, null in (
        ("order lost", order),
        ("crowd moves", crowd_only),
    ):
        far = own[:, 1:].sum(axis=1) / null[:, 1:].sum(axis=1)
        found[name] = interval(own[:, 0] / null[:, 0] - far)
    return found


def interval(values):
    """The first draw, which has every user once, and the middle 95% of the others."""
    ends = np.nanquantile(values[1:], [0.025, 0.975], axis=0)
    return np.concatenate([values[:1], ends]).tolist()
