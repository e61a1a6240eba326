"""The week: closed forms, and worlds with the law on and off."""

import numpy as np
import pytest
from scipy.special import iv

from recsys_evo.collect import laws
from recsys_evo.collect.laws import MECHANISMS
from recsys_evo.collect.world import World
from recsys_evo.evaluate.recovery import (
    _company,
    _von_mises,
    seasonality,
)

OFF = dict.fromkeys(MECHANISMS, 0)
USERS, DAYS = 600, 91


def lived(seed=1, **strengths):
    """A world in which nothing happens but what is named."""
    world = World(**OFF | strengths)
    return world.simulate(USERS, DAYS, rng=np.random.default_rng(seed), impressions=False)


def holds(interval, truth):
    return interval.low <= truth <= interval.high


# The week


def test_visits_over_the_cycle_follow_the_law_of_von_mises():
    amplitudes = np.array([0, 0.3, 1.2])
    mean = iv(1, amplitudes) / iv(0, amplitudes) * np.exp(2j)
    assert _von_mises(mean) == pytest.approx(amplitudes * np.exp(2j), abs=1e-4)


def test_company_is_the_chance_of_another_turn_of_the_day(rng):
    chance = np.array([0.5, 0.2, 0.1])  # the rest leads nowhere
    turn = rng.choice(4, (50_000, 5), p=[*chance, 0.2])
    row, slot = np.nonzero(turn < 3)
    found = _company(row, turn[row, slot], np.ones(len(row)))
    assert found == pytest.approx(np.tile(chance, (3, 1)), abs=0.01)


def test_seasonality_finds_the_law(rng):
    found = seasonality(lived(season=1, drift=1).log, rng=rng)
    assert holds(found.amplitude, laws.WEEK)
    far = (found.phase - laws.CATALOGUE.phase + 3.5) % 7 - 3.5
    assert np.abs(far).mean() < 0.15
    assert np.abs(far.mean()) < 0.05


def test_seasonality_finds_the_law_among_all_others(rng):
    log = World().simulate(USERS, DAYS, rng=np.random.default_rng(1)).log
    assert holds(seasonality(log, rng=rng).amplitude, laws.WEEK)


def test_seasonality_finds_no_cycle_where_none_is(rng):
    assert holds(seasonality(lived(drift=1).log, rng=rng).amplitude, 0)


def test_seasonality_finds_no_cycle_of_another_length(rng):
    found = seasonality(lived(season=1).log, days=5, rng=rng).amplitude
    assert abs(found.point) < 0.1


def test_what_seasonality_refuses(rng):
    log = lived().log
    day = (log.events["time"].to_numpy().astype("M8[D]") - log.start).astype(int)
    with pytest.raises(ValueError, match=r"must last two cycles or more\. Received: 7 days"):
        seasonality(log.where(day < 13), rng=rng)
    with pytest.raises(ValueError, match=r"must have own visits\. Received: 0 of one"):
        seasonality(log.where(log.events["category"].to_numpy() > 3), rng=rng)
    with pytest.raises(ValueError, match=r"`level` must lie between 0 and 1\. Received: 95"):
        seasonality(log, rng=rng, level=95)
