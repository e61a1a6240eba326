"""Chapter 06: five policies ranked by simulated users, against their true ranking in the world.

Policies are weekly: at the start of a week the log becomes the shares of a slate that each category
gets. By lot, each user-week of the log has one of three logging policies. Five others are judged
for the week after the log, from the log alone; then the same users live through that week, under
each of the five.
"""

import time
from itertools import combinations

import keras
import numpy as np
from scipy.stats import kendalltau, spearmanr
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression

from recsys_evo.collect.ceiling import _friendships, _replay
from recsys_evo.collect.laws import CATALOGUE, CATEGORIES, FEED, ITEMS
from recsys_evo.collect.world import FIRST_DAY, TOWN, Truth, World, _Town
from recsys_evo.models.gan import BehaviourGAN, WeekGenerator, adam
from recsys_evo.models.hurdle import HurdleWeek
from recsys_evo.models.weeks import DAYS, PAST, past_features, weeks
from recsys_evo.prepare.hand import fading_touches, taste_basis
from recsys_evo.prepare.images import (
    behaviour_images,
    category_order,
    places,
)
from recsys_evo.prepare.splits import within

MODULES = [
    "recsys_evo.collect.ceiling",
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.models.gan",
    "recsys_evo.models.hurdle",
    "recsys_evo.models.networks",
    "recsys_evo.models.weeks",
    "recsys_evo.prepare.hand",
    "recsys_evo.prepare.images",
    "recsys_evo.prepare.splits",
]
SEEDS = [0, 1, 2, 3, 4]

USERS, END = 6_000, 85  # END: the day of the decision
LEARNT = (
    64,
    71,
    78,
)  # weeks to learn from begin then, with 64 days of past
LIVES, DRAWS = 10, 8  # weeks a user and policy: lived, and drawn
EPOCHS, GAME = 20, 4_000  # of the likelihood; steps of the game
LOGGING = ("default", "random", "popular")
CANDIDATES = (
    "bestsellers",
    "again",
    "taste",
    "neighbours",
    "rested taste",
)
EXPOSURE = 6


class Past:
    """What the log says at the start of a day, (users, 64) or (64,)."""

    def __init__(self, log, day):
        end = FIRST_DAY + day
        clicks = behaviour_images(log, end=end, days=7)[..., 0]
        place = places(category_order(log, end=end), CATEGORIES)
        far = np.abs(place[:, None] - place)
        fading = fading_touches(log, end=end)
        basis = taste_basis(fading)
        # The default policy forgets a tenth a day: half in 6.6 days.
        self.kept = np.expm1(fading_touches(log, end=end, half_life=6.6))
        self.week, self.days3 = clicks.sum(1), clicks[:, -3:].sum(1)
        self.popular = part(self.week.sum(0))
        self.own = part(fading)
        self.near = part(fading @ (np.exp(-(far**2) / 2) * (far > 0)))
        self.taste = fading @ basis.T @ basis
        self.shown = part(impressions(log, end - 28, 28))

    def shares(self, policy):
        """The share (users, 64) of a slate that each category gets."""
        if policy == "default":
            return World().platform_shares(self.kept)
        even = np.full(self.own.shape, 1 / CATEGORIES)
        rested = np.where(self.days3 > 0, -np.inf, self.taste)
        chosen = {
            "random": even,
            "popular": self.popular,
            "bestsellers": best(even * self.popular),
            "again": part(self.week),
            "taste": best(self.taste),
            "neighbours": self.near,
            "rested taste": best(rested),
        }
        return 0.8 * chosen[policy] + 0.2 * even

    def exposure(self, shares):
        """What will be shown (users, 6), as means over the slots.

        They come from shares and not from slates: how many slates a user
        sees is part of what happens in the week. The variety of a slate is
        no column: four candidates vary less than any slate of the log, so
        that the log could not teach what it does.
        """
        views = (self.own, self.near, self.taste)
        views += (self.popular, self.days3, self.shown)
        return np.column_stack([(shares * x).sum(1) for x in views])


def part(counts):
    """Counts (…, 64) as shares; even where there are none."""
    counts = counts + 1e-3
    return counts / counts.sum(axis=-1, keepdims=True)


def best(score):
    """Even shares for the ten best categories of each user."""
    order = np.argsort(-score, axis=1, kind="stable")
    return (np.argsort(order, axis=1) < FEED) / FEED


def impressions(log, start, days):
    """How often each user was shown each category (users, 64)."""
    rows = within(log, start, days)
    rows &= (log.events["action"] == "impression").to_numpy()
    user, category = (
        log.events.loc[rows, ["user", "category"]].to_numpy().T
    )
    cell = user.astype(np.int64) * CATEGORIES + category
    counts = np.bincount(cell, minlength=log.n_users * CATEGORIES)
    return counts.reshape(-1, CATEGORIES)


def slates(shares, day, rng):
    """Items and propensities (users, 10).

    Categories are drawn by their shares, items evenly among those born.
    """
    edges = np.cumsum(shares, axis=1)[:, None, :-1]
    category = (edges < rng.random((len(shares), FEED, 1))).sum(2)
    born = (CATALOGUE.born <= day).sum(1)[category]  # the oldest first
    item = category * ITEMS + (rng.random(born.shape) * born).astype(int)
    return item, np.take_along_axis(shares, category, axis=1) / born


class Lottery:
    """The platform's policy: `lots` (users, weeks) say which of LOGGING."""

    def __init__(self, lots):
        self.lots, self.day = lots, 0
        self.shares = np.full((USERS, CATEGORIES), 1 / CATEGORIES)

    def slates(self, users, log, n, *, rng):
        if (
            self.day and (END - self.day) % DAYS == 0
        ):  # weeks end with END
            lot = self.lots[:, self.day // DAYS]
            self.shares = lottery(Past(log, self.day), lot)
        self.day += 1
        return slates(self.shares[users], self.day - 1, rng)


def lottery(past, lot):
    """The shares (users, 64) of the policy that fell to each user."""
    shares = np.stack([past.shares(policy) for policy in LOGGING])
    return shares[lot, np.arange(USERS)]


def lived(world, simulation, stocks, shares, rng):
    """The week (users, 7, 3) from END on if slates have these shares."""
    friendships, found = _friendships(simulation.log), []
    for users in np.array_split(np.arange(USERS), -(-USERS // TOWN)):
        town = _Town(world, Truth.blank(len(users), END + DAYS), rng)
        town.hidden = simulation.truth.state(END, users)
        town.truth.habit[:] = simulation.truth.habit[users]
        town.friends = friendships[users][:, users]
        for name, stock in vars(stocks).items():
            setattr(town.stocks, name, stock[users])
        for day in range(END, END + DAYS):
            active = town.wake(day)
            shown = slates(shares[users[active]], day, rng)
            town.act(day, active, shown)
        touches = town.click + (town.amount > 0).astype(int)
        week = (touches, town.dwell, town.amount)
        found.append(np.stack([x[:, END:].sum(2) for x in week], axis=-1))
    return np.concatenate(found)


def outcomes(week):
    """Clicks, days with any, days with a purchase (…, 3) of a week."""
    clicks, _, amount = np.moveaxis(week, -1, 0)
    figures = (clicks, clicks > 0, amount > 0)
    return np.stack([x.sum(axis=-1) for x in figures], axis=-1)


def run(seed):
    """True outcomes of each policy, and how each method saw them.

    `true`: `mean` (policies, outcomes) a user and week, `error` of the
    means, and `gaps`: for each pair of policies, the difference of clicks
    and its standard error. `shown`: means of the exposures; `outside`: the
    share of users for whom they lie beyond the inner 98% of the log.
    `methods`: see `verdict`; `seconds` of training. "A/B test": each user
    has one policy for the week. "… default" has learnt from user-weeks
    under the default alone, "… third" from as many under all three.
    """
    keras.utils.set_random_seed(seed)
    streams = np.random.default_rng(seed).spawn(4)
    world, n = World(), len(CANDIDATES)
    lots = streams[0].integers(3, size=(USERS, -(-END // DAYS)))
    simulation = world.simulate(USERS, END, Lottery(lots), rng=streams[1])
    log, rows, week = simulation.log, [], []
    for day in LEARNT:
        past, end = Past(log, day), FIRST_DAY + day
        shares = lottery(past, lots[:, day // DAYS])
        features = past_features(log, end=end)
        rows.append(np.column_stack([features, past.exposure(shares)]))
        week.append(weeks(log, end=end + DAYS)[:, 0])
    rows, week = np.concatenate(rows), np.concatenate(week)
    past = Past(log, END)
    features = past_features(log, end=FIRST_DAY + END)
    shares = [past.shares(policy) for policy in CANDIDATES]
    shown = np.stack([past.exposure(x) for x in shares])
    asked = [np.column_stack([features, x]) for x in shown]

    *_, (_, stocks, _) = _replay(world, log, END)
    lives = np.empty((n, LIVES, USERS, 3))
    for k in range(n):
        rngs = np.random.default_rng(seed).spawn(
            LIVES
        )  # for all the same
        for life, rng in enumerate(rngs):
            week_lived = lived(world, simulation, stocks, shares[k], rng)
            lives[k, life] = outcomes(week_lived)
    user = lives.mean(axis=1)
    true, error = user.mean(axis=1), user.std(axis=1) / np.sqrt(USERS)
    gaps = {}
    for i, j in combinations(range(n), 2):
        gap = user[i, :, 0] - user[j, :, 0]
        gaps[i, j] = gap.mean(), gap.std() / np.sqrt(USERS)

    arm = streams[2].permutation(USERS) % n
    arms = np.stack([lives[k, 0, arm == k].mean(0) for k in range(n)])
    methods = {"A/B test": verdict(arms, true, gaps)}
    lot = lots[:, [day // DAYS for day in LEARNT]].T.ravel()
    default = np.flatnonzero(lot == LOGGING.index("default"))
    third = streams[3].permutation(len(lot))[: len(default)]
    parts = {
        "": np.arange(len(lot)),
        " default": default,
        " third": third,
    }
    for name, method in METHODS.items():
        for suffix, chosen in parts.items():
            if name == "GAN" and suffix:
                continue  # it would take longest
            began = time.process_time()
            ask = method(rows[chosen], week[chosen], seed)
            seconds = time.process_time() - began
            mean = np.stack([ask(x) for x in asked])
            found = verdict(mean, true, gaps) | {"seconds": seconds}
            methods[name + suffix] = found
    low, high = np.percentile(rows[:, len(PAST) :], (1, 99), axis=0)
    return {
        "policies": CANDIDATES,
        "outcomes": ("clicks", "days", "purchases"),
        "true": {
            "mean": true,
            "error": error,
            "gaps": [list(gap) for gap in gaps.values()],
        },
        "shown": shown.mean(axis=1),
        "outside": ((shown < low) | (shown > high)).mean(axis=1),
        "methods": methods,
    }


def verdict(mean, true, gaps):
    """How well estimated means (policies, outcomes) rank by clicks.

    `right`: the share in order of the pairs that truly differ, by more
    than three standard errors, `pairs` in all. `error` of the means: root
    mean square; `level`: the part that all policies share. `regret`:
    clicks lost by taking the policy that seems best.
    """
    seen, truth = mean[:, 0], true[:, 0]
    differ = [p for p, (gap, e) in gaps.items() if abs(gap) > 3 * e]
    right = [
        (seen[i] - seen[j]) * (truth[i] - truth[j]) > 0 for i, j in differ
    ]
    return {
        "mean": mean,
        "spearman": spearmanr(seen, truth)[0],
        "kendall": kendalltau(seen, truth)[0],
        "right": np.mean(right),
        "pairs": len(differ),
        "error": np.sqrt(((mean - true) ** 2).mean(axis=0)),
        "level": (mean - true).mean(axis=0),
        "regret": truth.max() - truth[seen.argmax()],
    }


def linear(rows, week, seed):
    model = LinearRegression().fit(rows, outcomes(week))
    return lambda asked: model.predict(asked).mean(axis=0)


def trees(rows, week, seed):
    models = [
        HistGradientBoostingRegressor(
            max_leaf_nodes=7,
            learning_rate=0.05,
            early_stopping=False,
            random_state=0,
        ).fit(rows, target)
        for target in outcomes(week).T
    ]
    return lambda asked: [x.predict(asked).mean() for x in models]


def hurdle(rows, week, seed):
    model = HurdleWeek(len(PAST) + EXPOSURE)
    steps = EPOCHS * (len(rows) // 128)
    falling = keras.optimizers.schedules.CosineDecay(4e-3, steps)
    model.compile(
        keras.optimizers.AdamW(falling, weight_decay=1e-2),
        steps_per_execution=20,
        jit_compile=False,
    )
    return drawn(model, rows, week, EPOCHS, 128, seed)


def gan(rows, week, seed):
    model = BehaviourGAN(WeekGenerator(len(PAST) + EXPOSURE))
    model.compile(adam(GAME), steps_per_execution=35, jit_compile=True)
    epochs = GAME // (len(rows) // 256)
    return drawn(model, rows, week, epochs, 256, seed)


def drawn(model, rows, week, epochs, batch, seed):
    """Train it; the function then draws weeks, for all the same chance."""
    n = len(rows) // batch * batch  # another size is compiled anew
    options = {"epochs": epochs, "batch_size": batch, "verbose": 0}
    model.fit(rows[:n], week[:n], **options)

    def ask(asked):
        rng = np.random.default_rng(seed)
        found = outcomes(model.sample(asked, DRAWS, rng=rng))
        return found.mean(axis=(0, 1))

    return ask


METHODS = {"linear": linear, "trees": trees, "hurdle": hurdle, "GAN": gan}
