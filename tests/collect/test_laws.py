"""Each law on its own: off at strength 0, and its closed form at strength 1."""

import dataclasses

import numpy as np
import pytest
from scipy import sparse, stats

from recsys_evo.collect import ceiling, laws, world
from recsys_evo.collect.laws import CATALOGUE, CATEGORIES, MECHANISMS, NEVER, Hidden, Laws, Stocks

SIGMAS = 4.5  # how many standard errors a figure may lie off: a false alarm in 150,000


def only(**strengths):
    """Laws with all mechanisms off but these."""
    return Laws(**dict.fromkeys(MECHANISMS, 0) | strengths)


def near(found, expected, error):
    return abs(found - expected) < SIGMAS * error


# Chosen once, before any model was trained, so that the ceiling leaves room above hand features
# (test_ceiling.py reads the measurement). Not to be touched to make a model look good.
FROZEN = {
    "CATEGORIES": 64, "FAMILIES": 8, "ITEMS": 16, "DIMENSIONS": 6, "FEED": 10, "VISITS": 5,
    "RETURN": 0.04, "SPREAD": 0.6, "CORE": 1.0, "EVENT": 0.006,
    "PULL": 0.08, "CIRCLE": 6, "WEEK": 0.6, "TIRE": 0.5, "REST": 0.7, "SATED": 5.0,
    "SEEN": 0.12, "FADE": 0.97, "FOND": 1.0, "NEWS": 1.2, "STALE": 14.0,
    "WEAR": 0.002, "BORE": 0.008,
    "OPEN": 0.04, "GOAL": 0.5, "JOURNEY": (5, 9), "ERRAND": 3,
    "PUSH": 4.5, "LINGER": 1.0, "RIPE": 0.6, "BUY": 0.5, "IMPULSE": 0.003,
    "JITTER": 0.08, "STOP": 0.05, "CYCLES": 0.12, "ELSEWHERE": 5.0,
    "CLICK": -2.2, "POSITION": 0.2, "READ": 3.2, "DEEPER": 0.15, "VARIED": 0.6, "LONGEST": 600.0,
    "BASKET": 0.25, "PLATFORM": 0.9, "EXPLORE": 0.3, "HABIT": (6.0, 3.0),
    "NONE": 0, "ERRANDS": 1, "GOALS": 2, "IDLE": 3, "NEVER": -10_000,
}  # fmt: skip


def test_the_strengths_are_frozen():
    numbers = {
        name: value
        for name, value in vars(laws).items()
        if name.isupper() and isinstance(value, (int, float, tuple)) and name != "MECHANISMS"
    }
    assert numbers == FROZEN
    assert dataclasses.asdict(Laws()) == dict.fromkeys(
        ("drift", "shift", "season", "satiation", "reinforcement", "need", "contagion", "ageing",
         "churn"), 1.0
    )  # fmt: skip
    assert ceiling.HORIZON == 3
    assert world.TOWN == 1_000
    # The catalogue is drawn from a fixed seed: a few of its whole numbers stand for all.
    assert CATALOGUE.position[:8].tolist() == [22, 0, 30, 21, 42, 56, 61, 44]
    assert CATALOGUE.period.sum() == 503
    assert CATALOGUE.phase.sum() == 192
    assert CATALOGUE.born.sum() == 13987


@pytest.mark.parametrize("name", MECHANISMS)
@pytest.mark.parametrize("strength", [-1, np.nan, np.inf])
def test_a_strength_is_a_finite_number_from_0(name, strength):
    with pytest.raises(ValueError, match=f"`{name}` must be a finite number >= 0. Received: "):
        Laws(**{name: strength})


class TestDrift:
    def test_off_keeps_the_taste_where_it_is(self):
        rng = np.random.default_rng(0)
        hidden = only().newcomers(100, rng)
        before = hidden.take(np.arange(100))
        only().move_taste(hidden, np.ones((100, 6), np.float32), rng)
        np.testing.assert_array_equal(hidden.taste, before.taste)
        np.testing.assert_array_equal(hidden.taste, before.core)

    @pytest.mark.parametrize("strength", [1, 2])
    def test_is_an_ornstein_uhlenbeck_process(self, strength):
        n, lag = 5_000, 17
        rng, law = np.random.default_rng(1), only(drift=strength)
        hidden = law.newcomers(n, rng)
        first = hidden.taste - hidden.core
        for _ in range(lag):
            law.move_taste(hidden, np.zeros((n, 6), np.float32), rng)
        last = hidden.taste - hidden.core
        variance, numbers = (strength * laws.SPREAD) ** 2, last.size
        for spread in (first, last):  # stationary from the first day on
            assert near(spread.var(), variance, variance * np.sqrt(2 / numbers))
        alike = np.corrcoef(first.ravel(), last.ravel())[0, 1]
        expected = 0.5 ** (lag / (np.log(2) / laws.RETURN))  # the half-life is ln 2 / RETURN
        assert near(alike, expected, (1 - expected**2) / np.sqrt(numbers))


class TestShift:
    def test_off_never_moves_the_core(self):
        rng = np.random.default_rng(2)
        hidden = only(drift=1).newcomers(1_000, rng)
        core = hidden.core.copy()
        for _ in range(50):
            only(drift=1).move_taste(hidden, np.zeros((1_000, 6), np.float32), rng)
        np.testing.assert_array_equal(hidden.core, core)

    @pytest.mark.parametrize("strength", [1, 3])
    def test_strikes_at_its_rate_and_draws_core_and_taste_anew(self, strength):
        n, rng, law = 200_000, np.random.default_rng(3), only(shift=strength, drift=1)
        hidden = law.newcomers(n, rng)
        core = hidden.core.copy()
        law.move_taste(hidden, np.zeros((n, 6), np.float32), rng)
        struck = (hidden.core != core).any(1)
        rate = strength * laws.EVENT
        assert near(struck.mean(), rate, np.sqrt(rate / n))
        numbers = struck.sum() * 6
        around = (hidden.taste - hidden.core)[struck]
        for spread, scale in ((hidden.core[struck], laws.CORE), (around, laws.SPREAD)):
            assert near(spread.mean(), 0, scale / np.sqrt(numbers))
            assert near(spread.var(), scale**2, scale**2 * np.sqrt(2 / numbers))
        forgotten = np.corrcoef(core[struck].ravel(), hidden.core[struck].ravel())[0, 1]
        assert near(forgotten, 0, 1 / np.sqrt(numbers))


class TestSeason:
    nothing = np.zeros((1, CATEGORIES), np.float32)

    def appeal(self, law):
        return np.array([law.known_appeal(d, self.nothing, self.nothing)[0] for d in range(14)])

    def test_off_makes_all_days_alike(self):
        appeal = self.appeal(only())
        np.testing.assert_array_equal(appeal, np.tile(CATALOGUE.base, (14, 1)))

    @pytest.mark.parametrize("strength", [1, 0.5])
    def test_is_a_cosine_of_seven_days(self, strength):
        wave = self.appeal(only(season=strength)) - CATALOGUE.base
        np.testing.assert_allclose(wave[:7], wave[7:], atol=1e-6)
        np.testing.assert_array_equal(wave[:7].argmax(0), CATALOGUE.phase)
        np.testing.assert_allclose(wave[:7].mean(0), 0, atol=1e-6)
        # The first harmonic has the amplitude, no other has any.
        harmonics = np.abs(np.fft.rfft(wave[:7], axis=0)) * 2 / 7
        np.testing.assert_allclose(harmonics[1], strength * laws.WEEK, atol=1e-6)
        np.testing.assert_allclose(harmonics[2:], 0, atol=1e-6)


def a_day(stocks, law=None, clicks=(), bought=(), shown=(), liked_slots=0):
    """A day of the only user; categories are given once for each time."""
    counts = (
        np.bincount(np.asarray(c, int), minlength=CATEGORIES)[None].astype(np.float32)
        for c in (clicks, bought, shown)
    )
    stocks.end_day(law or only(), np.array([0]), *counts, np.array([liked_slots]))


class TestSatiation:
    def test_is_lost_by_a_constant_share_a_day(self):
        stocks = Stocks(1)
        a_day(stocks, clicks=[3, 3, 7], bought=[7])
        for days in range(5):
            expected = laws.REST**days * np.array([0, 2, 1 + laws.SATED])
            np.testing.assert_allclose(stocks.tired[0, [0, 3, 7]], expected, rtol=1e-6)
            a_day(stocks)

    def test_of_a_daily_click_settles(self):
        stocks = Stocks(1)
        for _ in range(60):
            a_day(stocks, clicks=[5])
        assert stocks.tired[0, 5] == pytest.approx(1 / (1 - laws.REST))

    @pytest.mark.parametrize("strength", [0, 1, 2])
    def test_lowers_the_appeal_in_proportion(self, strength):
        tired = np.zeros((1, CATEGORIES), np.float32)
        fresh = only(satiation=strength).known_appeal(0, tired, tired)
        weary = only(satiation=strength).known_appeal(0, tired + 3, tired)
        np.testing.assert_allclose(weary - fresh, -3 * strength * laws.TIRE, atol=1e-6)


class TestReinforcement:
    def test_stock_grows_with_views_and_fades(self):
        stocks = Stocks(1)
        a_day(stocks, shown=[2] * 4 + [9] * 6)
        a_day(stocks)
        expected = laws.FADE * laws.SEEN * np.array([4, 6, 0])
        np.testing.assert_allclose(stocks.seen[0, [2, 9, 0]], expected, rtol=1e-6)

    @pytest.mark.parametrize("strength", [0, 1, 2])
    def test_saturates(self, strength):
        nothing = np.zeros((1, CATEGORIES), np.float32)
        law = only(reinforcement=strength)
        seen = nothing.copy()
        seen[0, :4] = [1, 3, 9, 1e6]
        gain = (law.known_appeal(0, nothing, seen) - CATALOGUE.base)[0]
        limit = strength * laws.FOND
        np.testing.assert_allclose(
            gain[:5], limit * np.array([1 / 2, 3 / 4, 9 / 10, 1, 0]), atol=2e-6
        )


def journey(kind, length, need=11):
    """Rows of the tables of needs, from the day of the opening to the last."""
    one = np.ones(1, np.int16)
    hidden = [
        Hidden(None, None, kind * one, need * one, age * one, length * one, None)
        for age in range(length)
    ]
    return [h.cell[0] for h in hidden]


class TestNeed:
    def test_off_opens_none(self):
        rng = np.random.default_rng(4)
        hidden = only().newcomers(5_000, rng)
        for day in range(60):
            only().move_needs(hidden, day, rng)
        assert (hidden.kind == laws.NONE).all()
        assert (hidden.cell == 0).all()
        assert not CATALOGUE.boost[0].any()
        assert not CATALOGUE.linger[0].any()

    @pytest.mark.parametrize("strength", [1, 2])
    def test_opens_at_its_rate_half_of_them_with_a_goal(self, strength):
        n, rng, law = 100_000, np.random.default_rng(5), only(need=strength)
        hidden = law.newcomers(n, rng)
        errand = law.errand_hazard(hidden.met[:1], 0).sum()
        law.move_needs(hidden, 0, rng)
        fresh = (hidden.kind == laws.GOALS) | (hidden.kind == laws.IDLE)
        rate = strength * laws.OPEN * (1 - errand)
        assert near(fresh.mean(), rate, np.sqrt(rate / n))
        assert near((hidden.kind == laws.ERRANDS).mean(), errand, np.sqrt(errand / n))
        goals = (hidden.kind[fresh] == laws.GOALS).mean()
        assert near(goals, laws.GOAL, 0.5 / np.sqrt(fresh.sum()))
        low, high = laws.JOURNEY
        assert np.unique(hidden.length[fresh]).tolist() == list(range(low, high + 1))
        assert (hidden.length[hidden.kind == laws.ERRANDS] == laws.ERRAND).all()
        wanted = np.bincount(hidden.need[fresh], minlength=CATEGORIES)
        expected = fresh.sum() * CATALOGUE.wanted / CATALOGUE.wanted.sum(dtype=float)
        assert stats.chisquare(wanted, expected).pvalue > 1e-5

    @pytest.mark.parametrize("length", range(laws.JOURNEY[0], laws.JOURNEY[1] + 1))
    def test_an_idle_journey_is_a_goal_journey_backwards(self, length):
        goal, idle = journey(laws.GOALS, length), journey(laws.IDLE, length)
        assert idle == goal[::-1]
        # So both add up to the same appeal and the same dwell in every category.
        for table in (CATALOGUE.boost, CATALOGUE.linger):
            total = table[goal, 11].sum(0)
            np.testing.assert_array_equal(total, table[idle[::-1], 11].sum(0))
            assert total.max() > 0

    @pytest.mark.parametrize("length", [laws.ERRAND, *laws.JOURNEY])
    def test_a_goal_journey_rises_and_narrows(self, length):
        need = 11
        beside = np.abs(CATALOGUE.position - CATALOGUE.position[need]) == 2
        steps = journey(laws.GOALS, length)
        boost, linger = CATALOGUE.boost[steps, need], CATALOGUE.linger[steps, need]
        assert (np.diff(boost[:, need]) > 0).all()
        assert (np.diff(linger[:, need]) > 0).all()
        assert boost[-1, need] == pytest.approx(laws.PUSH)
        assert linger[-1, need] == pytest.approx(laws.LINGER)
        share = boost[:, beside] / boost[:, [need]]
        assert (np.diff(share, axis=0) < 0).all()
        assert (boost.argmax(1) == need).all()

    def test_ends_after_its_length_and_is_then_met_elsewhere(self):
        goods = CATALOGUE
        need = goods.consumable[4]
        rng, law = np.random.default_rng(6), only()
        hidden = law.newcomers(3, rng)
        law.open(hidden, np.array([0, 1, 2]), [laws.ERRANDS, laws.GOALS, laws.IDLE], need, rng)
        hidden.length[:] = 3
        for day in (1, 2):
            law.move_needs(hidden, day, rng)
        assert hidden.age.tolist() == [2, 2, 2]
        assert (hidden.kind != laws.NONE).all()
        law.move_needs(hidden, 3, rng)
        assert (hidden.kind == laws.NONE).all()
        expected = np.full((3, len(goods.consumable)), NEVER)
        expected[:2, 4] = 3  # nothing comes of an idle journey
        np.testing.assert_array_equal(hidden.met, expected)

    def test_a_purchase_closes_the_need_that_it_meets_and_no_other(self):
        consumable = CATALOGUE.consumable
        need, other = consumable[[2, 5]]
        kinds = [laws.GOALS, laws.GOALS, laws.IDLE, laws.ERRANDS]
        rng, law = np.random.default_rng(7), only()
        hidden = law.newcomers(4, rng)
        law.open(hidden, np.arange(4), kinds, need, rng)
        law.satisfy(hidden, np.arange(4), np.array([need, other, need, need]), 9)
        assert hidden.kind.tolist() == [laws.NONE, laws.GOALS, laws.IDLE, laws.NONE]
        assert hidden.met[:, 2].tolist() == [9, NEVER, 9, 9]
        assert hidden.met[:, 5].tolist() == [NEVER, 9, NEVER, NEVER]
        lasting = np.setdiff1d(np.arange(CATEGORIES), consumable)[:1]
        law.satisfy(hidden, np.array([1]), lasting, 10)
        assert (hidden.met < 10).all()

    def test_is_bought_from_when_ripe_and_earnest(self):
        law = only()
        hidden = law.newcomers(8, np.random.default_rng(8))
        hidden.kind[:] = [laws.GOALS] * 4 + [laws.ERRANDS, laws.IDLE, laws.NONE, laws.GOALS]
        hidden.need[:] = 20
        hidden.length[:] = 5
        hidden.age[:] = [0, 1, 2, 4, 2, 4, 4, 4]
        clicked = np.array([20] * 7 + [21])
        rare, often = laws.IMPULSE, laws.BUY
        expected = [rare, rare, often, often, often, rare, rare, rare]  # ripe from 3 of 5 days on
        np.testing.assert_array_equal(law.buying_chance(hidden, np.arange(8), clicked), expected)


class TestReplenishment:
    period = np.array([9, 14, 21])

    def interval(self, hazard):
        """The chances of each day, multiplied out of the daily hazards."""
        hazard = hazard.astype(float)
        spared = np.cumprod(1 - hazard, axis=1)
        return hazard * np.concatenate([np.ones((len(hazard), 1)), spared[:, :-1]], axis=1)

    def test_hazards_give_back_the_intervals(self):
        chance = self.interval(laws.renewal_hazard(self.period)[0])
        day = np.arange(chance.shape[1])
        np.testing.assert_allclose(chance.sum(1), 1 - laws.STOP, atol=1e-5)
        law = chance / chance.sum(1, keepdims=True)
        mean = law @ day
        deviation = np.sqrt(law @ day**2 - mean**2)
        np.testing.assert_allclose(mean, self.period, atol=1e-4)
        # Sheppard: cutting into days adds a twelfth to the variance.
        scale = laws.JITTER * self.period
        np.testing.assert_allclose(deviation, np.sqrt(scale**2 + 1 / 12), rtol=1e-3)
        normal = stats.norm(self.period[:, None], scale[:, None])
        expected = (1 - laws.STOP) * (normal.cdf(day + 0.5) - normal.cdf(day - 0.5))
        np.testing.assert_allclose(chance, expected, atol=1e-5)

    def test_of_cycles_that_run_already_are_even_over_the_interval(self):
        chance = self.interval(laws.renewal_hazard(self.period)[1])
        np.testing.assert_allclose(chance.sum(1), laws.CYCLES, atol=1e-5)
        for row, period in zip(chance, self.period):
            half = period // 2  # days 0 to half
            assert row[: half + 1].sum() == pytest.approx(laws.CYCLES * (half + 1) / period, 1e-4)

    def test_of_a_cycle_followed_day_by_day(self, monkeypatch):
        monkeypatch.setattr(laws, "OPEN", 0.0)
        known, unknown = CATALOGUE.hazard
        place, n, days = 3, 20_000, 35
        law, rng = only(need=1), np.random.default_rng(9)
        quiet = dataclasses.replace(CATALOGUE, hazard=(known, 0 * unknown))
        monkeypatch.setattr(Laws, "catalogue", quiet)
        hidden = law.newcomers(n, rng)
        hidden.met[:, place] = 0
        asked = np.full(n, -1)
        for day in range(1, days):
            law.move_needs(hidden, day, rng)
            new = (hidden.kind == laws.ERRANDS) & (hidden.age == 0) & (asked < 0)
            asked[new] = day
            assert (hidden.need[new] == CATALOGUE.consumable[place]).all()
        came = asked[asked >= 0]
        period = CATALOGUE.period[CATALOGUE.consumable[place]]
        scale = np.sqrt((laws.JITTER * period) ** 2 + 1 / 12)
        assert near(len(came) / n, 1 - laws.STOP, np.sqrt(laws.STOP / n))
        assert near(came.mean(), period, scale / np.sqrt(len(came)))
        assert near(came.std(), scale, scale / np.sqrt(2 * len(came)))

    def test_strength_above_1_leaves_intervals_alone(self):
        met = np.zeros((1, len(CATALOGUE.consumable)), np.int16)
        one, two = (only(need=s).errand_hazard(met, 9) for s in (1, 2))
        half = only(need=0.5).errand_hazard(met, 9)
        np.testing.assert_array_equal(one, two)
        np.testing.assert_allclose(half, one / 2)


class TestContagion:
    def test_pull_is_the_mean_of_the_friends_who_clicked(self):
        friends = np.zeros((4, 4), np.float32)
        friends[0, [1, 2, 3]] = 1
        stocks = Stocks(4)
        stocks.liked[1], stocks.weight[1] = 6, 3  # mean 2
        stocks.liked[2], stocks.weight[2] = 8, 2  # mean 4; user 3 clicked nothing
        pull = laws.friends_pull(sparse.csr_matrix(friends), stocks)
        np.testing.assert_allclose(pull, np.outer([3, 0, 0, 0], np.ones(6)), rtol=1e-6)

    def test_remembers_clicked_vectors_as_the_platform_does(self):
        stocks = Stocks(1)
        a_day(stocks, clicks=[3, 3, 8])
        a_day(stocks, clicks=[5])
        kept, vectors = laws.PLATFORM, CATALOGUE.vectors
        expected = kept * (2 * vectors[3] + vectors[8]) + vectors[5]
        np.testing.assert_allclose(stocks.liked[0], expected, rtol=1e-5)
        assert stocks.weight[0] == pytest.approx(3 * kept + 1)
        np.testing.assert_allclose(stocks.recent[0, [3, 5, 8]], [2 * kept, 1, kept])

    @pytest.mark.parametrize("strength", [0, 1, 2])
    def test_moves_the_taste_to_where_return_and_pull_balance(self, strength):
        rng, law = np.random.default_rng(10), only(contagion=strength)
        hidden = law.newcomers(50, rng)
        pull = rng.normal(size=(50, 6)).astype(np.float32)
        for _ in range(400):
            law.move_taste(hidden, pull, rng)
        expected = strength * laws.PULL / (1 - np.exp(-laws.RETURN)) * pull
        np.testing.assert_allclose(hidden.taste - hidden.core, expected, atol=1e-4)


class TestAgeing:
    @pytest.mark.parametrize("strength", [0, 1, 2])
    def test_news_value_decays_from_the_birth(self, strength):
        for day in (0, 30, 100):
            age = day - CATALOGUE.born
            value = only(ageing=strength).item_value(day)
            assert (value[age < 0] == -np.inf).all()
            expected = strength * laws.NEWS * np.exp(-age / laws.STALE)
            news = value - CATALOGUE.value
            np.testing.assert_allclose(news[age >= 0], expected[age >= 0], atol=1e-6)

    def test_every_category_has_something_to_show_on_day_0(self):
        assert (np.isfinite(only().item_value(0)).sum(1) >= 4).all()
        assert (np.diff(CATALOGUE.born, axis=1) >= 0).all()


class TestChurn:
    @pytest.mark.parametrize("strength", [0, 1, 2])
    def test_engagement_falls_a_visit_faster_after_poor_slates(self, strength):
        law, stocks = only(churn=strength), Stocks(1)
        for liked in (0, 1, 2, 10):
            a_day(stocks, law, liked_slots=liked)
        lost = 4 * laws.WEAR + (1 + 1 / 2) * laws.BORE
        assert stocks.engagement[0] == pytest.approx(np.exp(-strength * lost), rel=1e-6)

    def test_users_who_stay_away_lose_nothing(self):
        stocks = Stocks(3)
        nothing = np.zeros((1, CATEGORIES), np.float32)
        stocks.end_day(only(churn=1), np.array([1]), nothing, nothing, nothing, np.array([0]))
        lost = np.exp(-laws.WEAR - laws.BORE)
        np.testing.assert_allclose(stocks.engagement, [1, lost, 1], rtol=1e-6)


def test_choose_draws_in_proportion():
    weights = np.tile([3.0, 0, 1, 4], (80_000, 1))
    drawn = np.bincount(laws.choose(weights, np.random.default_rng(11)), minlength=4)
    assert drawn[1] == 0
    expected = 10_000 * np.array([3, 1, 4])
    assert stats.chisquare(drawn[[0, 2, 3]], expected).pvalue > 1e-5


def test_the_default_policy_mixes_clicks_with_chance():
    recent = np.zeros((2, CATEGORIES), np.float32)
    recent[1, 7] = 93.6  # with the floor of .1 a category: 93.7 of 100
    shares = only().platform_shares(recent)
    np.testing.assert_allclose(shares[0], 1 / CATEGORIES, rtol=1e-6)
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-6)
    expected = (1 - laws.EXPLORE) * 0.937 + laws.EXPLORE / CATEGORIES
    assert shares[1, 7] == pytest.approx(expected, rel=1e-6)
    # Of a category without clicks among as many: the same as with the others' clicks written out.
    quiet = np.zeros((1, CATEGORIES), np.float32)
    alone = only().platform_shares(quiet, np.float32([93.6]))
    np.testing.assert_allclose(alone[0, 0], shares[1, 0], rtol=1e-6)
