"""Chapter 16 in five worlds: what text, price, picture and sound add to behaviour.

A fifth of the items on offer are probes: all but k touches of each, drawn by lot, are taken out of
the past. Then NDCG@10 of what a user seeks out in the week after, ranked among the probes (cold),
among the others (warm), and among both. The week before, with other probes, chooses the late blend.

Other settings were chosen in world 100, which is not among these.
"""

import keras
import numpy as np
import pandas as pd
from keras import layers, ops
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.preprocessing import KBinsDiscretizer, normalize

from recsys_evo.collect.ceiling import oracle
from recsys_evo.collect.laws import (
    CATALOGUE,
    CATEGORIES,
    DIMENSIONS,
    FAMILIES,
    ITEMS,
)
from recsys_evo.collect.world import FIRST_DAY, World
from recsys_evo.evaluate import ranking
from recsys_evo.models.baselines import (
    ItemNeighbours,
    Popularity,
    RecentEASE,
    touched,
)
from recsys_evo.prepare import splits

MODULES = [
    "recsys_evo.collect.ceiling",
    "recsys_evo.collect.events",
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.evaluate.forecasts",
    "recsys_evo.evaluate.ranking",
    "recsys_evo.models.baselines",
    "recsys_evo.prepare.splits",
]
SEEDS = [0, 1, 2, 3, 4]  # worlds

USERS, PAST, WEEK = 800, 49, 7
KEPT = (0, 1, 3, 10, 30, 100, 300)  # touches of a probe
KNOWN = (0, 1, 3, 10, 30)  # touches of a new user
BLENDS = (0, 1, 3, 10, 30, 100, 300, 1e9)
NOISES = (0.1, 0.15, 0.25, 0.4, 0.6, 1.0, 2.0)
# Chosen in world 100.
EASE = {"regularisation": 1600.0, "tau": 50.0}
STACK, RIDGE, EPOCHS = 3.0, 1.0, 3

N = CATEGORIES * ITEMS
CATEGORY = np.repeat(np.arange(CATEGORIES), ITEMS)
FAMILY = CATALOGUE.position // (CATEGORIES // FAMILIES)
NAMED = (0.5, 0.8)  # chance that a title names its category, its family
PICTURE, HISS, WIDTH = 0.25, 0.1, 16

SHELVES = [
    "kitchen",
    "garden",
    "music",
    "travel",
    "sport",
    "toys",
    "office",
    "books",
]
GOODS = [
    a + b
    for a in "bdgklmnr"
    for b in ("alo", "ema", "ino", "oru", "uta", "aki", "eso", "ilu")
]
FILLERS = [
    a + b + "s"
    for a in "cfhjpstvwz"
    for b in ("and", "old", "int", "ing", "ore", "ump", "ell", "ash")
]


def titles(rng):
    """A title an item, and bool (items,): does it name the category, the family?"""
    often = 1 / np.arange(1, len(FILLERS) + 1)
    says = (rng.random((2, N)) < np.array(NAMED)[:, None]).astype(int)
    found = []
    for item, category in enumerate(CATEGORY):
        words = list(rng.choice(FILLERS, 3, p=often / often.sum()))
        words += [GOODS[CATALOGUE.position[category]]][: says[0, item]]
        words += [SHELVES[FAMILY[category]]][: says[1, item]]
        found.append(" ".join(rng.permutation(words)))
    return np.array(found), *says.astype(bool)


def gaussian(seen, centres, spread):
    """Log-likelihood (items, categories), up to a constant of the row."""
    far = ((seen[:, None] - centres) ** 2).sum(axis=2)
    return -far / (2 * spread**2)


def chances(likelihood):
    """Chance (items, categories) of each category, by Bayes' rule."""
    top = likelihood.max(axis=1, keepdims=True)
    raised = np.exp(likelihood - top)
    return raised / raised.sum(axis=1, keepdims=True)


def bits(likelihood):
    """What the items' modality says about the category, of 6 bits."""
    own = chances(likelihood)[np.arange(N), CATEGORY]
    return float(np.log2(CATEGORIES * own).mean())


def frames(rng):
    """A view of the six numbers in sixteen, and a turn of the sixteen."""
    view = np.linalg.qr(rng.normal(size=(WIDTH, DIMENSIONS)))[0].T
    return view, np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]


def modalities(rng):
    """Features (items, d), and log-likelihoods of the categories, by modality."""
    words, names_category, names_family = titles(rng)
    other = CATEGORY[:, None] != np.arange(CATEGORIES)
    foreign = FAMILY[CATEGORY][:, None] != FAMILY
    text = -1e9 * (names_category[:, None] & other)
    text = text - 1e9 * (names_family[:, None] & foreign)
    view, turn = frames(rng)
    centres = CATALOGUE.vectors @ view
    picture = centres[CATEGORY] + PICTURE * rng.normal(size=(N, WIDTH))
    sound = picture @ turn + HISS * rng.normal(size=(N, WIDTH))
    price = np.log(CATALOGUE.price.ravel())[:, None]
    level = np.array(
        [np.log(CATALOGUE.price)[f == FAMILY].mean() for f in FAMILY]
    )
    bins = KBinsDiscretizer(
        12, encode="onehot-dense", strategy="quantile"
    )
    features = {
        "text": TfidfVectorizer().fit_transform(words).toarray(),
        "price": bins.fit_transform(price),
        "picture": picture,
        "sound": sound,
        "noise": rng.normal(size=(N, WIDTH)),
        "the category itself": np.eye(CATEGORIES)[CATEGORY],
    }
    seen = gaussian(picture, centres, PICTURE)
    heard = gaussian(sound, centres @ turn, np.hypot(PICTURE, HISS))
    told = {
        "text": text,
        "price": gaussian(price, level[:, None], 0.3),
        "picture": seen,
        "sound": heard,
        "noise": np.zeros((N, CATEGORIES)),
        "the category itself": -1e9 * other,
        "text and picture": text + seen,
    }
    return features, told


def kept(log, groups, chosen, k, order):
    """The log with no more than k rows of each of the chosen, those first in `order`."""
    group = log.events[groups].to_numpy()
    first = np.argsort(order)
    place = np.empty(len(group), int)
    place[first] = (
        pd.Series(group[first]).groupby(group[first]).cumcount()
    )
    return log.where(
        ~np.isin(group, np.flatnonzero(chosen)) | (place < k)
    )


class Stacked(RecentEASE):
    """EASE on the users' rows with the features' rows below them."""

    def __init__(self, features, weight, **options):
        super().__init__(**options)
        self.below = sparse.csr_array(features.T * np.sqrt(weight))

    def _fit(self, log):
        own = self.touched
        both = sparse.vstack([own, self.below], format="csr")
        self.touched = both.astype(np.float32)
        super()._fit(log)
        self.touched = own


def likeness(history, features):
    """Scores (users, items): the cosines with what the user touched, added up."""
    x = normalize(features)
    return (history @ x) @ x.T


def mapped(scores, features, warm):
    """Scores (users, items): each user's, foretold from the items' features.

    A ridge regression, with an intercept, on the scores of the warm items.
    """
    ridge = Ridge(RIDGE).fit(features[warm], scores[:, warm].T)
    return ridge.predict(features).T


def standardised(scores, shown):
    part = scores[:, shown]
    spread = np.maximum(part.std(axis=1, keepdims=True), 1e-9)
    return (scores - part.mean(axis=1, keepdims=True)) / spread


def blend(behaviour, content, count, kappa, shown):
    """The more touches an item has, the more its behaviour counts."""
    trust = count / (count + kappa + 1e-9)
    return trust * standardised(behaviour, shown) + (
        1 - trust
    ) * standardised(content, shown)


def ndcg(scores, relevant, shown):
    """Mean NDCG@10 of ranking the items `shown` (bool)."""
    wanted = sparse.csr_array(relevant.multiply(shown[None]), dtype=bool)
    scores = np.where(shown, scores, -np.inf)
    return float(np.nanmean(ranking.measures(scores, wanted)["NDCG"]))


class Question:
    """A cut, its probes, the past with k touches a probe, the week after."""

    def __init__(self, log, end, rng):
        born = CATALOGUE.born.ravel()
        day = (end - FIRST_DAY).astype(int)
        self.shown = born <= day - 28
        old = np.flatnonzero(self.shown)
        self.cold = np.zeros(N, bool)
        self.cold[rng.choice(old, len(old) // 5, replace=False)] = True
        self.warm = self.shown & ~self.cold
        self.whole = splits.past(log, end)
        self.luck = rng.permutation(len(self.whole))
        week = splits.future(log, end, WEEK)
        own = (week.events["slate"] < 0).to_numpy()
        self.sought = touched(week.where(own))

    def past(self, k):
        return kept(self.whole, "item", self.cold, k, self.luck)

    def answer(self, scores):
        parts = {"cold": self.cold, "warm": self.warm, "all": self.shown}
        return {
            name: ndcg(scores, self.sought, part)
            for name, part in parts.items()
        }


class Towers(keras.Model):
    """A tower for items, one for users; the score is their product.

    An item is its features through a small network, plus a vector of its own, which items
    without a touch lack and which training leaves out now and then, so that the features learn
    to do without. A user is what was touched, through another small network.
    """

    def __init__(self, features, known, *, width=32, drop=0.3):
        super().__init__()
        self.features = ops.convert_to_tensor(features, "float32")
        self.known = ops.convert_to_tensor(known, "float32")[:, None]
        self.drop, self.seeds = drop, keras.random.SeedGenerator(0)
        self.thing, self.person = (
            keras.Sequential(
                [layers.Dense(64, activation="gelu"), layers.Dense(width)]
            )
            for _ in range(2)
        )
        self.own = layers.Embedding(len(features), width, "zeros")
        self.level = layers.Dense(1)

    def call(self, history, training=False):
        own = self.own(ops.arange(len(self.features))) * self.known
        if training:
            shape = (len(self.features), 1)
            kept = keras.random.uniform(shape, seed=self.seeds)
            own = own * ops.cast(kept > self.drop, "float32")
        items = self.thing(self.features) + own
        users = self.person(ops.matmul(history, items))
        scores = ops.matmul(users, ops.transpose(items))
        scores = scores + ops.transpose(self.level(items))
        # An item without a touch is no wrong answer.
        return (
            scores - 1e9 * (1 - self.known[:, 0]) if training else scores
        )


class Reader(RecentEASE):
    """Only the histories, faded as for EASE."""

    def _fit(self, log):
        self.history = self._history(log)


class Pairs(keras.utils.PyDataset):
    """What users had done by a day, and what they touched in the three days from it."""

    def __init__(self, log, rng, *, size=512):
        super().__init__()
        rows, items = [], []
        for end in log.end - np.arange(3, 24, 3):
            read = Reader(tau=EASE["tau"]).fit(splits.past(log, end))
            next_ones = splits.future(log, end, 3).events
            rows.append(read.history[next_ones["user"].to_numpy()])
            items.append(next_ones["item"].to_numpy())
        self.rows = sparse.vstack(rows, format="csr")
        self.items, self.size, self.rng = np.concatenate(items), size, rng
        self.on_epoch_end()

    def __len__(self):
        return len(self.items) // self.size

    def on_epoch_end(self):
        self.order = self.rng.permutation(len(self.items))

    def __getitem__(self, number):
        chosen = self.order[number * self.size :][: self.size]
        return self.rows[chosen].toarray(), self.items[chosen]


def towers(features, log, history, seed):
    """Train the towers on a log; scores (users, items) for `history`."""
    keras.utils.set_random_seed(seed)
    known = np.bincount(log.events["item"], minlength=N) > 0
    model = Towers(features, known)
    model.compile(
        keras.optimizers.AdamW(2e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    pairs = Pairs(log, np.random.default_rng(seed))
    model.fit(pairs, epochs=EPOCHS, verbose=0)
    rows = history.toarray().astype("float32")
    return model.predict(rows, batch_size=512, verbose=0)


def joined(features, names):
    return np.hstack([features[name] for name in names])


ALL = ("text", "price", "picture", "sound", "noise")
GOOD = ("text", "price", "picture")


def blending(question, content):
    """NDCG (touches kept, blends) among the probes."""
    found = []
    for k in KEPT:
        past = question.past(k)
        model = RecentEASE(**EASE).fit(past)
        behaviour = model.scores()
        told = mapped(behaviour, content, question.warm)
        count = np.bincount(past.events["item"], minlength=N)
        found.append(
            [
                ndcg(
                    blend(behaviour, told, count, kappa, question.shown),
                    question.sought,
                    question.cold,
                )
                for kappa in BLENDS
            ]
        )
    return np.array(found)


def run(seed):
    rng = np.random.default_rng([seed, 16])
    world = World()
    lived = world.simulate(USERS, PAST + WEEK, rng=rng)
    log = lived.log.where(lived.log.touch)
    features, told = modalities(rng)
    end = FIRST_DAY + PAST
    before = Question(log, end - WEEK, rng)
    now = Question(log, end, rng)
    content = joined(features, GOOD)
    kappa = BLENDS[blending(before, content).mean(axis=0).argmax()]

    value = np.exp(world.item_value(PAST + 3))
    share = (value / value.sum(axis=1, keepdims=True)).ravel()
    touch = oracle(world, lived, end=PAST, copies=30, rng=rng).touch
    past = now.past(0)
    model = RecentEASE(**EASE).fit(past)
    history = model.history
    behaviour = model.scores()
    everything = mapped(behaviour, content, now.warm)
    count = np.bincount(past.events["item"], minlength=N)
    models = {
        "the truth": touch[:, CATEGORY] * share,
        "behaviour, not hidden": RecentEASE(**EASE)
        .fit(now.whole)
        .scores(),
        "popularity": Popularity().fit(past).scores(),
        "behaviour": behaviour,
        "early": Stacked(content, STACK, **EASE).fit(past).scores(),
        "late": blend(behaviour, everything, count, kappa, now.shown),
        "map": everything,
        "map, with sound and noise": mapped(
            behaviour, joined(features, ALL), now.warm
        ),
        "two towers": towers(content, past, history, seed),
        "two towers, no features": towers(
            np.ones((N, 1)), past, history, seed
        ),
    }
    for name, x in told.items():
        models[f"read, {name}"] = mapped(behaviour, chances(x), now.warm)
    for name, x in features.items():
        models[f"map, {name}"] = mapped(behaviour, x, now.warm)
        models[f"likeness, {name}"] = likeness(history, x)
    models["likeness"] = likeness(history, content)

    view, _ = frames(rng)
    centres = CATALOGUE.vectors @ view
    dose = []
    for noise in NOISES:
        picture = centres[CATEGORY] + noise * rng.normal(size=(N, WIDTH))
        seen = gaussian(picture, centres, noise)
        row = [bits(seen)]
        for x in (picture, chances(seen)):
            scores = mapped(behaviour, x, now.warm)
            row.append(ndcg(scores, now.sought, now.cold))
        dose.append(row)

    curve = {"EASE": [], "neighbours": [], "map": [], "late": []}
    for k in KEPT:
        past = now.past(k)
        behaviour = RecentEASE(**EASE).fit(past).scores()
        near = ItemNeighbours(neighbours=100).fit(past)
        told_k = mapped(behaviour, content, now.warm)
        count = np.bincount(past.events["item"], minlength=N)
        for name, scores in (
            ("EASE", behaviour),
            ("neighbours", near.scores()),
            ("map", told_k),
            (
                "late",
                blend(behaviour, told_k, count, kappa, now.shown),
            ),
        ):
            curve[name].append(ndcg(scores, now.sought, now.cold))

    new = rng.random(USERS) < 0.2
    user = now.whole.events["user"].to_numpy()
    taught = RecentEASE(**EASE).fit(now.whole.where(~new[user]))
    ago = -now.whole.events["time"].to_numpy().astype("i8")
    fashion = Popularity().fit(now.whole.where(~new[user])).scores()
    sought = now.sought[np.flatnonzero(new)]
    newcomers = {"popularity": [], "EASE": [], "likeness": [], "map": []}
    for k in KNOWN:
        few = kept(now.whole, "user", new, k, ago)
        rows = Reader(tau=EASE["tau"]).fit(few).history[new]
        by_behaviour = rows @ taught.weight
        for name, scores in (
            ("popularity", fashion[new]),
            ("EASE", by_behaviour),
            ("likeness", likeness(rows, content)),
            ("map", mapped(by_behaviour, content, now.shown)),
        ):
            scores = scores if k else fashion[new]
            newcomers[name].append(ndcg(scores, sought, now.shown))
    return {
        "bits": {name: bits(x) for name, x in told.items()},
        "kappa": kappa,
        "NDCG": {name: now.answer(s) for name, s in models.items()},
        "dose": dose,
        "touches": curve,
        "newcomers": newcomers,
    }
