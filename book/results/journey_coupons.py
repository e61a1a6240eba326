"""Chapter 12 on the Complete Journey's sample: who got a campaign's coupons, and what they spent.

For the three large campaigns of type A: dollars a household and week in the sample's rows, in the
eight weeks before the campaign and while it ran, of those who got it less those who did not. The
weeks before once more among the households that no campaign had reached yet.
"""

import os
from pathlib import Path

import numpy as np

from recsys_evo.collect import datasets
from recsys_evo.collect.sources import journey
from recsys_evo.evaluate.forecasts import bootstrap

MODULES = [
    "recsys_evo.collect.datasets",
    "recsys_evo.collect.events",
    "recsys_evo.collect.frames",
    "recsys_evo.collect.sources.cards",
    "recsys_evo.collect.sources.journey",
    "recsys_evo.evaluate.forecasts",
]
SEEDS = [0]  # of the bootstrap

CAMPAIGNS, BEFORE = (8, 13, 18), 56
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def difference(spent, got, weight):
    """Mean of those who got it less that of the others; a measure for `bootstrap`."""
    return np.average(spent[got], weights=weight[got]) - np.average(
        spent[~got], weights=weight[~got]
    )


def run(seed):
    rng = np.random.default_rng(seed)
    log = datasets.load("complete-journey-sample")
    folder = Path(os.environ.get("RECSYS_EVO_DATA", SHARED))
    tables = journey.campaigns(folder / "complete_journey")
    told = tables["campaign_descriptions"].set_index("campaign_id")
    household = log.users["id"].to_numpy()
    rows = log.events
    here = np.unique(rows["user"].to_numpy())  # households with a row
    day = rows["time"].to_numpy().astype("M8[D]")

    def spent(first, days):
        near = (day >= first) & (day < first + days)
        total = np.bincount(
            rows["user"][near], rows["amount"][near], log.n_users
        )
        return total[here] * 7 / days

    figures = {"households": len(here), "rows": len(log)}
    for number in CAMPAIGNS:
        first, last = (
            told.loc[number, name].to_datetime64().astype("M8[D]")
            for name in ("start_date", "end_date")
        )
        days = int((last - first).astype(int)) + 1
        given = tables["campaigns"].query("campaign_id == @number")
        got = np.isin(household[here], given["household_id"])
        starts = tables["campaigns"]["campaign_id"].map(
            told["start_date"]
        )
        reached = starts < told.loc[number, "start_date"]
        reached = tables["campaigns"]["household_id"][reached]
        fresh = ~np.isin(household[here], reached)
        before, during = spent(first - BEFORE, BEFORE), spent(first, days)
        figures[str(number)] = (
            {
                "got it": int(got.sum()),
                "first": str(first),
                "days": days,
            }
            | {
                name: bootstrap(
                    difference, column, got, user=here, rng=rng
                )
                for name, column in (
                    ("before", before),
                    ("during", during),
                    ("change", during - before),
                )
            }
            | {
                "before, first campaign": bootstrap(
                    difference,
                    before[fresh],
                    got[fresh],
                    user=here[fresh],
                    rng=rng,
                ),
                "not reached yet": int(fresh.sum()),
                "of these got it": int(got[fresh].sum()),
            }
            | {
                "others before": float(before[~got].mean()),
                "others during": float(during[~got].mean()),
            }
        )
    return figures
