"""The contract of all policies that a platform can have, and what is peculiar to each."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from recsys_evo.collect.world import World
from recsys_evo.evaluate.ranking import top
from recsys_evo.models.baselines import ALS, Popularity
from recsys_evo.recommend.bandits import LinUCB, Thompson
from recsys_evo.recommend.loop import evolve
from recsys_evo.recommend.policies import Greedy, Oracle, Policy, Random, Softmax, standardise
from recsys_evo.recommend.rerank import MMR, Calibrated, PopularityCorrected, Rested

from .slates import FIRST, random_slates

USERS, ITEMS, DAYS, N = 9, 12, 6, 4
TOMORROW, LATER = 10, 11  # items that are not on offer on the first day
EVERY = {
    "random": lambda **more: Random(),
    "popular": lambda **more: Greedy(Popularity(), **more),
    "greedy": lambda **more: Greedy(ALS(factors=2), **more),
    "epsilon": lambda **more: Greedy(ALS(factors=2), epsilon=0.3, **more),
    "variety": lambda **more: Greedy(ALS(factors=2), rerank=MMR(), epsilon=0.1, **more),
    "calibrated": lambda **more: Greedy(Popularity(), rerank=Calibrated(), **more),
    "long tail": lambda **more: Greedy(Popularity(), rerank=PopularityCorrected(), **more),
    "rested": lambda **more: Greedy(Popularity(), rerank=Rested(), **more),
    "softmax": lambda **more: Softmax(ALS(factors=2), **more),
    "LinUCB": lambda **more: LinUCB(**more),
    "Thompson": lambda **more: Thompson(models=7, **more),
}
DRAWN = {"random", "epsilon", "variety", "softmax", "Thompson"}


def a_log():
    """Items 0 to 9 were there from the start; one comes tomorrow, one much later."""
    born = np.repeat(FIRST, ITEMS)
    born[[TOMORROW, LATER]] += np.array([DAYS + 1, DAYS + 9])
    category = (np.arange(ITEMS) % 3).astype("int16")
    log = random_slates(np.random.default_rng(3), items=ITEMS - 2, category=category, born=born)
    assert log.end == FIRST + DAYS
    return log


@pytest.fixture(scope="module")
def log():
    return a_log()


@pytest.fixture(scope="module", params=EVERY)
def name(request):
    return request.param


@pytest.fixture
def policy(name):
    return EVERY[name]()


def chances(policy, users):
    """The chance (items, users, N) of each item at each place."""
    return np.stack([policy.chance(users, np.full((len(users), N), item)) for item in range(ITEMS)])


def frequencies(policy, users, draws, rng):
    count = np.zeros((ITEMS, len(users), N))
    row, place = np.indices((len(users), N))
    for _ in range(draws):
        items, _ = policy.draw(users, N, rng=rng)
        count[items, row, place] += 1
    return count / draws


class TestContract:
    def test_a_slate_and_its_propensities_for_each_user(self, policy, log, rng):
        users = np.array([7, 2, 3])
        items, propensities = policy.slates(users, log, N, rng=rng)
        assert items.shape == propensities.shape == (3, N)
        assert items.dtype.kind == "i"
        assert ((propensities > 0) & (propensities <= 1)).all()

    def test_propensities_are_the_chances(self, policy, log, rng):
        users = np.arange(USERS)
        items, propensities = policy.slates(users, log, N, rng=rng)
        np.testing.assert_allclose(policy.chance(users, items), propensities, rtol=1e-9)
        order = rng.permutation(USERS)
        again = policy.chance(users[order], items[order])
        np.testing.assert_allclose(again, propensities[order], rtol=1e-9)

    def test_chances_are_how_often_it_happens(self, name, policy, log, rng):
        users, draws = np.array([4, 1]), 1_000 if name in DRAWN else 20
        policy.slates(users, log, N, rng=rng)
        chance, found = chances(policy, users), frequencies(policy, users, draws, rng)
        np.testing.assert_allclose(chance.sum(axis=0), 1)
        assert (np.abs(found - chance) <= 4.5 * np.sqrt(chance * (1 - chance) / draws)).all()
        assert ((chance % 1).max() > 0) == (name in DRAWN)

    def test_only_what_is_on_offer_is_shown(self, name, log, rng):
        policy = EVERY[name](every=3)
        policy.every = 3  # Random has no such argument
        users = np.arange(USERS)
        first, second, third, fourth = (
            (policy.slates(users, log, N, rng=rng), chances(policy, users))[1].max(axis=(1, 2))
            for _ in range(4)
        )
        for found in (first, fourth):  # on the fourth it learns, so it is the log's day again
            assert found[[TOMORROW, LATER]].max() == 0
        assert (second[LATER], third[LATER]) == (0, 0)
        if name in DRAWN - {"Thompson"}:
            assert second[TOMORROW] > 0

    @pytest.mark.parametrize("every", [1, 2, 3])
    def test_it_learns_each_so_many_rounds(self, name, policy, log, rng, every):
        policy.every, learnt = every, []
        policy.learn = lambda log: (learnt.append(log), type(policy).learn(policy, log))
        rounds = []
        for _ in range(6):
            policy.slates(np.arange(3), log, N, rng=rng)
            rounds.append(len(learnt))
        assert rounds == [1 + day // every for day in range(6)]
        assert all(each is log for each in learnt)

    def test_same_stream_same_slates(self, name, log):
        def lived(seed):
            rng, policy = np.random.default_rng(seed), EVERY[name]()
            return [policy.slates(np.arange(USERS), log, N, rng=rng)[0] for _ in range(2)]

        np.testing.assert_array_equal(lived(1), lived(1))
        assert (np.asarray(lived(1)) == lived(2)).all() == (name not in DRAWN)

    def test_nobody_comes(self, policy, log, rng):
        items, propensities = policy.slates(np.arange(0), log, N, rng=rng)
        assert items.shape == propensities.shape == (0, N)

    def test_log_and_policy_handed_in_stay_as_they_are(self, policy, rng):
        log = a_log()
        before = log.events.copy(), log.items.copy()
        policy.slates(np.arange(USERS), log, N, rng=rng)
        pd.testing.assert_frame_equal(log.events, before[0])
        pd.testing.assert_frame_equal(log.items, before[1])

    def test_it_lives_in_the_loop(self, policy):
        before = pickle.dumps(policy)
        lived = evolve(World(), policy, users=40, rounds=2, warm_up=5, rng=np.random.default_rng(0))
        assert pickle.dumps(policy) == before
        shown = lived.items[lived.came]
        born = FIRST + World().catalogue.born.ravel()
        days = np.nonzero(lived.came)[1]
        assert (born[shown] <= (FIRST + days)[:, None]).all()
        assert (lived.propensity[lived.came] > 0).all()

    def test_more_slots_than_items_on_offer(self, policy, log, rng):
        with pytest.raises(
            ValueError, match=r"`n` must be at most .* on offer, 10\. Received: n=11"
        ):
            policy.slates(np.arange(3), log, 11, rng=rng)


class Fixed:
    """A ranker whose scores were handed to it."""

    def __init__(self, scores):
        self.table = np.asarray(scores, np.float32)

    def fit(self, log):
        return self

    def scores(self, users):
        return self.table[users].copy()


@pytest.fixture
def ranker(rng):
    return Fixed(rng.standard_normal((USERS, ITEMS)))


def test_random_gives_everything_on_offer_the_same_chance(log, rng):
    policy = Random()
    policy.slates(np.arange(2), log, N, rng=rng)
    expected = np.where(np.arange(ITEMS) < ITEMS - 2, 1 / (ITEMS - 2), 0)
    np.testing.assert_allclose(chances(policy, np.arange(2))[:, 1, 2], expected)


def test_greedy_shows_the_best_on_offer(ranker, log, rng):
    users = np.array([5, 0, 8])
    items, propensities = Greedy(ranker).slates(users, log, N, rng=rng)
    np.testing.assert_array_equal(items, top(ranker.table[users, : ITEMS - 2], N))
    assert (propensities == 1).all()


@pytest.mark.parametrize("epsilon", [0.2, 1.0])
def test_epsilon_is_the_share_left_to_chance(ranker, log, rng, epsilon):
    policy = Greedy(ranker, epsilon=epsilon)
    users = np.arange(USERS)
    policy.slates(users, log, N, rng=rng)
    best, chance = top(ranker.table[:, : ITEMS - 2], N), chances(policy, users)
    row, place = np.indices(best.shape)
    np.testing.assert_allclose(chance[best, row, place], 1 - epsilon + epsilon / 10)
    assert np.isclose(chance, epsilon / 10).sum() >= 9 * USERS * N


def test_rerank_is_taught_and_gets_the_scores_of_what_is_on_offer(ranker, log, rng):
    class Last:
        def learn(self, log):
            self.log = log

        def best(self, users, scores, n):
            self.given = users, scores
            return np.tile(np.arange(n, dtype=np.int32), (len(users), 1))

    rerank, users = Last(), np.array([6, 1])
    items, _ = Greedy(ranker, rerank=rerank).slates(users, log, N, rng=rng)
    np.testing.assert_array_equal(items, np.tile(np.arange(N), (2, 1)))
    assert rerank.log is log
    np.testing.assert_array_equal(rerank.given[0], users)
    np.testing.assert_array_equal(rerank.given[1][:, : ITEMS - 2], ranker.table[users, : ITEMS - 2])
    assert (rerank.given[1][:, ITEMS - 2 :] == -np.inf).all()


@pytest.mark.parametrize("temperature", [0.1, 2.0])
def test_softmax_of_standardised_scores(ranker, log, rng, temperature):
    users = np.array([3, 7])
    scores = ranker.table[users, : ITEMS - 2].astype(float)
    z = (scores - scores.mean(axis=1)[:, None]) / scores.std(axis=1)[:, None]
    expected = softmax(z / temperature, axis=1)
    policy = Softmax(ranker, temperature=temperature)
    policy.slates(users, log, N, rng=rng)
    for place in range(N):
        np.testing.assert_allclose(chances(policy, users)[: ITEMS - 2, :, place].T, expected)
    moved = Softmax(Fixed(7 - 5 * -ranker.table), temperature=temperature)
    moved.slates(users, log, N, rng=rng)
    np.testing.assert_allclose(chances(moved, users), chances(policy, users), rtol=1e-3)


def test_softmax_from_greedy_to_random(ranker, log, rng):
    users = np.arange(USERS)
    cold, _ = Softmax(ranker, temperature=0.01).slates(users, log, N, rng=rng)
    np.testing.assert_array_equal(cold, np.tile(top(ranker.table[:, : ITEMS - 2], 1), N))
    for policy in (Softmax(ranker, temperature=1e9), Softmax(Fixed(np.ones((USERS, ITEMS))))):
        _, propensities = policy.slates(users, log, N, rng=rng)
        np.testing.assert_allclose(propensities, 1 / (ITEMS - 2), rtol=1e-6)


def test_standardise_knows_equal_scores(rng):
    found = standardise(rng.normal(5, 3, (4, 40)))
    np.testing.assert_allclose(found.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(found.std(axis=1), 1)
    for value in rng.random(50):
        assert (standardise(np.full((1, 43), value)) == 0).all()  # whose mean may be rounded


def test_oracle_shows_what_it_saw(log, rng):
    policy, odds = Oracle(), rng.standard_normal((3, ITEMS))
    policy.see(odds)
    items, propensities = policy.slates(np.array([8, 1, 4]), log, N, rng=rng)
    np.testing.assert_array_equal(items, np.argsort(-odds, axis=1)[:, :N])
    assert (propensities == 1).all()


def test_items_of_logs_without_births_are_all_on_offer(rng):
    policy = Random()
    policy.slates(np.arange(2), random_slates(rng), N, rng=rng)
    assert policy.offered.all()


def test_a_policy_must_choose_and_answer():
    for missing in (
        lambda: Policy().draw(np.arange(2), 3, rng=None),
        lambda: Policy().chance(np.arange(2), np.zeros((2, 3), int)),
    ):
        with pytest.raises(NotImplementedError):
            missing()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Greedy(Popularity(), epsilon=1.5), "`epsilon` must be a number from 0 to 1"),
        (lambda: Greedy(Popularity(), epsilon=True), "`epsilon` must be a number.*epsilon=True"),
        (lambda: Greedy(Popularity(), epsilon=np.nan), "`epsilon` must be a number.*epsilon=nan"),
        (lambda: Greedy(Popularity(), every=0), "`every` must be a positive integer"),
        (lambda: Softmax(Popularity(), every=0.5), "`every` must be a positive integer"),
        (lambda: Softmax(Popularity(), temperature=0), "`temperature` must be a number from 0.01"),
        (lambda: Softmax(Popularity(), temperature="1"), "`temperature` must be a number"),
    ],
)
def test_what_will_not_do(make, message):
    with pytest.raises(ValueError, match=message):
        make()
