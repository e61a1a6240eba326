"""Chapter 13's laboratories: scripts beside the book, run by their path."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from recsys_evo.collect.events import Log

RESULTS = Path(__file__).parents[2] / "book" / "results"


def laboratory(name):
    return SimpleNamespace(**runpy.run_path(str(RESULTS / f"{name}.py")))


@pytest.fixture(scope="module")
def feed():
    return laboratory("feed_value")


@pytest.fixture(scope="module")
def influence():
    return laboratory("influence")


@pytest.fixture(scope="module")
def friends():
    return laboratory("lastfm_friends")


def network(n, m, rng):
    pairs = np.sort(rng.integers(0, n, (m, 2)), axis=1)
    return np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0)


def test_a_rewired_network_keeps_everybodys_number_of_friends_and_is_simple(friends):
    rng = np.random.default_rng(0)
    edges = network(60, 300, rng)
    other = friends.rewired(edges, rng)
    assert (np.bincount(other.ravel()) == np.bincount(edges.ravel())).all()
    assert len(np.unique(other, axis=0)) == len(edges)
    assert (other[:, 0] < other[:, 1]).all()
    kept = (other[:, None] == edges).all(2).any(1).mean()
    assert kept < 0.35  # by chance a pair is friends with about .17


def test_nearness_is_the_mean_cosine_to_friends(friends):
    unit = friends.sparse.csr_array(np.array([[1, 0], [0.6, 0.8], [0, 1.0]]))
    near = friends.nearness(unit, np.array([[0, 1], [1, 2]]))
    assert near == pytest.approx([0.6, (0.6 + 0.8) / 2, 0.8])


def test_what_is_done_comes_as_often_as_its_law_says(feed):
    worth = np.full(40_000, 1.5)
    company = np.full(40_000, 0.7)
    dwell, *chances = feed.chances(1.5, 0.7)
    done = feed.reactions(worth, company, np.random.default_rng(0))
    assert np.median(done[:, 0]) == pytest.approx(np.exp(dwell), rel=0.02)
    assert done[:, 1:].mean(0) == pytest.approx(chances, abs=0.006)


def test_a_survey_finds_the_weights_of_a_linear_truth(feed):
    rng = np.random.default_rng(0)
    signals = rng.random((400, 50, 10, 4)).astype(np.float32) + 1
    weights = np.array([-2.0, 1.5, 1.0, -0.5, 0.3])
    worth = feed.features(signals) @ weights
    found = feed.survey(np.ones(worth.shape, bool), worth, signals, rng)
    assert found == pytest.approx(weights, abs=0.15)


def test_a_learner_expects_what_an_item_and_a_category_gave(feed):
    learner = feed.Learner(users=2)
    items = np.full((2, 1, feed.FEED), 3)  # both users see item 3 in all places
    signal = np.zeros(items.shape)
    signal[0] = 1
    for _ in range(200):
        learner.learn(items, signal)
    one, other = learner.scores(np.array([0, 1]))
    assert one.argmax() in range(feed.ITEMS)  # of item 3's category
    assert one[3] > other[3]
    assert np.ptp(other[feed.ITEMS :]) == 0  # of the rest nothing is known


def log_of(dates, friends):
    """Users who click item 0 on these dates."""
    events = pd.DataFrame(
        {
            "user": np.arange(len(dates), dtype=np.int32),
            "item": np.int32(0),
            "time": np.datetime64("2024-01-01T12:00:00") + 86_400 * np.array(dates),
            "action": "click",
        }
    )
    users = pd.DataFrame({"id": np.arange(len(dates))})
    users["friends"] = [np.array(one) for one in friends]
    return Log(events, users=users)


def test_shuffled_sees_friends_who_come_together(influence):
    n = 200
    pairs = [[k ^ 1] for k in range(n)]  # 0 and 1 are friends, 2 and 3, …
    rng = np.random.default_rng(0)
    day = rng.integers(0, 100, n // 2)
    together = log_of(np.repeat(day, 2), pairs)
    apart = log_of(rng.permutation(np.repeat(day, 2)), pairs)
    assert influence.shuffled(together, rng=rng)[1] > 100
    low, high = influence.shuffled(apart, rng=rng)[1:]
    assert low < 0 < high


def test_a_campaigns_chances_add_up_to_one(influence):
    policy = influence.Campaign(np.array([5, 9]))
    policy.offered = np.ones(influence.CATEGORIES * influence.ITEMS, bool)
    everything = np.arange(len(policy.offered))
    for place in range(2):
        items = np.zeros((2, len(everything), 2), int)
        items[:, :, place] = everything
        chance = [
            policy.chance(np.array([0, 1]), items[:, k])[:, place] for k in range(len(everything))
        ]
        assert np.sum(chance, axis=0) == pytest.approx([1, 1])
    users = np.array([0, 1] * 500)
    items, chance = policy.draw(users, 10, rng=np.random.default_rng(0))
    own = items // influence.ITEMS == policy.prize[users][:, None]
    assert own[:, ::2].all()
    assert own[:, 1::2].mean() < 0.05
    assert chance[:, ::2] == pytest.approx(1 / influence.ITEMS)
