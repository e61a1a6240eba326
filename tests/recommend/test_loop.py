import numpy as np
import pandas as pd
import pytest

from recsys_evo.collect import laws
from recsys_evo.collect.laws import FEED, ITEMS, MECHANISMS
from recsys_evo.collect.world import FIRST_DAY, World
from recsys_evo.models.baselines import Popularity
from recsys_evo.recommend.loop import evolve
from recsys_evo.recommend.policies import Greedy, Oracle, Random

STILL = dict.fromkeys(MECHANISMS, 0)


def live(policy=None, *, seed=0, world=None, **sizes):
    sizes = {"users": 60, "rounds": 6, "warm_up": 5, "memory": 4} | sizes
    return evolve(world or World(), policy or Random(), rng=np.random.default_rng(seed), **sizes)


GIVEN = []  # what `Watched` was given


class Watched(Random):
    """Shows at random, and learns anew each second round."""

    every = 2

    def learn(self, log):
        GIVEN.append((log.end, log.events.copy()))


def test_warm_up_is_the_world_under_its_default_policy():
    lived, alone = live(), World().simulate(60, 5, rng=np.random.default_rng(0))
    before = lived.log.events[lived.log.events["time"] < FIRST_DAY + 5].reset_index(drop=True)
    same = [column for column in before if column != "slate"]  # numbered by the length of the life
    pd.testing.assert_frame_equal(before[same], alone.log.events[same])
    np.testing.assert_array_equal(lived.truth.taste[:, :6], alone.truth.taste)


def test_same_stream_gives_the_same_history_and_another_policy_the_same_warm_up():
    one, again, other = live(), live(), live(Greedy(Popularity()))
    pd.testing.assert_frame_equal(one.log.events, again.log.events)
    np.testing.assert_array_equal(one.items[:, :5], other.items[:, :5])
    assert not np.array_equal(one.items[:, 5:], other.items[:, 5:])


def test_policy_sees_the_latest_days_of_the_log_and_nothing_else():
    GIVEN.clear()
    policy = Watched()
    lived = live(policy)
    assert [end for end, _ in GIVEN] == [FIRST_DAY + day for day in (5, 7, 9)]
    assert "_age" not in vars(policy)  # a copy learned
    for end, events in GIVEN:
        time = lived.log.events["time"].to_numpy()
        expected = lived.log.events[(time >= end - 4) & (time < end)].reset_index(drop=True)
        pd.testing.assert_frame_equal(events, expected)


def test_arrays_tell_what_the_log_tells():
    lived = live(users=2_050, rounds=2, warm_up=1)  # three towns
    events = lived.log.events
    feed = events[events["position"] >= 0]
    day = (feed["time"].to_numpy().astype("M8[D]") - FIRST_DAY).astype(int)
    place = feed["user"].to_numpy(), day, feed["position"].to_numpy()
    shown, clicked = ((feed["action"] == name).to_numpy() for name in ("impression", "click"))
    for array, column in ((lived.items, "item"), (lived.propensity, "propensity")):
        blank = np.full(array.shape, -1 if column == "item" else 0, array.dtype)
        blank[tuple(part[shown] for part in place)] = feed[column].to_numpy()[shown]
        np.testing.assert_array_equal(array, blank)
    clicks = np.zeros(lived.clicked.shape, bool)
    clicks[tuple(part[clicked] for part in place)] = True
    np.testing.assert_array_equal(lived.clicked, clicks)
    np.testing.assert_array_equal(lived.came, lived.items[:, :, 3] >= 0)
    np.testing.assert_array_equal(np.isnan(lived.utility[:, :, 0]), ~lived.came)


def test_utility_is_the_present_taste_for_what_is_shown():
    world = World(**STILL | {"drift": 1, "ageing": 1, "reinforcement": 1})
    lived = live(world=world)
    user, day, slot = np.nonzero(lived.items >= 0)
    item = lived.items[user, day, slot]
    goods = world.catalogue
    worth = (lived.truth.taste[user, day + 1] * goods.vectors[item // ITEMS]).sum(axis=1)
    worth += goods.base[item // ITEMS] + laws.CLICK  # no fondness, however often shown
    worth += np.array([world.item_value(d).ravel()[i] for d, i in zip(day, item)])
    np.testing.assert_allclose(lived.utility[user, day, slot], worth, rtol=1e-4, atol=1e-4)


def test_clicks_come_as_often_as_the_chance_says():
    lived = live(users=1_000)
    chance, clicks = lived.chance[lived.came], lived.clicked[lived.came]
    for place in range(FEED):
        error = np.sqrt((chance[:, place] * (1 - chance[:, place])).sum())
        assert abs(clicks[:, place].sum() - chance[:, place].sum()) < 4 * error


def test_chance_is_that_of_the_utility_where_exposure_adds_nothing():
    lived = live(world=World(reinforcement=0))
    attention = (1 + np.arange(FEED)) ** -laws.POSITION
    expected = attention / (1 + np.exp(-lived.utility.astype(float)))
    np.testing.assert_allclose(lived.chance, expected, rtol=1e-5)
    fond = live()
    more = attention / (1 + np.exp(-fond.utility.astype(float))) - fond.chance
    assert np.nanmax(more) < 1e-6
    assert np.nanmin(more) < -0.01


@pytest.mark.parametrize("strength", [0, 2])
def test_appeals_replay_the_exposure(strength):
    world = World(reinforcement=strength)
    lived = live(world=world)
    seen = np.zeros((60, 64))
    for day in range(9):
        seen *= laws.FADE
        for user in range(60):
            for item in lived.items[user, day]:
                if item >= 0:
                    seen[user, item // ITEMS] += laws.SEEN
    now, core = lived.appeals(9)
    fond = strength * laws.FOND * seen / (1 + seen)
    goods = world.catalogue
    expected = lived.truth.taste[:, 9] @ goods.vectors.T + goods.base + fond
    np.testing.assert_allclose(now, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(core, lived.truth.core[:, 9] @ goods.vectors.T + goods.base)


def test_oracle_shows_what_is_worth_most_and_knows_the_exposure():
    kind = STILL | {"drift": 1, "reinforcement": 1, "ageing": 1}
    lived = live(Oracle(), world=World(**kind), rounds=1)
    day = lived.start
    now, _ = lived.appeals(day)
    goods = World().catalogue
    # On its first day the taste has moved by a night since `appeals`.
    moved = (lived.truth.taste[:, day + 1] - lived.truth.taste[:, day]) @ goods.vectors.T
    odds = np.repeat(now + moved, ITEMS, axis=1) + World().item_value(day).ravel()
    came = lived.came[:, day]
    best = np.sort(odds[came], axis=1)[:, :-11:-1]
    shown = np.take_along_axis(odds[came], lived.items[came, day].astype(int), axis=1)
    np.testing.assert_allclose(shown, best, rtol=1e-4, atol=1e-4)


def test_oracle_beats_chance_for_users_and_platform():
    at_random, by_truth = live(users=300), live(Oracle(), users=300)
    for measure in (lambda e: e.clicked[:, 5:].mean(), lambda e: np.nanmean(e.utility[:, 5:])):
        assert measure(by_truth) > measure(at_random)


@pytest.mark.parametrize("name", ["users", "rounds", "warm_up", "memory"])
@pytest.mark.parametrize("number", [0, 1.5])
def test_sizes_must_be_positive_integers(name, number):
    with pytest.raises(ValueError, match=f"`{name}` must be a positive integer. Received: {name}"):
        live(**{name: number})


def test_slates_of_a_wrong_shape_are_refused():
    class Short(Random):
        def draw(self, users, n, *, rng):
            return super().draw(users, n - 1, rng=rng)

    with pytest.raises(ValueError, match=r"`policy\.slates` must return"):
        live(Short())
