"""Training speed of the networks beside a plain `fit`, in one run.

    python benchmarks/bench_models.py [--users 2_000] [--steps 300] [--runs 3]

The CNN of chapter 05: users a second, and the memory that its images take, when batches of images
are made from the log as they are needed, against all images in one array and Keras' defaults
(XLA, where it is available). The GAN of chapter 06: steps a second, as the package compiles it
(XLA, 50 steps an execution) and with `jit_compile=False` and a step at a time. Each is timed after
an epoch that is not counted, in which the graphs are traced.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from recsys_evo.collect.ceiling import HORIZON
from recsys_evo.collect.laws import CATALOGUE
from recsys_evo.collect.world import FIRST_DAY, World
from recsys_evo.models import cnn, gan, weeks
from recsys_evo.models.classifiers import labels
from recsys_evo.prepare.images import behaviour_images

END = FIRST_DAY + 64
SIZE = 32  # users a batch
LOSS = dict.fromkeys(("touch", "buy"), "binary_crossentropy")


def seconds(model, runs, *data, **options):
    """The median seconds of an epoch, the first left out."""
    model.fit(*data, epochs=1, verbose=0, **options)
    taken = []
    for _ in range(runs):
        begin = time.perf_counter()
        model.fit(*data, epochs=1, verbose=0, **options)
        taken.append(time.perf_counter() - begin)
    return np.median(taken)


def bench_cnn(log, runs):
    order = np.argsort(CATALOGUE.position)
    ours = cnn.category_cnn()
    ours.compile(keras.optimizers.AdamW(2e-3), loss=LOSS, jit_compile=False)
    batches = cnn.Batches(log, end=END, order=order, size=SIZE, rng=np.random.default_rng(0))
    quick = seconds(ours, runs, batches)

    plain = cnn.category_cnn()
    plain.compile(keras.optimizers.AdamW(2e-3), loss=LOSS)
    images = behaviour_images(log, end=END, order=order)
    answers = dict(zip(LOSS, (y[:, order].astype("float32") for y in labels(log, end=END))))
    slow = seconds(plain, runs, images, answers, batch_size=SIZE)
    batch = batches[0][0].nbytes / 2**20
    print("CNN                     users a second   images in memory, MiB")
    print(f"  batches from the log  {log.n_users / quick:14.0f}   {batch:21.1f}")
    print(f"  one array, defaults   {log.n_users / slow:14.0f}   {images.nbytes / 2**20:21.1f}")
    print(f"  ratio                 {slow / quick:14.2f}   {images.nbytes / 2**20 / batch:21.1f}")


def bench_gan(log, steps, runs):
    past = weeks.past_features(log, end=END)
    week = weeks.weeks(log, end=END + weeks.DAYS)[:, 0]
    rows = np.resize(np.arange(len(past)), steps * 256)
    found = {}
    for name, options in {
        "XLA, 50 steps at a time": {"jit_compile": True, "steps_per_execution": 50},
        "a step at a time": {"jit_compile": False, "steps_per_execution": 1},
    }.items():
        keras.utils.set_random_seed(0)
        model = gan.BehaviourGAN(gan.WeekGenerator(past.shape[1]))
        model.compile(gan.adam(10 * steps), **options)
        found[name] = steps / seconds(model, runs, past[rows], week[rows], batch_size=256)
    print("GAN                       steps a second")
    for name, speed in found.items():
        print(f"  {name:24s} {speed:13.1f}")
    quick, slow = found.values()
    print(f"  {'ratio':24s} {quick / slow:13.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=2_000)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    days = 64 + max(HORIZON, weeks.DAYS)
    rng = np.random.default_rng(0)
    log = World().simulate(options.users, days, rng=rng, impressions=False).log
    bench_cnn(log, options.runs)
    bench_gan(log, options.steps, options.runs)


if __name__ == "__main__":
    main()
