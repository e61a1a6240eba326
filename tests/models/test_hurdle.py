"""Weeks from a likelihood: the density against loops, draws against the density, a known law."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from scipy import stats
from scipy.special import expit, log_softmax, softmax

from recsys_evo.models import hurdle
from recsys_evo.models.hurdle import FACTS, HurdleWeek
from recsys_evo.models.weeks import DAYS

FEATURES = DAYS + 3
SIGMAS = 4.5  # how many standard errors a figure may lie off


def toy(n, seed=0):
    """Users who come by a habit they show, are due on one day, and read longer after a purchase.

    past (n, 10): the first 7 columns are 1 on the day on which a purchase is due; then the log-odds
    of coming, the level of the log-dwell, and noise.
    """
    rng = np.random.default_rng(seed)
    due = np.eye(DAYS)[rng.integers(DAYS, size=n)]
    habit, stay, noise = rng.normal(size=(3, n))
    past = np.column_stack([due, habit, stay, noise]).astype("float32")
    week, bought = np.zeros((n, DAYS, 3), "float32"), np.zeros(n)
    for day in range(DAYS):
        came = rng.random(n) < expit(1.5 * habit)
        clicks = came * (1 + rng.binomial(3, 0.4, n))
        dwell = clicks * np.exp(3 + 0.5 * stay + 1.0 * bought + 0.3 * rng.normal(size=n))
        bought = came & (rng.random(n) < 0.05 + 0.9 * due[:, day])
        amount = bought * np.exp(rng.normal(2, 0.2, n))
        week[:, day] = np.stack([clicks, dwell, amount], axis=1)
    return past, week


def shaken(model, scale=0.3, seed=0):
    """The model with random weights, biases included, so that no two parts are alike."""
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        size = scale if len(weight.shape) == 1 else 1 / np.sqrt(weight.shape[0])
        weight.assign(size * rng.normal(size=weight.shape))
    return model


def adapted(model, n=300):
    past, week = toy(n)
    model.adapt(past, week)
    return past, week


def log_prob(model, past, week):
    return ops.convert_to_numpy(model.log_prob(model.scaled(past), ops.convert_to_tensor(week)))


class TestFacts:
    @pytest.fixture
    def model(self):
        return HurdleWeek(FEATURES)

    def test_there_and_back(self, model):
        _, week = adapted(model)
        facts = ops.convert_to_numpy(model.facts(week))
        came, size, stay, bought, paid = np.moveaxis(facts, -1, 0)
        np.testing.assert_array_equal(came, week[..., 0] > 0)
        np.testing.assert_array_equal(bought, week[..., 2] > 0)
        for fact, known in ((size, came), (stay, came), (paid, bought)):
            assert not fact[known == 0].any()
            assert fact[known == 1].mean() == pytest.approx(0, abs=1e-4)
            assert fact[known == 1].std() == pytest.approx(1, abs=1e-4)
        np.testing.assert_allclose(ops.convert_to_numpy(model.weeks(facts)), week, rtol=1e-4)

    def test_clicks_without_dwell_and_weeks_without_anything(self, model):
        adapted(model)
        week = np.zeros((2, DAYS, 3), "float32")
        week[1, :, 0] = 2
        facts = ops.convert_to_numpy(model.facts(week))
        assert np.isfinite(facts).all()
        assert not facts[0].any()
        empty = HurdleWeek(FEATURES)
        empty.adapt(np.zeros((2, FEATURES)), np.zeros((2, DAYS, 3)))
        assert np.isfinite(
            empty.sample(np.ones((2, FEATURES)), 2, rng=np.random.default_rng(0))
        ).all()

    def test_a_shift_moves_the_clicks_and_nothing_else(self, model):
        _, week = adapted(model)
        shift = np.full(week.shape[:2], 0.4, "float32")
        one, two = (ops.convert_to_numpy(model.facts(week, s)) for s in (0.0, shift))
        np.testing.assert_array_equal(np.delete(one, 1, axis=2), np.delete(two, 1, axis=2))
        came = week[..., 0] > 0
        expected = np.log(week[..., 0][came] + 0.4) - np.log(week[..., 0][came])
        unit = ops.convert_to_numpy(model.unit)[0]
        np.testing.assert_allclose((two - one)[..., 1][came], expected / unit, rtol=1e-3)

    def test_outliers_of_the_past_are_drawn_in(self, model):
        past, _ = adapted(model)
        past[0, 8] = 1e9
        assert ops.convert_to_numpy(model.scaled(past)).max() == 5

    def test_too_few_features(self):
        with pytest.raises(ValueError, match=r"`features` must exceed 7. Received: features=7"):
            HurdleWeek(7)


def by_loop(model, past, week):
    """The log-likelihood of a week of one user, step by step."""
    facts = ops.convert_to_numpy(model.facts(week[None]))[0]
    scaled = ops.convert_to_numpy(model.scaled(past[None]))
    context = ops.convert_to_numpy(model.context(ops.convert_to_tensor(scaled)))[0]
    head = lambda layer, *known: ops.convert_to_numpy(layer(np.concatenate(known)[None]))[0]  # noqa: E731

    def mixture(parts, x):
        weight, mean, log_spread = parts.reshape(3, -1)
        return np.log(softmax(weight) @ stats.norm.pdf(x, mean, np.exp(log_spread)))

    total = 0
    for day in range(DAYS):
        known = [context, scaled[0, day : day + 1], np.eye(DAYS)[day]]
        if model.memory:
            before = facts[day - 1] if day else np.zeros(FACTS)
            known += [before, facts[:day].sum(0) / DAYS]
        state = head(model.read_day, *known)
        came, size, stay, bought, paid = facts[day]
        total += log_softmax(head(model.clicks, state))[int(week[day, 0])]
        if came:
            total += mixture(head(model.dwell, state, [size]), stay)
            buys = head(model.buys, state, [size, stay])
            total += np.log(expit(buys[0]) if bought else expit(-buys[0]))
            if bought:
                total += mixture(buys[1:], paid)
    return total


class TestLikelihood:
    @pytest.mark.parametrize("memory", [True, False])
    def test_is_what_a_loop_over_the_days_finds(self, memory):
        model = shaken(HurdleWeek(FEATURES, memory=memory, width=8))
        past, week = adapted(model)
        expected = [by_loop(model, p, w) for p, w in zip(past[:20], week[:20])]
        np.testing.assert_allclose(log_prob(model, past[:20], week[:20]), expected, rtol=1e-4)

    @pytest.mark.parametrize("memory", [True, False])
    def test_draws_follow_it(self, memory):
        """The mean of q(x) / p(x) over draws from p is 1, for every density q near p."""
        model = shaken(HurdleWeek(FEATURES, memory=memory, width=8, most=6))
        past, _ = adapted(model)
        past = np.repeat(past[:4], 5_000, axis=0)
        week = model.sample(past, 1, rng=np.random.default_rng(0))[:, 0]
        drawn = log_prob(model, past, week)
        kept = model.get_weights()
        for layer in (model.clicks, model.dwell, model.buys, model.read_day):
            for seed in range(2):
                rng = np.random.default_rng(seed)
                for weight in layer.trainable_weights:
                    weight.assign(weight + 0.05 * rng.normal(size=weight.shape))
                ratio = np.exp(log_prob(model, past, week) - drawn)
                assert abs(ratio.mean() - 1) < SIGMAS * ratio.std() / np.sqrt(len(ratio))
                assert ratio.std() > 0.01
                model.set_weights(kept)

    def test_days_swap_between_weeks_only_without_memory(self):
        for memory in (False, True):
            model = shaken(HurdleWeek(FEATURES, memory=memory, width=8))
            past, week = adapted(model)
            past, week = past[:1].repeat(2, axis=0), week[week[:, 3, 0] > 0][:2]
            swapped = week.copy()
            swapped[:, 3] = week[::-1, 3]
            before, after = (log_prob(model, past, w).sum() for w in (week, swapped))
            assert np.isclose(before, after, rtol=1e-5) == (not memory)

    def test_a_hidden_mood_costs_its_divergence(self):
        """Where the mood moves nothing, the bound is the likelihood less KL(q ‖ N(0, 1))."""
        model = shaken(HurdleWeek(FEATURES, memory=False, latent=2, width=8))
        past, week = adapted(model)
        kernel, bias = model.read_day.get_weights()
        kernel[8:10] = 0
        model.read_day.set_weights([kernel, bias])
        mean, spread = np.array([1.0, -2.0]), np.array([0.5, 3.0])
        figures = model.infer.figures
        figures.kernel.assign(0 * figures.kernel)
        figures.bias.assign(np.concatenate([np.zeros(2), np.zeros(2)]))
        free = log_prob(model, past, week)
        figures.bias.assign(np.concatenate([mean, np.log(spread)]))
        divergence = (mean**2 + spread**2 - 1).sum() / 2 - np.log(spread).sum()
        np.testing.assert_allclose(free - log_prob(model, past, week), divergence, rtol=1e-4)

    def test_the_loss_is_its_negative_mean(self):
        model = shaken(HurdleWeek(FEATURES, width=8))
        past, week = adapted(model)
        model.compile(keras.optimizers.SGD(0.0))
        loss = model.evaluate((past, week), batch_size=300, verbose=0)
        assert loss == pytest.approx(-log_prob(model, past, week).mean(), rel=1e-5)


class TestParts:
    def test_which_draws_by_the_chances(self, rng):
        chance = np.array([0.1, 0.0, 0.6, 0.3], "float32")
        noise = rng.standard_normal(40_000).astype("float32")
        drawn = ops.convert_to_numpy(hurdle.which(np.tile(chance, (40_000, 1)), noise))
        share = np.bincount(drawn, minlength=4) / 40_000
        np.testing.assert_allclose(share, chance, atol=SIGMAS * 0.5 / 200)
        assert share[1] == 0

    def test_uniform(self):
        noise = np.linspace(-4, 4, 50).astype("float32")
        found = ops.convert_to_numpy(hurdle.uniform(noise))
        np.testing.assert_allclose(found, stats.norm.cdf(noise), atol=1e-6)

    def test_no_gaussian_shrinks_to_a_point(self):
        parts = ops.convert_to_tensor(np.array([[0, 0, 0, 1, -99, -99]], "float32"))
        assert ops.convert_to_numpy(hurdle.log_density(parts, np.zeros(1, "float32"))) < 4

    def test_straight_through(self):
        soft = tf.Variable([0.3, 0.7])
        with tf.GradientTape() as tape:
            value = hurdle.straight_through(ops.convert_to_tensor([0.0, 1.0]), soft)
            total = ops.sum(value * [2.0, 3.0])
        np.testing.assert_array_equal(value, [0, 1])
        np.testing.assert_array_equal(tape.gradient(total, soft), [2, 3])


def test_it_learns_a_known_law():
    keras.utils.set_random_seed(0)
    past, week = toy(4_000)
    model = HurdleWeek(FEATURES, width=32, dropout=0)
    model.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    model.fit(past, week, epochs=8, batch_size=100, verbose=0)
    asked, _ = toy(1_000, seed=1)
    drawn = model.sample(asked, 40, rng=np.random.default_rng(0))
    due, habit, stay = asked[:, :DAYS], asked[:, 7], asked[:, 8]

    came = (drawn[..., 0] > 0).mean(axis=(1, 2))
    assert abs(came - expit(1.5 * habit)).mean() < 0.04
    bought = (drawn[..., 2] > 0).sum(axis=(0, 1)) / (drawn[..., 0] > 0).sum(axis=(0, 1))
    np.testing.assert_allclose(bought, 0.05 + 0.9 / 7, atol=0.03)
    on_due_day = due[:, None] * np.ones((1, 40, 1)) > 0
    rate = (drawn[..., 2] > 0)[on_due_day].mean() / (drawn[..., 0] > 0)[on_due_day].mean()
    assert rate == pytest.approx(0.95, abs=0.05)
    # A day after a purchase is read for longer: that takes memory.
    log_dwell = np.log(drawn[..., 1] / np.maximum(drawn[..., 0], 1), where=drawn[..., 1] > 0,
                       out=np.full(drawn.shape[:3], np.nan, "float32"))  # fmt: skip
    beyond = log_dwell[:, :, 1:] - 3 - 0.5 * stay[:, None, None]
    after = drawn[:, :, :-1, 2] > 0
    assert np.nanmean(beyond[after]) == pytest.approx(1, abs=0.1)
    assert np.nanmean(beyond[~after]) == pytest.approx(0, abs=0.1)
