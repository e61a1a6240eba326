"""The networks: the article's layers, and what ours may and may not see."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest

from recsys_evo.models import cnn
from recsys_evo.models.classifiers import labels
from recsys_evo.prepare import hand, splits
from recsys_evo.prepare.images import behaviour_images

from .test_classifiers import END, ORDER, USERS, habits

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def log():
    return habits(2)[0]


@pytest.fixture(scope="module")
def basis():
    return np.linalg.qr(np.random.default_rng(0).normal(size=(64, 4)))[0].T.astype("float32")


def pictures(n=6, seed=0):
    """Images (n, 64, 64, 3) with 4% of the cells filled, as in the world."""
    rng = np.random.default_rng(seed)
    clicks = (rng.random((n, 64, 64)) < 0.04) * rng.integers(1, 4, (n, 64, 64))
    bought = (rng.random(clicks.shape) < 0.05) * (clicks > 0)
    image = np.stack([clicks, clicks * rng.lognormal(3, 0.6, clicks.shape), bought * 20.0], axis=-1)
    return image.astype("float32")


def test_the_articles_layers():
    extractor = cnn.article_extractor()
    shapes = [layer.output.shape[1:] for layer in extractor.layers]
    assert shapes == [
        (62, 62, 32), (31, 31, 32), (29, 29, 64), (14, 14, 64), (14 * 14 * 64,), (128,)
    ]  # fmt: skip
    assert extractor.count_params() == 32 * 28 + 64 * 289 + 128 * 12_545
    predictor = cnn.article_predictor(extractor)
    assert predictor.output_shape == (None, 1)
    assert predictor.count_params() == extractor.count_params() + 128 * 129 + 129
    before = predictor.predict(pictures(), verbose=0)
    extractor.set_weights([0 * weight for weight in extractor.get_weights()])
    assert not np.array_equal(predictor.predict(pictures(), verbose=0), before)  # they share


def test_logarithm():
    found = keras.ops.convert_to_numpy(
        cnn.Logarithm(typical=(1, 2, 4))(np.full((1, 1, 1, 3), np.e - 1, "float32"))
    )
    np.testing.assert_allclose(found.ravel(), [1, 0.5, 0.25], rtol=1e-6)


def test_taste_is_that_of_the_hand_made_features(log):
    fading = hand.fading_touches(log, end=END)
    basis = hand.taste_basis(fading, rank=3)
    layer = cnn.Taste(3)
    image = behaviour_images(log, end=END, order=ORDER)
    layer.build(image.shape)
    layer.basis.assign(basis[:, ORDER])
    found = keras.ops.convert_to_numpy(layer(image))[..., 0]
    np.testing.assert_allclose(found, (fading @ basis.T @ basis)[:, ORDER], atol=1e-4)
    assert not layer.trainable_weights


def chances(model, image):
    found = model.predict(image, verbose=0)
    return np.stack([found["touch"], found["buy"]], axis=-1)


@pytest.mark.parametrize("reach", [0, 3])
def test_a_category_sees_its_neighbours_and_no_others(reach):
    """Two categories change places: the user's totals stay, so only those near may notice."""
    keras.utils.set_random_seed(1)
    model = cnn.category_cnn(reach=reach)
    image = pictures()
    image[:, -10:, [20, 40]] += np.array([3, 40, 0])
    image[:, -5:, 40] += np.array([2, 90, 9])
    other = image.copy()
    other[:, :, [20, 40]] = image[:, :, [40, 20]]
    moved = np.abs(chances(model, image) - chances(model, other)).max(axis=(0, 2)) > 1e-5
    near = np.abs(np.arange(64)[:, None] - [20, 40]).min(axis=1) <= reach
    np.testing.assert_array_equal(moved, near)


def test_journeys_are_sought_in_the_recent_days():
    model = cnn.category_cnn(recent=10)
    view = keras.Model(model.input, model.get_layer("recent").output)
    expected = keras.ops.convert_to_numpy(cnn.Logarithm()(pictures()))[:, -10:]
    np.testing.assert_allclose(view.predict(pictures(), verbose=0), expected, rtol=1e-6)


@pytest.mark.parametrize("with_taste", [False, True])
def test_a_saved_model_answers_alike(tmp_path, basis, with_taste):
    model = cnn.category_cnn(basis=basis if with_taste else None)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(chances(model, pictures()), chances(again, pictures()))
    built_again = keras.Model.from_config(model.get_config())
    assert built_again.count_params() == model.count_params()


def test_training_under_mixed_precision(basis):
    """Half-precision layers, full-precision answers, and the loss still falls."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = cnn.category_cnn(basis=basis, dropout=0)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.layers[2].compute_dtype == "float16"
    image = pictures(16)
    answers = {name: (image[:, -1, :, 0] > 0).astype("float32") for name in ("touch", "buy")}
    model.compile(keras.optimizers.Adam(0.01), loss="binary_crossentropy", jit_compile=False)
    losses = model.fit(image, answers, epochs=4, batch_size=8, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
    assert chances(model, image).dtype == np.float32


def test_two_devices_learn_what_one_learns():
    code = textwrap.dedent("""\
        import keras, numpy as np, tensorflow as tf
        from recsys_evo.models import cnn
        cpu = tf.config.list_physical_devices("CPU")[0]
        half = tf.config.LogicalDeviceConfiguration()
        tf.config.set_logical_device_configuration(cpu, [half, half])
        image = np.random.default_rng(0).poisson(0.1, (16, 64, 64, 3)).astype("float32")
        answers = {name: (image[:, -1, :, 0] > 0).astype("float32") for name in ("touch", "buy")}
        def trained():
            keras.utils.set_random_seed(0)
            model = cnn.category_cnn(dropout=0, width=8)
            model.compile(keras.optimizers.SGD(0.1), loss="binary_crossentropy", jit_compile=False)
            model.fit(image, answers, batch_size=8, epochs=2, shuffle=False, verbose=0)
            return model.predict(image, verbose=0)["touch"]
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        assert strategy.num_replicas_in_sync == 2
        with strategy.scope():
            two = trained()
        np.testing.assert_allclose(trained(), two, rtol=1e-3)
        print("alike")
    """)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == "alike", done.stderr


def test_batches(log):
    users = np.array([9, 4, 77, 30, 2])
    batches = cnn.Batches(log, end=END, users=users, order=ORDER, size=2)
    assert len(batches) == 3
    images, answers = zip(*(batches[k] for k in range(3)), strict=True)
    expected = behaviour_images(splits.past(log, END), end=END, users=users, order=ORDER)
    np.testing.assert_array_equal(np.concatenate(images), expected)
    for name, label in zip(("touch", "buy"), labels(log, end=END, users=users), strict=True):
        found = np.concatenate([answer[name] for answer in answers])
        np.testing.assert_array_equal(found, label[:, ORDER])


def test_shuffled_batches_hold_each_user_once_an_epoch(log):
    batches = cnn.Batches(log, end=END, size=40, rng=np.random.default_rng(0))
    every = behaviour_images(log, end=END)
    epochs = []
    for _ in range(2):
        images = np.concatenate([batches[k][0] for k in range(len(batches))])
        epochs.append(images)
        assert len(images) == USERS
        np.testing.assert_allclose(images.sum(axis=0), every.sum(axis=0), rtol=1e-4)
        batches.on_epoch_end()
    assert not np.array_equal(*epochs)


def test_the_same_seed_gives_the_same_forecast(log):
    one, two, other = (
        cnn.CategoryCNN(width=8, epochs=1, seed=seed)
        .fit(log, end=END, users=np.arange(40))
        .predict(log, end=END, users=np.arange(40))
        .touch
        for seed in (0, 0, 1)
    )
    np.testing.assert_allclose(one, two, atol=1e-5)
    assert np.abs(one - other).max() > 0.01
