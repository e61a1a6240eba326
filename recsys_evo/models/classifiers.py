"""Simple rivals: classifiers on features made by hand, for both questions of the book.

    log ── describe ──▶ (users, categories, features) ── one row a pair ──▶ scikit-learn ──▶ chances

Each answers, at midnight `end`, for the days that follow (HORIZON of them, unless said otherwise):
which categories does a user touch, and does the user buy? Every model of the book that answers
these has the same two methods, `fit(log, end=…)` and `predict(log, end=…)`, so that they can be
held side by side. Chapter 05 does.
"""

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from recsys_evo.collect.ceiling import HORIZON, Forecast
from recsys_evo.prepare import hand, splits


class PairClassifier:
    """A classifier of (user, category) pairs, fitted once for touches and once for purchases.

    Whoever buys, buys in some category, so a purchase is learnt for each pair, which tells a model
    64 times as much as one answer a user; the chance to buy anything is 1 − Π(1 − chance in
    category), as if categories were independent given the past (the *noisy-or*; Pearl 1988).
    Subclasses say what a pair looks like (`describe`) and which classifier learns it (`estimator`).
    `ahead` is the number of days that the questions are about.
    """

    def __init__(self, *, ahead=HORIZON, categories=64):
        self.ahead, self.categories = ahead, categories

    def fit(self, log, *, end, users=None):
        """Learn from what `users` (default all) did before `end` and in the `ahead` days from it.

        Raises ValueError where the log ends before `end`.
        """
        rows = self._rows(self.learn_to_describe(splits.past(log, end), end, users), end, users)
        answers = labels(log, end=end, ahead=self.ahead, users=users, categories=self.categories)
        self.touch, self.buy = (self.estimator().fit(rows, y.ravel()) for y in answers)
        return self

    def predict(self, log, *, end, users=None):
        """Return the `Forecast` of `users` (default all) from the log before `end` alone."""
        rows = self._rows(splits.past(log, end), end, users)
        found = [model.predict_proba(rows)[:, 1] for model in (self.touch, self.buy)]
        touch, buy = np.reshape(found, (2, -1, self.categories))
        return Forecast(touch, anything(buy))

    def learn_to_describe(self, past, end, users):
        """What `describe` needs to know of the users who teach; returns `past`."""
        return past

    def _rows(self, past, end, users):
        found = self.describe(past, end, users)
        return found.reshape(-1, found.shape[-1])


class Classic(PairClassifier):
    """Logistic regression on log(1 + recency, frequency, money) of the pair: the simple rival."""

    def describe(self, past, end, users):
        return np.log1p(
            hand.recency_frequency_money(past, end=end, users=users, categories=self.categories)
        )

    def estimator(self):
        regression = LogisticRegression(solver="newton-cholesky")
        return make_pipeline(StandardScaler(), regression)


class Boosted(PairClassifier):
    """Gradient-boosted trees on the careful features: the strongest simple rival.

    `order`: the order of the categories, which says who is whose neighbour; default code order.
    `taste`: whether the pair is also described by the low-rank taste of its user, for rivals that
    see all of a user's categories at once. `settings` go to HistGradientBoostingClassifier.
    """

    def __init__(self, *, order=None, taste=False, ahead=HORIZON, categories=64, **settings):
        super().__init__(ahead=ahead, categories=categories)
        self.order, self.taste, self.settings = order, taste, settings

    def learn_to_describe(self, past, end, users):
        if self.taste:
            fading = hand.fading_touches(past, end=end, users=users, categories=self.categories)
            self.basis = hand.taste_basis(fading)
        return past

    def describe(self, past, end, users):
        options = {"end": end, "users": users, "categories": self.categories}
        found = hand.careful_features(past, order=self.order, ahead=self.ahead, **options)
        if self.taste:
            fading = hand.fading_touches(past, **options)
            smooth = fading @ self.basis.T @ self.basis
            found = np.concatenate([found, smooth[..., None]], axis=2)
        return found

    def estimator(self):
        chosen = {"max_iter": 200, "learning_rate": 0.08, "max_leaf_nodes": 15}
        chosen |= {"min_samples_leaf": 50, "random_state": 0} | self.settings
        return HistGradientBoostingClassifier(**chosen)


def labels(log, *, end, ahead=HORIZON, users=None, categories=64):
    """Return what happened in the `ahead` days from `end`: touched, bought (users, categories)."""
    options = {"users": users, "categories": categories}
    bought = log.where(log.purchase)
    return tuple(splits.touches(part, end, ahead, **options) for part in (log, bought))


def anything(buy):
    """The chance (users,) to buy anything, from the chances (users, categories): noisy-or."""
    return 1 - np.prod(1 - buy, axis=1)
