"""The simulated world against a plain loop over its users, and its cost from 1,000 to 100,000.

    python benchmarks/bench_world.py [--runs 3] [--largest 100_000]

10,000 users, 71 days, all nine mechanisms. The loop below tells the same laws user by user, with
arrays of 64 categories, and is run for 200 users; what users do not share (friends aside) costs
the same for each. Click, purchase and impression rates of both must agree within their errors.

Each simulation runs in a process of its own, so that its peak memory is its own. On a busy machine
compare the processor's seconds (all threads together) rather than the clock's. The growth from
1,000 users on is measured with one thread and without rows of impressions.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
import pandas as pd

from recsys_evo.collect import laws
from recsys_evo.collect.events import ACTIONS, Log
from recsys_evo.collect.laws import CATEGORIES, FEED, ITEMS, VISITS
from recsys_evo.collect.world import FIRST_DAY, World, befriend

DAYS, USERS, LOOP = 71, 10_000, 200
GOODS = laws.CATALOGUE
IMPRESSION, CLICK, PURCHASE = (ACTIONS.index(a) for a in ("impression", "click", "purchase"))
COLUMNS = ("user", "item", "time", "category", "action", "dwell", "amount", "slate", "position",
           "propensity")  # fmt: skip

KEPT = np.exp(-laws.RETURN)
SHAKE = laws.SPREAD * np.sqrt(1 - KEPT**2)
ATTENTION = (1.0 + np.arange(FEED)) ** -laws.POSITION
PLACE = {int(category): place for place, category in enumerate(GOODS.consumable)}
WANTED = np.cumsum(GOODS.wanted, dtype=float)
AWAY = np.exp(laws.ELSEWHERE)


class Today:
    """What all users share on a day."""

    def __init__(self, day):
        self.day = day
        age = day - GOODS.born
        news = laws.NEWS * np.exp(-np.maximum(age, 0) / laws.STALE)
        self.value = np.where(age >= 0, GOODS.value + news, -np.inf).ravel()
        self.offers = [np.flatnonzero(row >= 0) for row in age]
        likely = np.cumsum(np.exp(self.value).reshape(CATEGORIES, ITEMS), axis=1)
        self.likely = likely / likely[:, -1:]
        self.plain = GOODS.base + laws.WEEK * np.cos(2 * np.pi * (day - GOODS.phase) / 7)


class Person:
    """One user: the laws with scalars and arrays of 64."""

    def __init__(self, number, rng):
        self.number, self.rng = number, rng
        self.core = laws.CORE * rng.standard_normal(laws.DIMENSIONS)
        self.taste = self.core + laws.SPREAD * rng.standard_normal(laws.DIMENSIONS)
        self.habit = rng.beta(*laws.HABIT)
        self.kind, self.need, self.age, self.length = laws.NONE, 0, 0, 0
        self.met = np.full(len(GOODS.consumable), laws.NEVER)
        self.tired, self.seen, self.recent = np.zeros((3, CATEGORIES))
        self.liked, self.weight, self.engagement = np.zeros(laws.DIMENSIONS), 0.0, 1.0

    def night(self, day, pull):
        rng = self.rng
        self.taste = self.core + KEPT * (self.taste - self.core) + laws.PULL * pull
        self.taste += SHAKE * rng.standard_normal(laws.DIMENSIONS)
        if rng.random() < laws.EVENT:
            self.core = laws.CORE * rng.standard_normal(laws.DIMENSIONS)
            self.taste = self.core + laws.SPREAD * rng.standard_normal(laws.DIMENSIONS)
        if self.kind != laws.NONE:
            self.age += 1
            if self.age < self.length:
                return
            if self.kind != laws.IDLE:
                self.meet(self.need, day)
            self.kind = laws.NONE
        known, unknown = GOODS.hazard
        last = known.shape[1] - 1
        hazard = unknown[:, min(day, last)].copy()
        for place in np.flatnonzero(self.met != laws.NEVER):
            hazard[place] = known[place, min(day - self.met[place], last)]
        total = np.cumsum(hazard)
        draw = rng.random()
        if draw < total[-1]:
            self.kind, self.length = laws.ERRANDS, laws.ERRAND
            self.need = int(GOODS.consumable[np.searchsorted(total, draw)])
        elif rng.random() < laws.OPEN:
            self.kind = laws.GOALS if rng.random() < laws.GOAL else laws.IDLE
            self.length = int(rng.integers(laws.JOURNEY[0], laws.JOURNEY[1] + 1))
            self.need = int(np.searchsorted(WANTED, rng.random() * WANTED[-1]))
        self.age = 0

    def meet(self, category, day):
        if category in PLACE:
            self.met[PLACE[category]] = day

    def visit(self, today, rows, slate=None):
        """A day on the platform; what happens is appended to `rows`. `slate`: items, chances."""
        rng, day = self.rng, today.day
        appeal = GOODS.vectors @ self.taste + today.plain - laws.TIRE * self.tired
        appeal += laws.FOND * self.seen / (1 + self.seen)
        linger = None
        if self.kind != laws.NONE:
            step = self.length - self.age if self.kind == laws.IDLE else self.age + 1
            appeal += GOODS.boost[10 * self.length + step, self.need]
            linger = GOODS.linger[10 * self.length + step, self.need]

        # The slate, and which of it is clicked.
        items, chances = self.default_slate(today) if slate is None else slate
        shown = items // ITEMS
        odds = appeal[shown] + today.value[items] + laws.CLICK
        clicked = rng.random(FEED) < ATTENTION / (1 + np.exp(-odds))
        begun = day * 86_400 + int(rng.integers(7 * 3600, 20 * 3600))
        session = self.number * DAYS + day
        for position in range(FEED):
            rows.append((self.number, items[position], begun, shown[position], IMPRESSION, np.nan,
                         0.0, session, position, chances[position]))  # fmt: skip
        pages = [
            (int(shown[p]), int(items[p]), session, int(p), chances[p])
            for p in np.flatnonzero(clicked)
        ]
        liked_slots = len(pages)

        # Own visits.
        reach = np.cumsum(np.exp(appeal))
        for slot, aim in enumerate(rng.random(VISITS) * (reach[-1] + AWAY)):
            if aim < reach[-1]:
                category = int(np.searchsorted(reach, aim))
                item = category * ITEMS + int(np.searchsorted(today.likely[category], rng.random()))
                pages.append((category, item, -1, FEED + slot, np.nan))

        # Reading and buying.
        ripe = self.kind in (laws.ERRANDS, laws.GOALS) and (self.age + 1 >= laws.RIPE * self.length)
        need, clicks = self.need, np.zeros(CATEGORIES)
        second, bought = begun + 10.0, []
        for category, item, slate_of, slot, chance in pages:
            read = laws.READ + laws.DEEPER * min(max(appeal[category], -2), 4)
            read += laws.VARIED * rng.standard_normal()
            if linger is not None:
                read += linger[category]
            dwell = min(np.exp(read), laws.LONGEST)
            at, position = int(second + 3 * slot), slot if slate_of >= 0 else -1
            rows.append((self.number, item, at, category, CLICK, dwell, 0.0, slate_of, position,
                         chance))  # fmt: skip
            clicks[category] += 1
            if rng.random() < (laws.BUY if ripe and category == need else laws.IMPULSE):
                price = GOODS.price[category, item % ITEMS]
                paid = price * np.exp(laws.BASKET * rng.standard_normal())
                rows.append((self.number, item, at + int(dwell), category, PURCHASE, np.nan, paid,
                             slate_of, position, chance))  # fmt: skip
                bought.append(category)
            second += dwell
        return clicks, bought, shown, liked_slots

    def default_slate(self, today):
        """The default policy's items, and the chance of each."""
        fond = self.recent + 0.1
        shares = (1 - laws.EXPLORE) / fond.sum() * fond + laws.EXPLORE / CATEGORIES
        marks = np.arange(1, FEED + 1) - self.rng.random()
        shown = np.searchsorted(FEED * np.cumsum(shares[:-1]), marks)
        self.rng.shuffle(shown)
        items = np.array([self.rng.choice(today.offers[c]) + ITEMS * c for c in shown])
        return items, [shares[c] / len(today.offers[c]) for c in shown]

    def evening(self, day, clicks, bought, shown, liked_slots):
        self.tired += clicks
        for category in bought:
            self.tired[category] += laws.SATED
            self.meet(category, day)
            if category == self.need and self.kind in (laws.ERRANDS, laws.GOALS):
                self.kind = laws.NONE
        np.add.at(self.seen, shown, laws.SEEN)
        self.recent += clicks
        self.liked += clicks @ GOODS.vectors
        self.weight += clicks.sum()
        self.engagement *= np.exp(-laws.WEAR - laws.BORE * max(1 - liked_slots / 2, 0))

    def fade(self):
        self.tired *= laws.REST
        self.seen *= laws.FADE
        self.recent *= laws.PLATFORM
        self.liked *= laws.PLATFORM
        self.weight *= laws.PLATFORM


def loop(n_users, n_days, rng):
    """The log of `n_users`, a user and a day at a time."""
    people = [Person(number, rng) for number in range(n_users)]
    friends = befriend(np.array([p.core for p in people]), rng)
    friends = [friends.indices[a:b] for a, b in zip(friends.indptr[:-1], friends.indptr[1:])]
    rows = []
    for day in range(n_days):
        today = Today(day)
        means = [p.liked / p.weight if p.weight > 1e-6 else None for p in people]
        for person in people:
            heard = [means[f] for f in friends[person.number] if means[f] is not None]
            person.night(day, sum(heard) / len(heard) if heard else np.zeros(laws.DIMENSIONS))
            comes = rng.random() < person.habit * person.engagement
            done = person.visit(today, rows) if comes else None
            person.fade()
            if comes:
                person.evening(day, *done)
    events = pd.DataFrame(rows, columns=COLUMNS)
    events["time"] = FIRST_DAY.astype("M8[s]") + events["time"].to_numpy().astype("m8[s]")
    events["action"] = pd.Categorical.from_codes(events["action"], ACTIONS, ordered=True)
    return Log(events, users=pd.DataFrame({"id": np.arange(n_users)}))


def rates(log):
    """What each user did (users, figures), to compare two ways of telling the same laws."""
    user, action = log.events["user"].to_numpy(), log.events["action"].cat.codes.to_numpy()
    fed = log.events["position"].to_numpy() >= 0
    amount, dwell = log.events["amount"].to_numpy(), log.events["dwell"].to_numpy()
    chance = log.events["propensity"].to_numpy()
    clicked, shown = action == CLICK, action == IMPRESSION

    def total(rows, weight=None):
        weight = None if weight is None else weight[rows]
        return np.bincount(user[rows], weight, minlength=log.n_users)

    return {
        "impressions": total(shown),
        "clicks on the feed": total(clicked & fed),
        "own visits": total(clicked & ~fed),
        "purchases": total(action == PURCHASE),
        "seconds of reading": total(clicked, dwell),
        "paid": total(action == PURCHASE, amount),
        "propensity": total(shown, chance),
        "visits late in the life": total(shown & (log.events["time"] >= FIRST_DAY + 50).to_numpy()),
        "categories touched": np.bincount(
            np.unique(user[clicked] * CATEGORIES + log.events["category"].to_numpy()[clicked])
            // CATEGORIES,
            minlength=log.n_users,
        ),
    }


def compare(ours, plain):
    """Print means a user of both; an error where they differ by more than chance allows."""
    print(f"{'a user in 71 days':26s} {'World':>10s} {'loop':>10s} {'standard errors apart':>22s}")
    for name, mine in ours.items():
        other = plain[name]
        error = np.sqrt(mine.var() / len(mine) + other.var() / len(other))
        apart = (mine.mean() - other.mean()) / error
        print(f"{name:26s} {mine.mean():10.2f} {other.mean():10.2f} {apart:22.1f}")
        assert abs(apart) < 4, name


def simulate(n_users, impressions, threads):
    """Print the cost of one simulation as JSON; in a process of its own."""
    World().simulate(50, 5, rng=np.random.default_rng(1))
    begin = time.perf_counter(), time.process_time()
    log = (
        World()
        .simulate(
            n_users, DAYS, rng=np.random.default_rng(0), impressions=impressions, threads=threads
        )
        .log
    )
    clock, processor = time.perf_counter() - begin[0], time.process_time() - begin[1]
    shown = int((log.events["action"] == "impression").sum())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps([clock, processor, len(log), shown, peak]))


def measure(runs, n_users, impressions, threads=None):
    """Medians over `runs` processes: clock, processor, events, impressions, peak in GiB."""
    found = []
    for _ in range(runs):
        command = [sys.executable, __file__, "--one", json.dumps([n_users, impressions, threads])]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        found.append(json.loads(run.stdout))
    return tuple(map(statistics.median, zip(*found, strict=True)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--largest", type=int, default=100_000)
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        simulate(*options.one)
        return

    # A process inherits the peak memory of its parent, so these come first.
    worlds = {t: measure(options.runs, USERS, True, t) for t in (None, 1)}
    sizes = {n: measure(options.runs, n, False, 1) for n in (1_000, 10_000, options.largest)}
    loops = []
    for _ in range(options.runs):
        begin = time.perf_counter(), time.process_time()
        log = loop(LOOP, DAYS, np.random.default_rng(0))
        loops.append((time.perf_counter() - begin[0], time.process_time() - begin[1]))
    plain = [statistics.median(taken) * USERS / LOOP for taken in zip(*loops)]
    compare(rates(World().simulate(4_000, DAYS, rng=np.random.default_rng(2)).log), rates(log))

    print(
        f"\n{USERS:,} users, {DAYS} days, median of {options.runs}; the loop, from {LOOP} users: "
        f"{plain[0]:.0f} s by the clock, {plain[1]:.0f} s by the processor"
    )
    print(f"{'':26s}seconds   of the loop   events/s   impressions/s   peak")
    for threads, (*taken, events, shown, peak) in worlds.items():
        name = "one thread" if threads else "all cores"
        for clock, seconds, slow in zip(("clock", "processor"), taken, plain):
            print(
                f"{name}, by the {clock:10s} {seconds:7.2f}   {'1 /':>7s} {slow / seconds:3.0f}"
                f"   {events / seconds / 1e6:6.2f} M   {shown / seconds / 1e6:11.2f} M"
                f"   {peak:.1f} GiB"
            )

    print("\nCost a user, one thread, no rows of impressions")
    costs = {n: [1e6 * seconds / n for seconds in found[:2]] for n, found in sizes.items()}
    for n, (clock, processor) in costs.items():
        print(
            f"{n:9,} users: {clock:5.0f} µs by the clock, {processor:5.0f} µs by the processor; "
            f"peak {sizes[n][-1]:.2f} GiB"
        )
    for name, cost in zip(("clock", "processor"), zip(*costs.values())):
        print(f"  dearest to cheapest by the {name}: {max(cost) / min(cost):.2f}")


if __name__ == "__main__":
    main()
