"""A world of simulated users whose tastes evolve by known, switchable laws.

Real logs never say *why* a user came back. This world does: nine mechanisms, each with one
strength, move its users, and the truth is kept beside the log. Set a strength to 0 and the
mechanism is off; 1 is the default; 2 is twice as strong.

    >>> import numpy as np
    >>> simulation = World(drift=0).simulate(50, 7, rng=np.random.default_rng(0))
    >>> simulation.truth.taste.shape               # users, days + 1, dimensions
    (50, 8, 6)

A day of a user, in this order (used from chapter 01 on; chapter 03 draws each law):

1. **Taste moves.** The present taste z returns to the core taste μ and is shaken (*drift*, an
   Ornstein–Uhlenbeck process), is pulled towards what friends clicked (*contagion*), and now and
   then a life event redraws both (*shift*).
2. **Needs open and close.** At most one is open. A *goal* journey starts wide, over categories
   near the needed one, narrows day by day with rising dwell, and ends with a purchase here or
   elsewhere. An *idle* journey is a goal journey run backwards: it adds up to the same clicks, and
   nothing is bought, so that only the order of the days tells them apart. A purchase in a
   consumable category comes back after the category's own interval (a *replenishment*).
3. **The user comes or not**: own habit times engagement, which wears out, faster after poor slates
   (*churn*).
4. **The user visits and is shown.** Visits are the user's own: categories drawn by appeal. The feed
   is the platform's: a slate of items, clicked with a probability that grows with appeal, with the
   item's news value (*ageing*) and towards the top. Appeal is taste, base, the week's cycle
   (*season*), less what was consumed lately (*satiation*), plus what was seen often
   (*reinforcement*), plus the open need (*need*).
5. **Purchases** follow clicks, seldom by impulse, often in the last days of a goal journey.

What is borrowed: returning tastes as an Ornstein–Uhlenbeck process (Uhlenbeck & Ornstein 1930);
liking that grows with mere exposure (Zajonc 1968) and fades with repetition; research before a
purchase that narrows from a wide set to a few (Hauser & Wernerfelt 1990; Moe 2003 tells
goal-directed from idle visits by the clicks); regular intervals between purchases of consumables
(Ehrenberg 1972); examination that falls with the position (Craswell et al. 2008). What is ours:
every number in `laws`, the line of categories, at most one need at a time, and needs that do not
depend on taste. No number here was fitted to a real log.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import sparse

from . import laws
from .events import ACTIONS, IMPRESSION, PURCHASE, Log, Source
from .laws import CATEGORIES, FEED, ITEMS, VISITS, Hidden, Laws, Stocks

TOWN = 1_000  # friendships stay within a town of at most so many users
FIRST_DAY = np.datetime64("2024-01-01")  # a Monday
CLICKED = ACTIONS.index("click")
SOURCE = Source("world", "1", "CC0-1.0", "recsys_evo.collect.world")


@dataclass(frozen=True)
class Truth:
    """What really happened, at the start of each day and at the end: for scoring explanations.

    `taste`, `core` (users, days + 1, 6); `needs` (users, days + 1, 4), the kind (`laws.NONE`,
    `ERRANDS`, `GOALS`, `IDLE`), category, age and length in days of the open need; `met` (users,
    days + 1, consumable), the day on which each cycle's need was last met; `habit` (users,), the
    chance to come on a day while engagement lasts.
    """

    taste: np.ndarray
    core: np.ndarray
    needs: np.ndarray
    met: np.ndarray
    habit: np.ndarray

    @classmethod
    def blank(cls, n_users, n_days):
        """Room for the truth about `n_users`, to be written day by day."""
        shape, cycles = (n_users, n_days + 1), len(laws.CATALOGUE.consumable)
        return cls(
            taste=np.empty((*shape, laws.DIMENSIONS), np.float32),
            core=np.empty((*shape, laws.DIMENSIONS), np.float32),
            needs=np.empty((*shape, 4), np.int16),
            met=np.empty((*shape, cycles), np.int16),
            habit=np.empty(n_users, np.float32),
        )

    def of(self, users):
        """The truth about a slice of the users, which shares its memory with the whole."""
        return Truth(*(getattr(self, f.name)[users] for f in fields(self)))

    def write(self, day, hidden):
        """Set down the hidden state at the start of `day`."""
        self.taste[:, day], self.core[:, day], self.met[:, day] = (
            hidden.taste, hidden.core, hidden.met
        )  # fmt: skip
        for column, part in enumerate((hidden.kind, hidden.need, hidden.age, hidden.length)):
            self.needs[:, day, column] = part

    def state(self, day, users):
        """The hidden state of `users` at the start of `day` (0 is the first), as copies."""
        needs = [self.needs[users, day, column] for column in range(4)]
        return Hidden(self.taste[users, day], self.core[users, day], *needs, self.met[users, day])


@dataclass(frozen=True, eq=False)
class Simulation:
    """What `World.simulate` gives: the `log` that a platform would see, and the `truth`."""

    log: Log
    truth: Truth


class World(Laws):
    """The laws, and users who live under them: `World(drift=0)` is a world without drift."""

    def simulate(self, n_users, n_days, policy=None, *, rng, impressions=True, threads=None):
        """Let `n_users` live for `n_days`; the same `rng` state gives the same bytes.

        `policy`: what to show, an object with `slates(users, log, n, *, rng)` → (items,
        propensities), both (len(users), n), where `users` are those who come today; it sees only
        the log of the days before. An item that is not born yet is never clicked. The default mixes
        the user's recent clicks with chance. `impressions=False` leaves the rows of shown items out
        of the log (nothing else changes). `threads` (default: all cores) changes the speed only.
        Returns a `Simulation`. Raises ValueError for numbers that are not positive, and for slates
        of a wrong shape, of unknown items, or with propensities outside (0, 1].
        """
        for name, number in (("n_users", n_users), ("n_days", n_days)):
            if not (isinstance(number, (int, np.integer)) and number > 0):
                raise ValueError(f"`{name}` must be a positive integer. Received: {number!r}")
        n_towns = -(-n_users // TOWN)
        cuts = np.linspace(0, n_users, n_towns + 1).astype(int)
        *streams, own = rng.spawn(n_towns + 1)
        truth = Truth.blank(n_users, n_days)
        towns = [
            _Town(self, truth.of(slice(first, last)), stream)
            for first, last, stream in zip(cuts[:-1], cuts[1:], streams)
        ]
        if policy is None:
            with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
                tables = list(pool.map(lambda town: town.live(impressions), towns))
        else:
            for day in range(n_days):
                self._day_with(policy, towns, day, own)
            tables = [town.table(impressions) for town in towns]
        for town in towns:
            town.truth.write(n_days, town.hidden)
        return Simulation(self._log(towns, tables), truth)

    def _day_with(self, policy, towns, day, rng):
        log = _LogSoFar(lambda: self._log(towns, [town.table(True, day) for town in towns]))
        active = [town.wake(day) for town in towns]
        offset = np.cumsum([0] + [town.n_users for town in towns])
        users = np.concatenate([a + o for a, o in zip(active, offset)])
        items, propensities = _slates(*policy.slates(users, log, FEED, rng=rng), len(users))
        cuts = np.cumsum([len(a) for a in active])[:-1]
        parts = zip(towns, active, np.split(items, cuts), np.split(propensities, cuts))
        for town, awake, shown, chance in parts:
            town.act(day, awake, (shown, chance))

    def _log(self, towns, tables):
        """One `Log` of the towns' tables (which are used up)."""
        offsets = np.cumsum([0] + [town.n_users for town in towns])
        for town, table, offset in zip(towns, tables, offsets):
            table["user"] += np.int32(offset)
            table["slate"][table["slate"] >= 0] += offset * town.n_days
        columns = {}
        for name in list(tables[0]):
            columns[name] = np.concatenate([table.pop(name) for table in tables])
        columns["time"] = (columns["time"] + FIRST_DAY.astype("M8[s]").astype("i8")).view("M8[s]")
        columns["action"] = pd.Categorical.from_codes(columns["action"], ACTIONS, ordered=True)
        columns["rating"] = np.full(len(columns["user"]), np.nan, np.float32)
        goods = self.catalogue
        items = pd.DataFrame(
            {
                "id": np.arange(CATEGORIES * ITEMS),
                "category": np.repeat(np.arange(CATEGORIES), ITEMS),
                "price": goods.price.ravel(),
                "born": FIRST_DAY + goods.born.ravel(),
            }
        )
        users = pd.DataFrame({"id": np.arange(offsets[-1])})
        users["friends"] = [
            offset + town.friends.indices[town.friends.indptr[i] : town.friends.indptr[i + 1]]
            for town, offset in zip(towns, offsets)
            for i in range(town.n_users)
        ]
        return Log(pd.DataFrame(columns, copy=False), items, users, SOURCE)


class _Town:
    """Up to TOWN users, their friendships, their stream of chance, and what they have done.

    Everything is dense, (users, days, slots), the feed's slots before the visits': read in C order
    it is already sorted by user and time.
    """

    def __init__(self, world, truth, rng):
        n_users, n_days = len(truth.habit), truth.taste.shape[1] - 1
        self.world, self.truth, self.rng = world, truth, rng
        self.n_users, self.n_days = n_users, n_days
        self.hidden = world.newcomers(n_users, rng)
        self.stocks = Stocks(n_users)
        truth.habit[:] = rng.beta(*laws.HABIT, n_users)
        self.friends = befriend(self.hidden.core, rng)
        cells = (n_users, n_days, FEED + VISITS)
        self.item = np.full(cells, -1, np.int16)
        self.click = np.zeros(cells, bool)
        self.dwell = np.zeros(cells, np.float32)
        self.amount = np.zeros(cells, np.float32)
        self.propensity = np.zeros((n_users, n_days, FEED), np.float32)
        self.began = np.full((n_users, n_days), -1, np.int32)  # second of the day; -1: stayed away

    def live(self, impressions):
        """All days under the default policy; returns the table and forgets what it was made of."""
        for day in range(self.n_days):
            self.act(day, self.wake(day))
        table = self.table(impressions)
        del self.item, self.click, self.dwell, self.amount, self.propensity, self.began
        return table

    def wake(self, day):
        """A night's changes of taste and needs; returns the users who come today."""
        self.truth.write(day, self.hidden)
        self.world.move_taste(self.hidden, laws.friends_pull(self.friends, self.stocks), self.rng)
        self.world.move_needs(self.hidden, day, self.rng)
        chance = self.truth.habit * self.stocks.engagement
        return np.flatnonzero(self.rng.random(self.n_users) < chance)

    def act(self, day, active, slates=None):
        """What the users `active` see, click and buy on `day`; `slates` (items, propensities)."""
        world, hidden, rng, goods = self.world, self.hidden, self.rng, self.world.catalogue
        n, row = len(active), np.arange(len(active))[:, None]
        cell = hidden.cell[active]
        appeal = self.appeal(day, active, cell)
        value = world.item_value(day)

        if slates is None:
            item, chance = self.default_slates(active, value)
        else:
            item, chance = slates
        shown = item // ITEMS
        log_odds = appeal[row, shown] + value.ravel()[item] + laws.CLICK
        attention = (1 + np.arange(FEED)) ** -laws.POSITION
        clicked = rng.random((n, FEED), dtype=np.float32) < attention / (1 + np.exp(-log_odds))

        reach = np.cumsum(np.exp(appeal), axis=1)
        aim = rng.random((n, VISITS), dtype=np.float32) * (reach[:, -1:] + np.exp(laws.ELSEWHERE))
        visited = _below(reach, aim)
        found = visited < CATEGORIES  # the others lead nowhere
        visited = np.where(found, visited, 0)
        likely = np.cumsum(np.exp(value), axis=1)
        likely = (likely / likely[:, -1:])[visited]  # exactly 1 from the last item born on
        pick = (likely[:, :, :-1] < rng.random((n, VISITS, 1), dtype=np.float32)).sum(2)

        category = np.concatenate([shown, visited], axis=1)
        click = np.concatenate([clicked, found], axis=1)
        items = np.concatenate([item, visited * ITEMS + pick], axis=1)
        who, slot = np.nonzero(click)
        what, user, thing = category[who, slot], active[who], items[who, slot]
        read = laws.READ + laws.DEEPER * np.clip(appeal[who, what], -2, 4)
        read += goods.linger[cell[who], hidden.need[user], what]
        read += laws.VARIED * rng.standard_normal(len(who), dtype=np.float32)
        bought = rng.random(len(who)) < world.buying_chance(hidden, user, what)
        paid = goods.price.ravel()[thing] * np.exp(laws.BASKET * rng.standard_normal(len(who)))

        self.item[active, day] = items
        self.click[active, day] = click
        self.propensity[active, day] = chance
        self.dwell[user, day, slot] = np.minimum(np.exp(read), laws.LONGEST)
        self.amount[user, day, slot] = paid * bought
        self.began[active, day] = rng.integers(7 * 3600, 20 * 3600, n)

        at = who * CATEGORIES + what
        counts = (
            np.bincount(cells, minlength=n * CATEGORIES).reshape(n, CATEGORIES).astype(np.float32)
            for cells in (at, at[bought], (row * CATEGORIES + shown).ravel())
        )
        self.stocks.end_day(world, active, *counts, clicked.sum(1))
        world.satisfy(hidden, user[bought], what[bought], day)

    def appeal(self, day, active, cell):
        """Appeal (active, 64) of the categories to the users `active` on `day`."""
        hidden, stocks, goods = self.hidden, self.stocks, self.world.catalogue
        appeal = hidden.taste[active] @ goods.vectors.T
        appeal += self.world.known_appeal(day, stocks.tired[active], stocks.seen[active])
        busy = np.flatnonzero(cell)
        appeal[busy] += goods.boost[cell[busy], hidden.need[active[busy]]]
        return appeal

    def default_slates(self, active, value):
        """Slates drawn from `platform_shares`, items evenly among those on offer."""
        n, rng = len(active), self.rng
        shares = self.world.platform_shares(self.stocks.recent[active])
        edges = FEED * np.cumsum(shares[:, :-1], axis=1) + rng.random((n, 1), dtype=np.float32)
        category = _below(edges, np.arange(1, FEED + 1, dtype=np.float32)[None])
        category = rng.permuted(category, axis=1)
        on_offer = np.isfinite(value)
        place, offers = np.argsort(~on_offer, axis=1, kind="stable"), on_offer.sum(1)[category]
        pick = rng.random((n, FEED), dtype=np.float32) * offers
        item = category * ITEMS + place[category, pick.astype(np.int64)]
        return item, np.take_along_axis(shares, category, axis=1) / offers

    def table(self, impressions, n_days=None):
        """The columns of the log of the first `n_days`, sorted by user and time.

        A session: ten items shown at once, then clicks in the order of the slots, each read before
        the next, a purchase at the end of the reading.
        """
        n_days = self.n_days if n_days is None else n_days
        present = np.zeros((self.n_users, n_days, 3 * FEED + 2 * VISITS), bool)
        if impressions:
            present[:, :, :FEED] = self.began[:, :n_days, None] >= 0
        present[:, :, FEED::2] = self.click[:, :n_days]
        present[:, :, FEED + 1 :: 2] = self.amount[:, :n_days] > 0
        place = np.flatnonzero(present).astype(np.int32)
        user_day = place // present.shape[2]  # several times as fast as divmod
        column = place - user_day * present.shape[2]
        user = user_day // n_days
        day = user_day - user * n_days
        slot = np.where(column < FEED, column, (column - FEED) >> 1)
        clicked, bought = (column >= FEED) & (column % 2 == 0), (column >= FEED) & (column % 2 == 1)
        session = user * self.n_days + day
        cell, fed = session * (FEED + VISITS) + slot, slot < FEED
        item, dwell = self.item.ravel()[cell], self.dwell.ravel()[cell]
        read_before = np.cumsum(self.dwell, axis=2)
        read_before -= self.dwell
        second = np.where(column < FEED, 0, 10 + 3 * slot + np.floor(read_before.ravel()[cell]))
        second += np.where(bought, np.floor(dwell), 0)
        nothing = np.float32(np.nan)
        return {
            "user": user,
            "item": item.astype(np.int32),
            "time": day * 86_400 + self.began.ravel()[session] + second.astype(np.int64),
            "category": (item // ITEMS).astype(np.int16),
            "action": np.select([clicked, bought], [CLICKED, PURCHASE], IMPRESSION).astype(np.int8),
            "dwell": np.where(clicked, dwell, nothing),
            "amount": np.where(bought, self.amount.ravel()[cell], np.float32(0)),
            "slate": np.where(fed, session.astype(np.int64), -1),
            "position": np.where(fed, slot, -1).astype(np.int16),
            "propensity": np.where(
                fed, self.propensity.ravel()[session * FEED + slot * fed], nothing
            ),
        }


class _LogSoFar:
    """The log of the days before, put together when a policy first looks at it.

    Most policies learn now and then, and some never: a log a day would cost more than the world.
    """

    def __init__(self, make):
        self._make = make

    @cached_property
    def _log(self):
        return self._make()

    def __getattr__(self, name):
        return getattr(self._log, name)

    def __len__(self):
        return len(self._log)


def _slates(items, propensities, n_users):
    """What a policy returned, as arrays; ValueError where the world cannot show it."""
    items, propensities = np.asarray(items), np.asarray(propensities)
    shape, rule = (n_users, FEED), "`policy.slates` must return"
    if items.shape != shape or propensities.shape != shape:
        raise ValueError(
            f"{rule} items and propensities of shape {shape}. "
            f"Received: {items.shape}, {propensities.shape}"
        )
    wrong = items < 0 if items.dtype.kind in "iu" else np.ones(shape, bool)
    wrong |= items >= CATEGORIES * ITEMS
    if wrong.any():
        raise ValueError(
            f"{rule} items that are integer codes in [0, {CATEGORIES * ITEMS}). "
            f"Received: {items[wrong][0]!r}"
        )
    wrong = ~((propensities > 0) & (propensities <= 1))
    if wrong.any():
        raise ValueError(f"{rule} propensities in (0, 1]. Received: {propensities[wrong][0]!r}")
    return items, propensities


def _below(edges, marks):
    """How many of the `edges` (rows, n < 256) lie below each of the `marks` (rows or 1, m)."""
    edges = np.ascontiguousarray(edges.T)  # so that a comparison runs along all rows
    counts = [
        np.add.reduce((edges < mark).view(np.uint8), axis=0, dtype=np.uint8) for mark in marks.T
    ]
    return np.stack(counts, axis=1).astype(np.intp)


def befriend(core, rng, candidates=40):
    """Friendships of a town (users, users): half with the like-minded, half by chance; symmetric.

    Each user names `laws.CIRCLE` others: half without regard to taste, half the nearest in `core`
    among `candidates` met by chance.
    """
    n, half = len(core), laws.CIRCLE // 2
    if n < 2:
        return sparse.csr_matrix((n, n), dtype=np.float32)
    met = rng.integers(0, n, (n, candidates))
    far = ((core[met] - core[:, None]) ** 2).sum(2)
    far[met == np.arange(n)[:, None]] = np.inf
    near = np.argsort(far[:, half:], axis=1)[:, :half] + half
    named = np.concatenate([met[:, :half], np.take_along_axis(met, near, axis=1)], axis=1)
    user = np.repeat(np.arange(n), named.shape[1])
    other = named.ravel()
    user, other = user[user != other], other[user != other]
    pairs = sparse.coo_matrix((np.ones(len(user), np.float32), (user, other)), (n, n)).tocsr()
    pairs = (pairs + pairs.T).tocsr()
    pairs.data[:] = 1
    pairs.sort_indices()
    return pairs
