"""Chapter 10: users learnt from the log stand in for the true ones. Does the loop tell the same?

A platform watches 400 users for six weeks, in which the world's default policy shows, and learns
users from this log alone. Then five policies live four weeks with the true users, and with each
kind of learnt ones. A learnt user comes by habit, answers to a slate of ten, visits by himself,
and has for a past what he has done, the learnt part of it included.

- logistic, trees: the chance of a click from hand features of what the log shows;
- trees, frozen: the same trees, but the memory of users ends with the sixth week;
- GAN: draws the ten clicks of a slate at once, against a critic that sees the whole slate;
- Transformer: how likely the category is the next token, calibrated by a logistic regression that
  sees of the features all but the counts of this category.

Beside the loop an exam: the same models are asked about the *true* users' next slates, as they come
to be under each policy. So it is seen what is lost because the question has changed, and what
because errors feed on themselves.
"""

import copy
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd
from keras import ops
from scipy.optimize import minimize
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from recsys_evo.collect.events import ACTION, ACTIONS, IMPRESSION, Log
from recsys_evo.collect.laws import CATEGORIES, FEED, ITEMS, VISITS
from recsys_evo.collect.world import FIRST_DAY, World
from recsys_evo.evaluate import society
from recsys_evo.evaluate.forecasts import auc
from recsys_evo.models.baselines import ALS, Popularity, RecentEASE
from recsys_evo.models.gan import BehaviourGAN, adam, gate
from recsys_evo.models.hurdle import dense, uniform
from recsys_evo.models.transformer import Transformer
from recsys_evo.recommend.loop import evolve
from recsys_evo.recommend.policies import Greedy, Random

MODULES = [
    "recsys_evo.collect.events",
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.evaluate.society",
    "recsys_evo.models.baselines",
    "recsys_evo.models.gan",
    "recsys_evo.models.hurdle",
    "recsys_evo.models.networks",
    "recsys_evo.models.transformer",
    "recsys_evo.prepare.splits",
    "recsys_evo.recommend.loop",
    "recsys_evo.recommend.policies",
]
SEEDS = [0, 1, 2, 3, 4]  # worlds

USERS, WARM_UP, ROUNDS, MEMORY, EVERY = 400, 42, 28, 28, 7
BURN = 7  # days before the first that is learnt from
CLICK = ACTIONS.index("click")
KEPT = np.array(
    [0.7, 0.95, 0.99], np.float32
)  # of touches, a day: a bite, a habit, a taste
VIEWED = np.array([0.7, 0.97], np.float32)  # of exposures
PRIOR = 20  # slots that an item's category, or all users, count for


def policies():
    return {
        "chance": Random(),
        "popularity": Greedy(Popularity(), every=EVERY),
        "factors": Greedy(ALS(factors=16, iterations=5), every=EVERY),
        "factors, 20% chance": Greedy(
            ALS(factors=16, iterations=5), epsilon=0.2, every=EVERY
        ),
        "EASE, recency": Greedy(RecentEASE(), every=EVERY),
    }


class Life(NamedTuple):
    """What happened, day by day: a log as arrays.

    `items` (users, days, 10), what was shown, -1 where a user did not come; `clicked`, bool, and
    `propensity` of the same shape; `own` (users, days, 5), items of own visits, -1 where none.
    """

    items: np.ndarray
    clicked: np.ndarray
    propensity: np.ndarray
    own: np.ndarray

    @classmethod
    def of(cls, lived):
        """That of an `Evolution`; of a user's visits, the first five a day."""
        events = lived.log.events
        rows = events[
            (events["slate"] < 0) & (events["action"] == "click")
        ]
        user = rows["user"].to_numpy()
        day = (
            rows["time"].to_numpy().astype("M8[D]") - FIRST_DAY
        ).astype(int)
        place = rows.groupby([user, day]).cumcount().to_numpy()
        own = np.full((*lived.came.shape, VISITS), -1, np.int32)
        own[user, day, place] = rows["item"]
        return cls(lived.items, lived.clicked, lived.propensity, own)

    def until(self, day, room=0):
        """The days before `day`, with room for so many more."""
        empty = {
            "items": -1,
            "clicked": False,
            "propensity": 0,
            "own": -1,
        }
        return Life(
            *(
                np.pad(
                    getattr(self, name)[:, :day],
                    [(0, 0), (0, room), (0, 0)],
                    constant_values=value,
                )
                for name, value in empty.items()
            )
        )

    def log(self, first, last, items, users):
        """The `Log` of the days from `first` to before `last`; clicks have no dwell."""
        span = slice(first, last)
        shown, own = self.items[:, span], self.own[:, span]
        code = np.concatenate([shown, shown, own], axis=2)
        there = np.concatenate(
            [shown, np.where(self.clicked[:, span], shown, -1), own],
            axis=2,
        )
        place = np.flatnonzero(there >= 0)
        row, slot = np.divmod(place, code.shape[2])
        user, day = np.divmod(row, last - first)
        fed, item = slot < 2 * FEED, code.ravel()[place]
        chance = self.propensity[:, span][user, day, slot % FEED]
        second = (
            (first + day) * 86_400
            + 43_200
            + np.where(slot < FEED, 0, slot)
        )
        action = np.where(slot < FEED, IMPRESSION, CLICK).astype("int8")
        events = {
            "user": user.astype("int32"),
            "item": item.astype("int32"),
            "time": FIRST_DAY.astype("M8[s]") + second,
            "category": (item // ITEMS).astype("int16"),
            "action": pd.Categorical.from_codes(action, dtype=ACTION),
            "slate": np.where(fed, user * 1_000 + first + day, -1),
            "position": np.where(fed, slot % FEED, -1).astype("int16"),
            "propensity": np.where(fed, chance, np.nan).astype("float32"),
        }
        return Log(pd.DataFrame(events, copy=False), items, users)


class Recent:
    """The log of the latest days, put together when a policy first looks at it."""

    def __init__(self, life, day, tables):
        self._make = lambda: life.log(max(day - MEMORY, 0), day, *tables)
        self.end = FIRST_DAY + day

    def __getattr__(self, name):
        if "_log" not in self.__dict__:
            self._log = self._make()
        return getattr(self._log, name)


class Habits(NamedTuple):
    """What stays as it was in the six weeks: taken from the log once.

    `rate` (64,), clicks a slot of categories; `week` (7, 64), log-odds by the day of the week;
    `near` (64, 64), how far a touch of one category speaks for another; `coming`, `visits`
    (users,), the chances to come on a day and that one of five visits leads somewhere; `born`
    (items,), day; `overall`, clicks a slot.
    """

    rate: np.ndarray
    week: np.ndarray
    near: np.ndarray
    coming: np.ndarray
    visits: np.ndarray
    born: np.ndarray
    overall: float

    @classmethod
    def of(cls, life, born):
        shown = life.items >= 0
        user, day, _ = np.nonzero(shown)
        category, hit = life.items[shown] // ITEMS, life.clicked[shown]
        overall = hit.mean()

        def tally(cells, n):
            return np.bincount(cells, minlength=n), np.bincount(
                cells, hit, n
            )

        slots, clicks = tally(category, CATEGORIES)
        rate = (clicks + PRIOR * overall) / (slots + PRIOR)
        slots, clicks = tally(
            day % 7 * CATEGORIES + category, 7 * CATEGORIES
        )
        slots, clicks = (
            x.reshape(7, CATEGORIES) for x in (slots, clicks)
        )
        week = logit((clicks + 100 * rate) / (slots + 100)) - logit(rate)
        touched = np.zeros((len(life.items), CATEGORIES))
        np.add.at(touched, (user[hit], category[hit]), 1)
        own = life.own // ITEMS
        np.add.at(touched, (np.nonzero(own >= 0)[0], own[own >= 0]), 1)
        near = np.corrcoef(np.sqrt(touched).T).clip(0)
        near[np.diag_indices(CATEGORIES)] = 0
        near /= near.sum(1, keepdims=True)
        came = shown[:, :, 0]
        coming = (came.sum(1) + 9 * came.mean()) / (came.shape[1] + 9)
        found = (own >= 0).sum((1, 2)) / VISITS
        mean = found.sum() / came.sum()
        visits = (found + 5 * mean) / (came.sum(1) + 5)
        return cls(
            rate,
            week,
            near.astype(np.float32),
            coming,
            visits,
            born,
            overall,
        )


class Memory:
    """What a platform knows of its users on the morning of `day`: sums over the past that fade.

    `touched` (3, users, 64), `seen` (2, users, 64); `item` (2, items), `user` (2, users): slots
    and clicks; `tokens` (users, length), the latest categories plus one, 0 before the first.
    """

    def __init__(self, users, habits, length=32):
        self.habits, self.day = habits, 0
        self.touched = np.zeros(
            (len(KEPT), users, CATEGORIES), np.float32
        )
        self.seen = np.zeros((len(VIEWED), users, CATEGORIES), np.float32)
        self.item = np.zeros((2, CATEGORIES * ITEMS), np.float32)
        self.user = np.zeros((2, users), np.float32)
        self.tokens = np.zeros((users, length), np.int32)

    def features(self, who, items):
        """float32 (who, 10, features) of the users `who` and what they are shown today."""
        habits, category = self.habits, items // ITEMS
        touched, seen = (
            np.take_along_axis(sums[:, who], category[None], axis=2)
            for sums in (self.touched, self.seen)
        )
        habit = self.touched[1, who]
        busy = habit.sum(1, keepdims=True) + 1
        near = (
            np.take_along_axis(habit @ habits.near, category, axis=1)
            / busy
        )
        base = habits.rate[category]
        item = (self.item[1, items] + PRIOR * base) / (
            self.item[0, items] + PRIOR
        )
        slots, clicks = self.user[:, who]
        eager = (clicks + PRIOR * habits.overall) / (slots + PRIOR)
        place = np.log1p(np.arange(FEED))
        columns = [
            *np.log1p(touched),
            *np.log1p(seen),
            touched[1] / busy,
            near,
            logit(base),
            logit(item),
            habits.week[self.day % 7][category],
            np.log1p(self.day - habits.born[items]),
            np.broadcast_to(place, items.shape),
            np.repeat(logit(eager)[:, None], FEED, axis=1),
            np.repeat(
                np.log1p(self.touched[0, who].sum(1))[:, None],
                FEED,
                axis=1,
            ),
        ]
        return np.stack(columns, axis=-1).astype(np.float32)

    def wants(self, who):
        """Logs (who, 64, 5) of what speaks for a visit: three memories, their like, all users'."""
        everybody = self.touched[1].sum(0) + 1
        habit = self.touched[1, who]
        parts = [*self.touched[:, who], habit @ self.habits.near]
        parts = [np.log(part + 0.1) for part in parts]
        parts.append(np.broadcast_to(np.log(everybody), habit.shape))
        return np.stack(parts, axis=-1)

    def end_day(self, who, items, clicked, own, frozen=False):
        """Add what the users `who` saw, clicked and visited; `frozen` forgets who did it."""
        self.day += 1
        self.item *= 0.9
        for sums, chosen in zip(self.item, (items, items[clicked])):
            sums += np.bincount(chosen.ravel(), minlength=len(sums))
        if frozen:
            return
        self.touched *= KEPT[:, None, None]
        self.seen *= VIEWED[:, None, None]
        self.user *= 0.99
        n = len(who)
        shown = np.where(clicked, items, -1)
        touches = np.concatenate([shown, own], axis=1)
        touches = np.where(touches >= 0, touches // ITEMS, -1)
        self.touched[:, who] += society.tally(touches, CATEGORIES)
        self.seen[:, who] += society.tally(items // ITEMS, CATEGORIES)
        self.user[:, who] += [np.full(n, FEED), clicked.sum(1)]
        for column in touches.T:
            there = np.flatnonzero(column >= 0)
            rows = who[there]
            self.tokens[rows, :-1] = self.tokens[rows, 1:]
            self.tokens[rows, -1] = column[there] + 1

    def live(self, life, day):
        """Go through what happened on `day`; returns who came, and what they were shown."""
        who = np.flatnonzero(life.items[:, day, 0] >= 0)
        today = [
            x[who, day] for x in (life.items, life.clicked, life.own)
        ]
        self.end_day(who, *today)


def logit(chance):
    return np.log(chance / (1 - chance))


# The learnt users. Each answers with the chances (who, 10) of clicks, or draws them.


class Answer:
    """A classifier of slots as a user."""

    def __init__(self, model):
        self.model = model

    def fit(self, lessons):
        x, y = lessons.x, lessons.clicked
        self.model.fit(x.reshape(-1, x.shape[-1]), y.ravel())
        return self

    def chances(self, x, tokens, rng):
        return self.model.predict_proba(x.reshape(-1, x.shape[-1]))[
            :, 1
        ].reshape(x.shape[:2])

    def clicks(self, x, tokens, rng):
        chances = self.chances(x, tokens, rng)
        return rng.random(chances.shape) < chances


class TokenUsers(Answer):
    """The Transformer's: what was touched is in the next token's log-probability, not counted.

    It learns to foretell from four users of five; the fifth says what this means for clicks.
    """

    # All but the user's own touches and views of the category.
    kept = slice(6, None)

    def __init__(self, seed):
        self.sequence = Transformer(
            tokens="category", length=32, width=32, blocks=1, heads=2,
            dropout=0.1, epochs=8, size=32, rate=3e-3, seed=seed,
        )  # fmt: skip
        super().__init__(linear())

    def fit(self, lessons):
        taught = lessons.log.events["user"].to_numpy() % 5 > 0
        self.sequence.fit(lessons.log.where(taught))
        fifth = lessons.who % 5 == 0
        x = self._with(
            lessons.x[fifth], lessons.tokens[fifth], lessons.items[fifth]
        )
        self.model.fit(
            x.reshape(-1, x.shape[-1]), lessons.clicked[fifth].ravel()
        )
        return self

    def _with(self, x, tokens, items):
        model, size = self.sequence.model, 1_024
        logits = np.concatenate(
            [
                model.logits(tokens[k : k + size]).numpy()
                for k in range(0, len(tokens), size)
            ]
        )
        logits -= np.log(np.exp(logits).sum(1, keepdims=True))
        likely = np.take_along_axis(logits, items // ITEMS, axis=1)[
            ..., None
        ]
        return np.concatenate(
            [likely, likely**2, x[..., self.kept]], axis=-1
        )

    def chances(self, x, tokens, rng):
        tokens, items = tokens
        return super().chances(self._with(x, tokens, items), None, rng)


@keras.saving.register_keras_serializable("stand_ins")
class SlateGenerator(keras.Model):
    """Ten clicks from the features of ten slots, a mood that they share, and luck of their own."""

    whole, likelihood = True, 0

    def __init__(self, x, mood=4, width=32):
        super().__init__()
        self.features, self.mood, self.noise = (
            x.shape[-1],
            mood,
            mood + FEED,
        )
        self.centre, self.spread = x.mean((0, 1)), x.std((0, 1)) + 1e-6
        self.read = dense(self.features, width, "swish")
        self.mix = dense(2 * width + mood, width, "swish")
        self.tell = dense(width, 1)
        self.straight = dense(self.features, 1, use_bias=False)
        self.built = True

    def adapt(self, past, week):
        """The scales are there from the start."""

    def scaled(self, past):
        return ops.clip(
            (ops.cast(past, "float32") - self.centre) / self.spread, -5, 5
        )

    def facts(self, clicks, shift=0.0):
        return ops.cast(clicks, "float32")

    def logits(self, past, noise):
        """Log-odds (rows, 10) of clicks in this mood, from scaled features (rows, 10, features)."""
        slots = self.read(past)
        shared = ops.concatenate(
            [ops.mean(slots, axis=1), noise[:, : self.mood]], axis=1
        )
        known = ops.concatenate(
            [slots, ops.repeat(shared[:, None], FEED, axis=1)], axis=-1
        )
        return (self.tell(self.mix(known)) + self.straight(past))[..., 0]

    def draw(self, past, noise):
        """Clicks (rows, 10, 1), 0 or 1, with the gradient of a gate."""
        luck = ops.clip(uniform(noise[:, self.mood :]), 1e-5, 1 - 1e-5)
        luck = ops.log(luck) - ops.log(1 - luck)
        return gate(self.logits(past, noise) + luck)[..., None]


class SlateCritic(keras.layers.Layer):
    """How real are these ten clicks on these ten slots? It looks at each, and at all together."""

    def __init__(self, features, width=32):
        super().__init__(dtype="float32")
        self.slot = dense(features + 1, width, "swish")
        self.gist = dense(width, width, "swish")
        self.whole = dense(2 * width + 1, width, "swish")
        self.verdict = dense(width, 1, use_bias=False)
        self.built = True

    def call(self, facts, past):
        slots = self.slot(ops.concatenate([facts, past], axis=-1))
        parts = [
            ops.mean(self.gist(slots), axis=1),
            ops.mean(slots, axis=1),
            ops.sum(facts, axis=1),
        ]
        return self.verdict(self.whole(ops.concatenate(parts, axis=-1)))[
            :, 0
        ]


class SlateGAN(BehaviourGAN):
    """The game of `models.gan`, about slates instead of weeks."""

    def __init__(self, generator, **options):
        keras.Model.__init__(self)
        self.generator, self.critic = (
            generator,
            SlateCritic(generator.features),
        )
        self.adversary, self.likelihood, self.penalty = 1.0, 0.0, 0.05
        self.seeds = keras.random.SeedGenerator()
        self.built = True


class DrawnUsers:
    """The GAN's."""

    steps, batch = 1_000, 128

    def fit(self, lessons):
        x, clicks = (
            lessons.x,
            lessons.clicked[..., None].astype(np.float32),
        )
        self.generator = SlateGenerator(x)
        game = SlateGAN(self.generator)
        game.compile(
            adam(self.steps, 2e-3),
            steps_per_execution=50,
            jit_compile=False,
        )
        per_epoch = len(x) // self.batch
        game.fit(
            x,
            clicks,
            epochs=max(1, self.steps // per_epoch),
            batch_size=self.batch,
            verbose=0,
        )
        return self

    def _noise(self, n, rng):
        return rng.standard_normal(
            (n, self.generator.noise), dtype=np.float32
        )

    def chances(self, x, tokens, rng, draws=4):
        past = self.generator.scaled(x)
        odds = [
            self.generator.logits(past, self._noise(len(x), rng))
            for _ in range(draws)
        ]
        return np.mean(
            [1 / (1 + np.exp(-np.asarray(o))) for o in odds], axis=0
        )

    def clicks(self, x, tokens, rng):
        drawn = self.generator.draw(
            self.generator.scaled(x), self._noise(len(x), rng)
        )
        return np.asarray(drawn)[..., 0] > 0.5


def linear():
    return make_pipeline(
        StandardScaler(),
        LogisticRegression(solver="newton-cholesky", C=10),
    )


def trees(seed):
    return HistGradientBoostingClassifier(
        max_iter=150, learning_rate=0.08, max_leaf_nodes=16,
        min_samples_leaf=200, early_stopping=False, random_state=seed,
    )  # fmt: skip


class Lessons(NamedTuple):
    """What the six weeks teach: a row a visit. `x` (rows, 10, features), `clicked` and `items`
    (rows, 10), `tokens` (rows, length), `who` (rows,); `log`, all events."""

    x: np.ndarray
    clicked: np.ndarray
    items: np.ndarray
    tokens: np.ndarray
    who: np.ndarray
    log: Log


class Visits:
    """Own visits: how often by habit; where, by a choice among categories (conditional logit).

    log-odds = Σ weight · log of what each memory holds; the weights make the visits likeliest.
    """

    def fit(self, sources, chosen):
        """`sources` (n, 64, 5), logs; `chosen` (n,), the category of each visit."""
        row = np.arange(len(chosen))

        def surprise(weight):
            odds = sources @ weight
            odds -= odds.max(1, keepdims=True)
            chance = np.exp(odds)
            chance /= chance.sum(1, keepdims=True)
            slope = np.einsum("nc,nck->k", chance, sources) - sources[
                row, chosen
            ].sum(0)
            return -np.log(chance[row, chosen]).mean(), slope / len(row)

        self.weight = minimize(surprise, np.full(5, 0.2), jac=True).x
        return self

    def draw(self, memory, who, rng):
        """Items (who, 5) that they visit today, -1 where none."""
        odds = memory.wants(who) @ self.weight
        reach = np.cumsum(
            np.exp(odds - odds.max(1, keepdims=True)), axis=1
        )
        mark = rng.random((len(who), VISITS)) * reach[:, -1:]
        category = np.stack(
            [np.searchsorted(r, m) for r, m in zip(reach, mark)]
        )
        born = memory.habits.born.reshape(CATEGORIES, ITEMS) <= memory.day
        liked = (memory.item[1].reshape(CATEGORIES, ITEMS) + 1) * born
        reach = np.cumsum(liked, axis=1)[category]
        pick = (
            reach < rng.random((*mark.shape, 1)) * reach[..., -1:]
        ).sum(2)
        found = rng.random(mark.shape) < memory.habits.visits[who, None]
        return np.where(found, category * ITEMS + pick, -1)


def lessons(life, habits, log):
    """Go through the warm-up: `Lessons`, `Visits`, and the `Memory` at its end."""
    memory, rows, sources, chosen = Memory(USERS, habits), [], [], []
    for day in range(WARM_UP):
        who = np.flatnonzero(life.items[:, day, 0] >= 0)
        items = life.items[who, day]
        if day >= BURN:
            x = memory.features(who, items)
            rows.append(
                (
                    x,
                    life.clicked[who, day],
                    items,
                    memory.tokens[who].copy(),
                    who,
                )
            )
            row, place = np.nonzero(life.own[who, day] >= 0)
            sources.append(memory.wants(who)[row])
            chosen.append(life.own[who, day][row, place] // ITEMS)
        memory.live(life, day)
    taught = Lessons(*map(np.concatenate, zip(*rows)), log)
    step = 1 + sum(map(len, chosen)) // 6_000  # some visits are enough
    visits = Visits().fit(
        np.concatenate(sources)[::step], np.concatenate(chosen)[::step]
    )
    return taught, visits, memory


def loop(user, policy, life, memory, visits, tables, rng, frozen=False):
    """The closed loop with learnt users; `Life` of all days, the warm-up's included."""
    policy, memory = copy.deepcopy(policy), copy.deepcopy(memory)
    life = life.until(WARM_UP, ROUNDS)
    for day in range(WARM_UP, WARM_UP + ROUNDS):
        who = np.flatnonzero(rng.random(USERS) < memory.habits.coming)
        items, chances = policy.slates(
            who, Recent(life, day, tables), FEED, rng=rng
        )
        clicked = user.clicks(
            memory.features(who, items), (memory.tokens[who], items), rng
        )
        own = visits.draw(memory, who, rng)
        for array, today in zip(life, (items, clicked, chances, own)):
            array[who, day] = today
        memory.end_day(who, items, clicked, own, frozen)
    return life


def figures(life, born):
    """Measure → weeks, that before the policy first."""
    found = []
    for end in range(WARM_UP, WARM_UP + ROUNDS + 1, 7):
        span = slice(end - 7, end)
        items, clicked, own = (
            life.items[:, span],
            life.clicked[:, span],
            life.own[:, span],
        )
        counts = society.tally(items.reshape(1, -1), len(born))[0][
            born < end
        ]
        feed = society.tally(
            np.where(clicked, items // ITEMS, -1), CATEGORIES
        )
        visited = society.tally(
            np.where(own >= 0, own // ITEMS, -1), CATEGORIES
        )
        found.append(
            {
                "click": clicked[items >= 0].mean(),
                "gini": society.gini(counts),
                "coverage": society.coverage(counts),
                "newcomers": np.nanmean(
                    society.newcomers(
                        items, born, np.arange(end - 7, end)
                    )
                ),
                "overlap": np.nanmean(society.overlap(items)),
                "variety": 1 / (1 - np.nanmean(society.diversity(feed))),
                "own variety": 1
                / (1 - np.nanmean(society.diversity(visited))),
                "coming": (items[..., 0] >= 0).mean(),
            }
        )
    return {
        name: [float(week[name]) for week in found] for name in found[0]
    }


def exam(users, life, memory, rng):
    """User → week (first, last) → chance given, share clicked, AUC, on the true users' slates."""
    memory, found = copy.deepcopy(memory), {}
    for day in range(WARM_UP, WARM_UP + ROUNDS):
        week = (day - WARM_UP) // 7
        if week in (0, ROUNDS // 7 - 1) and day % 2:
            who = np.flatnonzero(life.items[:, day, 0] >= 0)
            items, x = (
                life.items[who, day],
                memory.features(who, life.items[who, day]),
            )
            for name, user in users.items():
                chances = user.chances(
                    x, (memory.tokens[who], items), rng
                )
                rows = found.setdefault(name, {}).setdefault(
                    "first" if week == 0 else "last", []
                )
                rows.append(
                    (
                        life.clicked[who, day].ravel(),
                        np.asarray(chances, float).ravel(),
                    )
                )
        memory.live(life, day)
    for weeks in found.values():
        for week, rows in weeks.items():
            truth, chance = map(np.concatenate, zip(*rows))
            weeks[week] = [
                chance.mean(),
                truth.mean(),
                auc(truth, chance),
            ]
    return found


def run(seed):
    keras.utils.set_random_seed(seed)
    world, streams = World(), np.random.default_rng(seed + 1_000).spawn(4)
    born = world.catalogue.born.ravel()
    lives = {}
    for name, policy in policies().items():
        lived = evolve(
            world, policy, users=USERS, rounds=ROUNDS, warm_up=WARM_UP,
            memory=MEMORY, rng=np.random.default_rng(seed),
        )  # fmt: skip
        lives[name] = Life.of(lived)
    tables = lived.log.items, lived.log.users
    warm = lives["chance"].until(WARM_UP)
    log = warm.log(0, WARM_UP, *tables)
    taught, visits, memory = lessons(warm, Habits.of(warm, born), log)
    users = {
        "logistic": Answer(linear()).fit(taught),
        "trees": Answer(trees(seed)).fit(taught),
        "GAN": DrawnUsers().fit(taught),
        "Transformer": TokenUsers(seed).fit(taught),
    }
    found = {
        "true": {
            name: figures(life, born) for name, life in lives.items()
        }
    }
    for kind, user in {**users, "trees, frozen": users["trees"]}.items():
        found[kind] = {}
        for name, policy in policies().items():
            rng = np.random.default_rng([seed, 1])
            life = loop(
                user,
                policy,
                warm,
                memory,
                visits,
                tables,
                rng,
                frozen="frozen" in kind,
            )
            found[kind][name] = figures(life, born)
    return {
        "loop": found,
        "exam": {
            name: exam(users, life, memory, streams[0])
            for name, life in lives.items()
        },
        "own visits": visits.weight,
    }
