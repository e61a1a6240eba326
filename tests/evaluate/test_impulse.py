"""Effects of chance: slow loops, a log of known answers, and worlds with a law on and off."""

import numpy as np
import pandas as pd
import pytest

from recsys_evo.collect import laws
from recsys_evo.collect.events import Log
from recsys_evo.collect.world import World
from recsys_evo.evaluate.impulse import _Days, _Visits, contagion, mechanisms, response

USERS, DAYS = 1_000, 60


def lived(users=USERS, days=DAYS, seed=2, **strengths):
    return World(**strengths).simulate(users, days, rng=np.random.default_rng(seed)).log


@pytest.fixture(scope="module")
def on():
    return lived()


@pytest.fixture(scope="module")
def off():
    """Needs are off too: a click that ends in a purchase ends the need, which tires as well."""
    return lived(reinforcement=0, satiation=0, contagion=0, need=0)


def holds(interval, truth):
    return interval.low <= truth <= interval.high


# What chance is


def test_chance_is_the_slots_over_what_was_expected_of_them_less_one():
    events = pd.DataFrame(
        {
            "user": [0, 0, 0, 0, 1, 1],
            "item": [0, 1, 3, 2, 3, 0],
            "time": np.array(["2024-01-01"] * 4 + ["2024-01-02"] * 2, "M8[s]"),
            "action": ["impression"] * 3 + ["click"] + ["impression", "click"],
            "slate": [0, 0, 0, -1, 1, 1],
            "propensity": [0.25, 0.25, 0.5, np.nan, 0.5, np.nan],
        }
    )
    born = np.array(["2023-01-01", "2024-01-01", "2024-01-02", "2023-01-01"], "M8[D]")
    items = pd.DataFrame({"id": range(4), "category": [0, 0, 0, 1], "born": born})
    log = Log(events, items)
    days = _Days(log)
    # User 0: three slots, two items of category 0 on offer. User 1: one slot, of category 1.
    assert days.chance[0, 0] == pytest.approx([2 / (3 * 2 * 0.25) - 1, 1 / (3 * 0.5) - 1])
    assert days.chance[1, 1] == pytest.approx([-1, 1 / 0.5 - 1])
    assert (days.chance[0, 1] == 0).all()  # did not come
    assert (days.chance[1, 0] == 0).all()
    assert days.own[0, 0].tolist() == [1, 0]
    assert days.own[1, 1].tolist() == [0, 0]
    assert days.clicked[1, 1].tolist() == [1, 0]


def test_response_is_the_ratio_that_its_formula_says():
    log = lived(40, 20, seed=0)
    days, found = _Days(log), response(log, np.array([-2, 3]))
    for place, lag in enumerate((-2, 3)):
        above, below = np.zeros((2, 40))
        for day, user, category in np.argwhere(days.own):
            if 0 <= day - lag < 20:
                at = day - lag, user, category
                above[user] += days.own[day, user, category] * days.chance[at]
                below[user] += days.own[day, user, category] * days.chance[at] * days.shown[at]
        effect = above.sum() / below.sum()
        reach = 1.96 * np.sqrt(((above - effect * below) ** 2).sum()) / below.sum()
        assert found.effect[place] == pytest.approx(effect, rel=1e-4)
        assert found.high[place] - effect == pytest.approx(reach, rel=1e-3)
        assert effect - found.low[place] == pytest.approx(reach, rel=1e-3)


def test_only_clicks_and_impressions_of_known_users_count(on):
    log = on.where(on.events["user"].to_numpy() < 50)
    stranger = log.events.assign(user=np.int32(-1))
    bought = log.events[log.purchase]
    more = Log(pd.concat([log.events, stranger, bought]), log.items, log.users)
    lags = np.array([0, 1, 5])
    assert response(more, lags).effect == pytest.approx(response(log, lags).effect)


# Reinforcement and satiation


def test_nothing_answers_to_chance_that_comes_later(on):
    found = response(on, np.array([-14, -7, -3, -2, -1, 0]), level=0.99)
    assert ((found.low < 0) & (found.high > 0)).all()


def test_the_shown_tires_at_first_and_endears_in_the_end(on):
    found = response(on, np.array([1, 8]))
    assert found.high[0] < 0 < found.low[1]


def test_naive_curves_find_an_effect_of_what_comes_later(on, off):
    for cause in ("shown", "clicked"):
        for log in (on, off):
            assert response(log, np.array([-7]), cause=cause).low[0] > 0.1


def test_mechanisms_finds_the_laws(on):
    found = mechanisms(on, level=0.99)
    # A rate moves by 1 - p of the appeal; visits meet p of about .07.
    assert holds(found.fondness, 0.93 * laws.SEEN * laws.FOND)
    assert found.fondness.low > 0
    assert holds(found.bend, laws.SEEN)
    assert holds(found.fondness_kept, laws.FADE)
    assert holds(found.tiredness, 0.93 * laws.TIRE)
    assert found.tiredness.low > 0
    assert holds(found.tiredness_kept, laws.REST)
    assert found.tiredness_kept.high < found.fondness_kept.low
    assert found.misfit > 0.01


def test_mechanisms_finds_nothing_where_nothing_is(off):
    found = mechanisms(off)
    assert holds(found.fondness, 0)
    assert holds(found.tiredness, 0)
    assert np.isnan([found.bend, found.fondness_kept, found.tiredness_kept]).all()


def test_mechanisms_tells_one_from_the_other():
    without = mechanisms(lived(satiation=0, need=0))
    assert holds(without.tiredness, 0)
    assert without.fondness.low > 0
    without = mechanisms(lived(reinforcement=0, seed=5))
    assert holds(without.fondness, 0)
    assert without.tiredness.low > 0


def test_faded_is_the_sum_that_its_formula_says():
    visits = _Visits(lived(20, 15, seed=0))
    kept = 0.8
    sums, slopes = visits.faded(visits.shown, kept)
    for row in range(0, len(visits.day), 7):
        before = visits.shown[: visits.day[row], visits.user[row], visits.category[row]][::-1]
        ago = np.arange(len(before))
        assert sums[row] == pytest.approx(before @ kept**ago, rel=1e-4)
        assert slopes[row] == pytest.approx(before @ (ago * kept ** (ago - 1.0)), rel=1e-4)


def test_slopes_of_the_moments_are_their_differences():
    visits = _Visits(lived(100, 30, seed=0))
    start, step = np.array([0.1, 0.2, 0.9, 0.3, 0.5]), 1e-3
    slope = visits.moments(start)[1]
    for place in range(5):
        move = step * (np.arange(5) == place)
        up, down = (visits.moments(start + way * move)[0].sum(0) for way in (1, -1))
        difference = (up - down) / (2 * step)
        assert slope[:, place] == pytest.approx(
            difference, rel=0.02, abs=2e-3 * abs(slope[:, place]).max()
        )


def test_a_higher_level_is_a_wider_interval(on):
    narrow, wide = (response(on, np.array([1]), level=level) for level in (0.8, 0.99))
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(
        [2.576 / 1.282], rel=1e-2
    )


# Contagion


def ring(pull, rng, users=400, days=40):
    """Users in a ring, friends of their neighbours, whose visits follow what friends clicked."""
    friends = (np.arange(users)[:, None] + [-1, 1]) % users
    taste = rng.integers(0, 2, users)  # for one of two families of four categories
    heard, rows = np.zeros((users, 8)), []
    for day in range(days):
        shown = rng.integers(0, 8, (users, 4))
        clicked = rng.random(shown.shape) < 0.5
        appeal = (np.arange(8) // 4 == taste[:, None]) + pull * heard[friends].mean(1)
        reach = np.exp(appeal).cumsum(1)
        own = (rng.random((users, 3, 1)) * reach[:, None, -1:] > reach[:, None]).sum(2)
        slate = np.arange(users)[:, None] * days + day
        for items, action, taken in ((shown, "impression", shown >= 0), (shown, "click", clicked)):
            user, slot = np.nonzero(taken)
            rows.append((user, items[user, slot], day, action, slate[user, 0]))
        rows.append((np.repeat(np.arange(users), 3), own.ravel(), day, "click", -1))
        heard *= 0.9
        np.add.at(heard, (np.arange(users)[:, None], shown), clicked)
    names = ["user", "item", "day", "action", "slate"]
    events = pd.concat([pd.DataFrame(dict(zip(names, row))) for row in rows])
    events["time"] = np.datetime64("2024-01-01", "s") + events["day"] * np.timedelta64(86_400, "s")
    events["propensity"] = np.where(events["action"] == "impression", 1 / 8, np.nan)
    people = pd.DataFrame({"id": range(users), "friends": list(friends)})
    return Log(events, pd.DataFrame({"id": range(8), "category": range(8)}), people)


def test_contagion_is_found_where_friends_follow_and_not_from_strangers(rng):
    log = ring(0.3, rng)
    assert contagion(log).low > 0
    assert holds(contagion(log, strangers=rng), 0)


def test_contagion_finds_nothing_where_nothing_is(off, rng):
    assert holds(contagion(off), 0)
    assert holds(contagion(ring(0, rng)), 0)


def test_friends_alike_look_like_contagion_to_the_naive(off):
    assert contagion(off, cause="clicked").low > 0.1


# What is refused


def test_a_log_without_chance_is_refused(on):
    events = on.events
    slots = events["slate"].to_numpy() >= 0
    certain = on._replace(events=events.assign(propensity=np.where(slots, 1, np.nan)))
    for estimate in (lambda log: response(log, np.array([1])), mechanisms, contagion):
        with pytest.raises(ValueError, match=r"must average 1\. Received: 0\.00"):
            estimate(certain)
    assert response(certain, np.array([1]), cause="shown").low[0] > 0  # the naive does not mind


def test_what_a_log_must_hold(on):
    lags = np.array([1])
    with pytest.raises(ValueError, match=r"`log` must hold impressions\. Received: none"):
        response(on.where(on.touch), lags)
    unknown = on._replace(events=on.events.assign(propensity=np.nan))
    with pytest.raises(ValueError, match=r"must hold the propensity of each impression"):
        response(unknown, lags)
    with pytest.raises(ValueError, match=r"must have a column 'category'"):
        response(on._replace(items=on.items.drop(columns="category")), lags)
    with pytest.raises(ValueError, match=r"must have a column 'friends'"):
        contagion(on._replace(users=on.users.drop(columns="friends")))
    with pytest.raises(ValueError, match=r"more than 10 users\. Received: 8"):
        mechanisms(lived(8, 30))


def test_wrong_arguments(on):
    lags = np.array([1])
    with pytest.raises(ValueError, match=r"`cause` must be .* Received: 'bought'"):
        response(on, lags, cause="bought")
    with pytest.raises(ValueError, match=r"`cause` must be .* Received: 'shown'"):
        contagion(on, cause="shown")
    with pytest.raises(ValueError, match=r"`level` must lie between 0 and 1\. Received: 95"):
        response(on, lags, level=95)
    for wrong in ([], [0.5], [[1]]):
        with pytest.raises(ValueError, match=r"`lags` must be whole numbers of days"):
            response(on, wrong)
