"""Chapter 16 on Online Retail: what titles and prices say about products that nobody has bought.

A fifth of the products on sale are hidden: all that was bought of them before a date is taken out.
Then NDCG@10 of what customers buy for the first time in the four weeks after, ranked among the
hidden (cold), or among the others on sale (warm); and, of the products that are really new, which
are sold for the first time in those weeks, among these (new).

The first date chooses the settings; the five others measure. A seed draws what is hidden.
Intervals are over customers, each with all of their dates.
"""

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import KBinsDiscretizer, normalize

from recsys_evo.collect import datasets
from recsys_evo.evaluate import ranking
from recsys_evo.evaluate.forecasts import bootstrap, weighted_mean
from recsys_evo.models.baselines import (
    ItemNeighbours,
    Popularity,
    RecentEASE,
    touched,
)
from recsys_evo.prepare import splits

MODULES = [
    "recsys_evo.collect.datasets",
    "recsys_evo.collect.events",
    "recsys_evo.collect.frames",
    "recsys_evo.collect.sources.retail",
    "recsys_evo.evaluate.forecasts",
    "recsys_evo.evaluate.ranking",
    "recsys_evo.models.baselines",
    "recsys_evo.prepare.splits",
]
SEEDS = [0]  # what is hidden

FIRST, DAYS = np.datetime64("2011-05-09"), 28
DATES = FIRST + DAYS * np.array([1, 2, 3, 4, 5])
KEPT = (1, 3, 10, 30, 100)
CURVE = DATES[[1, 4]]  # the dates of the learning curve
# Chosen at FIRST.
SIZE, RIDGE, STACK, HALF = 256, 0.3, 10.0, 0.5
EASE = {"regularisation": 500.0, "tau": 200.0}  # as in chapter 12


def text(titles):
    """TF-IDF (items, words) of the titles, and its truncated SVD (items, SIZE)."""
    words = TfidfVectorizer(
        token_pattern=r"[^\W\d_]{3,}", min_df=2, sublinear_tf=True
    ).fit_transform(titles)
    svd = TruncatedSVD(SIZE, random_state=0)
    return words, normalize(svd.fit_transform(words))


def kept_last(log, chosen, k):
    """The log with no more than the last k rows of each of the chosen items."""
    item = log.events["item"].to_numpy()
    late = np.argsort(-log.events["time"].to_numpy().astype("i8"))
    back = np.empty(len(item), int)
    back[late] = pd.Series(item[late]).groupby(item[late]).cumcount()
    return log.where(~np.isin(item, np.flatnonzero(chosen)) | (back < k))


class Stacked(RecentEASE):
    """EASE on the customers' rows with the features' rows below them."""

    def __init__(self, features, weight, **options):
        super().__init__(**options)
        self.below = sparse.csr_array(features.T * np.sqrt(weight))

    def _fit(self, log):
        own = self.touched
        both = sparse.vstack([own, self.below], format="csr")
        self.touched = both.astype(np.float32)
        super()._fit(log)
        self.touched = own


def mapped(model, features, warm, ridge=RIDGE):
    """EASE's matrix, each item's column foretold from its features."""
    x = features[warm]
    normal = x.T @ x + ridge * np.eye(x.shape[1])
    return (
        features @ np.linalg.solve(normal, x.T @ model.weight.T[warm])
    ).T


def mean_by(groups, values, warm):
    """Of each item the mean of `values` over the warm ones that share its groups (sparse)."""
    known = groups[warm]
    count = np.asarray(known.sum(axis=0)).ravel()
    mean = (known.T @ values[warm] + values[warm].mean()) / (count + 1)
    size = np.maximum(np.asarray(groups.sum(axis=1)).ravel(), 1)
    return (groups @ mean) / size


def standardised(scores, shown):
    part = scores[:, shown]
    spread = np.maximum(part.std(axis=1, keepdims=True), 1e-9)
    return (scores - part.mean(axis=1, keepdims=True)) / spread


class Shop:
    """The log of purchases, and the features of the products."""

    def __init__(self):
        log = datasets.load("online-retail").clean()[0]
        self.log = log.where(log.purchase)
        items = log.items
        self.words, self.titles = text(items["title"].fillna(""))
        price = np.log(
            items["price"].astype(float).fillna(items["price"].median())
        )
        bins = KBinsDiscretizer(
            12,
            encode="onehot-dense",
            strategy="quantile",
            quantile_method="averaged_inverted_cdf",
        )
        self.price = bins.fit_transform(price.to_numpy()[:, None])
        self.shelf = sparse.csr_array(
            np.eye(log.n_categories)[items["category"]]
        )
        self.named = items["title"].notna().to_numpy()


class Cut:
    """What is asked at one date."""

    def __init__(self, shop, end, rng):
        log = shop.log
        self.whole, future = (
            splits.past(log, end),
            splits.future(log, end, DAYS),
        )
        lately = splits.future(log, end - DAYS, DAYS).events["item"]
        sold = np.bincount(
            self.whole.events["item"], minlength=log.n_items
        )
        on_sale = np.bincount(lately, minlength=log.n_items) > 0
        on_sale &= shop.named
        choice = np.flatnonzero(on_sale)
        self.cold = np.zeros(log.n_items, bool)
        self.cold[rng.choice(choice, len(choice) // 5, replace=False)] = (
            True
        )
        self.warm = on_sale & ~self.cold
        bought, seen = touched(future), touched(self.whole)
        fresh = bought - bought.multiply(seen)
        self.new = (
            np.bincount(future.events["item"], minlength=log.n_items) > 0
        ) & (sold == 0)
        self.new &= shop.named
        self.past = kept_last(self.whole, self.cold, 0)
        known = np.bincount(
            self.past.events["user"], minlength=log.n_users
        )
        self.users = np.flatnonzero(
            (np.diff(fresh.indptr) > 0) & (known > 0)
        )
        self.bought, self.seen = fresh[self.users], seen[self.users]

    def judged(self, scores, shown):
        """NDCG@10 (users,) among `shown`, of what the customer had not bought before."""
        wanted = sparse.csr_array(
            self.bought.multiply(shown[None]), dtype=bool
        )
        scores = np.where(shown, scores, -np.inf)
        return ranking.measures(scores, wanted, seen=self.seen)["NDCG"]


def scores(shop, cut):
    """Scores (users, items) by model."""
    past, users = cut.past, cut.users
    model = RecentEASE(**EASE).fit(past)
    history = model.history[users]
    sold = Popularity().fit(past).popularity
    everyone = np.ones((len(users), 1))
    titled = np.hstack([shop.titles, HALF * shop.price])
    told = history @ mapped(model, titled, cut.warm)
    behaviour = model.scores(users)
    trust = (sold / (sold + 10.0))[None]
    shown = cut.warm | cut.cold
    flags = shop.words.copy()
    flags.data[:] = 1
    return {
        "chance": np.zeros(behaviour.shape),
        "popularity": everyone * sold,
        "popularity of the category": everyone
        * mean_by(shop.shelf, sold, cut.warm),
        "popularity of the price": everyone
        * mean_by(sparse.csr_array(shop.price), sold, cut.warm),
        "popularity of the words": everyone
        * mean_by(sparse.csr_array(flags), sold, cut.warm),
        "likeness of words": (
            history @ shop.words @ shop.words.T
        ).toarray(),
        "likeness, SVD": (history @ shop.titles) @ shop.titles.T,
        "map, price": history @ mapped(model, shop.price, cut.warm),
        "map, titles": history @ mapped(model, shop.titles, cut.warm),
        "map, titles and price": told,
        "map, words": history
        @ mapped(model, shop.words.toarray(), cut.warm),
        "behaviour": behaviour,
        "early": Stacked(titled, STACK, **EASE).fit(past).scores(users),
        "late": trust * standardised(behaviour, shown)
        + (1 - trust) * standardised(told, shown),
        "behaviour, not hidden": RecentEASE(**EASE)
        .fit(cut.whole)
        .scores(users),
    }


GAPS = {
    "cold": (
        ("map, titles", "popularity of the words"),
        ("map, titles", "popularity of the category"),
        ("map, titles", "likeness of words"),
        ("map, titles", "likeness, SVD"),
        ("likeness of words", "popularity of the words"),
        ("map, titles and price", "map, titles"),
        ("map, titles", "chance"),
        ("behaviour, not hidden", "map, titles"),
        ("map, titles", "early"),
        ("map, words", "map, titles"),
    ),
    "warm": (
        ("late", "behaviour"),
        ("early", "behaviour"),
        ("behaviour", "map, titles and price"),
        ("behaviour", "popularity"),
    ),
    "new": (
        ("map, titles", "popularity of the words"),
        ("map, titles", "popularity of the category"),
        ("map, titles and price", "map, titles"),
        ("likeness of words", "popularity of the words"),
        ("map, titles", "chance"),
        ("map, words", "map, titles"),
    ),
}


def run(seed):
    rng = np.random.default_rng([seed, 16])
    shop = Shop()
    customers, found = [], {part: {} for part in GAPS}
    sizes, curve = [], {}
    for end in DATES:
        cut = Cut(shop, end, rng)
        parts = {"cold": cut.cold, "warm": cut.warm, "new": cut.new}
        customers.append(cut.users)
        for name, values in scores(shop, cut).items():
            for part, shown in parts.items():
                found[part].setdefault(name, []).append(
                    cut.judged(values, shown)
                )
        sizes.append([int(shown.sum()) for shown in parts.values()])
        if end in CURVE:
            for k in KEPT:
                for name, values in by_touches(shop, cut, k).items():
                    curve.setdefault(name, {}).setdefault(k, []).append(
                        float(np.nanmean(cut.judged(values, cut.cold)))
                    )
    customer = np.concatenate(customers)

    def over_customers(values):
        values = np.concatenate(values)
        there = ~np.isnan(values)
        return list(
            bootstrap(
                weighted_mean,
                values[there],
                user=customer[there],
                rng=rng,
                n=500,
            )
        )

    def asked(part):
        there = ~np.isnan(np.concatenate(found[part]["chance"]))
        return [int(there.sum()), len(np.unique(customer[there]))]

    return {
        "dates": [str(end) for end in DATES],
        "items": sizes,
        "asked": {part: asked(part) for part in GAPS},
        "NDCG": {
            part: {
                name: over_customers(values)
                for name, values in found[part].items()
            }
            for part in GAPS
        },
        "gaps": {
            part: {
                f"{one} − {other}": over_customers(
                    [
                        a - b
                        for a, b in zip(
                            found[part][one], found[part][other]
                        )
                    ]
                )
                for one, other in pairs
            }
            for part, pairs in GAPS.items()
        },
        "touches": {
            name: [float(np.mean(values[k])) for k in KEPT]
            for name, values in curve.items()
        },
    }


def by_touches(shop, cut, k):
    """Scores of behaviour and of titles where k purchases of each hidden product are known."""
    past = kept_last(cut.whole, cut.cold, k)
    model = RecentEASE(**EASE).fit(past)
    near = ItemNeighbours(neighbours=200).fit(past)
    return {
        "EASE": model.scores(cut.users),
        "neighbours": near.scores(cut.users),
        "map, titles": model.history[cut.users]
        @ mapped(model, shop.titles, cut.warm),
    }
