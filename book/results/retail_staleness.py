"""Chapter 17 on Online Retail: how much of an order is foretold, by the age of what is known.

For each order of a period, which categories are in it? A category's score is the customer's fading
purchases until some time before the order, and its popularity until the period where there are
none. Each period lasts until the next begins.
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
SEEDS = [0]  # nothing is drawn

HALF_LIFE = 56.0
CUTS = ("2011-04-01", "2011-06-01", "2011-09-01")
AGES = (0.0, 1 / 24, 1.0, 7.0, 28.0, 91.0)  # days before the order


def run(seed):
    """Each period: customers' mean AUC at each age (after mean gap), and orders' gaps."""
    log = datasets.load("online-retail").clean()[0]
    bought = log.events[log.purchase]
    days = (bought["time"] - pd.Timestamp(log.start)) / pd.Timedelta(
        days=1
    )
    baskets = pd.crosstab([bought["user"], days], bought["category"])
    customer, day = (
        baskets.index.get_level_values(k).to_numpy() for k in (0, 1)
    )
    basket = baskets.reindex(
        columns=range(log.n_categories), fill_value=0
    )
    basket = basket.clip(upper=1).to_numpy(float)
    cuts = [(np.datetime64(cut) - log.start).astype(int) for cut in CUTS]
    found, ages = {}, np.array(AGES)
    for name, cut, end in zip(CUTS, cuts, [*cuts[1:], np.inf]):
        popular, rows = basket[day < cut].mean(axis=0), []
        for k in np.flatnonzero((day >= cut) & (day < end)):
            first = np.searchsorted(customer, customer[k])
            inside, since = basket[k] > 0, day[k] - day[first:k]
            if not (since > ages.max()).any() or inside.all():
                continue
            weight = 0.5 ** (since / HALF_LIFE) * (since > ages[:, None])
            score = weight @ basket[first:k] + 1e-3 * popular
            ahead = score[:, inside, None] - score[:, None, ~inside]
            won = ((ahead > 0) + (ahead == 0) / 2).mean(axis=(1, 2))
            rows.append([customer[k], since.min(), *won])
        by_customer = pd.DataFrame(rows).groupby(0).mean().round(4)
        found[name] = {
            "by customer": by_customer.to_numpy(),
            "gaps": np.round([row[1] for row in rows], 3),
        }
    return found
