"""Chapter 18: what the book's models cost, each in a process of its own.

`classifiers`, a world a seed: 1,000 users teach whether they buy in the next three days. What they
gain is in the stored results `cnn_table` and `article_cnn`, with as many teachers. `rankers`, on
MovieLens 100k: the last film of each user among all unseen ones, with the settings of the stored
result `protocols`, which has the figures; those of ALS are chosen here in the same way, on the last
film but one, by NDCG@10, and its figure is here. Of each model:

    fit        CPU-seconds of training, features and images included, of all threads
    serve      CPU-seconds for 1,000 users, features and images included, after a first answer
    memory     MB that the process held at most, and when training began (libraries, log)
    numbers    numbers learnt and kept (a split or a leaf of a tree counts as one)

Networks run under the first seed alone; Transformer and Caser for one epoch, to see memory, size
and serving: the seconds of their training are those of `protocols`.
"""

import multiprocessing
import resource
import time

import numpy as np

from recsys_evo.collect import datasets
from recsys_evo.collect.ceiling import HORIZON
from recsys_evo.collect.laws import CATALOGUE
from recsys_evo.collect.world import FIRST_DAY, World
from recsys_evo.evaluate.ranking import average, measures
from recsys_evo.models.baselines import (
    ALS,
    EASE,
    ItemNeighbours,
    Popularity,
    RecentEASE,
    touched,
)
from recsys_evo.models.classifiers import Boosted, Classic
from recsys_evo.prepare.images import behaviour_images
from recsys_evo.prepare.splits import buys, leave_last_out, past

MODULES = [
    "recsys_evo.collect.ceiling",
    "recsys_evo.collect.datasets",
    "recsys_evo.collect.events",
    "recsys_evo.collect.frames",
    "recsys_evo.collect.laws",
    "recsys_evo.collect.sources.movielens",
    "recsys_evo.collect.world",
    "recsys_evo.evaluate.forecasts",
    "recsys_evo.evaluate.ranking",
    "recsys_evo.models.baselines",
    "recsys_evo.models.caser",
    "recsys_evo.models.classifiers",
    "recsys_evo.models.cnn",
    "recsys_evo.models.hurdle",
    "recsys_evo.models.transformer",
    "recsys_evo.prepare.hand",
    "recsys_evo.prepare.images",
    "recsys_evo.prepare.splits",
]
SEEDS = [0, 1, 2]

TEACH, END = 1_000, FIRST_DAY + 64
EPOCHS = 1
SERVED = 1_000  # users
TRUE = np.argsort(CATALOGUE.position)


def run(seed):
    return {"classifiers": classifiers(seed), "rankers": rankers(seed)}


# Two models that need a library of their own import it in their process.


class AsWritten:
    """The article's two networks, trained as its listing trains them."""

    def __init__(self):
        import keras

        from recsys_evo.models import cnn

        self.keras, self.cnn = keras, cnn

    def fit(self, log, *, end):
        self.keras.utils.set_random_seed(self.seed)
        images = behaviour_images(past(log, end), end=end)
        answers = buys(log, end, HORIZON).astype("float32")[:, None]
        how = {"epochs": 10, "batch_size": 32, "verbose": 0}
        extractor = self.cnn.article_extractor()
        extractor.compile(optimizer="adam", loss="mean_squared_error")
        extractor.fit(images, answers, **how)
        self.model = self.cnn.article_predictor(extractor)
        self.model.compile(optimizer="adam", loss="binary_crossentropy")
        self.model.fit(images, answers, **how)
        return self

    def predict(self, log, *, end, users):
        images = behaviour_images(past(log, end), end=end, users=users)
        self.buy = self.model.predict(images, verbose=0)[:, 0]
        return self


def taste_cnn():
    from recsys_evo.models.cnn import CategoryCNN

    return CategoryCNN(order=TRUE, taste=True, epochs=3)


CLASSIFIERS = {
    "logistic": Classic,
    "boosted trees": lambda: Boosted(order=TRUE),
}
NETWORKS = {
    "article's CNN, as written": AsWritten,
    "CNN, taste": taste_cnn,
}


def network(name, **options):
    def build():
        from recsys_evo.models import caser, transformer

        kinds = {
            "Transformer": transformer.Transformer,
            "Caser": caser.Caser,
        }
        return kinds[name](epochs=EPOCHS, **options)

    return build


def rankers_of(seed, als):
    found = {
        "popularity": Popularity,
        "neighbours": lambda: ItemNeighbours(neighbours=10),
        "EASE": lambda: EASE(regularisation=100),
        "RecentEASE": lambda: RecentEASE(regularisation=300, tau=10),
        "ALS": lambda: ALS(**als),
    }
    if seed == SEEDS[0]:
        found["Transformer"] = network("Transformer", width=64, blocks=2)
        found["Caser"] = network("Caser", loss="softmax", dropout=0.3)
    return found


def classifiers(seed):
    log = (
        World()
        .simulate(
            TEACH,
            64 + HORIZON,
            rng=np.random.default_rng([seed, 28]),
            impressions=False,
        )
        .log
    )
    models = CLASSIFIERS | (NETWORKS if seed == SEEDS[0] else {})

    def work(build):
        model = build()
        model.seed = seed

        def answer(users):
            return model.predict(log, end=END, users=users).buy

        return model, lambda: model.fit(log, end=END), answer

    return measured(models, work, np.arange(TEACH))[0]


def rankers(seed):
    log = datasets.load("movielens-100k")
    als = choose(leave_last_out(log)[0])
    rest, test = leave_last_out(log)

    def work(build):
        model = build()
        if hasattr(model, "seed"):
            model.seed = seed
        return model, lambda: model.fit(rest), model.scores

    found, scores = measured(
        rankers_of(seed, als), work, np.arange(log.n_users)
    )
    found["ALS"] |= als_figures(scores, rest, test, seed)
    return found | {"ALS settings": als}


def als_figures(scores, rest, test, seed):
    als, rival = (
        ndcg(scores[m], rest, test) for m in ("ALS", "RecentEASE")
    )
    gain = average(als, against=rival, rng=np.random.default_rng(seed))
    return {"figure": np.nanmean(als), "gain": list(gain)}


def choose(log):
    rest, test = leave_last_out(log)
    grid = [
        {"factors": f, "regularisation": r}
        for f in (16, 32, 64)
        for r in (0.1, 10.0)
    ]
    return max(
        grid,
        key=lambda options: np.nanmean(
            ndcg(ALS(**options).fit(rest).scores(), rest, test)
        ),
    )


def ndcg(scores, rest, test):
    seen, relevant = touched(rest), touched(test)
    return measures(scores, relevant, seen=seen)["NDCG"]


def measured(models, work, users):
    """Costs of each model, fitted and asked in a process of its own; answers."""
    context = multiprocessing.get_context("fork")
    found, answers = {}, {}
    for name, build in models.items():
        here, there = context.Pipe(duplex=False)

        def whole(build=build, there=there):
            there.send(costs(*work(build), users))

        child = context.Process(target=whole)
        child.start()
        found[name], answers[name] = here.recv()
        child.join()
    return found, answers


def costs(model, fit, answer, users):
    start, began = held(), time.process_time()
    fit()
    spent = time.process_time() - began
    answer(users[:10])  # what only a first answer costs
    began, some = time.process_time(), users[:SERVED]
    answer(some)
    served = (time.process_time() - began) * SERVED / len(some)
    found = {
        "fit": spent,
        "serve": served,
        "memory": [held(), start],
        "numbers": numbers(model),
    }
    return found, answer(users)


def held():
    """MB that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def numbers(model):
    """How many numbers a model has learnt and kept."""
    if hasattr(model, "model"):  # of Keras
        return int(model.model.count_params())
    if isinstance(model, Boosted):
        return sum(
            len(tree.nodes)
            for part in (model.touch, model.buy)
            for trees in part._predictors
            for tree in trees
        )
    if isinstance(model, Classic):
        return sum(
            part[-1].coef_.size + 1 for part in (model.touch, model.buy)
        )
    if isinstance(model, ALS):
        return model.users.size + model.items.size
    learnt = getattr(model, "weight", getattr(model, "similarity", None))
    if learnt is None:
        learnt = model.popularity
    return int(learnt.nnz if hasattr(learnt, "nnz") else learnt.size)
