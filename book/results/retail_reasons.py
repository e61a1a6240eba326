"""Chapter 19 on Online Retail: are explanations faithful to the network? (No truth on needs here.)

Chapter 5's network learns from one week of orders and is asked about the next. Of each customer the
category with the highest chance is explained; then cells of the history are deleted, those named
first before the others, and the log-odds that are left are written down.
"""

import numpy as np
import tensorflow as tf

from recsys_evo.collect import datasets
from recsys_evo.evaluate import explain
from recsys_evo.evaluate.forecasts import bootstrap, weighted_mean
from recsys_evo.models.cnn import CategoryCNN
from recsys_evo.prepare.images import behaviour_images, category_order

MODULES = [
    "recsys_evo.collect.datasets",
    "recsys_evo.collect.events",
    "recsys_evo.collect.frames",
    "recsys_evo.collect.sources.retail",
    "recsys_evo.evaluate.explain",
    "recsys_evo.evaluate.forecasts",
    "recsys_evo.models.cnn",
    "recsys_evo.models.networks",
    "recsys_evo.prepare.images",
    "recsys_evo.prepare.splits",
]
SEEDS = [0, 1, 2]  # of the training, of chance, and of the bootstrap

AHEAD = 7
END = np.datetime64("2011-11-25")  # the week that is asked begins here
TAUGHT = END - AHEAD
COUNTS = [0, 1, 2, 3, 4, 6, 8]
CUSTOMERS = 600


def run(seed):
    dice = np.random.default_rng(seed)
    log = datasets.load("online-retail").clean()[0]
    log = log.where(log.purchase)
    time = log.events["time"].to_numpy()
    order = category_order(log.where(time < TAUGHT), end=TAUGHT)
    seen = behaviour_images(log, end=TAUGHT, order=order)[..., 0]
    teachers = np.flatnonzero(seen.any(axis=(1, 2)))
    net = CategoryCNN(
        order=order, ahead=AHEAD, epochs=2, size=32, seed=seed
    )
    model = net.fit(log, end=TAUGHT, users=teachers).model

    image = behaviour_images(log, end=END, order=order)
    enough = (image[..., 0] > 0).sum(axis=(1, 2)) > COUNTS[-1]
    customers = dice.permutation(np.flatnonzero(enough))[:CUSTOMERS]
    image = image[customers]
    clicked = image[..., 0] > 0
    chance = model.predict(image, batch_size=100, verbose=0)["touch"]
    target = chance.argmax(axis=1).astype(np.int32)

    def log_odds(image, target):
        chance = model(image, training=False)["touch"]
        chance = tf.gather(chance, target, batch_dims=1)
        return tf.math.log(chance) - tf.math.log1p(-chance)

    @tf.function(reduce_retracing=True)
    def slope(image, target):
        with tf.GradientTape() as tape:
            tape.watch(image)
            total = tf.reduce_sum(log_odds(image, target))
        return tape.gradient(total, image)

    def answer(image, users):
        return np.concatenate(
            [
                log_odds(
                    tf.constant(image[low : low + 100], tf.float32),
                    target[users[low : low + 100]],
                )
                for low in range(0, len(image), 100)
            ]
        )

    def gradient(image):
        return np.concatenate(
            [
                slope(
                    tf.constant(image[low : low + 100], tf.float32),
                    target[low : low + 100],
                )
                for low in range(0, len(image), 100)
            ]
        )

    age = np.arange(image.shape[1], 0, -1)[:, None]
    far = abs(np.arange(image.shape[2]) - target[:, None])[:, None]
    tie = dice.random(clicked.shape)  # breaks ties by chance
    orders = {
        "integrated gradients": explain.integrated_gradients(
            gradient, image, steps=16
        ).sum(axis=3),
        "size of the gradient": abs(gradient(image)).sum(axis=3),
        "the category itself": (far == 0) + 0.1 * tie,
        "the latest orders": 0.5 * tie - age,
        "at random": tie,
    }
    left = {
        name: explain.deletion(
            answer, image, np.where(clicked, found, -np.inf), COUNTS
        )
        for name, found in orders.items()
    }
    walked = left["integrated gradients"]
    who = np.arange(len(image))
    four = COUNTS.index(4)

    def ahead_of(name):
        gained = left[name][:, four] - walked[:, four]
        return bootstrap(weighted_mean, gained, user=who, rng=dice, n=300)

    return {
        "customers": len(image),
        "counts": COUNTS,
        "left": {
            name: found.mean(axis=0) for name, found in left.items()
        },
        "falls further by four": {
            name: ahead_of(name)
            for name in orders
            if name != "integrated gradients"
        },
    }
