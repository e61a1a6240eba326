"""Chapter 16 on Online Retail: what titles and prices say about products that nobody has bought.

A fifth of the products on sale are hidden: all that was bought of them before a date is taken out.
Then NDCG@10 of what customers buy for the first time in the four weeks after, ranked among the
hidden (cold), or among the others on sale (warm); and, of the products that are really new, which
are sold for the first time in those weeks, among these (new). Of titles and prices no more is known
than the invoices before the date say; of a new product, what its first one says.

The first date chooses the settings; the five others measure, each with three draws of the hidden.
"""

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.preprocessing import normalize

from recsys_evo.collect import datasets
from recsys_evo.collect.sources import retail
from recsys_evo.evaluate import ranking
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
SEEDS = [0]  # of all draws

FIRST, DAYS = np.datetime64("2011-05-09"), 28
DATES = FIRST + DAYS * np.array([1, 2, 3, 4, 5])
DRAWS, CURVES = (
    5,
    2,
)  # of what is hidden at a date; those with a learning curve
KEPT = (3, 10, 30, 100)
# Chosen at FIRST.
SIZE, RIDGE, STACK, HALF, KAPPA = 256, 1.0, 30.0, 0.5, 100.0
EASE = {"regularisation": 500.0, "tau": 200.0}  # as in chapter 12


def text(titles, known):
    """TF-IDF (items, words) of the titles, and its truncated SVD (items, SIZE).

    Both are made of the known (bool) and then said of all.
    """
    counted = TfidfVectorizer(
        token_pattern=r"[^\W\d_]{3,}", min_df=2, sublinear_tf=True
    ).fit(titles[known])
    words = counted.transform(titles)
    svd = TruncatedSVD(SIZE, random_state=0).fit(words[known])
    return words, normalize(svd.transform(words))


def kept(log, chosen, k, order):
    """The log with no more than k rows of each of the chosen items, those first in `order`."""
    item = log.events["item"].to_numpy()
    first = np.argsort(order)
    place = np.empty(len(item), int)
    place[first] = pd.Series(item[first]).groupby(item[first]).cumcount()
    return log.where(~np.isin(item, np.flatnonzero(chosen)) | (place < k))


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


def mapped(scores, features, warm):
    """Scores (users, items): each user's, foretold from the items' features.

    A ridge regression, with an intercept, on the scores of the warm items.
    """
    ridge = Ridge(RIDGE).fit(features[warm], scores[:, warm].T)
    return ridge.predict(features).T


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
    """The log of purchases, and the paid lines of the invoices."""

    def __init__(self):
        log = datasets.load("online-retail").clean()[0]
        self.log = log.where(log.purchase)
        card = datasets.card("online-retail")
        places = (place for _, place in datasets._places(card))
        lines = retail._table(next(filter(None, map(card.find, places))))
        lines = lines[lines["UnitPrice"] > 0].dropna(subset="Description")
        code = pd.Index(log.items["id"]).get_indexer(lines["StockCode"])
        lines = lines.assign(
            item=code, time=pd.to_datetime(lines["InvoiceDate"])
        )
        self.lines = lines[code >= 0].sort_values("time", kind="stable")


class Features:
    """What the shop could say of its products at a date."""

    def __init__(self, shop, end):
        lines, n = shop.lines, shop.log.n_items
        early = lines[lines["time"] < end]
        known = np.isin(np.arange(n), early["item"])
        launch = lines[~known[lines["item"]]].drop_duplicates("item")
        lines = pd.concat([early, launch])
        often = lines.value_counts(["item", "Description"]).reset_index()
        often = often.sort_values(
            ["item", "count", "Description"],
            ascending=[True, False, True],
        ).drop_duplicates("item")
        titles = np.full(n, "", object)
        titles[often["item"]] = often["Description"]
        price = lines.groupby("item")["UnitPrice"].median()
        cost = np.full(n, price.median())
        cost[price.index] = price
        cost = np.log(cost)[:, None]
        self.words, self.titles = text(titles, known)
        edges = np.quantile(cost[known], np.arange(1, 12) / 12)
        self.price = np.eye(12)[np.searchsorted(edges, cost.ravel())]
        shelves = KMeans(64, n_init=4, random_state=0)
        shelves.fit(self.titles[known])
        self.shelf = sparse.csr_array(
            np.eye(64)[shelves.predict(self.titles)]
        )
        self.named = titles != ""


class Cut:
    """What is asked at one date, and what is hidden."""

    def __init__(self, shop, features, end, rng):
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
        on_sale &= features.named
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
        self.new &= features.named
        self.luck = rng.permutation(len(self.whole))
        self.past = self.knowing(0)
        known = np.bincount(
            self.past.events["user"], minlength=log.n_users
        )
        self.users = np.flatnonzero(
            (np.diff(fresh.indptr) > 0) & (known > 0)
        )
        self.bought, self.seen = fresh[self.users], seen[self.users]

    def knowing(self, k):
        """The past with k purchases of each hidden product, drawn by lot."""
        return kept(self.whole, self.cold, k, self.luck)

    def judged(self, scores, shown):
        """NDCG@10 (users,) among `shown`, of what the customer had not bought before."""
        wanted = sparse.csr_array(
            self.bought.multiply(shown[None]), dtype=bool
        )
        scores = np.where(shown, scores, -np.inf)
        return ranking.measures(scores, wanted, seen=self.seen)["NDCG"]


def scores(features, cut, unhidden):
    """Scores (users, items) by model; `unhidden` is EASE of the whole past."""
    past, users = cut.past, cut.users
    model = RecentEASE(**EASE).fit(past)
    history = model.history[users]
    sold = Popularity().fit(past).popularity
    everyone = np.ones((len(users), 1))
    words, titles, price = features.words, features.titles, features.price
    titled = np.hstack([titles, HALF * price])
    behaviour = model.scores(users)
    told = mapped(behaviour, titled, cut.warm)
    trust = (sold / (sold + KAPPA))[None]
    shown = cut.warm | cut.cold
    rows = sparse.hstack([words, sparse.csr_array(HALF * price)]).tocsr()
    flags = sparse.csr_array(words, copy=True)
    flags.data[:] = 1
    return {
        "chance": np.zeros(behaviour.shape),
        "popularity": everyone * sold,
        "popularity of the category": everyone
        * mean_by(features.shelf, sold, cut.warm),
        "popularity of the price": everyone
        * mean_by(sparse.csr_array(price), sold, cut.warm),
        "popularity of the words": everyone
        * mean_by(flags, sold, cut.warm),
        "likeness of words": (history @ words @ words.T).toarray(),
        "likeness, SVD": (history @ titles) @ titles.T,
        "map, price": mapped(behaviour, price, cut.warm),
        "map, titles": mapped(behaviour, titles, cut.warm),
        "map, titles and price": told,
        "map, words": mapped(behaviour, words.toarray(), cut.warm),
        "behaviour": behaviour,
        "early": Stacked(rows, STACK, **EASE).fit(past).scores(users),
        "late": trust * standardised(behaviour, shown)
        + (1 - trust) * standardised(told, shown),
        "behaviour, not hidden": unhidden.scores(users),
    }


def by_touches(features, cut, k):
    """Scores of behaviour and of titles where k purchases of each hidden product are known."""
    past = cut.knowing(k)
    behaviour = RecentEASE(**EASE).fit(past).scores(cut.users)
    near = ItemNeighbours(neighbours=200).fit(past)
    return {
        "EASE": behaviour,
        "neighbours": near.scores(cut.users),
        "map, titles": mapped(behaviour, features.titles, cut.warm),
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
        ("behaviour", "likeness of words"),
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


CURVE_GAPS = (("EASE", "map, titles"), ("neighbours", "map, titles"))


class Answers:
    """NDCG@10 of each question, by model: (questions, models), NaN where there was none."""

    def __init__(self):
        self.rows, self.customers, self.sets = [], [], []

    def add(self, number, cut, found, shown):
        """The questions of the cut; `number` says which set of hidden products they share."""
        self.names = list(found)
        self.rows.append(
            np.stack(
                [cut.judged(x, shown) for x in found.values()], axis=1
            )
        )
        self.customers.append(cut.users)
        self.sets.append(np.full(len(cut.users), number))

    def table(self, pairs, rng, n=1000):
        """Means and gaps, with 95% intervals: customers and sets are both drawn again, n times.

        Both at once is the pigeonhole bootstrap (Owen 2007), which errs on the wide side.
        """
        rows = np.concatenate(self.rows)
        asked = ~np.isnan(rows[:, 0])
        rows = rows[asked]
        customers = np.concatenate(self.customers)[asked]
        sets = np.concatenate(self.sets)[asked]
        at = self.names.index
        gaps = [
            rows[:, at(one)] - rows[:, at(other)] for one, other in pairs
        ]
        labels = self.names + [f"{one} − {other}" for one, other in pairs]
        rows = np.column_stack([rows, *gaps])
        (_, customer), (_, place) = (
            np.unique(x, return_inverse=True) for x in (customers, sets)
        )
        draws = []
        for _ in range(n):
            weight = np.ones(len(rows))
            for code in (customer, place):
                size = code.max() + 1
                again = rng.integers(size, size=size)
                weight *= np.bincount(again, minlength=size)[code]
            draws.append(weight @ rows / weight.sum())
        found = np.vstack(
            [
                rows.mean(axis=0),
                np.quantile(draws, (0.025, 0.975), axis=0),
            ]
        )
        return {
            "asked": [len(rows), customer.max() + 1],
            "found": dict(zip(labels, found.T.tolist())),
        }


def run(seed):
    rng = np.random.default_rng([seed, 16])
    shop = Shop()
    parts = {part: Answers() for part in GAPS}
    curve = {k: Answers() for k in KEPT}
    sizes = []
    for date, end in enumerate(DATES):
        features = Features(shop, end)
        unhidden = RecentEASE(**EASE).fit(splits.past(shop.log, end))
        for draw in range(DRAWS):
            cut = Cut(shop, features, end, rng)
            number = DRAWS * date + draw
            found = scores(features, cut, unhidden)
            parts["cold"].add(number, cut, found, cut.cold)
            parts["warm"].add(number, cut, found, cut.warm)
            # The new are the same in all draws, which are therefore no sets of their own.
            parts["new"].add(0, cut, found, cut.new)
            sizes.append(
                [int(x.sum()) for x in (cut.cold, cut.warm, cut.new)]
            )
            for k in KEPT if draw < CURVES else ():
                found = by_touches(features, cut, k)
                curve[k].add(number, cut, found, cut.cold)
    tables = {
        part: answers.table(GAPS[part], rng)
        for part, answers in parts.items()
    }
    return {
        "dates": [str(end) for end in DATES],
        "items": np.mean(sizes, axis=0).tolist(),
        "tables": tables,
        "touches": {
            str(k): answers.table(CURVE_GAPS, rng)["found"]
            for k, answers in curve.items()
        },
    }
