"""Chapter 14: EB-NeRD's format, read from the sample of 44 users that is no data set."""

import numpy as np
from scipy.stats import spearmanr

from recsys_evo.collect import datasets

MODULES = [
    "recsys_evo.collect.datasets",
    "recsys_evo.collect.events",
    "recsys_evo.collect.frames",
    "recsys_evo.collect.sources.cards",
    "recsys_evo.collect.sources.ebnerd",
]
SEEDS = [0]  # nothing is drawn


def run(seed):
    log = datasets.load("ebnerd")
    events = log.events
    article = log.items["product"].to_numpy()[events["item"]]
    action = events["action"].to_numpy()
    listed = (events["slate"] >= 0).to_numpy()
    clicks = events[(action == "click") & listed]
    pages = listed & (action == "view")
    known = clicks["scroll"].notna() & clicks["dwell"].notna()
    both = clicks[known]
    if "published_time" in log.items:
        first = log.items["published_time"].to_numpy().astype("M8[s]")
    else:  # no articles: the first time that anybody met it here
        seen = events.groupby("item")["time"].min()
        first = seen.reindex(range(log.n_items)).to_numpy()
    age = (
        clicks["time"].to_numpy() - first[clicks["item"]]
    ) / np.timedelta64(1, "h")
    rank = spearmanr(both["scroll"], both["dwell"]).statistic
    return {
        "users": log.n_users,
        "lists": int(pages.sum()),
        "clicks a list": len(clicks) / pages.sum(),
        "articles a list": float(
            (listed & (action == "impression")).sum() / pages.sum()
        ),
        "pages that are the front page": float(1 - article[pages].mean()),
        "clicks with a reading time": float(
            clicks["dwell"].notna().mean()
        ),
        "clicks with a scroll": float(clicks["scroll"].notna().mean()),
        "reading time of a click, median s": float(
            clicks["dwell"].median()
        ),
        "scroll and reading time, rank correlation": float(rank),
        "age of a clicked article, median h": float(np.median(age)),
    }
