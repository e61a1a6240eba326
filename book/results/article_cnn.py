"""Chapter 05: the article's network, its faults mended one by one.

Three worlds. `ladder`: 1,000 users teach, 1,000 of another simulation are asked whether they buy
in the next three days. It starts from the code as written and mends one fault more at each step.
The last row but one is a network with 64 answers a user, the last the simple rival.
"""

import keras
import numpy as np

from recsys_evo.collect.ceiling import HORIZON
from recsys_evo.collect.world import FIRST_DAY, World
from recsys_evo.evaluate.forecasts import auc
from recsys_evo.models.classifiers import Classic
from recsys_evo.models.cnn import (
    CategoryCNN,
    article_extractor,
    article_predictor,
)
from recsys_evo.prepare.images import behaviour_images
from recsys_evo.prepare.splits import buys

MODULES = [
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.evaluate.forecasts",
    "recsys_evo.models.classifiers",
    "recsys_evo.models.cnn",
    "recsys_evo.models.networks",
    "recsys_evo.prepare.hand",
    "recsys_evo.prepare.images",
    "recsys_evo.prepare.splits",
]
SEEDS = [0, 1, 2]

USERS, EPOCHS, END = 1_000, 10, FIRST_DAY + 64
TYPICAL = np.array([0.7, 4.0, 3.0], "float32")  # logarithms of a cell
FAULTS = ("loss", "scale", "stop")


def run(seed):
    streams = np.random.default_rng(seed).spawn(2)
    learn, ask = (simulated(USERS, stream) for stream in streams)
    images = [behaviour_images(log, end=END) for log in (learn, ask)]
    answers = [
        buys(log, END, HORIZON).astype("float32") for log in (learn, ask)
    ]
    ladder = {}
    for k in range(len(FAULTS) + 1):
        ladder[name(FAULTS[:k])] = trained(
            images, answers, seed, FAULTS[:k]
        )
    for label, model in (
        ("64 answers", CategoryCNN(epochs=4, seed=seed)),
        ("no network", Classic()),
    ):
        model.fit(learn, end=END)
        chances = [
            model.predict(log, end=END).buy for log in (learn, ask)
        ]
        ladder[label] = judged(chances, answers)
    return {"ladder": ladder}


def simulated(n, rng):
    days = 64 + HORIZON
    return World().simulate(n, days, rng=rng, impressions=False).log


def name(mended):
    return mended[-1] if mended else "as written"


def trained(images, answers, seed, mended):
    """Train the article's two networks, less the faults that are `mended`.

    loss: extractor and predictor are trained as one, on the answer. scale: the logarithm of a
    cell. stop: a fifth of the users is kept back, and training ends where they say so.
    """
    if "scale" in mended:
        images = [np.log1p(image) / TYPICAL for image in images]
    keras.utils.set_random_seed(seed)
    extractor = article_extractor()
    options = {"epochs": EPOCHS, "batch_size": 32, "verbose": 0}
    if "stop" in mended:
        patience = keras.callbacks.EarlyStopping(
            patience=2, restore_best_weights=True
        )
        options |= {"validation_split": 0.2, "callbacks": [patience]}
    if "loss" not in mended:
        extractor.compile(optimizer="adam", loss="mean_squared_error")
        extractor.fit(images[0], answers[0][:, None], **options)
    predictor = article_predictor(extractor)
    predictor.compile(optimizer="adam", loss="binary_crossentropy")
    predictor.fit(images[0], answers[0][:, None], **options)
    chances = [
        predictor.predict(image, verbose=0)[:, 0] for image in images
    ]
    features = extractor.predict(images[1], verbose=0)
    constant = (np.ptp(features, axis=0) < 1e-6).mean()
    return judged(chances, answers) | {"constant": constant}


def judged(chances, answers):
    return {
        side: {
            "auc": auc(truth, chance),
            "accuracy": ((chance > 0.5) == truth).mean(),
            "majority": max(truth.mean(), 1 - truth.mean()),
        }
        for side, truth, chance in zip(("train", "new"), answers, chances)
    }
