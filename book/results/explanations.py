"""Chapter 19 over worlds: do explanations point at the cells that a need made, and are they true?

A world and a training a seed; everything as in the chapter, with a network trained on shuffled
answers and a local surrogate added. Scores are means over users of AUC, share and top.
"""

from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf
from scipy.special import logit
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression, Ridge

from recsys_evo.collect import laws
from recsys_evo.collect.ceiling import HORIZON
from recsys_evo.collect.continuation import continued
from recsys_evo.collect.world import FIRST_DAY, Simulation, World
from recsys_evo.evaluate import explain
from recsys_evo.models import cnn
from recsys_evo.models.transformer import Transformer
from recsys_evo.prepare import images, splits

MODULES = [
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.collect.ceiling",
    "recsys_evo.collect.continuation",
    "recsys_evo.evaluate.explain",
    "recsys_evo.models.cnn",
    "recsys_evo.models.networks",
    "recsys_evo.models.transformer",
    "recsys_evo.prepare.images",
    "recsys_evo.prepare.splits",
]
SEEDS = [0, 1, 2, 3, 4]

DAY, WINDOW = 64, 28
TEACH, ASKED, TOLD, COPIES = 1_024, 2_000, 500, 20
MASKS, LOCAL = 128, 60  # of a local surrogate; users who get one
STEPS = 16  # of every integral
LENGTH = 48  # tokens
TEN, MOST = 10, 8  # a list; cells that are deleted at most
END = FIRST_DAY + DAY
GOODS = laws.CATALOGUE
ORDER = np.argsort(GOODS.position)
FAR, AGES = np.arange(5), ((0, 3), (3, 7), (7, 14), (14, 28))


def run(seed):
    streams = np.random.default_rng([seed, 119]).spawn(3)
    days = DAY + HORIZON
    learn = World().simulate(
        TEACH, days, rng=streams[0], impressions=False
    )
    asked = World().simulate(ASKED, days, rng=streams[1])
    dice = streams[2]
    taught = pictures(learn.log), answers(learn.log)
    image, happened = pictures(asked.log), answers(asked.log)
    kind, needed = asked.truth.needs[:, DAY, :2].T
    wanted = GOODS.position[needed].astype(np.int32)
    earnest = np.flatnonzero(
        (kind == laws.GOALS) | (kind == laws.ERRANDS)
    )
    bought = happened["buy"][earnest, wanted[earnest]]
    buyers, cause = with_a_cause(asked, image, earnest[bought])
    histories, target = image[buyers], wanted[buyers]
    clicked = histories[..., 0] > 0

    def score(found, rows=slice(None)):
        found = explain.pointing(
            np.broadcast_to(found, clicked[rows].shape),
            cause[rows],
            clicked[rows],
        )
        names = ("AUC", "share", "top")
        return {n: f.mean() for n, f in zip(names, found)}

    def points(explanations):
        return {
            name: score(found) for name, found in explanations.items()
        }

    model = network(seed, taught)
    mixed = dice.permutation(TEACH)
    shuffled = {name: y[mixed] for name, y in taught[1].items()}
    shuffled = network(seed, (taught[0], shuffled))
    ask = Asked(model, target)
    baselines = {"nothing": 0.0, "the mean user": image.mean(axis=0)}
    by_network = by_gradients(ask, histories, baselines)
    number = np.cumsum(clicked.reshape(len(clicked), -1), axis=1) - 1
    number = np.where(clicked, number.reshape(clicked.shape), -1)
    falls = explain.occlusion(ask.answer, histories, number)
    by_network["occlusion"] = spread(falls, number)
    local = local_fit(ask, histories[:LOCAL], number[:LOCAL], dice)
    touch = points(by_network)
    some = slice(LOCAL)
    touch["local linear fit"] = score(
        spread(local[0], number[some]), some
    )
    touch["local linear fit"]["fidelity"] = local[1]
    nothing = {"nothing": 0.0}
    buying = Asked(model, target, head="buy")
    cells = {
        "rule": points(rules(histories, target)),
        "touch": touch,
        "buy": points(by_gradients(buying, histories, nothing)),
        "untrained": points(
            by_gradients(
                Asked(network(seed + 1_000), target), histories, nothing
            )
        ),
        "shuffled": points(
            by_gradients(Asked(shuffled, target), histories, nothing)
        ),
        "linear": {
            "its own terms": score(own_terms(taught, histories, target))
        },
    }
    return {
        "cases": len(buyers),
        "floor": explain.chance(cause, clicked).top.mean(),
        "cells": cells,
        "tokens": of_tokens(seed, learn, asked, buyers, needed),
        "deletion": deleted(model, image[earnest], wanted[earnest], dice),
        "changes": changes(asked, model, image, earnest, needed, wanted),
        "sentences": sentences(asked, model, image, kind, wanted),
    }


def pictures(log):
    return images.behaviour_images(
        log, end=END, days=WINDOW, order=ORDER, threads=1
    )


def answers(log):
    bought = log.where(log.purchase)
    return {
        name: splits.touches(part, END, HORIZON)[:, ORDER]
        for name, part in {"touch": log, "buy": bought}.items()
    }


def made_by_need(simulation, users):
    kind, need, age, length = simulation.truth.needs[users, DAY].T
    earnest = (kind == laws.GOALS) | (kind == laws.ERRANDS)
    share = np.zeros((len(users), WINDOW, laws.CATEGORIES), np.float32)
    for back in range(length.max()):
        step = age + 1 - back
        rows = np.flatnonzero(earnest & (step > 0))
        added = GOODS.boost[(10 * length + step)[rows], need[rows]]
        share[rows, -1 - back] = (1 - np.exp(-added))[:, ORDER]
    return share


def with_a_cause(simulation, image, chosen):
    share = made_by_need(simulation, chosen)
    cause = (share >= 0.5) & (image[chosen, ..., 0] > 0)
    some = cause.any(axis=(1, 2))
    return chosen[some], cause[some]


def rules(histories, target):
    clicks, age = histories[..., 0], np.arange(WINDOW, 0, -1)
    far = abs(np.arange(laws.CATEGORIES) - target[:, None])[:, None]
    return {
        "the latest clicks": -age[:, None].astype(float),
        "the most clicked category": clicks.sum(1, keepdims=True),
        "the most clicked of the week": clicks[:, -7:].sum(
            axis=1, keepdims=True
        ),
        "the category itself": (far == 0).astype(float),
        "the category itself, then the latest": 100.0 * (far == 0)
        - age[:, None],
        "near and late": np.exp(-far / 2 - age[:, None] / 4),
    }


def network(seed, lessons=None, epochs=3, size=32):
    keras.utils.set_random_seed(seed)
    model = cnn.category_cnn(days=WINDOW, width=16, dropout=0.0)
    if lessons is not None:
        steps = epochs * len(lessons[0]) // size
        model.compile(
            keras.optimizers.AdamW(
                keras.optimizers.schedules.CosineDecay(8e-3, steps),
                weight_decay=2e-3,
            ),
            loss=dict.fromkeys(("touch", "buy"), "binary_crossentropy"),
            loss_weights={"touch": 1.0, "buy": 2.0},
            jit_compile=False,
        )
        model.fit(*lessons, epochs=epochs, batch_size=size, verbose=0)
    return model


class Asked:
    def __init__(self, model, target, head="touch"):
        self.target = target

        def log_odds(image, target):
            chance = model(image, training=False)[head]
            chance = tf.gather(chance, target, batch_dims=1)
            return tf.math.log(chance) - tf.math.log1p(-chance)

        def slope(image, target):
            with tf.GradientTape() as tape:
                tape.watch(image)
                total = tf.reduce_sum(log_odds(image, target))
            return tape.gradient(total, image)

        options = {"reduce_retracing": True, "autograph": False}
        self._answer = tf.function(log_odds, **options)
        self._slope = tf.function(slope, **options)

    def answer(self, image, users=slice(None)):
        image = tf.convert_to_tensor(image, tf.float32)
        return self._answer(image, self.target[users]).numpy()

    def gradient(self, image):
        image = tf.convert_to_tensor(image, tf.float32)
        return self._slope(image, self.target).numpy()


def by_gradients(ask, histories, baselines):
    slope = ask.gradient(histories)
    found = {
        "size of the gradient": abs(slope).sum(axis=3),
        "gradient × input": (slope * histories).sum(axis=3),
    }
    for name, baseline in baselines.items():
        found[f"integrated, from {name}"] = explain.integrated_gradients(
            ask.gradient, histories, baseline, steps=STEPS
        ).sum(axis=3)
    return found


def spread(values, number):
    flat = number.reshape(len(number), -1)
    found = np.take_along_axis(values, np.maximum(flat, 0), axis=1)
    return np.where(flat >= 0, found, 0).reshape(number.shape)


def deleted(model, histories, target, dice):
    """Share no longer among the first ten, of those that were, by cells deleted."""

    def rank_of_target(image, users):
        found = model.predict(image, batch_size=250, verbose=0)["touch"]
        own = np.take_along_axis(found, target[users][:, None], axis=1)
        return (found > own).sum(axis=1)

    listed = rank_of_target(histories, np.arange(len(histories))) < TEN
    histories, target = histories[listed], target[listed]
    clicked = histories[..., 0] > 0
    number = np.cumsum(clicked.reshape(len(clicked), -1), axis=1) - 1
    number = np.where(clicked, number.reshape(clicked.shape), -1)
    ask = Asked(model, target)
    orders = {
        "as occlusion says": spread(
            explain.occlusion(ask.answer, histories, number), number
        ),
        "near and late": rules(histories, target)["near and late"],
        "at random": dice.random(clicked.shape),
    }
    gone = {"users": int(listed.sum())}
    for name, order in orders.items():
        ranks = explain.deletion(
            rank_of_target,
            histories,
            np.where(clicked, order, -np.inf),
            range(MOST + 1),
        )
        gone[name] = (ranks >= TEN).mean(axis=0)
    return gone


def local_fit(ask, histories, number, dice):
    """A ridge regression a user on MASKS masked histories; R² on as many others, mean."""
    found, fidelity = [], []
    size = number.max() + 1
    for user, cells in enumerate(number):
        kept = dice.random((2 * MASKS, size)) < 0.5
        hidden = (cells >= 0) & ~kept[:, np.maximum(cells, 0)]
        masked = np.where(hidden[..., None], 0, histories[user])
        answer = ask.answer(masked, np.full(2 * MASKS, user))
        own = kept[:, : cells.max() + 1].astype(float)
        fit = Ridge(5.0).fit(own[:MASKS], answer[:MASKS])
        found.append(np.pad(fit.coef_, (0, size - cells.max() - 1)))
        fidelity.append(fit.score(own[MASKS:], answer[MASKS:]))
    return np.array(found), float(np.median(fidelity))


def counts(image):
    clicks = np.pad(image[..., 0], ((0, 0), (0, 0), (4, 4)))
    columns = []
    for near, far in AGES:
        days = clicks[:, WINDOW - far : WINDOW - near].sum(axis=1)
        for d in FAR:
            beside = [days[:, 4 + s : 68 + s] for s in {d, -d}]
            columns.append(np.sum(beside, axis=0))
    return np.stack(columns, axis=2).reshape(-1, len(columns))


def own_terms(taught, histories, target):
    usual = logit(taught[1]["touch"].mean(axis=0))
    rows = np.c_[counts(taught[0]), np.tile(usual, TEACH)]
    linear = LogisticRegression(max_iter=300).fit(
        rows, taught[1]["touch"].ravel()
    )
    weights = linear.coef_[0, :-1].reshape(len(AGES), len(FAR))
    far = abs(np.arange(laws.CATEGORIES) - target[:, None])
    band = np.repeat(np.arange(len(AGES)), np.diff(AGES).ravel())[::-1]
    by_day = np.c_[weights, np.zeros(len(AGES))][band]
    added = by_day[:, np.minimum(far, len(FAR))].transpose(1, 0, 2)
    return histories[..., 0] * added


def of_tokens(seed, learn, asked, buyers, needed):
    """Pointing of attention, gradient and leave-one-out, and agreement with the last.

    The last is asked three times: with its sign, by its size, and by how far the whole forecast
    moves (KL); the last two of the sizes of the explanations, so that attention is asked fairly.
    """
    past = splits.past(learn.log, END)
    recent = past.events["time"].to_numpy() >= END - WINDOW
    half = past.events["user"].to_numpy() < TEACH // 2
    options = {"width": 32, "blocks": 1, "dropout": 0.0, "epochs": 3}
    reader = Transformer(
        tokens="category",
        length=LENGTH,
        size=32,
        rate=8e-3,
        seed=seed,
        **options,
    ).fit(past.where(recent & half))
    net, block = reader.model, reader.model.blocks[0]

    past = splits.past(asked.log, END)
    events = past.events[past.touch]
    user, category = (events[n].to_numpy() for n in ("user", "category"))
    day = (events["time"].to_numpy() - FIRST_DAY) // np.timedelta64(
        1, "D"
    )
    tokens = np.zeros((len(buyers), LENGTH + 1), np.int32)
    days = np.full(tokens.shape, -1)
    for row, one in enumerate(buyers):
        first, stop = np.searchsorted(user, [one, one + 1])
        mine = np.arange(max(first, stop - LENGTH - 1), stop)
        tokens[row, LENGTH + 1 - len(mine) :] = category[mine] + 1
        days[row, LENGTH + 1 - len(mine) :] = day[mine]
    since, rows = days - (DAY - WINDOW), np.arange(len(buyers))[:, None]
    share = made_by_need(asked, buyers)
    share = share[rows, np.maximum(since, 0), GOODS.position[tokens - 1]]
    cause = (share >= 0.5) & (since >= 0)
    fits = (tokens > 0).all(axis=1) & cause[:, 1:].any(axis=1)
    tokens, days, cause = tokens[fits], days[fits], cause[fits, 1:]
    what, read = needed[buyers[fits]].astype(np.int32), tokens[:, 1:]

    def forecast(tokens):
        """Log-chances of what comes next (users, categories)."""
        logits = net.logits(tokens).numpy().astype(float)
        return logits - np.logaddexp.reduce(logits, axis=1)[:, None]

    def answer(forecast):
        return logit(np.exp(forecast[np.arange(len(what)), what]))

    x = net.table.numpy()[read] * net.width**0.5
    parts = np.array(block.look(block.norms[0](x)))
    parts = parts.reshape(*read.shape, 3, net.heads, -1)
    query, key = parts[:, -1, 0], parts[:, :, 1]
    match = np.einsum("rhw,rphw->rhp", query, key) / key.shape[-1] ** 0.5
    match += block.near.numpy()[:, ::-1]
    place = np.arange(LENGTH)
    seen = np.tile(place[:, None] >= place, (len(read), 1, 1))
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        last = net.norm(block(x, seen))[:, -1]
        found = tf.nn.log_softmax(net._logits(last))
        found = tf.reduce_sum(tf.gather(found, what, batch_dims=1))
    slope = np.array(tf.reduce_sum(tape.gradient(found, x) * x, axis=2))
    whole, left_out, moved = forecast(read), [], []
    for k in range(1, LENGTH + 1):
        other = forecast(np.delete(tokens, k, axis=1))
        left_out.append(answer(whole) - answer(other))
        moved.append((np.exp(whole) * (whole - other)).sum(axis=1))
    left_out, moved = np.transpose(left_out), np.transpose(moved)
    far = abs(GOODS.position[read - 1] - GOODS.position[what][:, None])
    explanations = {
        "attention": np.array(keras.ops.softmax(match, -1)).mean(axis=1),
        "gradient × vector": slope,
        "leave one out": left_out,
        "rule: the latest": np.tile(1.0 * place, (len(read), 1)),
        "rule: near and late": np.exp(-far / 2 - (DAY - days[:, 1:]) / 4),
    }
    table = {}
    for name, found in explanations.items():
        scores = explain.pointing(found, cause, np.ones_like(cause))
        table[name] = {
            n: f.mean() for n, f in zip(("AUC", "share", "top"), scores)
        }
        for other, pair in {
            "with leave one out": (found, left_out),
            "with its size": (abs(found), abs(left_out)),
            "with the whole forecast's change": (abs(found), moved),
        }.items():
            one, two = map(ranked, pair)
            table[name][other] = (one * two).sum(axis=1).mean()
    return table


def ranked(values):
    values = rankdata(values, axis=1)
    values -= values.mean(axis=1, keepdims=True)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def without(log, users, cells):
    events = log.events
    row = np.full(log.n_users, -1)
    row[users] = np.arange(len(users))
    day = (events["time"].to_numpy() - FIRST_DAY) // np.timedelta64(
        1, "D"
    )
    at = (
        row[events["user"].to_numpy()],
        day - (DAY - WINDOW),
        GOODS.position[events["category"].to_numpy()],
    )
    inside = (at[0] >= 0) & (at[1] >= 0) & (at[1] < WINDOW) & log.touch
    gone = np.zeros(len(events), bool)
    gone[inside] = cells[tuple(part[inside] for part in at)]
    return log.where(~gone)


def lives_on(log, truth, users, codes):
    futures = continued(
        World(),
        Simulation(log, truth),
        end=DAY,
        days=HORIZON,
        copies=COPIES,
        rng=np.random.default_rng(21),
    )
    rows = np.arange(len(users))
    return np.mean(
        [
            splits.touches(future, END, HORIZON, users=users)[rows, codes]
            for future in futures
        ],
        axis=0,
    )


def changes(asked, model, image, earnest, needed, wanted):
    """Mean changes of the chance: the model's, and the world's without clicks or need."""
    users, cause = with_a_cause(asked, image, earnest)
    rows, codes, places = (
        np.arange(len(users)),
        needed[users],
        wanted[users],
    )

    def believed(image):
        return model.predict(image, batch_size=250, verbose=0)["touch"][
            rows, places
        ]

    deleted = np.where(cause[..., None], 0, image[users])
    no_need = asked.truth.needs.copy()
    no_need[users, DAY, 0] = laws.NONE
    no_need = replace(asked.truth, needs=no_need)
    true = lives_on(asked.log, asked.truth, users, codes)
    unclicked = without(asked.log, users, cause)
    unclicked = lives_on(unclicked, asked.truth, users, codes)
    unneeded = lives_on(asked.log, no_need, users, codes)
    return {
        "users": len(users),
        "model, without the clicks": (
            believed(deleted) - believed(image[users])
        ).mean(),
        "world, without the clicks": (unclicked - true).mean(),
        "world, without the need": (unneeded - true).mean(),
    }


def sentences(asked, model, image, kind, wanted):
    """«Because you looked at X this week», held against log, model and user."""
    users, seen = np.arange(TOLD), image[:TOLD]
    week = seen[:, -7:, :, 0].sum(axis=1)
    shown = model.predict(seen, batch_size=250, verbose=0)["touch"]
    shown = shown.argmax(axis=1).astype(np.int32)
    found = explain.integrated_gradients(
        Asked(model, shown).gradient, seen, steps=STEPS
    )[:, -7:].sum(axis=(1, 3))
    names = {
        "itself": shown,
        "largest attribution": np.where(week > 0, found, -np.inf).argmax(
            axis=1
        ),
    }
    is_needed = (wanted[:TOLD] == shown) & np.isin(
        kind[:TOLD], (laws.GOALS, laws.ERRANDS)
    )
    true = lives_on(asked.log, asked.truth, users, ORDER[shown])
    table = {
        "the same": float((names["largest attribution"] == shown).mean())
    }
    for name, named in names.items():
        clicks = np.zeros(seen.shape[:3], bool)
        clicks[users, -7:, named] = True
        clicks &= seen[..., 0] > 0
        fact = clicks.any(axis=(1, 2))
        after = np.where(clicks[..., None], 0, seen)
        after = model.predict(after, batch_size=250, verbose=0)["touch"]
        unclicked = without(asked.log, users, clicks)
        unclicked = lives_on(unclicked, asked.truth, users, ORDER[shown])
        table[name] = {
            "of the log": fact.mean(),
            "of the model": (fact & (after.argmax(1) != shown)).mean(),
            "of the user: there is a need": (fact & is_needed).mean(),
            "change of the true chance": (unclicked - true)[fact].mean(),
        }
    return table
