"""Rankers that need no network: what every other one must beat.

    log ── fit ──▶ what is popular, what goes together ── scores ──▶ (users, items)

    of everybody      Popularity, RecentPopularity
    of the neighbours ItemNeighbours, EASE, RecentEASE
    of the factors    ALS, BPR
    of the items      ContentBased, KnowledgeGraph

Every ranker of the book has the same two methods, `fit(log)` and `scores(users)`, so that they can
be held side by side by `evaluate.ranking`, which masks what was seen. Chapter 08 does.
"""

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_string_dtype
from scipy import linalg, sparse
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from recsys_evo.prepare import splits

_BLOCK = 250  # users whose walks are in memory at a time
_TOLERANCE = 1e-4  # of a walk, what is yet to come when it is cut off


def touched(log):
    """Return bool csr_array (users, items): which known user touched which item?

    It is what `evaluate.ranking` takes as `seen` (of the past) and `relevant` (of the future).
    Chapter 08 uses it.
    """
    user, item = splits.acts(log, log.touch, "user", "item")
    pairs = np.divmod(np.unique(user * log.n_items + item), log.n_items)
    shape = (log.n_users, log.n_items)
    return sparse.csr_array((np.ones(len(pairs[0]), bool), pairs), shape=shape)


class Ranker:
    """What all rankers share. Subclasses learn (`_fit`) and answer (`_scores`).

    After `fit`: `touched`, float32 csr_array (users, items), 1 where a known user touched an item;
    `popularity`, float32 (items,), the number of touches.
    """

    def fit(self, log):
        """Learn from the touches of the log's known users; returns the ranker.

        Impressions, returns and the unknown user are left out. Raises ValueError for a log without
        a touch of a known user.
        """
        (item,) = splits.acts(log, log.touch, "item")
        if not len(item):
            raise ValueError(f"`log` must hold a touch of a known user. Received: {log!r}")
        self.n_users, self.n_items = log.n_users, log.n_items
        self.touched = touched(log).astype(np.float32)
        self.popularity = np.bincount(item, minlength=log.n_items).astype(np.float32)
        self._fit(log)
        return self

    def scores(self, users=None):
        """Return float32 (users, items): the higher, the sooner to be recommended.

        Seen items have their score too. Users without a touch get the popularity.

        Parameters
        ----------
        users : array of user codes, the order of the rows; default all.

        Raises
        ------
        ValueError for a code that the log of `fit` does not have.
        """
        users = splits.user_codes(self, users)
        out = np.ascontiguousarray(self._scores(users), dtype=np.float32)
        out[np.diff(self.touched.indptr)[users] == 0] = self.popularity
        return out

    def _fit(self, log):
        pass


class Popularity(Ranker):
    """Items by the number of their touches, the same for all users."""

    def _scores(self, users):
        return np.tile(self.popularity, (len(users), 1))


class RecentPopularity(Popularity):
    """Items by the number of their touches, of which an old one counts less.

    `half_life`: days after which a touch counts half, back from the last event of the log.
    """

    def __init__(self, *, half_life=30.0):
        self.half_life = half_life

    def _fit(self, log):
        item, time = splits.acts(log, log.touch, "item", "time")
        days = (log.events["time"].to_numpy().max() - time) / np.timedelta64(1, "D")
        weight = 0.5 ** (days / self.half_life)
        self.popularity = np.bincount(item, weight, minlength=log.n_items).astype(np.float32)


class ItemNeighbours(Ranker):
    """An item's score: the similarities of its nearest items, summed over those the user touched.

    Items are near whose users are the same: the cosine of their columns of `touched` (Sarwar,
    Karypis, Konstan and Riedl 2001). `neighbours`: int, how many of an item count.
    """

    def __init__(self, *, neighbours=100):
        self.neighbours = neighbours

    def _fit(self, log):
        columns = sparse.csr_matrix(self.touched.T)
        near = NearestNeighbors(n_neighbors=min(self.neighbours, log.n_items - 1), metric="cosine")
        self.similarity = near.fit(columns).kneighbors_graph(mode="distance").astype(np.float32)
        self.similarity.data = 1 - self.similarity.data

    def _scores(self, users):
        return (self.touched[users] @ self.similarity.T).toarray()


class EASE(Ranker):
    """Each item as a sum of the others: the linear model that foretells a user's row from itself.

        min ‖X − XB‖² + λ‖B‖², diag B = 0        B = I − P / diag P,   P = (XᵀX + λI)⁻¹

    Closed form, no iterations, no seed, and hard to beat (Steck 2019). `weight`, the matrix B, is
    float32 (items, items): 12,000 items take 0.6 GB. `regularisation`: λ.
    """

    def __init__(self, *, regularisation=500.0):
        self.regularisation = regularisation

    def _fit(self, log):
        gram = (self.touched.T @ self.touched).toarray()
        gram[np.diag_indices_from(gram)] += self.regularisation
        inverse = linalg.inv(gram, overwrite_a=True, check_finite=False)
        inverse /= -np.diag(inverse).copy()
        np.fill_diagonal(inverse, 0)
        self.weight = inverse
        self.history = self._history(log)

    def _history(self, log):
        return self.touched

    def _scores(self, users):
        return self.history[users] @ self.weight


class RecentEASE(EASE):
    """EASE that is asked about the recent past: what a user touched n touches ago counts exp(−n/τ).

    The matrix is that of EASE; only the row that it is multiplied with fades, so that it costs
    nothing more. `tau`: τ, in touches; of an item touched twice the last touch counts.
    """

    def __init__(self, *, regularisation=500.0, tau=10.0):
        super().__init__(regularisation=regularisation)
        self.tau = tau

    def _history(self, log):
        user, item = splits.acts(log, log.touch, "user", "item")
        ago = np.bincount(user).cumsum()[user] - 1 - np.arange(len(user))
        last = ~pd.DataFrame({"user": user, "item": item}).duplicated(keep="last").to_numpy()
        faded = np.exp(-ago / self.tau).astype(np.float32)
        pairs = (faded[last], (user[last], item[last]))
        return sparse.csr_array(pairs, shape=self.touched.shape)


class Factors(Ranker):
    """A vector for each user and each item, whose product is the score; of implicit's making.

    One thread, so that the same seed gives the same scores. After `fit`: `users`, `items`, float32
    (users or items, factors). Subclasses say what is minimised (`_model`).
    """

    def _fit(self, log):
        with threadpool_limits(1):
            model = self._model()
            model.fit(sparse.csr_matrix(self.touched), show_progress=False)
        self.users, self.items = model.user_factors, model.item_factors

    def _options(self):
        """What implicit's models have in common."""
        size = {"factors": self.factors, "iterations": self.iterations}
        rest = {"num_threads": 1, "random_state": self.seed}
        return size | rest | {"regularization": self.regularisation}

    def _scores(self, users):
        return self.users[users] @ self.items.T


class ALS(Factors):
    """Factors that rebuild `touched`, where what is touched counts more (Hu, Koren, Volinsky 2008).

    Alternating least squares. `factors`, `regularisation`, `iterations`: of the model; `weight`:
    how much more a touched pair counts than another one (implicit's alpha); `seed`: int.
    """

    def __init__(self, *, factors=64, regularisation=0.01, weight=1.0, iterations=15, seed=0):
        self.factors, self.regularisation, self.weight = factors, regularisation, weight
        self.iterations, self.seed = iterations, seed

    def _model(self):
        from implicit.cpu.als import AlternatingLeastSquares

        return AlternatingLeastSquares(alpha=self.weight, **self._options())


class BPR(Factors):
    """Factors that put a touched item before another one, drawn by popularity; items have a bias.

    Bayesian personalised ranking (Rendle, Freudenthaler, Gantner and Schmidt-Thieme 2009).
    `factors`, `regularisation`, `rate`, `iterations`: of the model and its stochastic gradient
    descent; `seed`: int.
    """

    def __init__(self, *, factors=64, regularisation=0.01, rate=0.01, iterations=100, seed=0):
        self.factors, self.regularisation, self.rate = factors, regularisation, rate
        self.iterations, self.seed = iterations, seed

    def _model(self):
        from implicit.cpu.bpr import BayesianPersonalizedRanking

        return BayesianPersonalizedRanking(learning_rate=self.rate, **self._options())


class ContentBased(Ranker):
    """An item's score: its likeness to what the user touched, by what the items are.

    Likeness is the cosine of the items' `attributes`, of which a rare one weighs more (TF-IDF), and
    is summed over the touched. It needs no other user, and no touch of the item itself.

    `columns`: as for `attributes`.
    """

    def __init__(self, *, columns=None):
        self.columns = columns

    def _fit(self, log):
        self.attributes = TfidfTransformer().fit_transform(attributes(log.items, self.columns))

    def _scores(self, users):
        profile = self.touched[users] @ self.attributes
        return (profile @ self.attributes.T).toarray()


class KnowledgeGraph(Ranker):
    """An item's score: how often a walk that starts at the user is there (personalised PageRank).

        users ── touched ── items ── have ── attributes

    From where it is the walk takes one of the edges, or with the chance 1 − `follow` goes back to
    its user (Haveliwala 2002). So it finds items by way of other users and of what items are.

    Parameters
    ----------
    columns : as for `attributes`.
    follow : float in (0, 1), chance to go on.
    weight : float, of an edge to an attribute; an edge between a user and an item has 1.
    """

    def __init__(self, *, columns=None, follow=0.5, weight=1.0):
        self.columns, self.follow, self.weight = columns, follow, weight

    def _fit(self, log):
        have = self.weight * attributes(log.items, self.columns)
        edges = sparse.block_array(
            [[None, self.touched, None], [self.touched.T, None, have], [None, have.T, None]]
        )
        # Column: where the walk is; row: where it may go.
        self.steps = sparse.csr_array(normalize(edges, norm="l1").T)

    def _scores(self, users):
        out = np.empty((len(users), self.n_items), np.float32)
        for low in range(0, len(users), _BLOCK):
            block = users[low : low + _BLOCK]
            start = np.zeros((len(self.steps.indptr) - 1, len(block)), np.float32)
            start[block, np.arange(len(block))] = 1 - self.follow
            there = start
            for _ in range(int(np.log(_TOLERANCE) / np.log(self.follow))):
                there = start + self.follow * (self.steps @ there)
            out[low : low + _BLOCK] = there[self.n_users : self.n_users + self.n_items].T
        return out


def attributes(items, columns=None):
    """Return float32 csr_array (items, attributes): 1 where an item has an attribute.

    Parameters
    ----------
    items : DataFrame, such as `log.items`, with the index 0, 1, ….
    columns : names of columns that say what an item is; default `category` and all bool columns. A
        bool column is one attribute; of text, each word of three letters or more is one; of tuples,
        each member; of all else (and of categoricals), each value. Missing values are none.

    Raises
    ------
    ValueError for no column, and for one that `items` does not have. Chapter 08 uses it.
    """
    if columns is None:
        columns = [name for name in items if name == "category" or is_bool_dtype(items[name])]
    absent = [name for name in columns if name not in items]
    if absent or not len(columns):
        raise ValueError(
            f"`columns` must name columns of `items`: {list(items.columns)}. "
            f"Received: columns={list(columns)}"
        )
    return sparse.hstack([_one_hot(items[name]) for name in columns], format="csr")


def _one_hot(values):
    n_items = len(values)
    if is_bool_dtype(values):
        values = values[values]
    elif is_string_dtype(values) and not isinstance(values.dtype, pd.CategoricalDtype):
        values = values.str.lower().str.findall(r"[^\W\d_]{3,}")
    values = values.explode().dropna()
    code, names = pd.factorize(values)
    pairs = (np.ones(len(code), np.float32), (values.index, code))
    table = sparse.csr_array(pairs, shape=(n_items, len(names)))
    table.data[:] = 1  # a word that is there twice
    return table
