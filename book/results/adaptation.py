"""Chapter 08: after a life event, how many clicks until a model knows the new self?

A life event draws a user's taste anew, overnight. A world a seed: 2,000 users teach, the networks
in their first ten weeks; 3,000 others are asked every third midnight which categories they touch in
the next three days. Asked are those who have one event in the days from 76 to 110 and no other
within 40 days, and as many for whom such a day was drawn, but nothing happened (`placebo`). The
figure is the AUC over the 64 categories, for one user at one midnight, in the mean.

Networks are frozen: they learn from the other users once, and adapt through what they are shown.
EASE is fitted anew each week on all users' counts; since categories come back, a category's own
count is added to what the others say. Everything sees clicks alone, but the CNN, which sees dwell
and amount, too. Choices (rate, epochs, ridge, τ) were made on users of another draw.
"""

import time

import numpy as np
from scipy.stats import rankdata

from recsys_evo.collect import laws
from recsys_evo.collect.ceiling import (
    _friendships,
    _Known,
    _live_on,
    _replay,
)
from recsys_evo.collect.events import Log
from recsys_evo.collect.laws import CATEGORIES
from recsys_evo.collect.world import FIRST_DAY, World
from recsys_evo.models.cnn import CategoryCNN
from recsys_evo.models.transformer import Transformer
from recsys_evo.prepare.images import category_order

MODULES = [
    "recsys_evo.collect.ceiling",
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.models.classifiers",
    "recsys_evo.models.cnn",
    "recsys_evo.models.hurdle",
    "recsys_evo.models.networks",
    "recsys_evo.models.transformer",
    "recsys_evo.prepare.images",
    "recsys_evo.prepare.splits",
]
SEEDS = [0, 1, 2]

LEARN, ASK, DAYS, AHEAD = 2_000, 3_000, 150, 3
TAUGHT = 71  # days that the networks learn from
MOMENTS = range(64, DAYS - AHEAD + 1, AHEAD)
EVENTS = range(76, 111)  # days
CALM = 40  # days before without another event
EDGES = (0, 5, 10, 20, 40, 80)  # clicks since the event: bins begin here
SIZES = {  # width, blocks, heads, rate, epochs
    "small": (8, 1, 1, 0.03, 8),
    "middle": (24, 2, 2, 0.01, 6),
    "large": (64, 2, 2, 0.004, 5),
}
TAUS = (10, 40, 160, np.inf)  # clicks in which a click fades
RIDGE, PRIOR = (
    1_000.0,
    10.0,
)  # of EASE; clicks of everybody in each history
COPIES = 30  # lives of the oracle


def run(seed):
    """AUC by clicks since the event, of each model.

    `models`: for each, `event` and `placebo`, a list with an entry a bin of EDGES: `change`
    against the same users' mean before the event [point, low, high], over users; `level`, the AUC
    itself; `users`. `net`: event less placebo, [point, low, high] a bin. `before`: the AUC before.
    `cut`: as `event`, but the change is the gain from a history that begins with the event.
    """
    streams = np.random.default_rng([seed, 88]).spawn(5)
    world = World()
    learn = world.simulate(LEARN, DAYS, rng=streams[0], impressions=False)
    ask = world.simulate(ASK, DAYS, rng=streams[1])
    learn, truth = learn.log, ask.truth
    since, real = asked(truth, streams[2])
    users = np.flatnonzero(since < DAYS)
    events = ask.log.events
    seen = ask.log.where(events["action"].to_numpy() != "impression")
    time_of = seen.events["time"].to_numpy()
    whose = seen.events["user"].to_numpy()
    begun = time_of >= FIRST_DAY + since[whose]
    tables = {"all": table(seen), "cut": table(seen.where(begun))}
    taught = table(learn)
    # What the networks are shown: the users asked, and those with an event from it on.
    shown = {
        "all": (users, seen.where(since[whose] < DAYS)),
        "cut": (users[real[users]], seen.where(begun & real[whose])),
    }

    began = time.process_time()
    networks = fitted(learn, seed)
    seconds = {"fit": time.process_time() - began}
    began = time.process_time()

    auc, clicks = {"all": {}, "cut": {}}, []
    for day in MOMENTS:
        clicks.append(counts(tables["cut"], ASK, day).sum(1)[users])
        if (day - MOMENTS[0]) % 7 < AHEAD:  # a week is over
            rows = [
                counts(*part, day)
                for part in ((taught, LEARN), (tables["all"], ASK))
            ]
            rows = np.concatenate(rows)
            weight = ease(np.log1p(rows))
            share = rows.sum(0) / rows.sum()
        for name, (who, log) in shown.items():
            happened = touched(tables["all"], who, day)
            found = {"popularity": np.tile(share, (len(who), 1))}
            for tau in TAUS:
                history = counts(tables[name], ASK, day, tau)[who]
                history = np.log1p(history + PRIOR * share)
                found[f"EASE {tau:g}"] = history @ weight
            for kind, network in networks.items():
                found[kind] = network(log, day, who)
            for kind, scores in found.items():
                row = areas(happened, scores)
                auc[name].setdefault(kind, []).append(row)
    seconds["ask"] = time.process_time() - began
    began = time.process_time()
    auc["all"]["oracle"] = [
        areas(touched(tables["all"], users, day), chance)
        for day, chance in foreseen(world, ask, users, since, streams[3])
    ]
    seconds["oracle"] = time.process_time() - began

    ago = np.array(MOMENTS)[:, None] - since[users]
    bins = np.digitize(np.array(clicks), EDGES) - 1
    bins[ago < 0] = -1
    # What is asked after an event before it, or far from it, is left out.
    bins[(abs(ago) > CALM) | ((ago < 0) & (ago > -AHEAD))] = -2
    who = {"event": real[users], "placebo": ~real[users]}
    found = {
        "users": {name: int(mask.sum()) for name, mask in who.items()},
        "seconds": seconds,
        "models": {},
        "cut": {},
    }
    for kind, values in auc["all"].items():
        values = np.array(values)
        before = in_bin(values, bins == -1)
        entry = {"before": float(np.nanmean(before[who["event"]]))}
        change = {
            name: [
                in_bin(values, bins == k)[mask] - before[mask]
                for k in range(len(EDGES))
            ]
            for name, mask in who.items()
        }
        for name, mask in who.items():
            entry[name] = [
                {
                    "change": spread(gap),
                    "level": spread(in_bin(values, bins == k)[mask]),
                    "users": int(np.isfinite(gap).sum()),
                }
                for k, gap in enumerate(change[name])
            ]
        entry["net"] = [
            spread(*pair)
            for pair in zip(change["event"], change["placebo"])
        ]
        found["models"][kind] = entry
    event = who["event"]
    for kind, values in auc["cut"].items():
        gain = np.array(values) - np.array(auc["all"][kind])[:, event]
        found["cut"][kind] = [
            spread(in_bin(gain, bins[:, event] == k))
            for k in range(len(EDGES))
        ]
    return found


def asked(truth, rng):
    """A day (users,) for those who are asked, DAYS for others, and whether an event was on it."""
    jump = (np.diff(truth.core, axis=1) != 0).any(
        2
    )  # in the night before
    first = np.full(ASK, DAYS)
    real = np.zeros(ASK, bool)
    calm_until = [
        np.flatnonzero(jump[user, EVENTS[0] - CALM :]) + EVENTS[0] - CALM
        for user in range(ASK)
    ]
    for user, days in enumerate(calm_until):
        inside = days[(days >= EVENTS[0]) & (days <= EVENTS[-1])]
        day = inside[0] if len(inside) else rng.choice(EVENTS)
        near = days[(days >= day - CALM) & (days <= day + CALM)]
        if len(near) == (len(inside) > 0):
            first[user], real[user] = day, len(inside) > 0
    spare = np.flatnonzero((first < DAYS) & ~real)
    spare = rng.permutation(spare)[real.sum() :]
    first[spare] = DAYS
    return first, real


def fitted(learn, seed):
    """Functions (log, day, users) → scores (users, 64) of networks that learnt until TAUGHT."""
    early = learn.where(
        learn.events["time"].to_numpy() < FIRST_DAY + TAUGHT
    )
    found = {}
    for name, (width, blocks, heads, rate, epochs) in SIZES.items():
        model = Transformer(
            tokens="category",
            length=64,
            width=width,
            blocks=blocks,
            heads=heads,
            dropout=0.0,
            rate=rate,
            epochs=epochs,
            seed=seed,
        ).fit(clicked(early))
        found[f"transformer, {name}"] = in_context(model)
    # A seventh of the users a weekday, for the asked are asked on all.
    events = learn.events.copy()
    shift = events["user"].to_numpy() % 7
    events["time"] -= shift.astype("timedelta64[D]").astype("m8[s]")
    shifted = Log(events, learn.items, learn.users, learn.source)
    end = FIRST_DAY + 64
    order = category_order(early, end=end)
    cnn = CategoryCNN(order=order, epochs=3, seed=seed)
    found["CNN"] = on_images(cnn.fit(shifted, end=end))
    return found


def in_context(model):
    def scores(log, day, users):
        past = log.where(log.events["time"].to_numpy() < FIRST_DAY + day)
        return model.scores(users, log=clicked(past))

    return scores


def on_images(cnn):
    def scores(log, day, users):
        return cnn.predict(log, end=FIRST_DAY + day, users=users).touch

    return scores


def clicked(log):
    return log.where(log.events["action"].to_numpy() == "click")


def table(log):
    """User, category and number of the day of each click."""
    events = clicked(log).events
    day = events["time"].to_numpy().astype("M8[D]") - FIRST_DAY
    category = events["category"].to_numpy().astype(int)
    return events["user"].to_numpy(), category, day.astype(int)


def counts(table, n, day, tau=np.inf):
    """Clicks (n, 64) before `day`; one that lies k clicks back counts exp(-k / tau)."""
    rows = table[2] < day
    user, category = table[0][rows], table[1][rows]
    last = np.bincount(user, minlength=n).cumsum()[user] - 1
    weight = np.exp((np.arange(len(user)) - last) / tau)
    cell = user * CATEGORIES + category
    found = np.bincount(cell, weight, minlength=n * CATEGORIES)
    return found.reshape(n, CATEGORIES)


def ease(rows):
    """EASE's matrix (64, 64) of `rows` (users, 64), with 1 on the diagonal in place of 0."""
    inverse = np.linalg.inv(rows.T @ rows + RIDGE * np.eye(CATEGORIES))
    weight = -inverse / np.diag(inverse)
    np.fill_diagonal(weight, 1)
    return weight


def touched(table, users, day):
    """Bool (users, 64): clicked in the AHEAD days from `day`?"""
    user, category, when = table
    rows = (when >= day) & (when < day + AHEAD)
    found = np.zeros((ASK, CATEGORIES), bool)
    found[user[rows], category[rows]] = True
    return found[users]


def areas(happened, scores):
    """The AUC (users,) over the categories; NaN where none or all were touched."""
    rank, n = rankdata(scores, axis=1), happened.sum(1)
    pairs = n * (CATEGORIES - n)
    above = (rank * happened).sum(1) - n * (n + 1) / 2
    return np.where(pairs > 0, above / np.maximum(pairs, 1), np.nan)


def foreseen(world, ask, users, since, rng):
    """Yield (day, chance (users, 64)) for one who knows the true state.

    The truth is written down before the night's changes; the event of the night is known all the
    same.
    """
    truth, friends = ask.truth, _friendships(ask.log)
    for day, stocks, _ in _replay(world, ask.log, MOMENTS[-1]):
        if day in MOMENTS:
            pull = laws.friends_pull(friends, stocks)
            parts = []
            for part in np.array_split(users, 5):
                rows = np.repeat(part, COPIES)
                state = truth.state(day, rows)
                new = since[rows] == day
                state.taste[new] = truth.taste[rows[new], day + 1]
                state.core[new] = truth.core[rows[new], day + 1]
                known = _Known(stocks, pull, part)
                habit = truth.habit[rows]
                lives = _live_on(world, state, known, habit, day, rng)
                parts.append(lives.touch)
            yield day, np.concatenate(parts)


def in_bin(values, chosen):
    """Mean (users,) of `values` (moments, users) where `chosen`; NaN for a user without any."""
    chosen = chosen & np.isfinite(values)
    total = np.where(chosen, values, 0).sum(0)
    n = chosen.sum(0)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def spread(values, less=None):
    """Mean over users [point, low, high], or the difference of two groups' means; 95%, normal."""
    groups = [g[np.isfinite(g)] for g in (values, less) if g is not None]
    means = [g.mean() for g in groups]
    point = means[0] - sum(means[1:])
    error = np.sqrt(sum(g.var(ddof=1) / len(g) for g in groups))
    return [point, point - 1.96 * error, point + 1.96 * error]
