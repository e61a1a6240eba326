"""What to show: policies that learn from the log, choose slates, and say how likely each item was.

    log ── learn ──▶ scores ── draw ──▶ items (users, n) ── chance ──▶ propensities (users, n)

    everybody the same   Random, Greedy(Popularity())
    any model            Greedy(ranker), Softmax(ranker): of `models.baselines`, or alike
    what is not known    Thompson, LinUCB, of `recommend.bandits`
    the truth            Oracle, which no platform can have: a yardstick

A policy has one method that the world and the closed loop call, `slates(users, log, n, rng=rng)`.
It learns from the log in hand at its first call and then at each `every`-th one. A *propensity* is
the chance that this item stands at this position, given the log: `chance` gives it for any item,
so that `offpolicy` can ask what a policy would have earned. Chapters 09 and 10 use this module.

Where slots are filled one by one by chance (Random, Greedy with an epsilon, Softmax), the same item
may stand in a slate twice: so the propensity at a place does not depend on the other places.
"""

import numpy as np

from recsys_evo.evaluate.ranking import top
from recsys_evo.prepare.splits import positive


class Policy:
    """What all policies share. Subclasses learn (`learn`), choose (`draw`) and answer (`chance`).

    `every`: rounds between two trainings. While it chooses, a policy has `offered`, bool (items,),
    what is born by today.
    """

    every = 1
    _age = 0

    def slates(self, users, log, n, *, rng):
        """Return items and propensities, both (users, n), best first.

        Parameters
        ----------
        users : codes (users,) of those who come today.
        log : Log so far, whose end is today; read only on days on which the policy learns.
        n : int, slots of a slate.

        Raises
        ------
        ValueError where fewer than `n` items are on offer.
        """
        if self._age % self.every == 0:
            self.learn(log)
            self._day = log.end
        if self._age == 0:
            self._born = _births(log)  # once: to read the log may be to put it together
        self.offered = self._born <= self._day + self._age % self.every
        self._age += 1
        if n > self.offered.sum():
            raise ValueError(
                f"`n` must be at most the number of items on offer, {self.offered.sum()}. "
                f"Received: n={n!r}"
            )
        return self.draw(users, n, rng=rng)

    def learn(self, log):
        """Learn from `log`; by default nothing."""

    def draw(self, users, n, *, rng):
        """Choose items and return them with their propensities, both (users, n)."""
        raise NotImplementedError

    def chance(self, users, items):
        """Return the propensity (users, n) of any `items` (users, n), each at its place.

        It is 0 for an item that the policy would never put there.
        """
        raise NotImplementedError


class Random(Policy):
    """Each slot holds any item on offer with the same chance."""

    def draw(self, users, n, *, rng):
        items = rng.choice(np.flatnonzero(self.offered), (len(users), n))
        return items, self.chance(users, items)

    def chance(self, users, items):
        return self.offered[items] / self.offered.sum()


class Greedy(Policy):
    """The items with the highest scores, but for a few slots left to chance.

    Parameters
    ----------
    ranker : with `fit(log)` and `scores(users)`, as in `models.baselines`.
    rerank : from `recommend.rerank`, what becomes of the best candidates; default nothing.
    epsilon : chance that a slot is given to any item on offer, whatever is in the others.
    every : int, rounds between two trainings.
    """

    def __init__(self, ranker, *, rerank=None, epsilon=0.0, every=1):
        self.ranker, self.rerank = ranker, rerank
        self.epsilon, self.every = between("epsilon", epsilon, 0, 1), positive(every=every)

    def learn(self, log):
        self.ranker.fit(log)
        if self.rerank is not None:
            self.rerank.learn(log)

    def draw(self, users, n, *, rng):
        best = self.best(users, n)
        left = rng.random(best.shape) < self.epsilon
        items = np.where(left, rng.choice(np.flatnonzero(self.offered), best.shape), best)
        return items, self._chance(items, best)

    def best(self, users, n):
        """Return the items (users, n) that stand there if nothing is left to chance."""
        scores = np.where(self.offered, self.ranker.scores(users), -np.inf)
        if self.rerank is None:
            return top(scores, n)
        return self.rerank.best(users, scores, n)

    def chance(self, users, items):
        return self._chance(items, self.best(users, items.shape[1]))

    def _chance(self, items, best):
        by_chance = self.offered[items] / self.offered.sum()
        return (1 - self.epsilon) * (items == best) + self.epsilon * by_chance


class Softmax(Policy):
    """Each slot holds any item on offer, the sooner the higher its score: something of everything.

        chance of item i in each slot ∝ exp(z_i / temperature)

    z is the score less its mean over the user's items on offer, in standard deviations, so that a
    temperature means the same for any ranker: near 0 it is greedy, far above 1 it is `Random`.

    Parameters
    ----------
    ranker : as for `Greedy`.
    temperature : float, 0.01 or more.
    every : int, rounds between two trainings.
    """

    def __init__(self, ranker, *, temperature=1.0, every=1):
        self.ranker, self.every = ranker, positive(every=every)
        self.temperature = between("temperature", temperature, 0.01, np.inf)

    def learn(self, log):
        self.ranker.fit(log)

    def draw(self, users, n, *, rng):
        shares = self._shares(users)
        reach = np.cumsum(shares, axis=1)
        reach /= reach[:, -1:]
        marks = rng.random((len(users), n))
        items = [np.searchsorted(row, mark, side="right") for row, mark in zip(reach, marks)]
        items = np.array(items, int).reshape(len(users), n)
        return items, np.take_along_axis(shares, items, axis=1)

    def chance(self, users, items):
        return np.take_along_axis(self._shares(users), items, axis=1)

    def _shares(self, users):
        """The chance (users, items) of each item in any slot."""
        scores = standardise(self.ranker.scores(users)[:, self.offered]) / self.temperature
        scores -= scores.max(axis=1, keepdims=True)
        shares = np.zeros((len(users), len(self.offered)))
        shares[:, self.offered] = np.exp(scores)
        return shares / shares.sum(axis=1, keepdims=True)


class Oracle(Policy):
    """The items with the highest chance of a click today, by the truth: the loop shows it to `see`.

    It looks no further than today, so a patient policy may serve users better.
    """

    def see(self, odds):
        """Take the true log-odds of a click (users, items) of those who come today."""
        self._odds = odds

    def draw(self, users, n, *, rng):
        items = top(self._odds, n)
        return items, np.ones(items.shape)


def standardise(scores):
    """Return scores (users, items) with mean 0 and standard deviation 1; 0 where all are equal."""
    scores = np.asarray(scores, float)
    varied = scores.max(axis=1, keepdims=True) > scores.min(axis=1, keepdims=True)
    centred = scores - scores.mean(axis=1, keepdims=True)
    spread = scores.std(axis=1, keepdims=True)
    return np.divide(centred, spread, out=np.zeros_like(scores), where=varied)


def between(name, number, low, high):
    """Return `number` as float; ValueError unless it is a number from `low` to `high`."""
    is_number = isinstance(number, (int, float, np.integer, np.floating))
    if not is_number or isinstance(number, bool) or not low <= number <= high:
        raise ValueError(
            f"`{name}` must be a number from {low} to {high}. Received: {name}={number!r}"
        )
    return float(number)


def _births(log):
    """Day on which each item comes on offer; of logs that do not know it, long ago."""
    if "born" in log.items:
        return log.items["born"].to_numpy().astype("M8[D]")
    return np.full(log.n_items, log.start)
