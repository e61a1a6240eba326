"""Chapter 06 at larger size: generators of the next week against the true world continued.

Five worlds. In each, 20,000 users train, 10,000 others choose the number of neighbours, and 10,000
more are looked at once: half of them teach the critics of the two-sample test, half are judged; all
of them are scored.
"""

import time

import keras
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from recsys_evo.collect.continuation import continued
from recsys_evo.collect.world import FIRST_DAY, World
from recsys_evo.evaluate.forecasts import bootstrap_auc, calibration
from recsys_evo.evaluate.samples import (
    coverage,
    energy_score,
    two_sample,
    week_features,
)
from recsys_evo.models.gan import BehaviourGAN, WeekGenerator, adam
from recsys_evo.models.hurdle import HurdleWeek
from recsys_evo.models.weeks import (
    DAYS,
    PAST,
    Neighbours,
    OwnWeeks,
    past_features,
    weeks,
)

MODULES = [
    "recsys_evo.collect.ceiling",
    "recsys_evo.collect.continuation",
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.evaluate.forecasts",
    "recsys_evo.evaluate.samples",
    "recsys_evo.models.gan",
    "recsys_evo.models.hurdle",
    "recsys_evo.models.networks",
    "recsys_evo.models.weeks",
    "recsys_evo.prepare.hand",
    "recsys_evo.prepare.images",
    "recsys_evo.prepare.splits",
]
SEEDS = [0, 1, 2, 3, 4]

TRAINED, ASKED, DRAWS = 20_000, 10_000, 32
MANY = 200  # draws for a chance to buy
EPOCHS = 20  # of the likelihood
GAME, MORE = 8_000, 2_000  # steps of the game alone, and beside it
# Neighbours to choose from; the first is the yardstick's.
SIMILAR = (32, 100, 320, 1_000)
END = 64  # a day's number
FEATURES = len(PAST)


def run(seed):
    """Figures of each generator: `energy` and `two_sample` [point, low, high], and what explains.

    `energy` of 32 draws, `two_sample` of one. `skill`: the way from the neighbours to the true
    world that is gone, the neighbours being the 32 nearest (`usual`), or as many as do best on
    other users (`best`). `zeros`: the largest error in the share of days without clicks, dwell or
    amount. `lag`: the error of the correlation from day to day. `coverage` of the weeks' totals,
    which should be .9. `buy`: the chance that anything is bought, as the share of draws with a
    purchase; `classifier`, the plain one on the same past.
    `seconds`: of training, on one processor.
    """
    streams = np.random.default_rng(seed).spawn(5)
    keras.utils.set_random_seed(seed)
    world = World()
    past, week, own = {}, {}, {}
    for who, stream in zip(("learn", "choose", "ask"), streams):
        simulation = world.simulate(
            TRAINED if who == "learn" else ASKED,
            END + DAYS,
            rng=stream,
            impressions=who == "ask",
        )
        log, end = simulation.log, FIRST_DAY + END
        past[who] = past_features(log, end=end)
        week[who] = weeks(log, end=end + DAYS)[:, 0]
        own[who] = weeks(log, end=end, n=9)
    lives = continued(
        world,
        simulation,
        end=END,
        days=DAYS,
        copies=DRAWS + 1,
        rng=streams[3],
    )
    true = np.stack(
        [weeks(life, end=end + DAYS)[:, 0] for life in lives], axis=1
    )
    del simulation, log
    scale = np.log1p(week["learn"]).std(axis=0)

    def energy(draws, happened):
        draws, happened = (
            (np.log1p(x) / scale).reshape(*x.shape[:-2], -1)
            for x in (draws, happened)
        )
        return energy_score(draws, happened)

    def figures(draws, seconds=0.0):
        happened, rng = week["ask"], np.random.default_rng(seed)
        score = energy(draws[:, :DRAWS], happened)
        half = 1.96 * score.std() / np.sqrt(len(score))
        told = two_sample(
            week_features(happened),
            week_features(draws[:, DRAWS]),
            past["ask"],
            rng=rng,
        )
        empty = (draws == 0).mean(axis=(0, 1, 2))
        empty -= (happened == 0).mean(axis=(0, 1))
        totals = draws.sum(axis=2), happened.sum(axis=1)
        covered = [
            coverage(*(total[..., k] for total in totals), rng=rng).mean()
            for k in range(3)
        ]
        return {
            "energy": [
                score.mean(),
                score.mean() - half,
                score.mean() + half,
            ],
            "two_sample": list(told.auc),
            "critic": told.critic,
            "zeros": np.abs(empty).max(),
            "lag": lag(draws[:, DRAWS]) - lag(happened),
            "coverage": covered,
            "buy": chances(bought(draws).mean(axis=1)),
            "seconds": seconds,
        }

    def chances(chance):
        """AUC and calibration of the chance to buy in the week."""
        happened = bought(week["ask"])
        rng, who = np.random.default_rng(seed), np.arange(ASKED)
        area = bootstrap_auc(happened, chance, who, rng=rng, n=300)
        seen = calibration(happened, chance)
        return {
            "auc": list(area),
            "error": seen.error,
            "expected": seen.expected,
            "observed": seen.observed,
        }

    def drawn(generator, known=past["ask"], n=DRAWS + 1):
        return generator.sample(known, n, rng=np.random.default_rng(seed))

    found = {
        "true world": figures(true),
        "last week": figures(drawn(OwnWeeks(), own["ask"][:, -1:])),
        "own week": figures(drawn(OwnWeeks(), own["ask"])),
    }
    near = {
        k: Neighbours(k).fit(past["learn"], week["learn"])
        for k in SIMILAR
    }
    best = min(
        SIMILAR,
        key=lambda k: energy(
            drawn(near[k], past["choose"], DRAWS), week["choose"]
        ).mean(),
    )
    found["neighbours"] = figures(drawn(near[SIMILAR[0]]))
    found["best neighbours"] = figures(drawn(near[best])) | {"k": best}
    for name, make in models().items():
        model, seconds = trained(make, past["learn"], week["learn"])
        found[name] = figures(drawn(model), seconds)
        if name == "autoregressive hurdle":
            start = model.get_weights()
        if name in ("autoregressive hurdle", "GAN"):
            many = bought(drawn(model, n=MANY)).mean(axis=1)
            found[name]["buy, many draws"] = chances(many)
    for name, adversary in (("more steps", 0.0), ("adversary", 1.0)):
        model, seconds = trained(
            lambda adversary=adversary: beside(start, adversary),
            past["learn"],
            week["learn"],
        )
        found[name] = figures(drawn(model), seconds)

    plain = HistGradientBoostingClassifier(
        max_leaf_nodes=7, learning_rate=0.05, random_state=0
    )
    plain.fit(past["learn"], bought(week["learn"]))
    classifier = chances(plain.predict_proba(past["ask"])[:, 1])

    floor = found["true world"]["energy"][0]
    for name, rival in (
        ("usual", "neighbours"),
        ("best", "best neighbours"),
    ):
        start = found[rival]["energy"][0]
        for entry in found.values():
            gone = (start - entry["energy"][0]) / (start - floor)
            entry.setdefault("skill", {})[name] = gone
    return {"generators": found, "classifier": classifier}


def bought(weeks):
    """Whether anything is bought in a week (…, 7, 3)."""
    return (weeks[..., 2] > 0).any(axis=-1)


def lag(week):
    """Correlation of the logarithms of clicks on two days that follow each other."""
    clicks = np.log1p(week[..., 0])
    return np.corrcoef(clicks[:, :-1].ravel(), clicks[:, 1:].ravel())[
        0, 1
    ]


def models():
    """Functions that return a compiled model and its training options, by name."""
    return {
        "hurdle": lambda: likelihood(memory=False),
        "hurdle VAE": lambda: likelihood(memory=False, latent=4),
        "autoregressive hurdle": likelihood,
        "GAN": game,
    }


def likelihood(**options):
    model = HurdleWeek(FEATURES, **options)
    steps = EPOCHS * (TRAINED // 128)
    falling = keras.optimizers.schedules.CosineDecay(4e-3, steps)
    model.compile(
        keras.optimizers.AdamW(falling, weight_decay=1e-2),
        steps_per_execution=20,
        jit_compile=False,
    )
    return model, {"epochs": EPOCHS, "batch_size": 128}


def game():
    model = BehaviourGAN(WeekGenerator(FEATURES))
    model.compile(adam(GAME), steps_per_execution=39, jit_compile=True)
    return model, {"epochs": GAME // (TRAINED // 256), "batch_size": 256}


def beside(weights, adversary):
    """The likelihood trained further, the adversary beside it or without a say."""
    generator = HurdleWeek(FEATURES)
    generator.set_weights(weights)
    model = BehaviourGAN(generator, adversary=adversary, likelihood=1.0)
    model.compile(
        adam(MORE, rate=5e-4), steps_per_execution=39, jit_compile=False
    )
    return model, {"epochs": MORE // (TRAINED // 256), "batch_size": 256}


def trained(make, past, week):
    model, options = make()
    # Whole batches only: another size would be compiled anew.
    whole = len(past) // options["batch_size"] * options["batch_size"]
    began = time.process_time()
    model.fit(past[:whole], week[:whole], verbose=0, **options)
    return model, time.process_time() - began
