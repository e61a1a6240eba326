"""Needs: logs of known intervals, and worlds with needs on and off."""

import numpy as np
import pandas as pd
import pytest

from recsys_evo.collect import laws
from recsys_evo.collect.events import Log
from recsys_evo.collect.world import World
from recsys_evo.evaluate.needs import lead, replenishment
from recsys_evo.prepare.drift import shuffle_days


@pytest.fixture(scope="module")
def on():
    return World().simulate(600, 98, rng=np.random.default_rng(1)).log


def bought(rng, seen, users=600, days=120, interval=14.0, spread=1.0):
    """Purchases in one category, of which a share is seen."""
    start = rng.uniform(0, interval, users)
    gaps = rng.normal(interval, spread, (users, 20))
    when = np.floor(start[:, None] + np.cumsum(gaps, axis=1)).astype(int)
    user, step = np.nonzero((when < days) & (rng.random(when.shape) < seen))
    time = np.datetime64("2024-01-01", "s") + when[user, step] * np.timedelta64(86_400, "s")
    return Log(pd.DataFrame({"user": user, "item": 0, "time": time, "action": "purchase"}))


@pytest.mark.parametrize("seen", [1.0, 0.5])
def test_replenishment_finds_the_interval_however_many_purchases_are_seen(seen, rng):
    log = bought(rng, seen)
    found = replenishment(log)
    assert found.category.tolist() == [0]
    mean, low, high = found.interval[0]
    assert low <= 14 <= high
    assert mean == pytest.approx(14, abs=0.15)
    assert found.seen.point == pytest.approx(seen, abs=0.05)
    # Cutting time into days adds 1 / 6 to the variance.
    assert found.regularity.point == pytest.approx(np.sqrt(1 + 1 / 6) / 14, abs=0.01)
    if seen < 1:
        day = log.events.groupby("user")["time"].apply(lambda t: t.sort_values().diff().mean())
        assert day.mean().total_seconds() / 86_400 > 17  # what the mean of all gaps says


def test_purchases_of_no_rhythm_have_the_spread_of_no_rhythm(rng):
    n = 20_000
    day = rng.integers(0, 400, n)
    time = np.datetime64("2024-01-01", "s") + day * np.timedelta64(86_400, "s")
    user = rng.integers(0, 500, n)
    log = Log(pd.DataFrame({"user": user, "item": 0, "time": time, "action": "purchase"}))
    assert replenishment(log).regularity.high > 0.25


def test_replenishment_finds_the_periods_of_the_world(on):
    found = replenishment(on)
    period = laws.CATALOGUE.period[found.category]
    assert (period > 0).mean() > 0.95
    consumable = period > 0
    late = found.interval[consumable, 0] - period[consumable]
    # An errand opens after the period and takes a day or two.
    assert 1 < late.mean() < 2.5
    assert np.corrcoef(found.interval[consumable, 0], period[consumable])[0, 1] > 0.98
    assert found.regularity.high < 0.2


def test_days_in_another_order_have_no_rhythm(on, rng):
    known, shuffled = replenishment(on), replenishment(shuffle_days(on, rng=rng))
    assert shuffled.regularity.low > 2 * known.regularity.high


def test_without_needs_nothing_comes_back():
    log = World(need=0).simulate(300, 60, rng=np.random.default_rng(0), impressions=False).log
    for quiet in (log, log.where(~log.purchase)):
        found = replenishment(quiet)
        assert not len(found.category)
        assert np.isnan([*found.seen, *found.regularity]).all()


def test_visits_lead_to_a_purchase_where_there_are_needs(on):
    found = lead(on, np.array([0, 1, 2, 7]))
    assert (found.low[:3] > 1.5).all()
    assert found.high[3] < 1.5
    without = World(need=0).simulate(600, 98, rng=np.random.default_rng(1)).log
    nothing = lead(without, np.array([2, 5, 12]), level=0.99)
    assert ((nothing.low < 1) & (nothing.high > 1)).all()


def test_lead_is_the_ratio_that_its_text_says():
    """One user, who visits on every second day, and twice on the two days before he buys."""
    rows = [(0, day, "click") for day in range(0, 100, 2)]
    rows += [(0, 50, "purchase"), (0, 49, "click"), (0, 48, "click"), (1, 3, "click")]
    rows += [(0, day, "impression") for day in range(100)]
    user, day, action = zip(*rows)
    time = np.datetime64("2024-01-01", "s") + np.array(day) * np.timedelta64(86_400, "s")
    slate = np.where(np.array(action) == "impression", 1, -1)
    table = {"user": user, "item": 0, "time": time, "action": action, "slate": slate}
    found = lead(Log(pd.DataFrame(table)), np.array([0, 1, 2, 3, 4, -1]))
    usual = 29 / 59  # of days 0 to 29 and 71 to 99, the even ones
    assert found.lift == pytest.approx(np.array([1, 1, 2, 0, 1, 0]) / usual)


def test_wrong_arguments(on):
    for wrong in ([], [0.5], [21]):
        with pytest.raises(ValueError, match="`lags` must be whole numbers of days within 20"):
            lead(on, wrong)
    with pytest.raises(ValueError, match="`level` must lie between 0 and 1"):
        replenishment(on, level=2)
