"""Chapter 18: smaller images, students of larger models, and where a doubling still pays.

Three worlds; one question: does a user touch a category in the next three days (AUC over pairs of
800 asked users of a fresh draw)? All trees are of one kind and read images:

    image      a pair's own days × channels, raw; `size` numbers and bytes a user
    pyramid    the same summed over 1, 1, 2, 4, 8, 16 and 32 days back, and of clicks also those
               of the categories within 3 places, and of the whole user

`images`: 300 users teach trees on images of many sizes. `curves`: users who teach, days that are
seen, and trees, doubled again and again. `diversity`: what the same number of user-days, or of
numbers kept, buys as users, days, cuts or channels. `students`: 300 users have answers and teach
a teacher (three forests of 100 trees, averaged); small students learn from the answers, from what
the teacher says of the same users, or also of 1,700 users without answers.
"""

import time
from itertools import pairwise

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from recsys_evo.collect.ceiling import HORIZON
from recsys_evo.collect.laws import CATALOGUE
from recsys_evo.collect.world import FIRST_DAY, World
from recsys_evo.evaluate.forecasts import auc
from recsys_evo.models.classifiers import labels
from recsys_evo.prepare.images import behaviour_images
from recsys_evo.prepare.splits import past

MODULES = [
    "recsys_evo.collect.ceiling",
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.evaluate.forecasts",
    "recsys_evo.models.classifiers",
    "recsys_evo.prepare.images",
    "recsys_evo.prepare.splits",
]
SEEDS = [0, 1, 2]

TEACH, ASKED, END = 2_000, 800, 64
TRUE = np.argsort(CATALOGUE.position)
USERS = (125, 250, 500, 1_000, 2_000)
DAYS = (1, 2, 4, 8, 16, 32, 64)
TREES = (5, 10, 20, 40, 80, 160)
AT = 1_000  # users, where days or trees are doubled
LABELLED, MORE = 300, 1_700


def run(seed):
    streams = np.random.default_rng([seed, 48]).spawn(2)
    teach, asked = (
        World()
        .simulate(n, END + HORIZON, rng=rng, impressions=False, threads=1)
        .log
        for n, rng in zip((TEACH, ASKED), streams)
    )
    happened = answers(asked)

    def judge(model, rows):
        return auc(happened, chance(model, rows))

    return {
        "images": smaller(teach, asked, judge),
        "curves": curves(teach, asked, judge, happened),
        "diversity": diversity(teach, asked, judge),
        "students": students(teach, asked, judge, happened),
    }


def answers(log, users=None, end=END):
    touch = labels(log, end=FIRST_DAY + end, users=users)[0]
    return touch[:, TRUE].ravel()


def images(log, users=None, *, end=END, days=64):
    """(users, days, 64, 3), categories in their true order."""
    return behaviour_images(
        past(log, FIRST_DAY + end),
        end=FIRST_DAY + end,
        days=days,
        users=users,
        order=TRUE,
        threads=1,
    )


def pyramid(log, users=None, *, end=END, days=64, channels=3):
    """What the trees read of each pair (user, category): (pairs, features)."""
    users = np.arange(log.n_users) if users is None else users
    edges = [0] + [2**k for k in range(7) if 2**k <= days]
    found = []
    for some in np.array_split(users, -(-len(users) // 500)):
        image = images(log, some, end=end, days=days)[..., :channels]
        cells = np.stack(
            [
                image[:, days - old : days - new].sum(1)
                for new, old in pairwise(edges)
            ],
            axis=2,
        )  # (users, categories, bins, channels)
        clicks = cells[..., 0]
        wide = np.pad(clicks, ((0, 0), (3, 3), (0, 0)))
        near = sum(wide[:, k : k + 64] for k in range(7)) - clicks
        whole = np.broadcast_to(
            clicks.sum(1, keepdims=True), clicks.shape
        )
        own = cells.reshape(*clicks.shape[:2], -1)
        found.append(np.concatenate([own, near, whole], axis=2))
    rows = np.concatenate(found)
    return np.log1p(rows).reshape(-1, rows.shape[-1])


def trees(n=40, leaves=15, rate=0.2, **settings):
    return HistGradientBoostingClassifier(
        max_iter=n,
        learning_rate=rate,
        max_leaf_nodes=leaves,
        min_samples_leaf=50,
        random_state=0,
        early_stopping=False,
        **settings,
    )


def chance(model, rows):
    return model.predict_proba(rows)[:, 1]


# Smaller images


def smaller(teach, asked, judge):
    users = np.arange(300)
    whole, other = images(teach, users), images(asked)
    outcome = answers(teach, users)

    def full(image):
        return image

    def last(days):
        return lambda image: image[:, -days:]

    def clicks(image):
        return image[..., :1]

    def eight_bits(image):
        return np.minimum(np.rint(16 * np.log1p(image)), 255).astype(
            np.uint8
        )

    def folded(n):
        def fold(image):
            shape = (*image.shape[:2], 64 // n, n, image.shape[3])
            return image.reshape(shape).sum(3)

        return fold

    def fewer_sums(image):
        edges = [0] + [2**k for k in range(7)]
        parts = [
            image[:, 64 - old : 64 - new].sum(1)
            for new, old in pairwise(edges)
        ]
        return np.stack(parts, axis=1)

    def sums_of_clicks(image):
        return eight_bits(clicks(fewer_sums(image)))

    found = {}
    for name, change in {
        "64 days, 3 channels": full,
        "8-bit numbers": eight_bits,
        "32 days": last(32),
        "16 days": last(16),
        "8 days": last(8),
        "clicks only": clicks,
        "categories in pairs": folded(2),
        "categories in fours": folded(4),
        "7 sums for 64 days": fewer_sums,
        "7 sums, clicks, 8-bit": sums_of_clicks,
    }.items():
        small = change(whole)
        began = time.process_time()
        model = trees().fit(strips(small), outcome)
        figure = judge(model, strips(change(other)))
        found[name] = {
            "AUC": figure,
            "numbers": small[0].size,
            "bytes": small[0].nbytes,
            "seconds": time.process_time() - began,
        }
    return found


def strips(image):
    """Each pair's own days × channels; of folded categories the fold's."""
    image = np.repeat(image, 64 // image.shape[2], axis=2)
    rows = image.transpose(0, 2, 1, 3)
    return rows.reshape(len(image) * 64, -1)


# Curves


def curves(teach, asked, judge, happened):
    rows, asks = pyramid(teach), pyramid(asked)
    outcome = answers(teach)
    found = {"users": [], "days": [], "trees": []}
    for n in USERS:
        began = time.process_time()
        model = trees().fit(rows[: n * 64], outcome[: n * 64])
        spent = time.process_time() - began
        found["users"].append([judge(model, asks), spent])
    some, outcome = rows[: AT * 64], outcome[: AT * 64]
    for n in DAYS:
        few, asks_few = (
            pyramid(log, users, days=n)
            for log, users in ((teach, np.arange(AT)), (asked, None))
        )
        began = time.process_time()
        model = trees().fit(few, outcome)
        spent = time.process_time() - began
        found["days"].append([judge(model, asks_few), spent])
    began = time.process_time()
    model = trees(TREES[-1]).fit(some, outcome)
    spent = time.process_time() - began
    stages = list(model.staged_predict_proba(asks))
    found["trees"] = [
        [auc(happened, stages[n - 1][:, 1]), spent * n / TREES[-1]]
        for n in TREES
    ]
    return found


# Diversity


def diversity(teach, asked, judge):
    found = {}
    for n, days in ((250, 64), (500, 32), (1_000, 16), (2_000, 8)):
        users = np.arange(n)
        model = trees().fit(
            pyramid(teach, users, days=days), answers(teach, users)
        )
        found[f"{n:,} users, {days} days"] = judge(
            model, pyramid(asked, days=days)
        )
    users, ends = np.arange(250), END - 4 * np.arange(8)
    model = trees().fit(
        np.concatenate(
            [pyramid(teach, users, end=e, days=32) for e in ends]
        ),
        np.concatenate([answers(teach, users, e) for e in ends]),
    )
    found["250 users, 8 cuts of 32 days"] = judge(
        model, pyramid(asked, days=32)
    )
    for n, channels in ((250, 3), (750, 1)):
        users = np.arange(n)
        model = trees().fit(
            pyramid(teach, users, channels=channels),
            answers(teach, users),
        )
        found[f"{n:,} users, channels: {channels}"] = judge(
            model, pyramid(asked, channels=channels)
        )
    return found


# Students


STUDENTS = {
    "8 small trees": lambda: trees(8, leaves=8, rate=0.4),
    "logistic": lambda: make_pipeline(
        StandardScaler(), LogisticRegression(solver="newton-cholesky")
    ),
}


def students(teach, asked, judge, happened):
    rows = pyramid(teach, np.arange(LABELLED + MORE))
    asks = pyramid(asked)
    outcome = answers(teach, np.arange(LABELLED + MORE)).astype(float)
    few = LABELLED * 64
    teachers = [
        trees(100, rate=0.08, max_features=0.5)
        .set_params(random_state=k)
        .fit(rows[:few], outcome[:few])
        for k in range(3)
    ]

    def told(rows):
        return np.mean([chance(t, rows) for t in teachers], axis=0)

    soft = told(rows)
    found = {"teacher": auc(happened, told(asks))}
    mixed = np.r_[outcome[:few], soft[few:]]
    for name, student in STUDENTS.items():
        found[name] = {
            "answers": judge(
                taught(student(), rows[:few], outcome[:few]), asks
            ),
            "teacher": judge(
                taught(student(), rows[:few], soft[:few]), asks
            ),
            "teacher, more users": judge(
                taught(student(), rows, soft), asks
            ),
            "answers, teacher on more": judge(
                taught(student(), rows, mixed), asks
            ),
            "answers on more": judge(
                taught(student(), rows, outcome), asks
            ),
        }
    return found


def taught(student, rows, chance):
    """Fit to chances: each row counts as a yes and as a no, by its chance."""
    weight = np.r_[
        chance, 1 - chance
    ]  # rows of none stay: a leaf counts rows
    yes = np.repeat([1, 0], len(rows))
    name = "sample_weight"
    if hasattr(student, "steps"):
        name = f"{student.steps[-1][0]}__{name}"
    return student.fit(
        np.concatenate([rows, rows]), yes, **{name: weight}
    )
