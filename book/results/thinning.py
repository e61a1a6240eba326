"""Chapter 12: what a uniform sample of a log's rows does to figures of customers, on Online Retail.

Each row is kept with the same chance, as in the Complete Journey's sample; then the figures are
computed as if the rest had never been.
"""

import numpy as np
import pandas as pd

from recsys_evo.collect import datasets

MODULES = [
    "recsys_evo.collect.datasets",
    "recsys_evo.collect.events",
    "recsys_evo.collect.frames",
    "recsys_evo.collect.sources.retail",
]
SEEDS = [0, 1, 2, 3, 4]  # of the coins

SHARES = (1, 0.5, 0.2, 0.1, 0.05, 0.02)
SILENT = 91  # days


def figures(user, day, amount, share):
    """Figures of the rows that are left; days are counted from the log's first one."""
    table = pd.DataFrame({"user": user, "day": day})
    visits = (
        table.groupby(["user", "day"]).size().reset_index(name="rows")
    )
    who, when = visits["user"].to_numpy(), visits["day"].to_numpy()
    gap = np.diff(when)[np.diff(who) == 0]
    of_one = visits.groupby("user")["day"]
    last = of_one.max()
    return {
        "customers": len(last),
        "rows an order": visits["rows"].mean(),
        "days between orders": np.median(gap),
        "one order only": (of_one.size() == 1).mean(),
        "first to last order": (last - of_one.min()).mean(),
        "silent a quarter": (last < LAST - SILENT).mean(),
        "money, scaled up": amount.sum() / share,
    }


LAST = 373  # the log's last day


def run(seed):
    rng = np.random.default_rng(seed)
    log = datasets.load("online-retail").clean()[0]
    log = log.where(log.purchase)
    user = log.events["user"].to_numpy()
    day = log.events["time"].to_numpy().astype("M8[D]") - log.start
    amount = log.events["amount"].to_numpy(float)
    coin, found = rng.random(len(log)), {}
    for share in SHARES:
        kept = coin < share
        found[str(share)] = figures(
            user[kept], day[kept].astype(int), amount[kept], share
        )
    return found
