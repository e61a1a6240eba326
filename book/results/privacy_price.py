"""Chapter 15: what a guarantee costs, by the number of users who teach, and what it saves.

A linear model foretells the categories of the next three days from each user's fading touches. It
begins as the rule «what you touched», which needs nobody's data, and is then taught with clipped
gradients and noise. Its rival adds noise once, to the table from which EASE is computed. Settings
of both were chosen in a world of another seed (99). Without noise, the linear model is taught with
and without clipping, at three lengths of a step; EASE is computed with and without clipping.
"""

import numpy as np
from scipy import linalg
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from recsys_evo import privacy
from recsys_evo.collect import ceiling
from recsys_evo.collect.world import World
from recsys_evo.prepare import hand, splits

MODULES = [
    "recsys_evo.privacy",
    "recsys_evo.collect.ceiling",
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.prepare.hand",
    "recsys_evo.prepare.images",
    "recsys_evo.prepare.splits",
]
SEEDS = [0, 1, 2, 3, 4]

TEACH, TEST, DAYS, AHEAD = (2_000, 8_000, 20_000), 1_000, 64, 3
RATE, STEPS, CLIP, SPEED = 0.1, 100, 2.0, 0.3
NOISES = (8.0, 4.0, 2.0, 1.4, 1.0, 0.7)
DELTA = 1e-5
PLAIN = [
    (clip, speed) for clip in (CLIP, np.inf) for speed in (0.1, 0.3, 1.0)
]
REACH, HELD, OWN = (
    4.0,
    0.1,
    0.5,
)  # of EASE: clip, penalty a user, weight of the rule


def run(seed):
    """AUC of rivals and of each guarantee, and what an attacker finds at the smallest size."""
    rng = np.random.default_rng([15, seed])
    world, end = World(), DAYS
    n_users = max(TEACH) + TEST
    told = world.simulate(
        n_users, DAYS + AHEAD, rng=rng, impressions=False
    )
    start = told.log.start + np.timedelta64(end, "D")
    touched = hand.fading_touches(told.log, end=start)
    answers = splits.touches(told.log, start, AHEAD).astype(np.float32)
    inputs = np.c_[touched, np.ones(n_users, np.float32)]
    rule = np.r_[np.eye(64), np.full((1, 64), -3.0)].astype(np.float32)
    test = np.arange(n_users - TEST, n_users)

    def auc(score, of=test):
        return roc_auc_score(answers[of].ravel(), score.ravel())

    def teach(rows, clip, noise, speed):
        weights = rule
        for _ in range(STEPS):
            some = rows[rng.random(len(rows)) < RATE]
            residuals = expit(inputs[some] @ weights) - answers[some]
            total = privacy.clipped_sum(
                inputs[some], residuals, clip=clip, noise=noise, rng=rng
            )
            weights = weights - speed * total / (RATE * len(rows))
        return weights

    def losses(weights, rows):
        score = inputs[rows] @ weights
        return (np.logaddexp(0, score) - answers[rows] * score).sum(
            axis=1
        )

    def noisy_ease(rows, noise, reach=REACH):
        known = touched[rows].astype(float)
        length = np.linalg.norm(known, axis=1)
        known *= np.minimum(1, reach / np.maximum(length, 1e-9))[:, None]
        drawn = np.triu(rng.normal(size=(64, 64)))
        drawn += np.triu(drawn, 1).T
        noise = noise * REACH**2
        penalty = HELD * len(rows) + 3 * noise * 64**0.5
        table = known.T @ known + noise * drawn + penalty * np.eye(64)
        inverse = linalg.inv(table)
        weight = -inverse / np.diag(inverse)
        np.fill_diagonal(weight, OWN)
        return weight

    found = {
        "oracle": auc(
            ceiling.oracle(
                world, told, end=end, users=test, rng=rng
            ).touch
        ),
        "rule": auc(inputs[test] @ rule),
        "epsilon": [
            privacy.epsilon(noise, rate=RATE, steps=STEPS, delta=DELTA)
            for noise in NOISES
        ],
        "private": {},
        "plain": {},
        "table": {},
        "plain table": {},
        "popular": {},
    }
    for n in TEACH:
        rows = np.arange(n)
        counts = answers[rows].sum(axis=0)
        found["popular"][n] = auc(np.tile(counts, (TEST, 1)))
        found["private"][n] = [
            auc(inputs[test] @ teach(rows, CLIP, noise, SPEED))
            for noise in NOISES
        ]
        found["plain"][n] = [
            auc(inputs[test] @ teach(rows, clip, 0.0, speed))
            for clip, speed in PLAIN
        ]
        once = [privacy.gaussian(eps, DELTA) for eps in found["epsilon"]]
        found["table"][n] = [
            auc(touched[test] @ noisy_ease(rows, noise)) for noise in once
        ]
        found["plain table"][n] = [
            auc(touched[test] @ noisy_ease(rows, 0.0, reach))
            for reach in (REACH, np.inf)
        ]
    n = min(TEACH)
    members, others, apart = np.arange(3 * n).reshape(3, n)
    found["attack"] = []
    settings = [(CLIP, noise, SPEED) for noise in NOISES]
    settings += [(clip, 0.0, speed) for clip, speed in PLAIN]
    for setting in settings:
        weights, reference = (
            teach(members, *setting),
            teach(apart, *setting),
        )
        better = [
            losses(reference, rows) - losses(weights, rows)
            for rows in (members, others)
        ]
        found["attack"].append(privacy.attack(*better))
    return found
