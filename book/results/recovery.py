"""Chapter 10: which mechanisms can be read off a log, and off which log?

A world of 1,000 users under all laws, lived three times for 90 days: with a platform that shows the
highest scores of its factors and leaves nothing to chance (`greedy`, after four weeks under the
default policy that are not in the log), with the world's default policy, which knows how likely
each slot was (`default`), and with slates of pure chance (`random`). From each log every mechanism
is estimated with its interval, beside the truth, and the naive answers. Then the default policy
again, each time with one mechanism off: does the estimator find it all the same?

An answer is (point, low, high); None where the estimator refuses the log or finds nothing to judge.
"""

import numpy as np
from sklearn.metrics import roc_auc_score

from recsys_evo.collect import laws
from recsys_evo.collect.world import World
from recsys_evo.evaluate.impulse import contagion, mechanisms, response
from recsys_evo.evaluate.needs import replenishment
from recsys_evo.evaluate.recovery import (
    _company,
    _days,
    _own_visits,
    _positions,
    life_events,
    seasonality,
)
from recsys_evo.models.baselines import ALS
from recsys_evo.prepare.drift import half_life, similarity
from recsys_evo.recommend.loop import evolve
from recsys_evo.recommend.policies import Greedy, Random

MODULES = [
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.evaluate.impulse",
    "recsys_evo.evaluate.needs",
    "recsys_evo.evaluate.recovery",
    "recsys_evo.models.baselines",
    "recsys_evo.prepare.drift",
    "recsys_evo.recommend.loop",
    "recsys_evo.recommend.policies",
]
SEEDS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]

USERS, DAYS, WARM_UP, DRAWS = 1_000, 90, 28, 40


def run(seed):
    """`greedy`, `default`, `random`: mechanism → [point, low, high, truth]; `naive` beside them.

    `off`: mechanism → [point, low, high] where the truth is 0. `events`: how well users and dates
    of life events are found in the default log. `replenishment`: category by category.
    """
    figures, default = {}, None
    for name in ("default", "random", "greedy"):
        log, truth = live(name, seed)
        figures[name] = estimates(log, truth)
        figures[name]["naive"] = naive(log)
        if name == "default":
            default = log, truth
    figures["off"] = off(seed)
    figures["events"] = events(*default, seed)
    figures["replenishment"] = by_category(*default)
    return figures


def live(name, seed, **strengths):
    """A log of DAYS days, and the truth of the same days."""
    rng, world = np.random.default_rng(seed), World(**strengths)
    if name == "default":
        simulation = world.simulate(USERS, DAYS, rng=rng, threads=1)
        return simulation.log, simulation.truth
    platform, before = Random(), 1
    if name == "greedy":
        platform = Greedy(ALS(factors=16, iterations=5), every=7)
        before = WARM_UP
    lived = evolve(
        world,
        platform,
        users=USERS,
        rounds=DAYS,
        warm_up=before,
        rng=rng,
    )
    log, truth = lived.log, lived.truth
    log = log.where(_days(log) >= before)
    truth = type(truth)(
        truth.taste[:, before:],
        truth.core[:, before:],
        truth.needs[:, before:],
        truth.met[:, before:] - before,
        truth.habit,
    )
    return log, truth


def estimates(log, truth):
    rng = np.random.default_rng(0)
    user, day, category = _own_visits(log)
    meets = np.diag(
        _company(user * 1000 + day, category, np.ones(len(user)))
    )
    # A rate moves by 1 - p of the appeal: p as a visit meets it.
    rest = 1 - np.average(meets, weights=np.bincount(category))
    found = {
        "week": [*seasonality(log, rng=rng).amplitude, laws.WEEK],
        "life events": [
            *life_events(log, rng=rng, n=DRAWS).rate,
            laws.EVENT,
        ],
        "half-life": [*drift(log), np.log(2) / laws.RETURN],
    }
    again, true = replenishment(log), returns(log, truth)
    judged = [c in true for c in again.category]
    rows = again.interval[judged]
    far = (rows[:, 2] - rows[:, 0]) / len(rows)
    mean, reach = rows[:, 0].mean(), np.sqrt((far**2).sum())
    found["interval"] = [
        mean,
        mean - reach,
        mean + reach,
        np.mean([true[c][0] for c in again.category[judged]]),
    ]
    seen = sum(true[c][1] for c in again.category[judged])
    found["seen"] = [*again.seen, seen[0] / seen[1]]
    try:
        chance = mechanisms(log)
        friends = contagion(log)
        strangers = contagion(log, strangers=rng)
    except ValueError:
        return found | dict.fromkeys(
            (
                "fondness",
                "fondness kept",
                "tiredness",
                "tiredness kept",
                "friends",
                "strangers",
            )
        )
    return found | {
        "fondness": [*chance.fondness, rest * laws.SEEN * laws.FOND],
        "fondness kept": [*chance.fondness_kept, laws.FADE],
        "tiredness": [*chance.tiredness, rest * laws.TIRE],
        "tiredness kept": [*chance.tiredness_kept, laws.REST],
        "friends": list(friends),
        "strangers": [*strangers, 0],
    }


def own(log):
    visits = log.touch & ~log.purchase
    return log.where(visits & (log.events["slate"].to_numpy() < 0))


def drift(log):
    alike = similarity(own(log), longest=60, step=2)
    rng = np.random.default_rng(0)
    return half_life(alike, rng=rng, shortest=14, n=100).half_life


def naive(log):
    """What is shown and clicked held against later visits, and against earlier ones, as if it had
    been drawn by lot; the friends' clicks; the mean of all gaps between purchases."""
    lags = np.array([-8, 1, 8])
    shown, clicked = (
        response(log, lags, cause=cause) for cause in ("shown", "clicked")
    )
    rng = np.random.default_rng(0)
    bought = log.events[log.purchase]
    day = bought["time"].dt.normalize()
    gaps = (
        day.groupby([bought["user"], bought["category"]])
        .diff()
        .dt.days.dropna()
    )
    return {
        "lags": lags,
        "shown": np.stack(shown[1:], 1),
        "clicked": np.stack(clicked[1:], 1),
        "friends": contagion(log, cause="clicked"),
        "strangers": contagion(log, cause="clicked", strangers=rng),
        "gap": gaps[gaps >= 5].mean(),
    }


def off(seed):
    """Each mechanism's estimate where it is off; needs too, where a click can end one."""
    rng = np.random.default_rng(0)
    found = {}
    log, _ = live("default", seed, reinforcement=0)
    found["fondness"] = mechanisms(log).fondness
    log, _ = live("default", seed, satiation=0, need=0)
    found["tiredness"] = mechanisms(log).tiredness
    log, _ = live("default", seed, contagion=0)
    found["friends"] = contagion(log)
    found["naive friends"] = contagion(log, cause="clicked")
    log, _ = live("default", seed, season=0, shift=0, need=0)
    found["week"] = seasonality(log, rng=rng).amplitude
    found["life events"] = life_events(log, rng=rng, n=DRAWS).rate
    found["categories that come back"] = len(replenishment(log).category)
    log, _ = live("default", seed, drift=0)
    found["half-life"] = drift(log)
    return found


def returns(log, truth):
    """Of each consumable category what the log cannot know: mean days from a need that was met,
    here or elsewhere, to the purchase here that meets the next; and of how many purchases how many
    were followed by one here, with none elsewhere between."""
    bought = np.zeros((USERS, laws.CATEGORIES, DAYS + 3), bool)
    bought[
        log.events["user"].to_numpy()[log.purchase],
        log.events["category"].to_numpy()[log.purchase],
        _days(log)[log.purchase],
    ] = True
    kind, need, age = truth.needs[:, :, :3].transpose(2, 0, 1)
    found = {}
    for place, code in enumerate(laws.CATALOGUE.consumable):
        here, met = bought[:, code], truth.met[:, :, place]
        # A need that opens on a day is first seen in the truth of the next.
        opened = (kind == laws.ERRANDS) & (need == code) & (age == 0)
        user, day = np.nonzero(opened[:, 1:])
        since = day - met[user, day]
        wait = np.stack([here[user, day + k] for k in (1, 2)])
        known = (since < DAYS) & wait.any(0)
        gap = (since + 1 + wait.argmax(0))[known]
        user, day = np.nonzero(here[:, :DAYS])
        late = DAYS - 1.5 * (laws.CATALOGUE.period[code] + 2)
        user, day = user[day <= late], day[day <= late]
        follows = 0
        for who, when in zip(user, day):
            then = met[who, when + 1 :]
            then = then[then != when]
            follows += len(then) > 0 and here[who, then[0]]
        if len(gap):
            found[code] = gap.mean(), np.array([follows, len(user)])
    return found


def by_category(log, truth):
    """Of each category judged: period, true mean gap or None, point, low, high."""
    again, true = replenishment(log), returns(log, truth)
    return [
        [
            int(laws.CATALOGUE.period[c]),
            true[c][0] if c in true else None,
            *row,
        ]
        for c, row in zip(again.category, again.interval)
    ]


def events(log, truth, seed):
    """Whom and when: users of whom an event is likelier than not, and the dates found."""
    found = life_events(log, rng=np.random.default_rng(seed), n=1)
    user, day, _ = _positions(log, 6)
    jumped = (np.diff(truth.core, axis=1) != 0).any(2)
    judged = np.flatnonzero(np.isfinite(found.chance))
    happened, far = np.zeros(len(judged), bool), []
    likely = found.chance[judged] > 0.5
    for row, who in enumerate(judged):
        mine, dates = day[user == who], np.flatnonzero(jumped[who])
        happened[row] = ((dates >= mine[30]) & (dates <= mine[-30])).any()
        if happened[row] and likely[row]:
            far.append(np.abs(dates - found.day[who]).min())
    return {
        "auc": roc_auc_score(happened, found.chance[judged]),
        "recall": (likely & happened).sum() / happened.sum(),
        "precision": (likely & happened).sum() / likely.sum(),
        "days off": float(np.median(far)),
        "happened": happened.mean(),
    }
