"""Chapter 10: which mechanisms can be read off a log, and off which log?

A world of 1,000 users under all laws, lived three times for 90 days: with a platform that shows the
highest scores of its factors and leaves nothing to chance (`greedy`, after four weeks under the
default policy that are not in the log), with the world's default policy, which knows how likely
each slot was (`default`), and with slates of pure chance (`random`). From each log every mechanism
is estimated with its interval, beside the truth, and the naive answers. Then the default policy
again, each time with one mechanism off: does the estimator find it all the same?

An answer is (point, low, high); None where the estimator refuses the log or finds nothing to judge.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from sklearn.metrics import roc_auc_score

from recsys_evo.collect import laws
from recsys_evo.collect.world import World
from recsys_evo.evaluate.forecasts import Interval
from recsys_evo.evaluate.impulse import contagion, mechanisms, response
from recsys_evo.evaluate.needs import replenishment
from recsys_evo.evaluate.recovery import (
    _company,
    _days,
    _ends,
    _own_visits,
    seasonality,
)
from recsys_evo.models.baselines import ALS
from recsys_evo.prepare.drift import half_life, redrawn, similarity
from recsys_evo.prepare.splits import counted, positive
from recsys_evo.recommend.loop import evolve
from recsys_evo.recommend.policies import Greedy, Random

MODULES = [
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.evaluate.forecasts",
    "recsys_evo.evaluate.impulse",
    "recsys_evo.evaluate.needs",
    "recsys_evo.evaluate.recovery",
    "recsys_evo.models.baselines",
    "recsys_evo.prepare.drift",
    "recsys_evo.prepare.splits",
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


class LifeEvents(NamedTuple):
    """What `life_events` finds: the rate, and of each user (users,) whether and when."""

    rate: Interval  # events a day of a user
    chance: np.ndarray  # that one lies between the user's first and last `window`; NaN: too few
    day: (
        np.ndarray
    )  # the likeliest day of it, from the log's first; NaN likewise


def life_events(log, *, window=30, axes=6, rng, n=100, level=0.95):
    """Estimate how often users become other people, and who did when.

    A user's *profile* is the mean position of `window` visits on the main axes of all users'
    categories. Two profiles of one user, brought to the axes on which they agree most, are normal
    with correlations r; but if a life event lies between, they are as those of two strangers, with
    correlation 0. Drift makes r smaller, an event makes it vanish: a mixture tells them apart,

        first and last profile of a user, `gap` days between their centres
            ~ exp(-rate · gap) · agree(r) + (1 - exp(-rate · gap)) · strangers

    by maximum likelihood. For whether and when, the profiles before and after each day are held
    against the same two laws, by Bayes's rule, with at most one event a user.

    Of one user and day, each category counts once, so that an open need is not taken for a new
    life. An event inside a profile counts by half. The interval knows the luck of users, not the
    error of the model: profiles are not quite normal, and where much else moves with taste or
    little does, the rate comes out some tenths too high.

    Parameters
    ----------
    log : Log in which users have several times `window` own visits.
    window, axes : int, visits of a profile (category and day), and axes of it.
    rng : numpy Generator; `n` draws of whole users give the interval of the rate.
    level : float, share of logs whose interval is to hold the truth.

    Returns
    -------
    LifeEvents.

    Raises
    ------
    ValueError where fewer than 50 users have 2.5 windows of visits, and for wrong arguments.
    """
    user, day, place = _positions(log, positive(axes=axes))
    window = positive(window=window)
    total = np.vstack([np.zeros(axes), place.cumsum(0)])
    centre = np.append(0, day.cumsum())

    def profiles(start):
        return [
            (sums[start + window] - sums[start]) / window
            for sums in (total, centre)
        ]

    first = np.searchsorted(user, np.arange(log.n_users + 1))
    who = np.flatnonzero(np.diff(first) >= 2.5 * window)
    if len(who) < 50:
        raise ValueError(
            f"`log` must have 50 users with {2.5 * window:.0f} visits or more. Received: {len(who)}"
        )
    (early, then), (late, now) = (
        profiles(first[who]),
        profiles(first[who + 1] - window),
    )
    early, late = _agreement(early, late)(early, late)
    times, start = (
        redrawn(len(who), n, rng),
        np.append(0.5, np.full(axes, 0.6)),
    )
    start = _mixture(early, late, now - then, times[0], start)
    rates = [
        start[0],
        *(
            _mixture(early, late, now - then, t, start)[0]
            for t in times[1:]
        ),
    ]
    rate = Interval(
        float(start[0]) / 100,
        *(_ends(np.array(rates[1:]), level) / 100).tolist(),
    )

    # Each visit that is the first of its day, with a whole profile of the user before and after.
    split = np.arange(window, len(user) - window + 1)
    whole = user[split - window] == user[split + window - 1]
    split = split[whole & (day[split] != day[split - 1])]
    (before, then), (after, now) = (
        profiles(split - window),
        profiles(split),
    )
    before, after = _agreement(before, after)(before, after)
    middle = _middle(user[split])
    pairs = before[middle], after[middle], (now - then)[middle]
    found = _mixture(*pairs, np.ones(len(middle)), start)
    odds = np.exp(-_agreeing(before, after, found[1:])[0])
    odds *= rate.point * (
        day[split] - day[split - 1]
    )  # a day on which nobody looked counts too
    sums = np.bincount(user[split], odds, log.n_users)
    chance, when = np.full((2, log.n_users), np.nan)
    seen = np.unique(user[split])
    chance[seen] = sums[seen] / (1 + sums[seen])
    order = np.argsort(odds, kind="stable")
    when[user[split[order]]] = day[split[order]]
    return LifeEvents(rate, chance, when)


def _positions(log, axes):
    """User, day and position (rows, axes) of own visits, one a user, day and category."""
    user, day, category = np.unique(np.stack(_own_visits(log)), axis=1)
    crowd = np.bincount(category, minlength=log.n_categories) / max(
        len(category), 1
    )
    counts = counted((log.n_users, log.n_categories), user, category)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    scale = np.sqrt(np.maximum(crowd, 1e-9))
    unlike = ((share - crowd) / scale)[counts.sum(1) > 0]
    main = (
        np.linalg.eigh(unlike.T @ unlike)[1][:, ::-1][:, :axes]
        / scale[:, None]
    )
    return user, day, main[category] - crowd @ main


def _agreement(one, other):
    """A function that turns profiles to axes of variance 1 on which pairs agree, each by itself."""
    n = 2 * len(one)
    whiten = np.linalg.inv(
        np.linalg.cholesky((one.T @ one + other.T @ other) / n)
    ).T
    turn = (
        whiten
        @ np.linalg.eigh(
            whiten.T @ (one.T @ other + other.T @ one) @ whiten
        )[1]
    )
    return lambda *profiles: [profile @ turn for profile in profiles]


def _agreeing(one, other, r):
    """Log-likelihood ratio (rows,) of one user to two strangers, and slope (rows, axes) by `r`."""
    rest, squares, product = 1 - r**2, one**2 + other**2, one * other
    ratio = -np.log(rest) - (r**2 * squares - 2 * r * product) / rest
    slope = r / rest - (r * squares - (1 + r**2) * product) / rest**2
    return ratio.sum(1) / 2, slope


def _mixture(one, other, gap, times, start):
    """Events in 100 days, and the correlations, of the largest likelihood."""

    def loss(p):
        events = p[0] * gap / 100
        ratio, slope = _agreeing(one, other, p[1:])
        none, some = ratio - events, np.log(-np.expm1(-events))
        both = np.logaddexp(none, some)
        same = np.exp(
            none - both
        )  # the chance that no event lies between
        faster = gap / 100 * ((1 - same) / np.expm1(events) - same)
        return -(times * both).sum(), -np.append(
            times @ faster, times * same @ slope
        )

    bounds = [(1e-6, 20)] + [(0, 0.98)] * one.shape[1]
    return minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds
    ).x


def _middle(user):
    """The middle row of each user of a sorted column."""
    first = np.flatnonzero(np.append(True, np.diff(user) != 0))
    return (first + np.append(first[1:], len(user)) - 1) // 2
