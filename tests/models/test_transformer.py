"""The Transformer: what it may see, what its losses are, and that it learns what can be learnt."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy.special import expit, logsumexp

from recsys_evo.collect.events import Log
from recsys_evo.models.transformer import (
    CausalTransformer,
    Histories,
    Rows,
    Transformer,
    total_log_sum,
)

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"length": 8, "width": 16, "blocks": 2, "heads": 2}


def log_of(histories, n_items=None):
    """A log whose user k clicks on the items `histories[k]`, one a day."""
    count = [len(history) for history in histories]
    events = pd.DataFrame(
        {
            "user": np.repeat(np.arange(len(histories)), count),
            "item": np.concatenate([np.asarray(history, int) for history in histories]),
            "time": np.concatenate([np.arange(n) for n in count]).astype("datetime64[D]"),
        }
    )
    items = None if n_items is None else pd.DataFrame({"id": np.arange(n_items)})
    return Log(events, items, pd.DataFrame({"id": np.arange(len(histories))}))


def communities(n_users=40, n_items=20, touches=12, seed=0):
    """Even users touch items of the first half, odd ones of the second, in any order."""
    rng = np.random.default_rng(seed)
    half = n_items // 2
    return log_of([rng.integers(0, half, touches) + half * (u % 2) for u in range(n_users)])


def chain(n_users, touches, transition, lag, *, rng):
    """Histories (n_users, touches) in which item t depends on item t − lag alone."""
    edges = transition.cumsum(axis=1)
    items = rng.integers(0, len(transition), (n_users, touches))
    for t in range(lag, touches):
        drawn = rng.random((n_users, 1))
        items[:, t] = np.minimum((edges[items[:, t - lag]] < drawn).sum(1), len(transition) - 1)
    return items


def network(vocabulary=11, seed=3, **options):
    """An untrained network whose weights are all of the size of trained ones."""
    keras.utils.set_random_seed(seed)
    model = CausalTransformer(vocabulary, **SMALL | {"dropout": 0.0} | options)
    model.build((None, SMALL["length"]))
    rng = np.random.default_rng(seed)
    for weight in model.trainable_variables:
        weight.assign(weight + 0.3 * rng.standard_normal(weight.shape))
    return model


def hidden(model, tokens):
    return keras.ops.convert_to_numpy(model(np.asarray(tokens, "int32")))


class TestWhatIsSeen:
    def test_the_future_is_not(self, rng):
        model = network()
        tokens = rng.integers(1, 12, (3, 8))
        before = hidden(model, tokens)
        for place in range(8):
            other = tokens.copy()
            other[:, place] = tokens[:, place] % 11 + 1
            moved = np.abs(hidden(model, other) - before).max(axis=(0, 2)) > 1e-5
            # The place itself changes; so do those after it, as far as they care.
            assert not moved[:place].any()
            assert moved[place:].all()

    def test_padding_and_neighbours_are_not(self, rng):
        model = network()
        history = [0, *rng.integers(1, 12, 4)]
        alone = hidden(model, [history])[0]
        for left, right in (([0] * 3, []), ([], [0] * 3), ([5, 9], [0]), ([7, 0, 0], [])):
            found = hidden(model, [[*left, *history, *right]])[0]
            np.testing.assert_allclose(found[len(left) : len(left) + 5], alone, atol=1e-5)

    def test_order_is(self):
        model = network()
        a, b = hidden(model, [[1, 2, 3], [2, 1, 3]])[:, -1]
        assert np.abs(a - b).max() > 1e-3


def naive_attention(block, x, seen):
    """One place and one head at a time, in NumPy."""
    weights = [keras.ops.convert_to_numpy(w) for w in (block.look.kernel, block.near)]
    kernel, near = weights
    tell = [keras.ops.convert_to_numpy(w) for w in (block.tell.kernel, block.tell.bias)]
    rows, places, width = x.shape
    each = width // block.heads
    query, key, value = np.split(x @ kernel, 3, axis=-1)
    found = np.zeros_like(x)
    for row in range(rows):
        for i in range(places):
            for head in range(block.heads):
                part = slice(head * each, (head + 1) * each)
                able = [j for j in range(i + 1) if seen[row, i, j]]
                match = [
                    query[row, i, part] @ key[row, j, part] / each**0.5 + near[head, i - j]
                    for j in able
                ]
                share = np.exp(match - logsumexp(match))
                found[row, i, part] = share @ value[row, able, part]
    return found @ tell[0] + tell[1]


def test_attention_is_what_numpy_computes(rng):
    block = network().blocks[0]
    x = rng.standard_normal((2, 6, 16)).astype("float32")
    seen = np.tril(np.ones((2, 6, 6), bool))
    seen[1, 3:, :3] = False
    found = keras.ops.convert_to_numpy(block.attend(x, seen))
    np.testing.assert_allclose(found, naive_attention(block, x, seen), atol=1e-4)


class TestLosses:
    @pytest.fixture
    def case(self, rng):
        """Hidden (2, 5, 16), targets (2, 5) with some zeros, all logits (2, 5, 11)."""
        model = network()
        x = rng.standard_normal((2, 5, 16)).astype("float32")
        targets = rng.integers(1, 12, (2, 5)).astype("int32")
        targets[0, 3] = targets[1, 0] = 0
        table = keras.ops.convert_to_numpy(model.table)
        return model, x, targets, x @ table[1:].T

    def expected_softmax(self, targets, logits):
        return sum(
            logsumexp(logits[place]) - logits[place][targets[place] - 1]
            for place in np.ndindex(targets.shape)
            if targets[place]
        )

    def test_softmax(self, case):
        model, x, targets, logits = case
        expected = self.expected_softmax(targets, logits)
        found = float(model.softmax(keras.ops.convert_to_tensor(x), targets))
        assert found == pytest.approx(expected, rel=1e-5)
        # What Keras minimises is a mean over all places.
        assert float(model.compute_loss(None, targets, x)) == pytest.approx(expected / 10, rel=1e-5)

    def test_sampled_from_all_is_softmax(self, case):
        model, x, targets, logits = case
        every = np.arange(1, 12)
        expected = self.expected_softmax(targets, logits)
        for drawn in (every, np.tile(every, 3)):
            found = model.sampled_from(drawn, keras.ops.convert_to_tensor(x), targets)
            assert float(found) == pytest.approx(expected, rel=1e-5)

    def test_sampled_from_some(self, case):
        """Those drawn stand for all that are not the target."""
        model, x, targets, logits = case
        drawn = np.array([2, 2, 9])
        expected = 0
        for place in np.ndindex(targets.shape):
            if targets[place]:
                hit = logits[place][targets[place] - 1]
                others = [logits[place][k - 1] for k in drawn if k != targets[place]]
                expected += np.log(np.exp(hit) + 10 * np.exp(others).mean()) - hit
        found = model.sampled_from(drawn, keras.ops.convert_to_tensor(x), targets)
        assert float(found) == pytest.approx(expected, rel=1e-5)

    def test_bce(self, case, rng):
        model, x, targets, logits = case
        drawn = rng.integers(1, 12, targets.shape)
        drawn[0, 0] = targets[0, 2]  # in the row: it is no example of what is not touched
        expected = 0
        for row, place in np.ndindex(targets.shape):
            if targets[row, place]:
                expected -= np.log(expit(logits[row, place, targets[row, place] - 1]))
                if drawn[row, place] not in targets[row]:
                    expected -= np.log(expit(-logits[row, place, drawn[row, place] - 1]))
        found = model.bce_from(drawn, keras.ops.convert_to_tensor(x), targets)
        assert float(found) == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("objective", ["bce", "sampled"])
    def test_what_is_drawn_covers_the_vocabulary(self, objective, monkeypatch):
        model = network(objective=objective, negatives=4000)
        drawn = []
        monkeypatch.setattr(
            CausalTransformer, objective + "_from", lambda self, d, *rest: drawn.append(d)
        )
        targets = np.ones((500, 8), "int32")
        getattr(model, objective)(None, targets)
        count = np.bincount(np.ravel(drawn[0]), minlength=12)
        assert count[0] == 0
        np.testing.assert_allclose(count[1:], 4000 / 11, atol=5 * (4000 / 11) ** 0.5)

    @pytest.mark.parametrize("n", [1, 128, 129, 300])
    def test_total_log_sum_and_its_slope(self, rng, n):
        x, table = (tf.constant(rng.normal(size=(k, 4)), "float32") for k in (n, 7))
        weight = tf.constant(rng.random(n), "float32")
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([x, table])
            plain = tf.reduce_sum(
                weight * tf.reduce_logsumexp(tf.matmul(x, table, transpose_b=True), axis=1)
            )
            ours = 3 * total_log_sum(x, table, weight)
        np.testing.assert_allclose(ours, 3 * plain, rtol=1e-5)
        for expected, found in zip(*(tape.gradient(v, [x, table]) for v in (plain, ours))):
            np.testing.assert_allclose(found, 3 * expected, rtol=1e-4, atol=1e-5)

    def test_large_logits_do_not_overflow(self):
        x = tf.constant([[300.0]])
        assert float(total_log_sum(x, x, tf.ones(1))) == pytest.approx(90_000)


class TestHistories:
    def log(self):
        log = log_of([[4, 2, 4], [], [1], [0, 3]])
        actions = ["impression", "click", "view", "return", "purchase", "rate"]
        return Log(log.events.assign(action=actions), log.items, log.users)

    def test_stream(self):
        """Impressions and returns are no touches."""
        histories = Histories(self.log(), "item")
        np.testing.assert_array_equal(histories.stream(np.arange(4)), [0, 3, 5, 0, 0, 0, 1, 4, 0])
        np.testing.assert_array_equal(histories.stream(np.array([3, 0])), [0, 1, 4, 0, 3, 5, 0])

    def test_last(self):
        histories = Histories(self.log(), "item")
        users = np.array([0, 3, 2])
        for length in (1, 2, 3, 5):
            expected = [([0] * 9 + h)[-length:] for h in ([3, 5], [1, 4], [])]
            np.testing.assert_array_equal(histories.last(users, length), expected)

    def test_unknown_users_and_categories(self):
        events = pd.DataFrame(
            {
                "user": [-1, -1, 0, 1],
                "item": [3, 2, 1, 0],
                "time": np.arange(4).astype("datetime64[D]"),
                "category": [0, 0, 6, 5],
            }
        )
        histories = Histories(Log(events), "category")
        np.testing.assert_array_equal(histories.stream(np.arange(2)), [0, 7, 0, 6, 0])

    def test_rows_hold_each_history_once_an_epoch(self, rng):
        items = rng.integers(0, 9, 200)
        cuts = np.sort(rng.integers(0, 200, 30))
        histories = Histories(log_of(np.split(items, cuts)), "item")
        rows = Rows(histories, 7, 4, rng=rng)
        orders = []
        for _ in range(2):
            inputs, targets = (np.concatenate(x) for x in zip(*(rows[k] for k in range(len(rows)))))
            assert inputs.shape[1:] == (7,)
            stream = np.append(inputs.ravel(), targets.ravel()[-1])
            np.testing.assert_array_equal(stream[1:], targets.ravel())
            parts = " ".join(map(str, stream)).split("0 ")
            whole = sorted(part.strip() for part in parts if part.strip(" 0"))
            expected = [" ".join(map(str, part + 1)) for part in np.split(items, cuts)]
            assert whole == sorted(part for part in expected if part)
            orders.append(stream)
            rows.on_epoch_end()
        assert not np.array_equal(*orders)


def fitted(log, **options):
    settings = SMALL | {"blocks": 1, "epochs": 15, "size": 4, "rate": 1e-2, "dropout": 0.1}
    return Transformer(**settings | options).fit(log)


@pytest.fixture(scope="module")
def log():
    return communities()


@pytest.fixture(scope="module")
def model(log):
    return fitted(log)


class TestRanker:
    @pytest.mark.parametrize("loss", ["softmax", "sampled", "bce"])
    def test_communities_are_told_apart(self, model, log, loss):
        if loss != "softmax":
            model = fitted(log, loss=loss, negatives=8)
        scores = model.scores()
        assert scores.shape == (40, 20)
        assert scores.dtype == np.float32
        even = scores[::2, :10].min(axis=1) > scores[::2, 10:].max(axis=1)
        odd = scores[1::2, 10:].min(axis=1) > scores[1::2, :10].max(axis=1)
        assert np.mean([even, odd]) > 0.95
        np.testing.assert_allclose(model.scores([5, 2]), scores[[5, 2]], atol=1e-5)

    def test_other_histories(self, model, log):
        """Frozen, it answers for the histories it is shown."""
        swapped = log_of([log.events.item[log.events.user == u ^ 1] for u in range(40)])
        np.testing.assert_allclose(
            model.scores(log=swapped)[np.arange(40) ^ 1], model.scores(), atol=1e-5
        )
        with pytest.raises(ValueError, match="code 20"):
            model.scores(log=log_of([[20]]))

    def test_a_user_without_touches_gets_what_is_popular(self):
        rng = np.random.default_rng(0)
        often = [rng.choice(6, 10, p=[0.5, 0.3, 0.1, 0.05, 0.03, 0.02]) for _ in range(60)]
        scores = fitted(log_of([*often, []]), epochs=12).scores([60])[0]
        assert np.isfinite(scores).all()
        np.testing.assert_array_equal(np.argsort(-scores)[:3], [0, 1, 2])

    def test_same_seed_same_scores(self, model, log):
        np.testing.assert_array_equal(fitted(log).scores(), model.scores())
        assert np.abs(fitted(log, seed=1).scores() - model.scores()).max() > 1e-3

    def test_categories(self, log):
        events = log.events.assign(category=(log.events.item // 10).astype("int16"))
        model = fitted(Log(events, log.items, log.users), tokens="category", epochs=8)
        scores = model.scores()
        assert scores.shape == (40, 2)
        np.testing.assert_array_equal(scores.argmax(axis=1), np.arange(40) % 2)

    def test_it_stops_when_the_check_no_longer_falls(self, log):
        values = iter([3, 1, 2, 2, 2, 2])
        kept = []

        def check(model):
            kept.append(model.scores())
            return next(values)

        model = Transformer(length=8, width=8, blocks=1, epochs=6, patience=2).fit(log, check=check)
        assert model.history["check"] == [3, 1, 2, 2]
        np.testing.assert_allclose(model.scores(), kept[1], atol=1e-6)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"tokens": "user"}, "tokens"),
            ({"loss": "mse"}, "objective"),
            ({"heads": 3}, "heads"),
            ({"heads": 0}, "heads"),
        ],
    )
    def test_wrong_settings(self, log, options, message):
        with pytest.raises(ValueError, match=f"`{message}`.*Received"):
            Transformer(**options).fit(log)

    def test_nobody_to_learn_from_or_to_answer_for(self, model, log):
        with pytest.raises(ValueError, match="touches"):
            Transformer().fit(log.where(np.zeros(len(log), bool)))
        with pytest.raises(ValueError, match="users"):
            model.scores([40])
        assert model.scores([]).shape == (0, 20)


class TestLogLoss:
    def test_it_is_the_softmax_at_each_place(self, model, rng):
        """Each token against a forward pass of its own, from the half row or more before it."""
        log = log_of([rng.integers(0, 20, n) for n in (5, 0, 30, 1, 9)], n_items=20)
        found = model.log_loss(log)
        assert found.shape == (45,)
        assert found.dtype == np.float32
        stream = Histories(log, "item").stream(np.arange(5))
        expected = []
        for place in range(1, len(stream)):
            # Rows begin at each fourth token, and foretell their last four.
            begin = max(0, (place - 1) // 4 * 4 - 4)
            if stream[place]:
                logits = model.model.logits(stream[None, begin:place]).numpy()[0]
                expected.append(logsumexp(logits) - logits[stream[place] - 1])
        np.testing.assert_allclose(found, expected, atol=1e-4)

    def test_a_history_that_fits_is_seen_whole(self, model, rng):
        log = log_of([rng.integers(0, 20, 4)], n_items=20)
        tokens = np.append(0, log.events["item"] + 1).astype("int32")
        expected = model.model.log_loss(tokens[None, :-1], tokens[None, 1:]).numpy()[0]
        np.testing.assert_allclose(model.log_loss(log), expected, atol=1e-5)

    @pytest.mark.parametrize("loss", ["softmax", "sampled"])
    def test_a_chain_costs_its_conditional_entropy(self, loss):
        """The item before last decides: to know it, one must attend to it."""
        rng = np.random.default_rng(1)
        transition = rng.dirichlet(np.full(6, 0.3), size=6)
        stationary = np.linalg.matrix_power(transition, 200)[0]
        entropy = -(stationary[:, None] * transition * np.log(transition + 1e-300)).sum()
        marginal = -(stationary * np.log(stationary)).sum()
        assert marginal - entropy > 0.5
        train, test = (log_of(chain(n, 40, transition, 2, rng=rng)) for n in (300, 100))
        model = Transformer(
            loss=loss, negatives=5, length=24, width=16, blocks=1, heads=2, dropout=0,
            epochs=10, size=8, rate=1e-2,
        ).fit(train)  # fmt: skip
        nats = model.log_loss(test).reshape(100, 40)[:, 10:]
        realised = test.events.item.to_numpy().reshape(100, 40)
        best = -np.log(transition[realised[:, 8:-2], realised[:, 10:]]).mean()
        assert best == pytest.approx(entropy, abs=0.1)
        assert best - 0.01 < nats.mean() < best + 0.05


class TestKeras:
    def test_a_saved_network_answers_alike(self, tmp_path, rng):
        model = network(objective="bce")
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        tokens = rng.integers(0, 12, (3, 8))
        np.testing.assert_array_equal(hidden(model, tokens), hidden(again, tokens))
        assert again.get_config() == model.get_config()
        assert again.objective == "bce"

    def test_training_goes_on_after_loading(self, tmp_path, rng):
        tokens = rng.integers(1, 12, (16, 8)).astype("int32")
        model = network(blocks=1)
        model.compile(keras.optimizers.Adam(1e-2))
        model.fit(tokens, tokens, verbose=0)
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        losses = [m.fit(tokens, tokens, shuffle=False, verbose=0).history for m in (model, again)]
        assert losses[0]["loss"] == pytest.approx(losses[1]["loss"], rel=1e-5)

    @pytest.mark.parametrize("loss", ["softmax", "bce"])
    def test_mixed_precision(self, log, loss):
        keras.config.set_dtype_policy("mixed_float16")
        try:
            model = fitted(log, loss=loss, epochs=12)
        finally:
            keras.config.set_dtype_policy("float32")
        assert model.model.blocks[0].look.compute_dtype == "float16"
        assert model.history["loss"][-1] < 0.9 * model.history["loss"][0]
        scores = model.scores()
        assert scores.dtype == np.float32
        assert (scores[::2, :10].mean(axis=1) > scores[::2, 10:].mean(axis=1)).all()

    def test_two_devices_learn_what_one_learns(self):
        code = textwrap.dedent("""\
            import keras, numpy as np, tensorflow as tf
            from recsys_evo.models.transformer import CausalTransformer, Transformer
            from tests.models.test_transformer import communities
            cpu = tf.config.list_physical_devices("CPU")[0]
            half = tf.config.LogicalDeviceConfiguration()
            tf.config.set_logical_device_configuration(cpu, [half, half])
            log = communities()
            def trained():
                model = Transformer(length=8, width=8, blocks=1, dropout=0, epochs=2, size=4)
                return model.fit(log).scores(), model.history["loss"]
            strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
            assert strategy.num_replicas_in_sync == 2
            with strategy.scope():
                two = trained()
            one = trained()
            np.testing.assert_allclose(one[0], two[0], rtol=1e-2, atol=1e-3)
            np.testing.assert_allclose(one[1], two[1], rtol=1e-3)
            print("alike")
        """)
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.stdout.strip() == "alike", done.stderr
