"""Chapter 10's laboratory: life events, told from worlds with the law on and off."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from recsys_evo.collect import laws
from recsys_evo.collect.events import Log
from recsys_evo.collect.laws import MECHANISMS
from recsys_evo.collect.world import World

RESULTS = Path(__file__).parents[2] / "book" / "results"
OFF = dict.fromkeys(MECHANISMS, 0)
USERS, DAYS = 600, 91

script = SimpleNamespace(**runpy.run_path(str(RESULTS / "recovery.py")))


def lived(seed=1, **strengths):
    """A world in which nothing happens but what is named."""
    world = World(**OFF | strengths)
    return world.simulate(USERS, DAYS, rng=np.random.default_rng(seed), impressions=False)


@pytest.fixture(scope="module")
def struck():
    return lived(drift=1, shift=1)


def test_agreeing_is_the_ratio_of_two_normal_laws_and_its_slope(rng):
    from scipy.stats import multivariate_normal, norm

    one, other, r = rng.normal(size=(2, 5, 2)), rng.normal(size=(2, 5, 2)), np.array([0.7, 0.2])
    one, other = one[0], other[0]
    ratio, slope = script._agreeing(one, other, r)
    expected = 0
    for axis in range(2):
        pair = np.stack([one[:, axis], other[:, axis]], 1)
        both = multivariate_normal([0, 0], [[1, r[axis]], [r[axis], 1]]).logpdf(pair)
        expected = expected + both - norm.logpdf(pair).sum(1)
    assert ratio == pytest.approx(expected)
    for axis in range(2):
        step = 1e-6 * (np.arange(2) == axis)
        up, down = (script._agreeing(one, other, r + way * step)[0] for way in (1, -1))
        assert slope[:, axis] == pytest.approx((up - down) / 2e-6, rel=1e-4)


@pytest.mark.parametrize("rate", [0.0, 0.4, 1.5])
def test_mixture_finds_the_rate_and_the_correlations(rate, rng):
    n, r = 8_000, np.array([0.8, 0.6, 0.3])
    gap = rng.uniform(40, 90, n)
    one = rng.normal(size=(n, 3))
    other = r * one + np.sqrt(1 - r**2) * rng.normal(size=(n, 3))
    struck = rng.random(n) < 1 - np.exp(-rate * gap / 100)
    other[struck] = rng.normal(size=(struck.sum(), 3))
    found = script._mixture(one, other, gap, np.ones(n), np.array([0.5, 0.5, 0.5, 0.5]))
    assert found[0] == pytest.approx(rate, abs=0.1)
    assert found[1:] == pytest.approx(r, abs=0.05)


def test_life_events_finds_how_often_who_and_when(struck, rng):
    found = script.life_events(struck.log, rng=rng, n=40)
    assert found.rate.point == pytest.approx(laws.EVENT, rel=0.5)
    assert found.rate.low > laws.EVENT / 2
    user, day, _ = script._positions(struck.log, 6)
    judged = np.flatnonzero(np.isfinite(found.chance))
    jumped = (np.diff(struck.truth.core, axis=1) != 0).any(2)
    happened, far = [], []
    for who in judged:
        mine = day[user == who]
        dates = np.flatnonzero(jumped[who])
        happened.append(((dates >= mine[30]) & (dates <= mine[-30])).any())
        if happened[-1] and found.chance[who] > 0.8:
            far.append(np.abs(dates - found.day[who]).min())
    assert roc_auc_score(happened, found.chance[judged]) > 0.75
    assert np.median(far) <= 3
    assert np.isnan(found.day[np.isnan(found.chance)]).all()


def test_life_events_are_seldom_where_taste_only_drifts(rng):
    found = script.life_events(lived(drift=1).log, rng=rng, n=40)
    assert found.rate.high < laws.EVENT / 3
    assert np.nanmean(found.chance > 0.8) < 0.02


def test_two_lives_spliced_are_a_life_event(rng):
    """Users who become their neighbours on day 45, in a world without events."""
    log = lived(drift=1).log
    events = log.events
    day = (events["time"].to_numpy().astype("M8[D]") - log.start).astype(int)
    user = events["user"].to_numpy().copy()
    swap = (day >= 45) & (user < 200)
    user[swap] ^= 1
    spliced = Log(events.assign(user=user), log.items, log.users)
    found = script.life_events(spliced, rng=rng, n=2)
    assert np.nanmean(found.chance[:200]) > 3 * np.nanmean(found.chance[200:])
    sure = np.flatnonzero(found.chance[:200] > 0.8)
    assert np.median(np.abs(found.day[sure] - 45)) <= 2


def test_what_life_events_refuses(struck, rng):
    with pytest.raises(ValueError, match=r"50 users with 500 visits or more\. Received: 0"):
        script.life_events(struck.log, window=200, rng=rng)
    with pytest.raises(ValueError, match=r"`window` must be a positive integer"):
        script.life_events(struck.log, window=0, rng=rng)
