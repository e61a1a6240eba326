"""Chapter 18: what damage to a log costs the models that learn from it; what a repair brings back.

A world a seed. In `logs`, 2,000 users live 71 days and each log is damaged by a dose: the share of
its touches that is lost, or the touches added as a share of the clean ones. Half of the users
teach two classifiers («is a category touched in the next three days?», from day 64); the others
are asked. Two rankers learn from the 64 days of all, and are asked for the items that a user
touches for the first time in the seven days to come. Figures of a model:

    clean      taught by the damaged log, asked from damaged pasts, judged by the clean outcomes
    taught     the same, asked from clean pasts: what of the loss lies in the teaching
    looks      judged by what the damaged log says, machines among the asked: what a shop would see
    level      mean chance divided by the share that happened (classifiers)
    pushed     share of the users whose first ten hold the item that is pushed (rankers)

In `exposure`, 1,500 users of a world without reinforcement live 49 days. From day 7 to 41 a share
of the slots, the dose, is filled by a policy; all others at random. Models learn from the feed of
days 0 to 34 and order each slate: of days 35 to 41 as it was (looks), of days 42 to 48 (clean).
Figure: the chance that a clicked item stands above one that was not. EASE's `penalty` is chosen
on days 28 to 34 from what was learnt until then. `weight` is what is left of the evidence under
the weights, as a share of the clicks (Kish's effective number).
"""

import numpy as np
import pandas as pd
from scipy import linalg, sparse
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from recsys_evo.collect.events import Log, copies
from recsys_evo.collect.world import FIRST_DAY, World
from recsys_evo.evaluate.forecasts import auc
from recsys_evo.evaluate.ranking import measures, top
from recsys_evo.models.baselines import EASE, Popularity, touched
from recsys_evo.models.classifiers import labels
from recsys_evo.prepare import hand, splits
from recsys_evo.recommend.policies import Greedy, Random

MODULES = [
    "recsys_evo.collect.ceiling",
    "recsys_evo.collect.events",
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.evaluate.forecasts",
    "recsys_evo.evaluate.ranking",
    "recsys_evo.models.baselines",
    "recsys_evo.models.classifiers",
    "recsys_evo.prepare.hand",
    "recsys_evo.prepare.splits",
    "recsys_evo.recommend.policies",
]
SEEDS = [0, 1, 2, 3]

DOSES = (0.05, 0.2, 0.5)
SLOTS = (0.2, 0.5, 0.95)  # filled by the policy
PENALTIES = (100.0, 300.0, 1_000.0)  # of EASE, chosen on days 28 to 34
USERS, DAYS, AHEAD = 2_000, 71, 7
END = FIRST_DAY + 64
TEACH = np.arange(USERS // 2)
ASKED = np.arange(USERS // 2, USERS)
ITEMS = 1_024
STORM = (57, 60, 62)  # days on which old apps send again
BOT_DAY, PUSHER = 40, 220  # touches: of a bot a day; of a pusher in all
NEAR = 60  # seconds within which the same touch is a retry
TOO_FAST = 1_500  # touches in 71 days that no person makes
TOO_NARROW = 0.12  # share of a user's touches on a single item


def run(seed):
    return {"logs": logs(seed), "exposure": exposure(seed)}


# Damage: the log, a dose, and chance → a damaged log


def random_loss(log, dose, rng):
    return log.where(rng.random(len(log)) >= dose)


def lost_days(log, dose, rng):
    """Whole days of users are lost, whatever happened on them."""
    visit, n = visits(log)
    return log.where((rng.random(n) >= dose)[visit])


def lost_busy_days(log, dose, rng):
    """Whole days of users are lost, the sooner the more happened."""
    visit, n = visits(log)
    size = np.bincount(visit)
    low, high = 0.0, 1.0
    for _ in range(40):  # the factor that loses the dose
        factor = (low + high) / 2
        chance = np.minimum(factor * size, 1)
        too_many = (chance * size).sum() > dose * len(log)
        low, high = (low, factor) if too_many else (factor, high)
    return log.where((rng.random(n) >= chance)[visit])


def bots(log, dose, rng):
    """Machines click anything, every day, without reading."""
    number = max(2, round(dose * len(log) / (BOT_DAY * DAYS)))
    n = number * BOT_DAY * DAYS
    return with_users(
        log,
        np.repeat(np.arange(number), BOT_DAY * DAYS),
        rng.integers(0, log.n_items, n),
        rng.integers(0, DAYS * 86_400, n),
    )


def pushers(log, dose, rng):
    """Accounts as busy as users click one item, and what is popular."""
    number = max(2, round(dose * len(log) / PUSHER))
    n = number * PUSHER
    popular = np.bincount(log.events["item"], minlength=log.n_items)
    item = rng.choice(log.n_items, n, p=popular / popular.sum())
    item[rng.random(n) < 0.25] = pushed_item(log)
    return with_users(
        log,
        np.repeat(np.arange(number), PUSHER),
        item,
        rng.integers(0, DAYS * 86_400, n),
    )


def twice(log, dose, rng):
    """Days of users are written twice, to the letter."""
    visit, n = visits(log)
    again = (rng.random(n) < dose)[visit]
    return with_rows(log, log.events[again])


def storm(log, dose, rng):
    """On three days half of the apps send again and again, seconds later."""
    old_app = rng.random(log.n_users) < 0.5
    rows = np.isin(days(log.events), STORM)
    rows &= old_app[log.events["user"].to_numpy()]
    events = log.events[rows]
    share = dose * len(log) / len(events)
    times = int(share) + (rng.random(len(events)) < share % 1)
    more = events.loc[events.index.repeat(times)].copy()
    more["time"] += pd.to_timedelta(
        rng.integers(1, 31, len(more)), unit="s"
    )
    return with_rows(log, more)


DAMAGES = {
    "lost at random": random_loss,
    "days lost": lost_days,
    "busy days lost": lost_busy_days,
    "bots": bots,
    "pushers": pushers,
    "days twice": twice,
    "retry storm": storm,
}


# Repair: a damaged log → a better one


def without_copies(log):
    return log.where(~copies(log))


def without_retries(log):
    """Drop a touch that is alike to one of the user's in the minute before."""
    events = log.events
    key = [events[c].to_numpy() for c in ("user", "item")]
    key.append(events["action"].cat.codes.to_numpy())
    second = events["time"].to_numpy().astype("M8[s]").astype(np.int64)
    order = np.lexsort((second, *key))
    same = np.logical_and.reduce(
        [k[order][1:] == k[order][:-1] for k in key]
    )
    near = same & (np.diff(second[order]) <= NEAR)
    keep = np.ones(len(log), bool)
    keep[order[1:][near]] = False
    return log.where(keep)


def without_fast(log):
    number = np.bincount(log.events["user"], minlength=log.n_users)
    return log.where((number <= TOO_FAST)[log.events["user"]])


def without_narrow(log):
    user, item = (log.events[c].to_numpy() for c in ("user", "item"))
    table = sparse.coo_array(
        (np.ones(len(user)), (user, item)), (log.n_users, log.n_items)
    ).tocsr()
    number = np.bincount(user, minlength=log.n_users)
    most = table.max(axis=1).toarray().ravel()
    narrow = (number >= 50) & (most > TOO_NARROW * number)
    return log.where(~narrow[user])


REPAIRS = {
    "bots": without_fast,
    "pushers": without_narrow,
    "days twice": without_copies,
    "retry storm": without_retries,
}


def days(events):
    return (events["time"].to_numpy().astype("M8[D]") - FIRST_DAY).astype(
        int
    )


def visits(log):
    """The visit (a user's day) of each row, and how many there are."""
    user = log.events["user"].to_numpy().astype(np.int64)
    code = user * DAYS + days(log.events)
    code = np.unique(code, return_inverse=True)[1]
    return code, code.max() + 1


def pushed_item(log):
    """An item that a quarter of all items are less popular than."""
    popular = np.bincount(log.events["item"], minlength=log.n_items)
    return int(np.argsort(popular, kind="stable")[log.n_items // 4])


def with_users(log, user, item, second):
    """The log with clicks of machines, who come after its users."""
    clicks = pd.DataFrame(
        {
            "user": (user + log.n_users).astype(np.int32),
            "item": item.astype(np.int32),
            "time": (FIRST_DAY.astype("M8[s]") + second),
            "category": log.items["category"].to_numpy()[item],
            "action": pd.Categorical(
                ["click"] * len(user),
                log.events["action"].cat.categories,
                ordered=True,
            ),
            "dwell": np.ones(len(user), np.float32),
        }
    )
    return with_rows(log, clicks, log.n_users + user.max() + 1)


def with_rows(log, rows, n_users=None):
    users = pd.DataFrame({"id": np.arange(n_users or log.n_users)})
    events = pd.concat([log.events, rows], ignore_index=True)
    events = events.fillna({"amount": 0, "slate": -1, "position": -1})
    return Log(events, log.items, users, log.source)


# Models


def logs(seed):
    rng = np.random.default_rng([seed, 18])
    world = World().simulate(
        USERS, DAYS, rng=rng, impressions=False, threads=1
    )
    clean = world.log
    told = Told(clean)
    found = {"clean": told.ask(clean, CLASSIFIERS)}
    for k, (name, damage) in enumerate(DAMAGES.items()):
        found[name] = {}
        for j, dose in enumerate(DOSES):
            chance = np.random.default_rng([seed, 18, 1 + k, j])
            damaged = damage(clean, dose, chance)
            models = CLASSIFIERS if dose == DOSES[-1] else ["logistic"]
            found[name][str(dose)] = {
                "damaged": told.ask(damaged, models)
            }
            if name in REPAIRS and dose > DOSES[0]:
                mended = REPAIRS[name](damaged)
                found[name][str(dose)]["repaired"] = told.ask(
                    mended, models
                )
    for name, repair in REPAIRS.items():  # what it costs a healthy log
        found[f"{name}, nothing to repair"] = told.ask(repair(clean))
    return found


class Told:
    """The clean outcomes, and how models of a damaged log do on them."""

    def __init__(self, clean):
        self.clean = clean
        self.past = splits.past(clean, END)
        self.happened = labels(clean, end=END, users=ASKED)[0].ravel()
        self.rows = described(self.past, ASKED, CLASSIFIERS)
        self.seen, self.relevant = first_touches(clean)
        self.pushed = pushed_item(clean)

    def ask(self, log, models=("logistic",)):
        return self.classifiers(log, models) | self.rankers(log)

    def classifiers(self, log, models):
        past = splits.past(log, END)
        teach, asked = (
            np.r_[users, part]
            for users, part in zip(
                (TEACH, ASKED), np.array_split(machines(log), 2)
            )
        )
        rows, asked_rows = (
            described(past, u, models) for u in (teach, asked)
        )
        touched_, looks = (
            labels(log, end=END, users=u)[0].ravel()
            for u in (teach, asked)
        )
        real = len(self.happened)
        found = {}
        for name in models:
            model = CLASSIFIERS[name]().fit(rows[name], touched_)
            chance = model.predict_proba(asked_rows[name])[:, 1]
            own = model.predict_proba(self.rows[name])[:, 1]
            found[name] = {
                "clean": auc(self.happened, chance[:real]),
                "taught": auc(self.happened, own),
                "looks": auc(looks, chance),
                "level": chance[:real].mean() / self.happened.mean(),
            }
        return found

    def rankers(self, log):
        past = splits.past(log, END)
        seen, relevant = first_touches(log)
        asked = np.r_[ASKED, machines(log)]
        real, real_seen = len(ASKED), self.seen[ASKED]
        found = {}
        for name, ranker in (
            ("popularity", Popularity()),
            ("EASE", EASE()),
        ):
            scores = ranker.fit(past).scores(asked)
            hidden = np.where(real_seen.toarray(), -np.inf, scores[:real])
            found[name] = {
                "clean": ndcg(
                    scores[:real], self.relevant[ASKED], real_seen
                ),
                "looks": ndcg(scores, relevant[asked], seen[asked]),
                "pushed": (top(hidden, 10) == self.pushed).any(1).mean(),
            }
        return found


def machines(log):
    """Those who come after the users and that no repair has cut."""
    user = np.unique(log.events["user"])
    return user[user >= USERS]


def described(past, users, models):
    """What each classifier reads of the pairs (user, category)."""
    options = {"end": END, "users": users, "categories": 64}
    found = {}
    if "logistic" in models:
        found["logistic"] = np.log1p(
            hand.recency_frequency_money(past, **options)
        )
    if "trees" in models:
        found["trees"] = hand.careful_features(past, **options)
    return {
        k: rows.reshape(-1, rows.shape[-1]) for k, rows in found.items()
    }


CLASSIFIERS = {
    "logistic": lambda: LogisticRegression(solver="newton-cholesky"),
    "trees": lambda: HistGradientBoostingClassifier(
        max_iter=40,
        learning_rate=0.2,
        max_leaf_nodes=15,
        min_samples_leaf=50,
        random_state=0,
    ),
}


def first_touches(log):
    """What was touched before END, and what for the first time after it."""
    seen = touched(splits.past(log, END))
    after = touched(splits.future(log, END, AHEAD))
    return seen, after > after.multiply(seen)


def ndcg(scores, relevant, seen):
    return np.nanmean(measures(scores, relevant, seen=seen)["NDCG"])


# Exposure


class Then:
    """A policy from day 7 to 41; before it and after it, random slots."""

    def __init__(self, policy):
        self.policy, self.random, self.day = policy, Random(), 0

    def slates(self, users, log, n, *, rng):
        self.day += 1
        if self.day == 1:  # no log yet to read what is on offer from
            items = rng.integers(0, ITEMS, (len(users), n))
            return items, np.full(items.shape, 1 / ITEMS)
        chosen = self.policy if 7 < self.day <= 42 else self.random
        return chosen.slates(users, log, n, rng=rng)


def exposure(seed):
    found = {"random": of_feed(lived(Random(), seed))}
    for name, ranker in (("popularity", Popularity), ("EASE", EASE)):
        found[name] = {}
        for dose in SLOTS:
            policy = Greedy(ranker(), epsilon=1 - dose, every=7)
            found[name][str(dose)] = of_feed(lived(policy, seed))
    return found


def lived(policy, seed):
    world, rng = (
        World(reinforcement=0),
        np.random.default_rng([seed, 1918]),
    )
    return world.simulate(1_500, 49, Then(policy), rng=rng, threads=1).log


def of_feed(log):
    """Models of the feed of days 0 to 34, and how they order later slates."""
    fed = log.events[log.events["slate"].to_numpy() >= 0]
    place = fed["slate"].to_numpy() * 10 + fed["position"].to_numpy()
    action = fed["action"].to_numpy()
    shown = np.flatnonzero(action == "impression")
    shown = shown[np.argsort(place[shown])]  # ten rows a slate
    clicked = np.isin(place[shown], place[action == "click"])
    feed = fed.iloc[shown]
    user, item, chance = (
        feed[c].to_numpy() for c in ("user", "item", "propensity")
    )
    day = days(feed)
    shape = (log.n_users, log.n_items)

    def table(values, c):
        table = sparse.coo_array((values, (user[c], item[c])), shape)
        return table.tocsr()

    def weigh(c):
        """A click counts more, the less likely it was shown; on average 1."""
        weight = 1 / chance[c]
        return np.minimum(weight / weight.mean(), 5.0)

    def eases(before):
        """The two tables of clicks, and what both are asked with."""
        c = clicked & (day < before)
        alike = table(np.ones(c.sum()), c).astype(bool).astype(float)
        weighted = table(weigh(c), c)
        weighted.data = np.minimum(weighted.data, 5.0)
        return alike, {"EASE": alike, "EASE, weighted": weighted}

    def judged(score, since, before):
        rows = (day >= since) & (day < before)
        return above(score[user, item], clicked, rows)

    alike, tables = eases(28)  # the penalty is chosen on days 28 to 34
    penalty = {
        name: max(
            PENALTIES,
            key=lambda p: judged(alike @ ease(rows, p), 28, 35),
        )
        for name, rows in tables.items()
    }
    learn = day < 35
    c = clicked & learn
    w, clicks = weigh(c), np.bincount(item[c], minlength=log.n_items)
    shows = np.bincount(item[learn], minlength=log.n_items)
    alike, tables = eases(35)
    scores = {
        "clicks": clicks,
        "clicks, weighted": np.bincount(item[c], w, log.n_items),
        "click rate": (clicks + 5 * c.sum() / learn.sum()) / (shows + 5),
    }
    scores = {
        name: np.tile(score, (log.n_users, 1))
        for name, score in scores.items()
    } | {
        name: alike @ ease(rows, penalty[name])
        for name, rows in tables.items()
    }
    found = {
        name: {
            "looks": judged(score, 35, 42),
            "clean": judged(score, 42, 49),
        }
        for name, score in scores.items()
    }
    for name, chosen in penalty.items():
        found[name]["penalty"] = chosen
    return found | {"weight": w.sum() ** 2 / (w**2).sum() / c.sum()}


def ease(table, penalty):
    gram = (table.T @ table).toarray()
    gram[np.diag_indices_from(gram)] += penalty
    inverse = linalg.inv(gram)
    inverse /= -np.diag(inverse).copy()
    np.fill_diagonal(inverse, 0)
    return inverse


def above(score, clicked, rows):
    """The chance that a clicked item stands above another of its slate."""
    score, hit = (
        score[rows].reshape(-1, 10),
        clicked[rows].reshape(-1, 10),
    )
    pair = hit[:, :, None] & ~hit[:, None, :]
    more = score[:, :, None] - score[:, None, :]
    return ((more > 0) + 0.5 * (more == 0))[pair].mean()
