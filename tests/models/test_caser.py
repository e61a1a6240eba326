"""Caser: its filters by hand, its losses in NumPy, and the contract of a ranker."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest
from scipy.special import expit, logsumexp

from recsys_evo.models.caser import Caser, CaserNetwork

from .test_transformer import communities, log_of

NETWORK = {"length": 3, "width": 4, "horizontal": 2, "vertical": 2, "dropout": 0.0}


def network(**options):
    keras.utils.set_random_seed(3)
    model = CaserNetwork(9, 5, **NETWORK | options)
    rng = np.random.default_rng(3)
    for weight in model.trainable_variables:
        weight.assign(weight + 0.3 * rng.standard_normal(weight.shape))
    return model


def values(*weights):
    return [keras.ops.convert_to_numpy(weight) for weight in weights]


TOKENS = np.array([[1, 2, 9], [0, 0, 4], [0, 0, 0]], "int32")
USERS = np.array([4, 0, 2], "int32")


def test_the_filters_by_hand():
    model = network()
    of_token, of_user = values(model.of_token, model.of_user)
    expected = []
    for tokens, user in zip(TOKENS, USERS):
        picture = of_token[tokens] * (tokens > 0)[:, None]
        found = []
        for height, layer in enumerate(model.across, 1):
            kernel, bias = values(layer.kernel, layer.bias)  # kernel (height, width, filters)
            for k in range(2):
                answers = [
                    (picture[top : top + height] * kernel[..., k]).sum() + bias[k]
                    for top in range(3 - height + 1)
                ]
                found.append(max(0, *answers))
        (down,) = values(model.down.kernel)
        found.extend((picture.T @ down).ravel())
        kernel, bias = values(model.join.kernel, model.join.bias)
        joined = np.maximum(np.array(found) @ kernel + bias, 0)
        expected.append([*joined, *of_user[user], 1])
    np.testing.assert_allclose(values(model((TOKENS, USERS)))[0], expected, atol=1e-5)


class TestLosses:
    @pytest.fixture
    def case(self, rng):
        targets = np.array([[3, 8], [5, 0], [0, 0]], "int32")
        hidden = rng.standard_normal((3, 9)).astype("float32")
        return targets, hidden

    def test_softmax(self, case):
        targets, hidden = case
        model = network(objective="softmax")
        logits = hidden @ values(model.table)[0][1:].T
        expected = sum(
            logsumexp(logits[row]) - logits[row, token - 1]
            for row, token in ((0, 3), (0, 8), (1, 5))
        )
        found = model.compute_loss(None, targets, hidden)
        assert float(found) == pytest.approx(expected / 6, rel=1e-5)

    def test_bce(self, case, monkeypatch):
        targets, hidden = case
        model = network(negatives=3)
        drawn = np.array([[1, 2, 3, 4, 5, 6], [7, 8, 9, 1, 2, 3], [4, 5, 6, 7, 8, 9]])
        monkeypatch.setattr(keras.random, "randint", lambda shape, *rest, **more: drawn)
        logits = hidden @ values(model.table)[0][1:].T
        expected = 0
        for row, token, others in ((0, 3, (1, 2, 3)), (0, 8, (4, 5, 6)), (1, 5, (7, 8, 9))):
            expected -= np.log(expit(logits[row, token - 1]))
            expected -= sum(np.log(expit(-logits[row, other - 1])) for other in others)
        found = model.compute_loss(None, targets, hidden)
        assert float(found) == pytest.approx(expected / 6, rel=1e-5)


def small(**options):
    settings = {"width": 8, "epochs": 12, "size": 32, "rate": 1e-2, "negatives": 2}
    return Caser(**settings | options)


def test_places():
    """Each touch with one before it is a target once in the first column, and whose it is."""
    model = small(length=3, ahead=3, epochs=1)
    model.fit(log_of([[4, 1, 2], [], [0], [3, 0]]))
    (tokens, users), targets = model.places()
    np.testing.assert_array_equal(tokens, [[0, 0, 5], [0, 5, 2], [0, 0, 4]])
    np.testing.assert_array_equal(users, [0, 0, 3])
    np.testing.assert_array_equal(targets, [[2, 3, 0], [3, 0, 0], [1, 0, 0]])


@pytest.fixture(scope="module")
def log():
    return communities()


class TestRanker:
    @pytest.mark.parametrize("loss", ["bce", "softmax"])
    def test_communities_are_told_apart(self, log, loss):
        model = small(loss=loss).fit(log)
        scores = model.scores()
        assert scores.shape == (40, 20)
        assert scores.dtype == np.float32
        even = scores[::2, :10].mean(axis=1) > scores[::2, 10:].mean(axis=1)
        odd = scores[1::2, 10:].mean(axis=1) > scores[1::2, :10].mean(axis=1)
        assert np.mean([even, odd]) > 0.95
        np.testing.assert_allclose(model.scores([5, 2]), scores[[5, 2]], atol=1e-5)
        with pytest.raises(ValueError, match="users"):
            model.scores([40])

    def test_order_counts(self):
        """A cycle: after item k comes k + 1, so the last item decides."""
        starts = np.random.default_rng(0).integers(0, 8, 60)
        log = log_of([(start + np.arange(12)) % 8 for start in starts])
        scores = small(loss="softmax", ahead=1, dropout=0.1).fit(log).scores()
        assert np.mean(scores.argmax(axis=1) == (starts + 12) % 8) > 0.9

    def test_same_seed_same_scores_and_nobody_is_without(self):
        log = log_of([[1, 2, 3, 1], [], [4, 0]])
        one, two, other = (small(epochs=2, seed=s).fit(log).scores() for s in (4, 4, 5))
        np.testing.assert_array_equal(one, two)
        assert np.abs(one - other).max() > 1e-3
        assert np.isfinite(one).all()

    def test_nothing_to_learn_from(self):
        with pytest.raises(ValueError, match="two touches"):
            small().fit(log_of([[1], [2]]))
        with pytest.raises(ValueError, match="objective"):
            small(loss="mse").fit(log_of([[1, 2]]))


def test_a_saved_network_answers_alike(tmp_path):
    model = network(objective="softmax")
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(*values(model((TOKENS, USERS)), again((TOKENS, USERS))))
    assert again.get_config() == model.get_config()


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = small().fit(communities())
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.model.join.compute_dtype == "float16"
    assert model.history["loss"][-1] < 0.9 * model.history["loss"][0]
    assert model.scores().dtype == np.float32
