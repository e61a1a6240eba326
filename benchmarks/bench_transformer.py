"""Training speed of the Transformer beside a plain `fit`, in one run.

    python benchmarks/bench_transformer.py [--users 1_000] [--items 1_682] [--runs 3]

Histories of random items, as long as those of MovieLens 100k (log-normal, a mean of 106 touches;
`--mean 9 --items 12_101 --users 5_000 --length 50` is like Amazon Beauty). Tokens foretold a
CPU-second, which a busy machine spoils less than a second, each timed after an epoch that is not
counted, in which the graphs are traced:

- packed rows and the softmax in blocks, as the package trains;
- packed rows, and the logits of a batch whole, through Keras' own loss;
- a row a user, cut or padded to the length: what lies before is never learnt from;
- *padded prefixes*: a row of its own for each token and one target a row, as RecBole makes its
  batches; measured on a share of the rows.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pandas as pd
from keras import ops

from recsys_evo.collect.events import Log
from recsys_evo.models.hurdle import build_optimizer
from recsys_evo.models.transformer import CausalTransformer, Histories, Rows


class Whole(CausalTransformer):
    """The logits of a batch whole."""

    def softmax(self, hidden, targets):
        logits = ops.matmul(hidden, ops.transpose(ops.convert_to_tensor(self.table)))
        cost = keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True)
        return ops.sum(ops.where(targets > 0, cost, 0.0))


class LastOnly(CausalTransformer):
    """One target a row, behind its last place."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        logits = ops.matmul(y_pred[:, -1], ops.transpose(ops.convert_to_tensor(self.table)))
        return ops.mean(keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True))


def histories(users, items, mean, rng):
    """Random histories, as long as real ones are."""
    count = np.maximum(rng.lognormal(np.log(mean) - 0.5, 1.0, users).astype(int), 2)
    events = pd.DataFrame(
        {
            "user": np.repeat(np.arange(users), count),
            "item": (items * rng.random(count.sum()) ** 2).astype(int),  # some are popular
            "time": np.concatenate([np.arange(n) for n in count]).astype("datetime64[s]"),
        }
    )
    return Histories(Log(events, pd.DataFrame({"id": np.arange(items)})), "item")


def speed(kind, items, length, runs, inputs, targets, size):
    """Tokens foretold a CPU-second, the median of `runs` epochs."""
    keras.utils.set_random_seed(0)
    model = kind(items, length=length)
    model.build((None, length))
    model.compile(keras.optimizers.AdamW(1e-3), jit_compile=False)
    build_optimizer(model)
    taken = []
    for _ in range(runs + 1):
        begin = time.process_time()
        model.fit(inputs, targets, batch_size=size, epochs=1, verbose=0)
        taken.append(time.process_time() - begin)
    return np.count_nonzero(targets) / np.median(taken[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=1_000)
    parser.add_argument("--items", type=int, default=1_682)
    parser.add_argument("--mean", type=float, default=106)
    parser.add_argument("--length", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    those = histories(options.users, options.items, options.mean, rng)
    length = options.length
    rows = Rows(those, length, 16, rng=rng)
    packed = rows.inputs, rows.targets
    every = np.arange(options.users)
    # One token more than the length, since the last is a target only.
    cut = those.last(every, length + 1)
    ends = np.flatnonzero(those.all)
    ends = rng.choice(ends, min(len(ends), 1_600), replace=False)
    owner = np.searchsorted(those.begin, ends, side="right") - 1
    place = ends[:, None] - length + np.arange(length)
    prefixes = np.where(place >= those.begin[owner, None], those.all[np.maximum(place, 0)], 0)
    sets = {
        "packed rows, softmax in blocks": (CausalTransformer, *packed, 16),
        "packed rows, logits whole": (Whole, *packed, 16),
        "a padded row a user": (CausalTransformer, cut[:, :-1], cut[:, 1:], 16),
        "padded prefixes": (LastOnly, prefixes, those.all[ends], 64),
    }
    print(f"{np.count_nonzero(those.all):,} tokens{'':21s}tokens a CPU-s    ratio")
    quick = None
    for name, (kind, inputs, targets, size) in sets.items():
        found = speed(kind, options.items, length, options.runs, inputs, targets, size)
        quick = quick or found
        print(f"  {name:32s} {found:15.0f} {quick / found:7.1f}", flush=True)


if __name__ == "__main__":
    main()
