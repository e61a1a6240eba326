"""Chapter 08: one network under two losses, and with a second block, by how long it is trained.

A token is the item of a click, one of the world's 1,024. `few`: 640 rows of 64 tokens teach, each
world's; `many`: four times as many. `passes` over them under a rate that falls to zero at the end.
The figure is the NDCG@10 of the next item, among all, over the clicks of 100 other users. The
rate was set beforehand on one of the worlds, with the softmax.
"""

import keras
import numpy as np

from recsys_evo.collect.world import World
from recsys_evo.models.hurdle import build_optimizer
from recsys_evo.models.transformer import CausalTransformer, Histories

MODULES = [
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.models.hurdle",
    "recsys_evo.models.networks",
    "recsys_evo.models.transformer",
    "recsys_evo.prepare.splits",
]
SEEDS = [0, 1, 2]

LENGTH, SIZE, RATE = 64, 16, 5e-3
ROWS = {"few": 640, "many": 2_560}
USERS = {"few": 240, "many": 960}
PASSES = {"few": (2, 6, 16), "many": (2, 6)}
VARIANTS = {
    "softmax": {},
    "BCE": {"objective": "bce"},
    "softmax, two blocks": {"blocks": 2},
}


def run(seed):
    """`few` and `many` → variant → NDCG@10 by passes."""
    found = {}
    for size, rows in ROWS.items():
        streams = np.random.default_rng([seed, rows, 9]).spawn(2)
        inputs, targets, items = tokens(USERS[size], streams[0])
        asked = tokens(100, streams[1])[:2]
        found[size] = {
            name: {
                passes: ndcg_at_10(
                    taught(
                        options,
                        items,
                        inputs[:rows],
                        targets[:rows],
                        passes,
                        seed,
                    ),
                    *asked,
                )
                for passes in PASSES[size]
            }
            for name, options in VARIANTS.items()
        }
    return found


def tokens(users, rng):
    """Inputs and targets (rows, LENGTH) of the clicks of new users, and the number of items."""
    log = World().simulate(users, 70, rng=rng, impressions=False).log
    log = log.where(log.events["action"].to_numpy() == "click")
    stream = Histories(log, "item").stream(np.arange(users))
    whole = (len(stream) - 1) // LENGTH * LENGTH
    cut = stream[:whole], stream[1 : whole + 1]
    return *(part.reshape(-1, LENGTH) for part in cut), log.n_items


def taught(options, items, inputs, targets, passes, seed):
    keras.utils.set_random_seed(seed)
    shape = {"length": LENGTH, "width": 32, "heads": 2, "blocks": 1}
    network = CausalTransformer(items, dropout=0.0, **shape | options)
    network.build((None, LENGTH))
    steps = passes * len(inputs) // SIZE
    rate = keras.optimizers.schedules.CosineDecay(RATE, steps)
    network.compile(
        keras.optimizers.AdamW(rate, weight_decay=1e-2), jit_compile=False
    )
    build_optimizer(network)
    network.fit(
        inputs, targets, batch_size=SIZE, epochs=passes, verbose=0
    )
    return network


def ndcg_at_10(network, inputs, targets):
    gains = []
    for part, came in zip(
        np.array_split(inputs, 16), np.array_split(targets, 16)
    ):
        hidden = network(part).numpy()[came > 0]
        logits = hidden @ network.table.numpy()[1:].T
        own = np.take_along_axis(logits, came[came > 0, None] - 1, 1)
        above = (logits > own).sum(axis=1)
        gains.append(np.where(above < 10, 1 / np.log2(2 + above), 0))
    return float(np.concatenate(gains).mean())
