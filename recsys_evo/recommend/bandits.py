"""Policies that know what they do not know: a Bayesian linear model of the click, and two bandits.

    log ── learn ──▶ posterior ─┬─ mean + α · doubt ──▶ LinUCB     optimism, the same every time
                                └─ M draws ───────────▶ Thompson   a slate from one of M models

A shown slot of user u and item i, with the item's vector x, is clicked (1) or not (0):

    click = xᵀ(m + θ_u) + δ_i + noise      θ_u ~ N(0, σ²/λ · I),  δ_i ~ N(0, σ²/κ)

m is what all users share, θ_u how a user departs from it, δ_i what the vector does not say about
an item. A user or an item that was never shown has the prior, so there is something to find out.
The position of a slot is left out: attention falls with it, so that what stands on top looks a
little better than it is. Chapters 09 and 10 use this module.
"""

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.optimize import minimize_scalar

from recsys_evo.collect.events import ACTIONS, IMPRESSION
from recsys_evo.models.baselines import ALS
from recsys_evo.prepare.splits import acts, positive, summing

from .policies import Policy, between

_CLICK = ACTIONS.index("click")
_OWN = 5.0  # touches from which an item's own factors count as much as its category's
_RANGE = (-3.0, 10.0)  # of log λ and log κ


def item_vectors(log, *, factors=8):
    """Return vectors (items, 1 + factors) by which a bandit can tell items apart.

    The first element is 1. The others are the item's factors of `baselines.ALS`, the more drawn to
    the mean of its category the fewer touches it has (items of logs without categories: of all),
    over their root mean square. Raises ValueError for a log without a touch of a known user.
    """
    ranker = ALS(factors=factors, iterations=5).fit(log)
    touches, own = ranker.popularity[:, None].astype(float), ranker.items.astype(float)
    category = log.items.get("category", pd.Series(0, log.items.index)).to_numpy()
    member = summing(category, category.max() + 1)
    shared = (member @ (touches * own)) / np.maximum(member @ touches, 1)
    vectors = (touches * own + _OWN * shared[category]) / (touches + _OWN)
    return np.hstack([np.ones_like(touches), vectors / np.sqrt((vectors**2).mean())])


class LinearBandit(Policy):
    """What both bandits share: the posterior of the model above.

    It is learnt in three steps, each from what the ones before leave over: m by ridge regression,
    then δ, then θ. κ and λ are those that make the log likeliest (empirical Bayes). Impressions and
    clicks count that have a slate and a known user.

    Parameters
    ----------
    vectors : function of a log that returns the vectors of its items, (items, d).
    every : int, rounds between two trainings.

    After `learn`: `x` (items, d), the vectors; `effect` and `doubt` (items,), mean and standard
    deviation of δ; `mean` (users, d), that of m + θ; `root` (users, d, d), which times its
    transpose is the covariance of θ; `kappa` and `lam`, κ and λ, the weight of the prior in slots.
    """

    def __init__(self, *, vectors=item_vectors, every=1):
        self.vectors, self.every = vectors, positive(every=every)

    def learn(self, log):
        """Learn from `log`; ValueError where no known user was shown a slate."""
        shown, clicked = _counts(log, IMPRESSION), _counts(log, _CLICK)
        if not shown.nnz:
            raise ValueError(
                f"`log` must hold impressions that have a slate and a known user. Received: {log!r}"
            )
        slots, clicks = shown.sum(axis=0), clicked.sum(axis=0)
        self.x = x = np.asarray(self.vectors(log), float)
        if x.ndim != 2 or len(x) != log.n_items or not np.isfinite(x).all():
            raise ValueError(
                f"`vectors` must return finite numbers, ({log.n_items}, d). "
                f"Received: shape {x.shape}"
            )
        squares = _squares(x)
        common = (slots @ squares).reshape(x.shape[1], -1) + np.eye(x.shape[1])
        everyone = np.linalg.solve(common, clicks @ x)

        rate = x @ everyone
        pull = clicks - slots * rate
        self.kappa, variance = _precision(slots, pull, slots, clicks, rate)
        self.effect = pull / (slots + self.kappa)
        self.doubt = np.sqrt(variance / (slots + self.kappa))

        rate = rate + self.effect
        pull = clicked @ x - shown @ (rate[:, None] * x)
        size, axes = np.linalg.eigh((shown @ squares).reshape(-1, *common.shape))
        size = np.maximum(size, 0)  # an axis along which nothing was shown
        pull = np.einsum("udk,ud->uk", axes, pull)
        self.lam, variance = _precision(size, pull, slots, clicks, rate)
        self.mean = everyone + np.einsum("udk,uk->ud", axes, pull / (size + self.lam))
        self.root = axes * np.sqrt(variance / (size + self.lam))[:, None]

    def _top(self, scores, n):
        """The `n` best (users, n) by the scores (users, offered) of what is on offer."""
        best = np.argpartition(-scores, n - 1, axis=1)[:, :n]  # a tenth of the time of a sort
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        return np.flatnonzero(self.offered)[np.take_along_axis(best, order, axis=1)]


class LinUCB(LinearBandit):
    """Optimism in the face of doubt: the items whose chance of a click may be the highest.

        score = mean + α · doubt

    Doubt is the posterior standard deviation of the chance (Li, Chu, Langford and Schapire 2010,
    whose α also holds σ). Nothing is drawn: propensities are 1.

    Parameters
    ----------
    alpha : α >= 0, in standard deviations; 0 does not explore.
    vectors, every : as for `LinearBandit`.
    """

    def __init__(self, *, alpha=1.0, vectors=item_vectors, every=1):
        super().__init__(vectors=vectors, every=every)
        self.alpha = between("alpha", alpha, 0, np.inf)

    def draw(self, users, n, *, rng):
        items = self.best(users, n)
        return items, np.ones(items.shape)

    def best(self, users, n):
        """Return the items (users, n) of the highest scores, best first."""
        mean, doubt = self.score(users)
        return self._top((mean + self.alpha * doubt)[:, self.offered], n)

    def score(self, users):
        """Return mean and doubt, each float32 (users, items), of the chance of a click."""
        x = self.x.astype(np.float32)
        covariance = self.root[users] @ self.root[users].swapaxes(1, 2)
        taste = covariance.reshape(len(users), x.shape[1] ** 2).astype(np.float32) @ _squares(x).T
        doubt = np.sqrt(np.maximum(taste, 0) + np.float32(self.doubt**2))
        return self.mean[users].astype(np.float32) @ x.T + np.float32(self.effect), doubt

    def chance(self, users, items):
        return (items == self.best(users, items.shape[1])).astype(float)


class Thompson(LinearBandit):
    """A slate is shown as often as it is likely to be the best: Thompson sampling, by an ensemble.

    At each training some models are drawn from the posterior, and for each slate one of these: its
    best items are shown (ensemble sampling, Lu and Van Roy 2017). So propensities are known without
    error: given the models, the share of them that put the item at this place.

    Parameters
    ----------
    models : int, how many are drawn.
    vectors, every : as for `LinearBandit`.

    After the first slates of a training: `ensemble`, of each model the weights of all users (users,
    d) and the effects (items,).
    """

    def __init__(self, *, models=10, vectors=item_vectors, every=1):
        super().__init__(vectors=vectors, every=every)
        self.models = positive(models=models)

    def learn(self, log):
        super().learn(log)
        self.ensemble = None

    def draw(self, users, n, *, rng):
        if self.ensemble is None:
            self.ensemble = [self._model(rng) for _ in range(self.models)]
        slates = self.best(users, n)
        items = slates[rng.integers(self.models, size=len(users)), np.arange(len(users))]
        return items, (slates == items).mean(axis=0)

    def best(self, users, n):
        """Return the items (models, users, n) of the highest scores by each model, best first."""
        x, on = self.x[self.offered].T.astype(np.float32), self.offered
        return np.stack([self._top(w[users] @ x + effect[on], n) for w, effect in self.ensemble])

    def chance(self, users, items):
        return (self.best(users, items.shape[1]) == items).mean(axis=0)

    def _model(self, rng):
        """Weights of all users (users, d) and effects (items,), drawn from the posterior."""
        theta = np.einsum("udk,uk->ud", self.root, rng.standard_normal(self.mean.shape))
        effect = self.effect + self.doubt * rng.standard_normal(self.effect.shape)
        return np.float32(self.mean + theta), np.float32(effect)


def _precision(size, pull, slots, clicks, rate):
    """The precision that makes the log likeliest, and the variance σ² that goes with it.

    Effects are along axes that do not disturb each other: `size`, the sum of x² along each; `pull`,
    of x times what `rate` (items,) leaves over of the clicks. A slot that is off by one half is
    added, so that σ² is positive even where nobody clicked.
    """
    before = 0.25 + clicks.sum() - 2 * clicks @ rate + slots @ rate**2
    n = 1 + slots.sum()

    def left(precision):
        return before - (pull**2 / (size + precision)).sum()

    def surprise(log_precision):
        precision = np.exp(log_precision)
        return n * np.log(left(precision)) + np.log1p(size / precision).sum()

    best = np.exp(minimize_scalar(surprise, bounds=_RANGE, method="bounded").x)
    return best, left(best) / n


def _squares(x):
    """x xᵀ of each item, flat (items, d²)."""
    return (x[:, :, None] * x[:, None]).reshape(len(x), -1)


def _counts(log, action):
    """How often there was this action code of a known user on a slate, (users, items)."""
    rows = (log.events["action"].cat.codes == action) & (log.events["slate"] >= 0)
    pairs = tuple(acts(log, rows.to_numpy(), "user", "item"))
    return sparse.csr_array((np.ones(len(pairs[0])), pairs), shape=(log.n_users, log.n_items))
