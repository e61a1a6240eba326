"""The behaviour GAN: one contract for all generators, the game's closed forms, a known law."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from scipy.special import expit

from recsys_evo.models import gan
from recsys_evo.models.gan import BehaviourGAN, WeekGenerator, adam
from recsys_evo.models.hurdle import HurdleWeek
from recsys_evo.models.weeks import DAYS, Neighbours

from .test_hurdle import FEATURES, shaken, toy

ROOT = Path(__file__).resolve().parents[2]
KINDS = {
    "neighbours": lambda: Neighbours(5),
    "hurdle": lambda: HurdleWeek(FEATURES, memory=False, width=8),
    "autoregressive hurdle": lambda: HurdleWeek(FEATURES, width=8),
    "hurdle VAE": lambda: HurdleWeek(FEATURES, memory=False, latent=2, width=8),
    "GAN": lambda: BehaviourGAN(WeekGenerator(FEATURES, width=8)),
    "likelihood with adversary": lambda: BehaviourGAN(
        HurdleWeek(FEATURES, width=8), adversary=0.3, likelihood=1.0
    ),
}
NETWORKS = [kind for kind in KINDS if kind != "neighbours"]


def trained(kind, n=200, optimizer=None, **options):
    past, week = toy(n)
    if kind == "neighbours":
        return KINDS[kind]().fit(past, week)
    keras.utils.set_random_seed(0)
    model = KINDS[kind]()
    # A few steps are done before a graph of them would be drawn; the laws below are learnt in one.
    model.compile(optimizer or adam(100), **{"run_eagerly": True} | options)
    model.fit(past, week, epochs=2, batch_size=50, verbose=0)
    return model


def draw(model, n=7, seed=0, users=40):
    return model.sample(toy(users, seed=9)[0], n, rng=np.random.default_rng(seed))


@pytest.fixture(scope="module")
def models():
    return {kind: trained(kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


class TestContract:
    def test_draws_are_weeks(self, models, kind):
        drawn = draw(models[kind])
        assert drawn.shape == (40, 7, DAYS, 3)
        assert drawn.dtype == np.float32
        assert np.isfinite(drawn).all()
        assert drawn.min() >= 0
        clicks, dwell, amount = np.moveaxis(drawn, -1, 0)
        np.testing.assert_array_equal(clicks, np.round(clicks))
        assert not dwell[clicks == 0].any()
        assert not amount[clicks == 0].any()
        assert 0 < (clicks == 0).mean() < 1
        assert (dwell[clicks > 0] > 0).all()

    def test_the_same_stream_draws_the_same(self, models, kind):
        first = draw(models[kind])
        np.testing.assert_array_equal(draw(models[kind]), first)
        assert (draw(models[kind], seed=1) != first).any(axis=(2, 3)).mean() > 0.5

    def test_draws_of_a_user_differ(self, models, kind):
        drawn = draw(models[kind], n=20)
        assert (drawn[:, 1:] != drawn[:, :1]).any(axis=(1, 2, 3)).mean() > 0.6

    def test_many_weeks_are_drawn_in_parts(self, models, kind, monkeypatch):
        monkeypatch.setattr("recsys_evo.models.hurdle._ROWS", 1_000)
        drawn = draw(models[kind], n=60)
        assert drawn.any(axis=(1, 2, 3)).mean() > 0.95

    def test_no_draws(self, models, kind):
        with pytest.raises(ValueError, match=r"`n` must be a positive integer. Received: n=0"):
            draw(models[kind], n=0)


@pytest.mark.parametrize("kind", NETWORKS)
class TestNetworks:
    def test_training_is_reproducible(self, models, kind):
        again = trained(kind)
        for one, two in zip(models[kind].get_weights(), again.get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)

    def test_a_saved_model_draws_alike(self, models, kind, tmp_path):
        model = models[kind]
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        assert type(again) is type(model)
        np.testing.assert_array_equal(draw(model), draw(again))
        assert again.get_config() == model.get_config()
        assert again.optimizer.iterations == model.optimizer.iterations

    def test_every_weight_learns(self, models, kind):
        keras.utils.set_random_seed(0)
        start = KINDS[kind]().trainable_weights
        for weight, old in zip(models[kind].trainable_weights, start, strict=True):
            assert (weight.numpy() != old.numpy()).any(), weight.path

    def test_mixed_precision(self, kind):
        keras.config.set_dtype_policy("mixed_float16")
        try:
            model = trained(kind)
        finally:
            keras.config.set_dtype_policy("float32")
        drawn = draw(model)
        assert np.isfinite(drawn).all()
        assert getattr(model, "generator", model).read_past.compute_dtype == "float16"
        assert all(weight.dtype == "float32" for weight in model.trainable_weights)
        assert all(np.isfinite(weight).all() for weight in model.get_weights())
        np.testing.assert_array_equal(drawn[..., 0], np.round(drawn[..., 0]))


def test_steps_at_once_learn_what_single_steps_learn():
    """With a plain optimiser, to which a rounding error means little. XLA has noise of its own."""
    at_once = {"run_eagerly": False, "jit_compile": False, "steps_per_execution": 4}
    one, two = (
        trained("GAN", optimizer=keras.optimizers.SGD(0.1), **options) for options in ({}, at_once)
    )
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


class TestGame:
    @pytest.fixture
    def model(self):
        keras.utils.set_random_seed(0)
        return BehaviourGAN(WeekGenerator(FEATURES, width=8), penalty=0.5)

    def step(self, model, **changed):
        past, week = toy(64)
        model.generator.adapt(past, week)
        model.compile(keras.optimizers.SGD(0.0), jit_compile=False)
        found = model.train_step(((ops.convert_to_tensor(past), ops.convert_to_tensor(week)),))
        return {name: float(value) for name, value in found.items()}

    def test_a_linear_critic_is_as_steep_as_its_weights(self, model):
        class Linear(gan.Critic):
            weights_ = np.arange(DAYS * 5, dtype="float32").reshape(DAYS, 5) / 20

            def call(self, facts, past):
                return ops.sum(facts * self.weights_, axis=(1, 2))

        model.critic = Linear(FEATURES)
        found = self.step(model)
        assert found["slope"] == pytest.approx(2 * (Linear.weights_**2).sum(), rel=1e-5)

    def test_losses_of_a_critic_that_cannot_tell(self, model):
        class Blind(gan.Critic):
            def call(self, facts, past):
                return 0.0 * ops.sum(facts, axis=(1, 2)) + past[:, 0]

        model.critic = Blind(FEATURES)
        found = self.step(model)
        assert found["slope"] == 0
        assert found["critic"] == pytest.approx(np.log(2), rel=1e-6)
        assert found["generator"] == pytest.approx(np.log(2), rel=1e-6)

    def test_real_is_above_generated_in_the_critics_eyes(self, model):
        """A critic that counts days with a visit gains where real users come more often."""

        class Counting(gan.Critic):
            def call(self, facts, past):
                return 100 * ops.sum(facts[..., 0], axis=1)

        model.critic = Counting(FEATURES)
        model.penalty = 0.0
        bias = model.generator.figures.bias
        bias.assign([-99, 0, 0, 0, 0])  # nobody comes
        shy = self.step(model)
        bias.assign([99, 0, 0, 0, 0])  # everybody comes
        eager = self.step(model)
        assert shy["critic"] < 100 < eager["critic"]
        assert eager["generator"] < 100 < shy["generator"]

    def test_the_weights_of_the_game_and_of_the_likelihood(self):
        keras.utils.set_random_seed(0)
        generator = shaken(HurdleWeek(FEATURES, width=8, dropout=0))
        past, week = toy(64)
        alone, both = (
            self.step(BehaviourGAN(generator, adversary=a, likelihood=b))["generator"]
            for a, b in ((0.0, 2.0), (1e-6, 2.0))
        )
        expected = -2 * np.mean(generator.predict((past, week), verbose=0))
        assert alone == pytest.approx(expected, rel=1e-4)
        assert both == pytest.approx(alone, rel=1e-4)

    def test_real_counts_are_spread_only_against_smooth_ones(self, monkeypatch):
        """Whole against whole and smooth against smooth: else the critic tells by the decimals."""
        for generator in (WeekGenerator(FEATURES, width=8), HurdleWeek(FEATURES, width=8)):
            seen = []
            model = BehaviourGAN(generator)
            call = model.critic.call
            monkeypatch.setattr(
                model.critic,
                "call",
                lambda f, p, call=call, seen=seen: seen.append(f) or call(f, p),
            )
            self.step(model)
            for facts in map(ops.convert_to_numpy, seen):
                size = facts[..., 1] * ops.convert_to_numpy(generator.unit)[0]
                clicks = np.exp(size + ops.convert_to_numpy(generator.level)[0])[facts[..., 0] > 0]
                off = abs(clicks - np.round(clicks)).mean()
                assert (off < 1e-3) == generator.whole

    def test_the_mean_of_the_late_weights_is_kept(self, model):
        """Both players end on their means: with a long memory, near where they began."""
        before = [w.numpy().copy() for w in model.trainable_weights]
        optimiser = keras.optimizers.Adam(0.05, use_ema=True, ema_momentum=0.9999)
        model.compile(optimiser, jit_compile=False)
        model.fit(*toy(200), epochs=3, batch_size=50, verbose=0)
        for weight, old in zip(model.trainable_weights, before):
            assert 0 < abs(weight.numpy() - old).max() < 0.06

    def test_verdicts(self, model):
        past, week = toy(20)
        model.generator.adapt(past, week)
        found = model.predict((past, week), verbose=0)
        expected = model.critic(model.generator.facts(week), model.generator.scaled(past))
        np.testing.assert_allclose(found, ops.convert_to_numpy(expected), rtol=1e-5)

    def test_gate(self):
        logit = tf.Variable([-2.0, 0.0, 1.0])
        with tf.GradientTape() as tape:
            value = gan.gate(logit)
        np.testing.assert_array_equal(value, [0, 0, 1])
        soft = expit(1.7 * logit.numpy())
        np.testing.assert_allclose(tape.gradient(value, logit), 1.7 * soft * (1 - soft), rtol=1e-5)


def test_the_game_learns_a_known_law():
    keras.utils.set_random_seed(0)
    past, week = toy(4_000)
    model = BehaviourGAN(WeekGenerator(FEATURES, width=32))
    model.compile(adam(1_200, rate=2e-3), jit_compile=True, steps_per_execution=40)
    model.fit(past, week, epochs=30, batch_size=100, verbose=0)
    asked, _ = toy(500, seed=1)
    drawn = model.sample(asked, 40, rng=np.random.default_rng(0))
    due, habit, stay = asked[:, :DAYS], asked[:, 7], asked[:, 8]
    came = drawn[..., 0] > 0
    assert abs(came.mean(axis=(1, 2)) - expit(1.5 * habit)).mean() < 0.08
    on_due_day = (due[:, None] > 0) & came
    bought = drawn[..., 2] > 0
    assert bought[on_due_day].mean() > 0.6
    assert bought[~on_due_day & came].mean() < 0.15
    dwell = np.log(drawn[..., 1][came] / drawn[..., 0][came])
    user = np.broadcast_to(stay[:, None, None], came.shape)[came]
    assert np.polyfit(user, dwell, 1)[0] == pytest.approx(0.5, abs=0.2)


def test_two_devices_learn_what_one_learns():
    code = textwrap.dedent("""\
        import keras, numpy as np, tensorflow as tf
        from recsys_evo.models.gan import BehaviourGAN
        from recsys_evo.models.hurdle import HurdleWeek
        cpu = tf.config.list_physical_devices("CPU")[0]
        half = tf.config.LogicalDeviceConfiguration()
        tf.config.set_logical_device_configuration(cpu, [half, half])
        rng = np.random.default_rng(0)
        past = rng.random((32, 9)).astype("float32")
        week = rng.poisson(1, (32, 7, 3)).astype("float32")
        week *= week[..., :1] > 0
        def trained(make):
            keras.utils.set_random_seed(0)
            model = make()
            model.compile(keras.optimizers.SGD(0.05), jit_compile=False)
            model.fit(past, week, batch_size=16, epochs=2, shuffle=False, verbose=0)
            return [w.numpy() for w in model.trainable_weights]
        class Still(HurdleWeek):
            def draw(self, past, noise):
                return super().draw(past, 0 * noise)  # replicas have their own noise
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        assert strategy.num_replicas_in_sync == 2
        for make in (
            lambda: HurdleWeek(9, width=8, dropout=0),
            lambda: BehaviourGAN(Still(9, width=8, dropout=0), likelihood=1.0),
        ):
            with strategy.scope():
                two = trained(make)
            for a, b in zip(trained(make), two):
                np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    """)
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
