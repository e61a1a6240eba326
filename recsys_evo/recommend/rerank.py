"""What becomes of the best candidates: variety, calibration, the long tail, rest.

    scores ──▶ best candidates ──▶ place by place, the one with the highest value ──▶ slate

        value = weight · score + (1 − weight) · (another aim)

Scores are standardised over a user's candidates, so that a weight means the same for any ranker: 1
leaves the ranking as it is, 0 heeds the other aim alone. `policies.Greedy` takes one of these
classes as `rerank`; each has `learn(log)` and `best(users, scores, n)`. Chapter 09 uses it.
"""

import numpy as np
from scipy.special import rel_entr
from sklearn.preprocessing import normalize

from recsys_evo.evaluate.ranking import top
from recsys_evo.models.baselines import attributes
from recsys_evo.prepare.splits import acts, counted, positive, side_column

from .policies import between, standardise

_BLUR = 0.01  # of a user's shares, what is mixed into those of the slate (Steck 2018)


class Rerank:
    """What all re-rankers share. Subclasses learn (`learn`) and say what they aim at (`_aim`).

    Parameters
    ----------
    weight : float in [0, 1], of the score against the other aim.
    candidates : int, how many of a user's best items by score are looked at.
    """

    def __init__(self, *, weight=0.7, candidates=100):
        self.weight = between("weight", weight, 0, 1)
        self.candidates = positive(candidates=candidates)

    def learn(self, log):
        """Learn from `log`."""
        raise NotImplementedError

    def best(self, users, scores, n):
        """Return the items int32 (users, n) that make the slate, first place first.

        Parameters
        ----------
        users : codes (users,).
        scores : (users, items), -inf for what is not on offer.
        n : int, slots of a slate.

        Raises
        ------
        ValueError where a user has fewer than `n` candidates on offer.
        """
        offered = np.count_nonzero(scores > -np.inf, axis=1)
        k = min(self.candidates, offered.min(initial=scores.shape[1]))
        if n > k:
            raise ValueError(
                f"`n` must be at most the number of candidates, {k}. Received: n={n!r}"
            )
        items = top(scores, k)
        score = self.weight * standardise(np.take_along_axis(scores, items, axis=1))
        slate = np.empty((len(users), n), np.int32)
        free = np.ones(items.shape, bool)
        row = np.arange(len(users))
        for place in range(n):
            value = score + (1 - self.weight) * self._aim(users, items, slate[:, :place])
            pick = np.where(free, value, -np.inf).argmax(axis=1)
            slate[:, place] = items[row, pick]
            free[row, pick] = False
        return slate

    def _aim(self, users, items, slate):
        """How well each of the `items` (users, k) serves the aim, after those in the `slate`."""
        raise NotImplementedError


class MMR(Rerank):
    """Maximal marginal relevance: an item loses by its likeness to those above it in the slate.

    The aim is minus the largest likeness to one of them, where likeness is the cosine of the items'
    `attributes`: 1 for items alike in all of them (Carbonell and Goldstein 1998). It holds a table
    of (items, items).

    `columns`: as for `baselines.attributes`; `weight`, `candidates`: as for `Rerank`.
    """

    def __init__(self, *, weight=0.7, candidates=100, columns=None):
        super().__init__(weight=weight, candidates=candidates)
        self.columns = columns

    def learn(self, log):
        table = normalize(attributes(log.items, self.columns))
        self.likeness = (table @ table.T).toarray()

    def _aim(self, users, items, slate):
        return -self.likeness[slate[:, :, None], items[:, None]].max(axis=1, initial=0)


class Calibrated(Rerank):
    """A slate whose categories have the shares that they have in what the user touched.

    The aim is minus the Kullback–Leibler divergence of the slate's shares from the user's. So that
    it is finite, the user's touches are joined by one that is shared out as everybody's are, and
    the slate's shares by a little of the user's (Steck 2018).

    `weight`, `candidates`: as for `Rerank`.
    """

    def __init__(self, *, weight=0.5, candidates=100):
        super().__init__(weight=weight, candidates=candidates)

    def learn(self, log):
        self.category = side_column(log, "items", "category")
        touches = _touches(log)
        everyone = touches.sum(axis=0) / max(touches.sum(), 1)
        self.shares = touches + everyone
        self.shares /= np.maximum(self.shares.sum(axis=1, keepdims=True), 1)

    def _aim(self, users, items, slate):
        wanted = self.shares[users]
        rows = np.arange(len(users))[:, None]
        count = np.zeros(wanted.shape)
        np.add.at(count, (rows, self.category[slate]), 1)
        place = 1 + slate.shape[1]
        blurred = ((1 - _BLUR) * (count + more) / place + _BLUR * wanted for more in (0, 1))
        now, then = (rel_entr(wanted, shares) for shares in blurred)
        change = (then - now)[rows, self.category[items]]
        return -(now.sum(axis=1, keepdims=True) + change)


class PopularityCorrected(Rerank):
    """An item loses by the logarithm of its popularity, so that the long tail has a turn.

    The aim is −log(1 + touches). `weight`, `candidates`: as for `Rerank`.
    """

    def learn(self, log):
        item = log.events["item"].to_numpy()[log.touch]
        self.loss = np.log1p(np.bincount(item, minlength=log.n_items))

    def _aim(self, users, items, slate):
        return -self.loss[items]


class Rested(Rerank):
    """An item loses by what the user had of its category lately: a guard against satiation.

    The aim is minus the user's touches of the category, of which an old one counts less.

    `half_life`: days after which a touch counts half, 0.01 or more; `weight`, `candidates`: as for
    `Rerank`.
    """

    def __init__(self, *, weight=0.7, candidates=100, half_life=2.0):
        super().__init__(weight=weight, candidates=candidates)
        self.half_life = between("half_life", half_life, 0.01, np.inf)

    def learn(self, log):
        self.category = side_column(log, "items", "category")
        self.fresh = _touches(log, lambda days: 0.5 ** (days / self.half_life))

    def _aim(self, users, items, slate):
        return -np.take_along_axis(self.fresh[users], self.category[items], axis=1)


def _touches(log, weigh=None):
    """The touches (users, categories) of known users; `weigh` weighs each by the days since."""
    codes, weight = acts(log, log.touch, "user", "category"), None
    if weigh is not None:
        (time,) = acts(log, log.touch, "time")
        weight = weigh((log.end - time) / np.timedelta64(1, "D"))
    return counted((log.n_users, log.n_categories), *codes, weight=weight).astype(float)
