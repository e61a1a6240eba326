"""Chapter 17: skew, late events, aged models and sessions, each in twenty more worlds.

The code is the chapter's; here are more users and other worlds than there.
"""

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from sklearn.ensemble import HistGradientBoostingClassifier

from recsys_evo import stream
from recsys_evo.collect.events import ACTIONS, IMPRESSION, Log
from recsys_evo.collect.laws import CATEGORIES, CLICK, ITEMS, NONE
from recsys_evo.collect.world import FIRST_DAY, World
from recsys_evo.evaluate import ranking
from recsys_evo.evaluate.forecasts import auc
from recsys_evo.models.baselines import RecentEASE, touched
from recsys_evo.prepare import splits
from recsys_evo.prepare.images import behaviour_images, category_order
from recsys_evo.recommend.loop import evolve
from recsys_evo.recommend.policies import Random
from recsys_evo.stream import Stream

MODULES = [
    "recsys_evo.collect.events",
    "recsys_evo.collect.laws",
    "recsys_evo.collect.world",
    "recsys_evo.evaluate.forecasts",
    "recsys_evo.evaluate.ranking",
    "recsys_evo.models.baselines",
    "recsys_evo.prepare.images",
    "recsys_evo.prepare.splits",
    "recsys_evo.recommend.loop",
    "recsys_evo.recommend.policies",
    "recsys_evo.stream",
]
SEEDS = [
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    11,
    12,
    13,
    14,
    15,
    16,
    17,
    18,
    19,
]

SHOPPERS, USERS, WINDOW = 600, 800, 28


LEARN, ASK, AHEAD = (
    42,
    49,
    3,
)  # day of training, day of the question, days ahead
AGES = np.arange(WINDOW, 0, -1)


def features(image):
    """What the model reads (users × categories, 9), from an image."""
    clicks, dwell = image[..., 0], image[..., 1]
    touches = [clicks[:, -n:].sum(1) for n in (1, 3, 7, WINDOW)]
    last = np.where(clicks > 0, AGES[:, None], WINDOW).min(1)
    fading = np.einsum("udc,d->uc", clicks, 0.5 ** (AGES / 4))
    pace = dwell[:, -3:].sum(1) / np.maximum(touches[1], 1)
    busy = np.broadcast_to(touches[2].sum(1, keepdims=True), last.shape)
    common = np.broadcast_to(touches[2].mean(0), last.shape)
    columns = (*touches, last, fading, pace, busy, common)
    return np.stack(columns, -1).reshape(-1, len(columns))


def correct(events):
    return events


def day_of_the_shop(events):
    events["time"] += np.timedelta64(8, "h")
    return events


def milliseconds(events):
    events["dwell"] *= 1_000
    return events


def shown_is_clicked(events):
    shown = events["action"] == IMPRESSION
    events["action"][shown] = ACTIONS.index("click")
    return events


SERVERS = {
    "as in training": correct,
    "day of the shop": day_of_the_shop,
    "milliseconds": milliseconds,
    "shown is clicked": shown_is_clicked,
}


def lived(number):
    """The log of a world; it goes on for a week after the question."""
    rng = np.random.default_rng([number, 17, 2])
    return World().simulate(SHOPPERS, ASK + 7, rng=rng).log


class Table:
    """A log on a clock whose midnight is at `hour`, in the order of time, and models of it."""

    def __init__(self, log, hour=0):
        turned = log.events["time"] - pd.Timedelta(hours=hour)
        events = log.events.assign(time=turned)
        self.log = Log(events, log.items, log.users)
        events = stream.events(self.log)
        self.events = events[np.argsort(events["time"], kind="stable")]

    def labels(self, day):
        end = FIRST_DAY + day
        return splits.touches(self.log, end, AHEAD).ravel()

    def batch(self, day):
        return features(
            behaviour_images(self.log, end=FIRST_DAY + day, days=WINDOW)
        )

    def served(self, day, server=correct):
        """What a server's stream says at midnight before `day`."""
        now = FIRST_DAY + day
        seconds = self.events["time"]
        recent = (seconds >= now - WINDOW - 1) & (seconds < now)
        running = Stream(SHOPPERS, days=WINDOW)
        running.add(server(self.events[recent].copy()))
        return features(running.image(end=now))

    def learn(self, features):
        trees = HistGradientBoostingClassifier(
            max_iter=40, learning_rate=0.15, random_state=0
        )
        return trees.fit(features, self.labels(LEARN))

    def score(self, model, features, day=ASK):
        return auc(self.labels(day), model.predict_proba(features)[:, 1])


SHARES = (0.95, 0.04, 0.01)  # at once, hours, days
COPIED = 0.03


def arrivals(events, rng):
    """Events with copies, and the seconds of their arrival, as they arrive."""
    copies = rng.random(len(events)) < COPIED
    sent = np.concatenate([events, events[copies]])
    kind = rng.choice(3, len(sent), p=SHARES)
    delay = np.select(
        [kind == 0, kind == 1],
        [
            rng.exponential(5, len(sent)),
            7_200 * rng.lognormal(0, 1, len(sent)),
        ],
        86_400 * 1.5 * rng.lognormal(0, 0.5, len(sent)),
    )
    stamp = sent["time"].view("i8") + delay
    order = np.argsort(stamp, kind="stable")
    return sent[order], stamp[order]


NOW = FIRST_DAY + ASK
HOURS = (0, 12, 16, 20)  # of the day, at which the question is put
LATENESS = {"none": 0, "1 minute": 60, "1 day": 86_400, "7 days": 604_800}


def send(table, rng):
    """Let the events of the window arrive, and those of the week after."""
    events = table.events[table.events["action"] != IMPRESSION]
    events = events[events["time"] >= NOW - WINDOW]
    table.sent, table.stamp = arrivals(events, rng)


def received(table, lateness, ids=True):
    """A stream that runs until what happened before the question is final."""
    over = table.sent["time"] >= NOW + np.timedelta64(lateness, "s")
    sent = table.sent[: over.argmax() + 1 if over.any() else None].copy()
    if not ids:
        sent["id"] = np.arange(len(sent))  # a copy is not known as such
    running = Stream(SHOPPERS, days=WINDOW, lateness=lateness)
    running.add(sent)
    return running


def so_far(table):
    """The image from what has arrived when the question is put."""
    running = Stream(SHOPPERS, days=WINDOW, lateness=604_800)
    arrived = table.stamp < NOW.astype("M8[s]").astype("i8")
    running.add(table.sent[arrived])
    return running.image(end=NOW)


def aged(table, days):
    """AUC of features that end `days` earlier, and of trees that know it."""
    model = table.learn(table.batch(LEARN - days))
    return table.score(model, table.batch(ASK - days))


STALE = (7, 28)


def halves(number):
    """NDCG@10: matrix and row both new, matrix old, row old, both old."""
    rng = np.random.default_rng([number, 17, 5])
    log = World().simulate(SHOPPERS, 50, impressions=False, rng=rng).log
    truth = touched(splits.future(log, FIRST_DAY + 49, 1))
    users = np.flatnonzero(np.diff(truth.indptr))

    def at(day):
        return RecentEASE().fit(splits.past(log, FIRST_DAY + day))

    def ndcg(row, matrix):
        scores = row.history[users] @ matrix.weight
        return ranking.measures(scores, truth[users])["NDCG"].mean()

    new, found = at(49), []
    for age in STALE:
        old = at(49 - age)
        found.append(
            [
                ndcg(new, new),
                ndcg(new, old),
                ndcg(old, new),
                ndcg(old, old),
            ]
        )
    return found


WARM, DAYS, TRAINED = (
    28,
    56,
    45,
)  # sessions from day 35; tested from 45 on


class Watch(Random):
    """Shows at random, and notes the day's true appeals."""

    def __init__(self):
        self.days = []

    def __deepcopy__(self, memo):  # the loop takes a copy; not of this
        return self

    def see(self, odds):
        self.odds = odds[:, ::ITEMS]

    def slates(self, users, log, n, *, rng):
        self.days.append((users, self.odds))
        return super().slates(users, log, n, rng=rng)


def beside(values, n, order):
    """Sums over the two categories n places away in an order."""
    placed, sums = values[..., order], np.zeros_like(values)
    sums[..., n:] += placed[..., :-n]
    sums[..., :-n] += placed[..., n:]
    return sums[..., np.argsort(order)]


def faded(counts, half_life):
    """What is known at each midnight (users, days + 1, categories)."""
    keep, found = 0.5 ** (1 / half_life), np.zeros_like(counts)
    found = np.concatenate([found, found[:, :1]], axis=1)
    for day in range(counts.shape[1]):
        found[:, day + 1] = keep * found[:, day] + counts[:, day]
    return found


class Sessions:
    """Sessions of a world: what was known when, what came, the truth."""

    def __init__(self, number):
        rng, self.watch = np.random.default_rng([number, 17, 6]), Watch()
        lived = evolve(
            World(), self.watch, users=USERS, rounds=DAYS - WARM, rng=rng
        )
        self.order = category_order(lived.log, end=FIRST_DAY + WARM)
        clicks = lived.log.events
        clicks = clicks[clicks["action"] == "click"]
        self.time = clicks["time"].to_numpy()
        day = (self.time.astype("M8[D]") - FIRST_DAY).astype(int)
        user = clicks["user"].to_numpy().astype(int)
        category = clicks["category"].to_numpy().astype(int)
        own = (clicks["slate"] == -1).to_numpy()

        self.counts = np.zeros((USERS, DAYS, CATEGORIES), np.float32)
        np.add.at(self.counts, (user, day, category), 1)
        self.fading = [faded(self.counts, half) for half in (2, 16)]

        session = user * DAYS + day
        visits = np.flatnonzero(own & (day >= WARM + 7))
        named, first, n = np.unique(
            session[visits], return_index=True, return_counts=True
        )
        named, first, n = (x[n >= 3] for x in (named, first, n))
        self.user, self.day = np.divmod(named, DAYS)
        last = visits[first + n - 1]
        self.target, self.asked = category[last], self.time[last]
        self.latest = category[visits[first + n - 2]]
        self.test = self.day >= TRAINED

        # Own visits seen by now, with the latest 0 or 1 of them missing.
        shape = (2, len(named), CATEGORIES)
        self.own, self.seen = np.zeros(shape, np.float32), []
        for missing in range(2):
            for k in range(4):
                has = np.flatnonzero(k < n - 1 - missing)
                row = category[visits[first[has] + k]]
                self.own[missing, has, row] += 1
            newest = self.time[visits[first + n - 2 - missing]]
            self.seen.append((self.asked - newest).astype(float) / 86_400)
        self.feed = np.zeros(shape[1:], np.float32)
        fed = np.flatnonzero(~own & np.isin(session, named))
        row = np.searchsorted(named, session[fed])
        np.add.at(self.feed, (row, category[fed]), 1)
        self._truth(lived.truth)

    def _truth(self, truth):
        appeal = np.zeros_like(self.counts)
        for ahead, (users, odds) in enumerate(self.watch.days):
            value = World().item_value(WARM + ahead).ravel()[::ITEMS]
            appeal[users, WARM + ahead] = odds - value - CLICK
        self.appeal = appeal[self.user, self.day]
        # A day's need is what the next midnight finds, unless it was met.
        before, after = (
            truth.needs[self.user, self.day + k] for k in (0, 1)
        )
        lasting = (before[:, 0] != NONE) & (
            before[:, 2] + 1 < before[:, 3]
        )
        met = (after[:, 0] == NONE) & lasting
        self.kind = np.where(met, before[:, 0], after[:, 0])
        self.need_age = np.where(met, before[:, 2] + 1, after[:, 2])

    def night(self, age):
        """Features (6 of (sessions, 64)) as they were `age` nights ago."""
        day = self.day - age
        short, long = (fading[self.user, day] for fading in self.fading)
        sums = np.cumsum(self.counts.sum(0), axis=0)
        week = sums[day - 1] - sums[np.maximum(day - 8, 0)]
        near = [beside(short, n, self.order) for n in (1, 2)]
        near.append(beside(long, 1, self.order))
        return [np.log1p(x) for x in (short, long, *near, week)]

    def today(self, missing=0):
        """Features (6 of (sessions, 64)) of the session so far."""
        own = self.own[missing]
        near = [beside(own, n, self.order) for n in (1, 2, 3)]
        feed = (self.feed, beside(self.feed, 1, self.order))
        return [np.log1p(x) for x in (own, *near, *feed)]

    def fitted(self, columns):
        """Scores (tests, 64) of a softmax model of the columns."""
        table = np.stack(columns, axis=-1)
        table /= table[~self.test].std(axis=(0, 1))
        seen, rows = table[~self.test], np.arange((~self.test).sum())
        came = seen[rows, self.target[~self.test]].sum(axis=0)

        def loss(weight):
            score = seen @ weight
            top = score.max(axis=1, keepdims=True)
            chance = np.exp(score - top)
            total = chance.sum(axis=1, keepdims=True)
            chance /= total
            lost = (np.log(total) + top).sum() - came @ weight
            slope = np.tensordot(chance, seen, 2) - came
            return lost + weight @ weight / 2, slope + weight

        start = np.zeros(table.shape[-1])
        weight = minimize(loss, start, jac=True, method="L-BFGS-B").x
        return table[self.test] @ weight

    def hits(self, scores):
        """Is the target among the first five (tests,)? Ties: their mean."""
        target = self.target[self.test]
        own = scores[np.arange(len(target)), target][:, None]
        above, tied = (scores > own).sum(1), (scores == own).sum(1)
        return np.clip((5 - above) / tied, 0, 1)


NIGHTS = (0, 1, 3, 7, 14, 28)


def staleness(sessions):
    """Hits (tests,) by what is known, and ages of what is known, in days."""
    night = {age: sessions.fitted(sessions.night(age)) for age in NIGHTS}
    top = np.zeros_like(sessions.appeal)
    top[np.arange(len(top)), sessions.latest] = 1e6
    most = 1e6 * sessions.own[0]
    test = sessions.test
    scores = {
        "all so far": sessions.fitted(
            sessions.night(0) + sessions.today(0)
        ),
        "but the last visit": sessions.fitted(
            sessions.night(0) + sessions.today(1)
        ),
        **{f"night {age}": score for age, score in night.items()},
        "session, night 7": sessions.fitted(
            sessions.night(7) + sessions.today(0)
        ),
        "session only": sessions.fitted(
            sessions.night(0)[-1:] + sessions.today(0)
        ),
        "last click first": night[0] + top[test],
        "most clicked first": night[0] + most[test],
        "popularity": sessions.night(0)[-1][test],
        "oracle": sessions.appeal[test],
    }
    hits = {name: sessions.hits(score) for name, score in scores.items()}
    hour = (sessions.asked - sessions.asked.astype("M8[D]")).astype(float)
    ages = [np.median(seen[test]) for seen in sessions.seen]
    ages += [age + np.median(hour[test]) / 86_400 for age in NIGHTS]
    return hits, ages


def run(seed):
    """AUC by mistake, by lateness and wait at each hour; NDCG@10 by part; hits by what is known."""
    log = lived(seed)
    table = Table(log)
    table.model = table.learn(table.batch(LEARN))
    skew = {}
    for name, server in SERVERS.items():
        twin = table.learn(table.served(LEARN, server))
        served = table.served(ASK, server)
        skew[name] = [
            table.score(model, served) for model in (table.model, twin)
        ]
    late = {}
    rng = np.random.default_rng([seed, 17, 3])
    for hour in HOURS:
        table = Table(log, hour)
        table.model = table.learn(table.batch(LEARN))
        send(table, rng)
        images = {
            name: received(table, lateness).image(end=NOW)
            for name, lateness in LATENESS.items()
        }
        images["ids not looked at"] = received(
            table, 604_800, ids=False
        ).image(end=NOW)
        images["arrived by then"] = so_far(table)
        late[hour] = {
            name: table.score(table.model, features(image))
            for name, image in images.items()
        }
        late[hour]["all events"] = table.score(
            table.model, table.batch(ASK)
        )
        for days in (1, 3, 7):
            late[hour][f"{days} days' wait"] = aged(table, days)

    sessions = Sessions(seed)
    hits, _ = staleness(sessions)
    kind, age = (
        x[sessions.test] for x in (sessions.kind, sessions.need_age)
    )
    groups = {
        "all": kind >= 0,
        "no need": kind == NONE,
        "need, first day": (kind != NONE) & (age == 0),
        "need, later": (kind != NONE) & (age > 0),
    }
    return {
        "skew": skew,
        "late": late,
        "parts": halves(seed),
        "hits": {
            name: {of: hit[rows].mean() for of, rows in groups.items()}
            for name, hit in hits.items()
        },
    }
