"""What the past says about the next week, held against slow loops; rivals without a network."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recsys_evo.models.weeks import (
    DAYS,
    PAST,
    WINDOWS,
    Neighbours,
    OwnWeeks,
    past_features,
    renewal_rates,
    weeks,
)
from recsys_evo.prepare.images import behaviour_images
from recsys_evo.prepare.splits import past

from ..prepare.strategies import FIRST_DAY, N_CATEGORIES, N_DAYS, N_USERS, log_of, logs

DAY = 86_400
ends = st.integers(0, N_DAYS + 3).map(lambda day: FIRST_DAY + day)


def purchase(user, day, category=0, amount=10):
    return (user, day * DAY + 60, category, "purchase", np.nan, amount)


def click(user, day, category=0, dwell=10):
    return (user, day * DAY, category, "click", dwell, 0)


def column(features, name):
    return features[:, PAST.index(name)]


# Some buy again after two or three days, and some still wait.
SHOPPERS = log_of([purchase(user, day) for user in range(N_USERS) for day in (1, 3, 6, 8)[user:]])


class TestWeeks:
    @given(logs(), ends, st.integers(1, 3))
    def test_are_the_totals_of_the_images(self, log, end, n):
        image = behaviour_images(log, end=end, days=n * DAYS, categories=N_CATEGORIES)
        found = weeks(log, end=end, n=n)
        np.testing.assert_allclose(found, image.sum(axis=2).reshape(N_USERS, n, DAYS, 3), rtol=1e-6)
        np.testing.assert_array_equal(weeks(log, end=end, n=n, users=[2, 0]), found[[2, 0]])

    def test_many_users_are_read_in_blocks(self, monkeypatch):
        log = log_of([click(user, day) for user in range(N_USERS) for day in range(user + 1)])
        found = weeks(log, end=FIRST_DAY + 7)
        monkeypatch.setattr("recsys_evo.prepare.images._USERS", 3)
        np.testing.assert_array_equal(weeks(log, end=FIRST_DAY + 7), found)
        np.testing.assert_array_equal(found[:, 0, :, 0].sum(axis=1), [1, 2, 3, 4])


class TestPastFeatures:
    @given(logs(), ends)
    def test_windows_are_what_a_loop_finds(self, log, end):
        found = past_features(log, end=end)
        assert found.dtype == np.float32
        assert found.shape == (N_USERS, len(PAST))
        image = behaviour_images(log, end=end, days=64, categories=N_CATEGORIES).sum(axis=2)
        for user in range(N_USERS):
            for window in WINDOWS:
                days = np.maximum(image[user, -window:], 0).astype(float)
                clicks, dwell, amount = days.T
                expected = {
                    "share of days with a touch": np.mean(clicks > 0),
                    "share of days with a purchase": np.mean(amount > 0),
                    "log clicks": np.log1p(clicks.sum()),
                    "log dwell seconds": np.log1p(dwell.sum()),
                    "log amount": np.log1p(amount.sum()),
                    "log clicks a day with a touch": np.log1p(clicks).sum()
                    / max(np.sum(clicks > 0), 1),
                    "log dwell a touch": np.log1p(dwell.sum() / max(clicks.sum(), 1)),
                }
                for name, value in expected.items():
                    seen = column(found, f"{name} in {window} days")[user]
                    assert seen == pytest.approx(value, rel=1e-5, abs=1e-6), name

    @given(logs(), ends)
    def test_nothing_after_the_end_is_looked_at(self, log, end):
        before = past(log, end)
        np.testing.assert_array_equal(past_features(before, end=end), past_features(log, end=end))

    @given(logs(), ends)
    def test_users_are_rows(self, log, end):
        found = past_features(log, end=end)
        np.testing.assert_array_equal(
            past_features(log, end=end, users=[3, 1, 3]), found[[3, 1, 3]]
        )

    def test_a_regular_shopper_is_due_on_the_right_day(self):
        """User 0 shows that category 1 comes back after 10 days; user 1 bought 8 days ago."""
        rows = [purchase(0, day, category=1) for day in range(0, 60, 10)]
        rows += [purchase(1, 52, category=1), purchase(2, 52, category=2)]
        found = past_features(log_of(rows), end=FIRST_DAY + 60)
        due = found[:, :DAYS]
        # Day 0 is 8 days after the purchase, day 2 is the tenth.
        assert due[1].argmax() == 2
        assert due[1, 1] == pytest.approx(due[1, 3], rel=0.2)
        # Nobody bought twice in category 2, and user 3 never bought.
        assert due[2].max() == 0
        assert due[3].max() == 0

    def test_categories_add_up(self):
        rows = [purchase(user, day, category=user) for user in (0, 1) for day in (30, 36, 42, 48)]
        rows += [purchase(2, 48, category=c) for c in (0, 1)]
        due = past_features(log_of(rows), end=FIRST_DAY + 50)[:, :DAYS]
        np.testing.assert_allclose(due[2], due[0] + due[1], rtol=1e-6)


def rates_by_loop(log, end, days):
    """renewals and people at risk (categories, days + 7), and who waits for what."""
    bought = {}
    for row in log.events.itertuples():
        age = (end - row.time.to_datetime64().astype("datetime64[D]")).astype(int)
        if row.user >= 0 and row.action == "purchase" and 1 <= age <= days:
            bought.setdefault((row.user, row.category), set()).add(age)
    renewals = np.zeros((log.n_categories, days + DAYS))
    at_risk, waiting = renewals.copy(), set()
    for (user, category), ages in bought.items():
        for today in range(days, 0, -1):
            earlier = [age for age in ages if age > today]
            if earlier:
                at_risk[category, min(earlier) - today] += 1
                renewals[category, min(earlier) - today] += today in ages
        waiting.add((user, category, min(ages)))
    return renewals, at_risk, waiting


class TestRenewalRates:
    @given(logs(), ends, st.integers(1, 8))
    @example(SHOPPERS, FIRST_DAY + 9, 8)
    def test_are_what_a_loop_over_the_days_counts(self, log, end, days):
        rates, *waiting = renewal_rates(log, end=end, days=days)
        renewals, at_risk, expected = rates_by_loop(log, end, days)
        assert set(zip(*waiting)) == expected
        assert len(waiting[0]) == len(expected)
        for category in range(log.n_categories):
            mean = renewals[category].sum() / max(at_risk[category].sum(), 1)
            for k in range(1, days + DAYS - 1):
                counted, asked = (x[category, k - 1 : k + 2] @ [0.25, 0.5, 0.25]
                                  for x in (renewals, at_risk))  # fmt: skip
                assert rates[category, k] == pytest.approx((counted + 20 * mean) / (asked + 20))

    def test_are_chances(self):
        rows = [purchase(0, day) for day in range(1, 12)]
        rates, *_ = renewal_rates(log_of(rows), end=FIRST_DAY + 12)
        assert rates.min() >= 0
        assert rates.max() <= 1


class TestRivals:
    @pytest.fixture
    def happened(self, rng):
        return rng.random((50, 4)).astype("float32"), rng.random((50, DAYS, 3)).astype("float32")

    def test_own_weeks_come_from_the_user(self, rng):
        own = rng.random((6, 4, DAYS, 3))
        drawn = OwnWeeks().fit(own, None).sample(own, 200, rng=rng)
        assert drawn.shape == (6, 200, DAYS, 3)
        same = (drawn[:, :, None] == own[:, None]).all(axis=(3, 4))
        np.testing.assert_array_equal(same.sum(axis=2), 1)
        assert same.any(axis=1).all()  # each of them, sooner or later
        last = OwnWeeks().sample(own[:, -1:], 3, rng=rng)
        np.testing.assert_array_equal(last, np.repeat(own[:, -1:], 3, axis=1))

    def test_the_nearest_neighbour_of_a_trained_user_is_that_user(self, happened, rng):
        known, week = happened
        drawn = Neighbours(1).fit(known, week).sample(known, 2, rng=rng)
        np.testing.assert_array_equal(drawn, np.repeat(week[:, None], 2, axis=1))

    def test_neighbours_are_near_on_the_scale_of_each_column(self, happened, rng):
        known, week = happened
        asked = rng.random((5, 4)).astype("float32")
        drawn = Neighbours(3).fit(known, week).sample(asked, 100, rng=rng)
        far = (((asked[:, None] - known) / known.std(axis=0)) ** 2).sum(axis=2)
        for user, distance in enumerate(far):
            near = {week[i].tobytes() for i in np.argsort(distance)[:3]}
            assert {x.tobytes() for x in drawn[user]} == near
        # The scale of a column does not matter.
        scale = np.array([1, 100, 0.01, 1], "float32")
        again = Neighbours(3).fit(known * scale, week)
        np.testing.assert_array_equal(
            again.sample(asked * scale, 4, rng=np.random.default_rng(1)),
            Neighbours(3).fit(known, week).sample(asked, 4, rng=np.random.default_rng(1)),
        )

    @pytest.mark.parametrize("wrong", [0, -1, 2.5])
    def test_wrong_numbers(self, wrong, happened, rng):
        with pytest.raises(ValueError, match=r"`k`.*Received"):
            Neighbours(wrong)
        for rival in (Neighbours(3).fit(*happened), OwnWeeks()):
            given = happened[0] if isinstance(rival, Neighbours) else happened[1][:, None]
            with pytest.raises(ValueError, match=r"`n`.*Received"):
                rival.sample(given, wrong, rng=rng)
