"""Chapter 08: loss against size, on tokens of the world, and the floor that the truth sets.

A token is the category of a click. A world a seed: 550 users teach (some 120,000 tokens), 400
others say which pass was best, 1,000 more are looked at once. The rate falls along a cosine to the
last pass. Rates and passes were chosen on users of another draw; the first world repeats some sizes
with twice the passes, to see what was left to gain.

The floor is what one loses who knows the true appeal of each category on the day of the next click,
the slate shown, and the slot of the click before it: no model can know more. One who does not see
the slate, but knows how it is drawn, is the fairer aim of a model that sees clicks alone.
"""

import time

import numpy as np
from scipy.optimize import least_squares

from recsys_evo.collect import laws
from recsys_evo.collect.laws import CATEGORIES, FEED, ITEMS, VISITS
from recsys_evo.collect.world import Truth, World, _Town
from recsys_evo.evaluate.forecasts import calibration
from recsys_evo.models.transformer import Transformer

MODULES = [
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.evaluate.forecasts",
    "recsys_evo.models.hurdle",
    "recsys_evo.models.networks",
    "recsys_evo.models.transformer",
    "recsys_evo.prepare.splits",
]
SEEDS = [0, 1, 2]

DAYS, LENGTH = 70, 64
LEARN, CHECK, TEST = 550, 400, 1_000
FEW, MANY = LEARN // 4, 4 * LEARN
# Width, blocks, heads, rate, epochs; the last is held out of the fit.
SIZES = (
    (6, 1, 1, 0.04, 80),
    (8, 1, 1, 0.03, 80),
    (11, 1, 1, 0.025, 64),
    (16, 1, 1, 0.02, 48),
    (16, 2, 2, 0.012, 24),
    (24, 2, 2, 0.009, 20),
    (36, 2, 2, 0.006, 16),
    (56, 2, 2, 0.004, 14),
)
PATIENCE = 20
TWICE = (1, 4, 7)  # sizes that the first world trains for twice as long
MIDDLE = 5  # the size that MANY users teach as well
HALVES, PRIORS = (2, 4, 8, 16, 32, 64), (4, 8, 16, 32, 64)


def run(seed):
    """Losses in nats a token, `[mean, standard error over users]` on the users looked at once.

    `sizes`; `quarter` (a quarter of the users who teach); `more` (four times the users, one size);
    in the first world `twice` (twice the epochs): lists of `parameters`, `width`, `blocks`,
    `epochs`, `check` and `train` (after each epoch), `test`, `seconds` (of one processor). `law`:
    the fit to all sizes but the largest, and what it foretells of this. `floors`: `state`,
    `no slate`. `rivals`: `unigram`, `bigram`, `recency`. `calibration` of the floor's chances.
    """
    streams = np.random.default_rng([seed, 8]).spawn(3)
    many, check = (clicks(n, s) for n, s in zip((MANY, CHECK), streams))
    test = clicks(TEST, streams[2])
    town = lived(TEST, np.random.default_rng([seed, 8]).spawn(3)[2])
    tokens = test.events["category"].to_numpy()
    user = test.events["user"].to_numpy()
    if not np.array_equal(town.item[town.click] // ITEMS, tokens):
        raise ValueError("the diary must be of the users asked")
    learn, few = (
        many.where(many.events["user"].to_numpy() < n)
        for n in (LEARN, FEW)
    )

    def entry(number, log, times=1):
        width, blocks, heads, rate, epochs = SIZES[number]
        model = Transformer(
            tokens="category",
            length=LENGTH,
            width=width,
            blocks=blocks,
            heads=heads,
            dropout=0.0,
            rate=rate,
            epochs=times * epochs,
            patience=PATIENCE,
            seed=seed,
        )
        began = time.process_time()
        model.fit(log, check=lambda m: float(m.log_loss(check).mean()))
        seconds = time.process_time() - began
        return {
            "parameters": model.model.count_params(),
            "width": width,
            "blocks": blocks,
            "epochs": model.epochs,
            "check": model.history["check"],
            "train": model.history["loss"],
            "test": mean(model.log_loss(test), user),
            "seconds": seconds,
        }

    numbers = range(len(SIZES))
    found = {
        "tokens": {
            "sizes": len(learn.events),
            "quarter": len(few.events),
            "more": len(many.events),
        },
        "sizes": [entry(number, learn) for number in numbers],
        "quarter": [entry(number, few) for number in numbers],
        "more": [entry(MIDDLE, many)],
    }
    if seed == SEEDS[0]:
        found["twice"] = [entry(number, learn, 2) for number in TWICE]
    state, no_slate, told = floors(town)
    found["floors"] = {
        "state": mean(state, user),
        "no slate": mean(no_slate, user),
    }
    found["calibration"] = told
    found["rivals"] = {
        name: mean(cost, user)
        for name, cost in rivals(learn, check, test).items()
    }
    size = [e["parameters"] for e in found["sizes"]]
    loss = [e["test"][0] for e in found["sizes"]]
    found["law"] = law(size[:-1], loss[:-1])
    found["law"]["foretold"] = float(curve(found["law"], size[-1]))
    found["law"]["error"] = found["law"]["foretold"] / loss[-1] - 1
    return found


def law(size, loss):
    """Fit loss = c + a · (size / 1000)^-b, with 0 ≤ c ≤ the smallest loss, .01 ≤ b ≤ 3, a > 0."""
    size, loss = np.log(np.asarray(size) / 1e3), np.asarray(loss)
    low, high = (0, -9, 0.01), (loss.min(), 3, 3)

    def gap(x):
        return x[0] + np.exp(x[1] - x[2] * size) - loss

    fits = [
        least_squares(
            gap,
            (share * loss.min(), np.log(np.ptp(loss)), b),
            bounds=(low, high),
            x_scale=(0.1, 1, 0.1),
        )
        for share in (0.5, 0.9, 0.99)
        for b in (0.1, 0.5, 1)
    ]
    best = min(fits, key=lambda fit: fit.cost)
    c, log_a, b = best.x
    return {
        "c": c,
        "a": np.exp(log_a),
        "b": b,
        "on bound": bool(best.active_mask.any()),
        "residual": np.sqrt(2 * best.cost / len(loss)),
    }


def curve(law, size):
    return law["c"] + law["a"] * (np.asarray(size) / 1e3) ** -law["b"]


def mean(cost, user):
    """Nats a token, and the standard error over users who differ in their number of tokens."""
    total, n = np.bincount(user, cost), np.bincount(user)
    found = total.sum() / n.sum()
    error = np.sqrt(((total - found * n) ** 2).sum()) / n.sum()
    return [found, error]


def clicks(n, rng):
    log = World().simulate(n, DAYS, rng=rng, impressions=False).log
    return log.where(log.events["action"].to_numpy() == "click")


class Diary(_Town):
    """A town that keeps what no log shows: appeal and the policy's shares, (users, days, 64)."""

    def __init__(self, world, truth, rng):
        super().__init__(world, truth, rng)
        shape = (self.n_users, self.n_days, CATEGORIES)
        self.liked, self.shares = np.zeros((2, *shape), np.float32)

    def appeal(self, day, active, cell):
        appeal = super().appeal(day, active, cell)
        recent = self.stocks.recent[active]
        self.liked[active, day] = appeal
        self.shares[active, day] = self.world.platform_shares(recent)
        return appeal


def lived(n, rng):
    """The diary of the town of `World().simulate(n, DAYS, rng=rng)`."""
    town = Diary(World(), Truth.blank(n, DAYS), rng.spawn(2)[0])
    for day in range(DAYS):
        town.act(day, town.wake(day))
    return town


def floors(town):
    """Nats of each click for one who knows the state and the slate, and for one without the slate.

    Both know the slot of the click before and that the session goes on. Slots of the feed come in
    order, each clicked with its chance; then VISITS visits, each of which leads to category c in
    proportion to exp(appeal of c), or nowhere. Without the slate, a slot holds c with the policy's
    share and one of its items on offer at random, independently of the other slots, which in truth
    share one draw: that figure is a little high for what such a one could reach.
    """
    user, day, slot = np.nonzero(town.click)
    first = np.append(True, (np.diff(user) != 0) | (np.diff(day) != 0))
    before = np.where(first, -1, np.append(-1, slot[:-1]))
    values = np.stack([town.world.item_value(day) for day in range(DAYS)])
    cost, told = [], []
    for rows in np.array_split(np.arange(len(user)), 200):
        who, when, c = user[rows], day[rows], before[rows]
        appeal = town.liked[who, when].astype(float)
        item = town.item[who, when].astype(int)
        next_one = item[np.arange(len(rows)), slot[rows]] // ITEMS
        value = values[when]
        shown = item[:, :FEED]
        odds = np.take_along_axis(appeal, shown // ITEMS, 1)
        odds += np.take_along_axis(value.reshape(len(rows), -1), shown, 1)
        chance = attention() * logistic(odds + laws.CLICK)
        is_c = np.arange(CATEGORIES) == (shown // ITEMS)[:, :, None]
        known = following(appeal, chance[:, :, None] * is_c, c)

        on_offer = np.isfinite(value)
        odds = appeal[:, :, None] + np.where(on_offer, value, 0)
        chance = (logistic(odds + laws.CLICK) * on_offer).sum(2)
        chance *= town.shares[who, when] / on_offer.sum(2)
        guess = following(
            appeal, attention()[:, None] * chance[:, None], c
        )
        at = np.arange(len(rows)), next_one
        cost.append(-np.log((known[at], guess[at])))
        if len(told) < 20:  # enough to see whether the chances come true
            happened = next_one[:, None] == np.arange(CATEGORIES)
            told.append((happened.ravel(), known.ravel()))
    seen = calibration(*(np.concatenate(part) for part in zip(*told)))
    seen = {
        "expected": seen.expected,
        "observed": seen.observed,
        "error": seen.error,
    }
    return *np.concatenate(cost, axis=1), seen


def following(appeal, feed, before):
    """Chance (rows, 64) of the category of the next click, given that there is one.

    `appeal` (rows, 64); `feed` (rows, FEED, 64), the chance that a slot is clicked and holds the
    category; `before` (rows,), the slot of the click before, -1 for none.
    """
    feed = feed * (np.arange(FEED) > before[:, None])[:, :, None]
    passed = np.cumprod(1 - feed.sum(2), axis=1)
    reached = np.column_stack([np.ones(len(before)), passed[:, :-1]])
    weight = np.exp(appeal)
    total = weight.sum(1)
    nowhere = 1 / (1 + total / np.exp(laws.ELSEWHERE))
    visits = VISITS - np.clip(before - FEED + 1, 0, VISITS)
    own = passed[:, -1] * (1 - nowhere**visits)
    chance = np.einsum("rs,rsc->rc", reached, feed)
    chance += own[:, None] * weight / total[:, None]
    return chance / chance.sum(1, keepdims=True)


def attention():
    return (1.0 + np.arange(FEED)) ** -laws.POSITION


def logistic(x):
    return 1 / (1 + np.exp(-x))


def rivals(learn, check, test):
    """Nats of each token of `test` under three countings; `check` chooses the numbers in them."""
    plain, pairs = np.ones(CATEGORIES), np.zeros((CATEGORIES,) * 2)
    token, last = sequence(learn)
    np.add.at(plain, token, 1)
    np.add.at(pairs, (last[last >= 0], token[last >= 0]), 1)
    plain /= plain.sum()

    def unigram(log):
        return -np.log(plain[log.events["category"].to_numpy()])

    def bigram(log, prior):
        token, last = sequence(log)
        after = pairs + prior * plain
        after /= after.sum(1, keepdims=True)
        return -np.log(
            np.where(last < 0, plain[token], after[last, token])
        )

    def recency(log, half_life, prior):
        """What the user clicked, fading, mixed with what all click."""
        token, _ = sequence(log)
        count = np.bincount(log.events["user"].to_numpy())
        begin, kept = np.cumsum(count) - count, 0.5 ** (1 / half_life)
        fading = np.zeros((len(count), CATEGORIES))
        cost = np.zeros(len(token))
        for age in range(count.max()):
            who = np.flatnonzero(count > age)
            at = begin[who] + age
            own = fading[who, token[at]] + prior * plain[token[at]]
            cost[at] = -np.log(own / (fading[who].sum(1) + prior))
            fading *= kept
            fading[who, token[at]] += 1
        return cost

    def best(rule, *grids):
        options = np.stack(np.meshgrid(*grids), -1)
        options = options.reshape(-1, len(grids))
        return min(options, key=lambda o: rule(check, *o).mean())

    return {
        "unigram": unigram(test),
        "bigram": bigram(test, *best(bigram, (4, 16, 64, 256))),
        "recency": recency(test, *best(recency, HALVES, PRIORS)),
    }


def sequence(log):
    """The tokens of a log and the one before each, -1 for the first of a user."""
    token = log.events["category"].to_numpy()
    first = np.diff(log.events["user"].to_numpy(), prepend=-1) != 0
    return token, np.where(first, -1, np.append(-1, token[:-1]))
