"""The laws of the world: what moves a user's taste, needs and behaviour from day to day.

They act on rows of hidden state, a row a user (`world` simulates them) or a row a particle
(`ceiling` guesses them), so that there is one copy of each law. `world` tells a day in words.
"""

from dataclasses import dataclass, fields

import numpy as np
from scipy.stats import norm

CATEGORIES, FAMILIES, ITEMS = 64, 8, 16  # categories; families of 8; items a category
DIMENSIONS = 6  # of a taste
FEED, VISITS = 10, 5  # slots of a slate; own visits on a day (some lead nowhere)

# Taste: daily return to the core, spread around it, spread of cores, life events a day.
RETURN, SPREAD, CORE, EVENT = 0.04, 0.6, 1.0, 0.006
PULL, CIRCLE = 0.08, 6  # towards friends' clicks, a day; friends that a user names
WEEK = 0.6  # amplitude of the weekly cycle
TIRE, REST = 0.5, 0.7  # appeal lost a click; share of the loss kept a day
SATED = 5.0  # clicks for which a purchase counts
SEEN, FADE, FOND = 0.12, 0.97, 1.0  # exposure stock a view; kept a day; most appeal gained
NEWS, STALE = 1.2, 14.0  # appeal of a new item; days in which it falls to a third
WEAR, BORE = 0.002, 0.008  # engagement lost a visit: always; on an empty slate
# Needs: opened a day, share with a goal, days that a journey and a replenishment last.
OPEN, GOAL, JOURNEY, ERRAND = 0.04, 0.5, (5, 9), 3
PUSH, LINGER, RIPE = 4.5, 1.0, 0.6  # appeal at the peak, log-dwell at the peak, stage to buy from
BUY, IMPULSE = 0.5, 0.003  # a purchase a click: of a ripe need; otherwise
JITTER, STOP, CYCLES = 0.08, 0.05, 0.12  # of an interval; ends a cycle; cycles running on day 0
ELSEWHERE = 5.0  # log-weight of a visit that leads nowhere
CLICK, POSITION = -2.2, 0.2  # log-odds of a click at appeal 0; power by which attention falls
READ, DEEPER, VARIED = 3.2, 0.15, 0.6  # log-dwell in seconds: level, per appeal, spread
LONGEST = 600.0  # seconds a page is read at most
BASKET = 0.25  # spread of the log-amount around the price
PLATFORM = 0.9  # kept a day of the clicks that the default policy remembers
EXPLORE = 0.3  # share of the default slate that is uniform
HABIT = (6.0, 3.0)  # Beta law of the chance to come on a day

NONE, ERRANDS, GOALS, IDLE = 0, 1, 2, 3  # kinds of need
NEVER = -10_000  # the day on which a need was met, where there is none


@dataclass(frozen=True, eq=False)
class Catalogue:
    """What there is to see and buy: the same in every world. Categories carry shuffled numbers.

    Of categories: `position` (64,), the true place on a line of families; `vectors` (64, 6); `base`
    appeal; `wanted`, the chance that a new need is for it; `phase` in days; `period`, the days
    between purchases, 0 where nothing is used up; `consumable`, those with a period; `hazard`, the
    `renewal_hazard` of these. Of items: `value`, `born` (day) and `price` (64, 16). `boost` and
    `linger` (100, 64, 64): the appeal and the log-dwell that a need adds, by 10 × length + step,
    needed category, category.
    """

    position: np.ndarray
    vectors: np.ndarray
    base: np.ndarray
    wanted: np.ndarray
    phase: np.ndarray
    period: np.ndarray
    value: np.ndarray
    born: np.ndarray
    price: np.ndarray
    consumable: np.ndarray
    boost: np.ndarray
    linger: np.ndarray
    hazard: tuple

    @classmethod
    def default(cls):
        rng = np.random.default_rng(64)
        position = rng.permutation(CATEGORIES)
        family = position // (CATEGORIES // FAMILIES)
        centres = np.linalg.qr(rng.normal(size=(FAMILIES, DIMENSIONS)))[0]
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        line = np.arange(CATEGORIES)
        near = np.exp(-((line[:, None] - line) ** 2) / (2 * 2.0**2))
        along = near @ rng.normal(size=(CATEGORIES, DIMENSIONS))  # neighbours on the line are alike
        along *= 0.5 / np.linalg.norm(along, axis=1, keepdims=True)
        period = np.where(family % 2 == 0, rng.integers(9, 22, CATEGORIES), 0)
        base = rng.normal(0, 0.5, CATEGORIES).astype(np.float32)
        price = np.exp(rng.normal(2.5, 0.7, FAMILIES))[family]

        length, step = np.divmod(np.arange(100), 10)
        stage = np.clip(step / np.maximum(length, 1), 0, 1)
        far = np.abs(position[:, None] - position).astype(float)
        spread = np.exp(-(far**2) / (2 * (0.6 + 3 * (1 - stage))[:, None, None] ** 2))
        spread[(step == 0) | (step > length)] = 0
        born = np.sort(rng.uniform(-120, 150, (CATEGORIES, ITEMS)), axis=1)
        born[:, :4] = np.minimum(born[:, :4], 0)
        return cls(
            position=position,
            vectors=(0.9 * centres[family] + along[position]).astype(np.float32),
            base=base,
            wanted=np.exp(base) / np.exp(base).sum(),
            phase=rng.integers(0, 7, FAMILIES)[family],
            period=period,
            consumable=np.flatnonzero(period),
            value=rng.normal(0, 0.3, (CATEGORIES, ITEMS)).astype(np.float32),
            born=np.floor(born).astype(np.int32),
            price=price[:, None] * np.exp(rng.normal(0, 0.3, (CATEGORIES, ITEMS))),
            boost=(PUSH * (0.4 + 0.6 * stage)[:, None, None] * spread).astype(np.float32),
            linger=(LINGER * stage[:, None, None] * spread).astype(np.float32),
            hazard=renewal_hazard(period[period > 0]),
        )


def renewal_hazard(period, longest=60):
    """Daily chance that a cycle asks again, by days since its need was last met.

    Two tables (periods, longest + 1): for a need met on a known day, and for one not met since day
    0, by the day's number. Intervals are normal around `period` with standard deviation JITTER ×
    period, cut into days; a share STOP never comes; on day 0 a share CYCLES of the cycles runs,
    each at any point of its interval.
    """
    day = np.arange(longest + 1)
    scale = JITTER * period[:, None]
    reached = norm.cdf((day[None] + 0.5 - period[:, None]) / scale)  # by the end of that day
    started = np.zeros_like(reached)  # the mean over how long ago the need was met: 1 to `period`
    for row, interval in enumerate(period):
        ago = np.arange(1, interval + 1)
        started[row] = norm.cdf((day[:, None] + ago + 0.5 - interval) / scale[row]).mean(1)

    def hazard(cdf):
        chance = np.diff(cdf, axis=1, prepend=0)
        return (chance / (1 - cdf + chance)).astype(np.float32)

    return hazard((1 - STOP) * reached), hazard(CYCLES * started)


CATALOGUE = Catalogue.default()


@dataclass
class Hidden:
    """The state that no log shows, one row a user (or a particle).

    `taste`, `core` (rows, 6); `kind`, `need`, `age`, `length` (rows,) int16 of the open need
    (kind 0: none); `met` (rows, consumable) int16: the day on which a need was last met, or
    NEVER (not since day 0).
    """

    taste: np.ndarray
    core: np.ndarray
    kind: np.ndarray
    need: np.ndarray
    age: np.ndarray
    length: np.ndarray
    met: np.ndarray

    def take(self, rows):
        """The state of these rows, as a copy."""
        return Hidden(*(getattr(self, f.name)[rows] for f in fields(self)))

    @property
    def earnest(self):
        """Rows (rows,) whose open need can end in a purchase."""
        return (self.kind == GOALS) | (self.kind == ERRANDS)

    @property
    def cell(self):
        """10 × length + step, the row of the tables of needs; 0 where none is open."""
        step = np.where(self.kind == IDLE, self.length - self.age, self.age + 1)
        return np.where(self.kind == NONE, 0, 10 * self.length + step)


class Stocks:
    """What a log's past does to its users: a function of the log alone, carried day by day.

    `tired`, `seen`, `recent` (users, 64): consumption that satiates, exposure that endears, clicks
    that the platform remembers; `liked` (users, 6) and `weight` (users,): the decayed sum of
    clicked vectors and their number; `engagement` (users,).
    """

    def __init__(self, n_users):
        self.tired, self.seen, self.recent = (
            np.zeros((n_users, CATEGORIES), np.float32) for _ in range(3)
        )
        self.liked = np.zeros((n_users, DIMENSIONS), np.float32)
        self.weight = np.zeros(n_users, np.float32)
        self.engagement = np.ones(n_users, np.float32)

    def end_day(self, world, active, clicks, bought, shown, liked_slots):
        """Add a day: `clicks`, `bought`, `shown` (active, 64) counts, `liked_slots` (active,)."""
        self.tired *= REST
        self.tired[active] += clicks + SATED * bought
        self.seen *= FADE
        self.seen[active] += SEEN * shown
        self.recent *= PLATFORM
        self.recent[active] += clicks
        self.liked *= PLATFORM
        self.liked[active] += clicks @ world.catalogue.vectors
        self.weight *= PLATFORM
        self.weight[active] += clicks.sum(1)
        bored = 1 - np.minimum(liked_slots / 2, 1)
        self.engagement[active] *= np.exp(-world.churn * (WEAR + BORE * bored))


@dataclass(frozen=True)
class Laws:
    """Laws of behaviour with one strength a mechanism: 0 is off, 1 the default.

    Raises ValueError for a strength that is negative or not finite.
    """

    drift: float = 1.0
    shift: float = 1.0
    season: float = 1.0
    satiation: float = 1.0
    reinforcement: float = 1.0
    need: float = 1.0
    contagion: float = 1.0
    ageing: float = 1.0
    churn: float = 1.0

    catalogue = CATALOGUE

    def __post_init__(self):
        for name in MECHANISMS:
            strength = getattr(self, name)
            if not (np.isfinite(strength) and strength >= 0):
                raise ValueError(f"`{name}` must be a finite number >= 0. Received: {strength!r}")

    def known_appeal(self, day, tired, seen):
        """The part of the appeal (users, 64) that a log shows: base, week, satiation, exposure."""
        goods = self.catalogue
        week = self.season * WEEK * np.cos(2 * np.pi * (day - goods.phase) / 7)
        fond = self.reinforcement * FOND * seen / (1 + seen)
        return (goods.base + week).astype(np.float32) - self.satiation * TIRE * tired + fond

    def item_value(self, day):
        """The news value and quality (64, 16) of items on `day`; -inf for items yet unborn."""
        age = day - self.catalogue.born
        news = self.ageing * NEWS * np.exp(-np.maximum(age, 0) / STALE)
        return np.where(age >= 0, self.catalogue.value + news, -np.inf).astype(np.float32)

    def move_taste(self, hidden, pull, rng):
        """One day of taste: return, shake, friends' `pull` (rows, 6), life events; in place."""
        kept = np.exp(-RETURN)
        hidden.taste -= hidden.core
        hidden.taste *= kept
        hidden.taste += hidden.core
        shape = hidden.taste.shape
        noise = rng.standard_normal(shape, dtype=np.float32)
        hidden.taste += np.float32(self.drift * SPREAD * np.sqrt(1 - kept**2)) * noise
        hidden.taste += np.float32(self.contagion * PULL) * pull
        struck = np.flatnonzero(rng.random(len(hidden.taste)) < self.shift * EVENT)
        hidden.core[struck], hidden.taste[struck] = self.new_tastes(len(struck), rng)

    def new_tastes(self, n, rng):
        """Fresh core and present tastes (n, 6) from their stationary law."""
        core = CORE * rng.standard_normal((n, DIMENSIONS), dtype=np.float32)
        around = rng.standard_normal((n, DIMENSIONS), dtype=np.float32)
        return core, core + np.float32(self.drift * SPREAD) * around

    def end_needs(self, hidden, day):
        """Needs grow older by a day; those past their length end, met elsewhere; in place."""
        hidden.age += hidden.kind != NONE
        over = np.flatnonzero((hidden.kind != NONE) & (hidden.age >= hidden.length))
        ended = over[hidden.kind[over] != IDLE]
        self.meet(hidden, ended, hidden.need[ended], day)
        hidden.kind[over] = NONE

    def move_needs(self, hidden, day, rng):
        """One day of needs: they age, end, and open; in place."""
        self.end_needs(hidden, day)
        free = np.flatnonzero(hidden.kind == NONE)
        errand = self.errand_hazard(hidden.met[free], day)
        asks = rng.random(len(free)) < errand.sum(1)
        fresh = ~asks & (rng.random(len(free)) < self.need * OPEN)
        wanted = self.catalogue.consumable[choose(errand[asks], rng)]
        self.open(hidden, free[asks], ERRANDS, wanted, rng)
        needed = rng.choice(CATEGORIES, fresh.sum(), p=self.catalogue.wanted)
        kind = np.where(rng.random(fresh.sum()) < GOAL, GOALS, IDLE)
        self.open(hidden, free[fresh], kind, needed, rng)

    def errand_hazard(self, met, day):
        """Chance (rows, consumable) that a running cycle asks today."""
        known, unknown = self.catalogue.hazard
        last = known.shape[1] - 1
        hazard = np.repeat(unknown[None, :, min(day, last)], len(met), axis=0)
        row, cycle = np.nonzero(met > NEVER)  # few
        hazard[row, cycle] = known[cycle, np.minimum(day - met[row, cycle], last)]
        return np.float32(min(self.need, 1)) * hazard

    def open(self, hidden, rows, kind, need, rng):
        """Open a need of `kind` for category `need` in `rows`; in place."""
        low, high = JOURNEY
        length = rng.integers(low, high + 1, len(rows))
        hidden.kind[rows], hidden.need[rows], hidden.age[rows] = kind, need, 0
        hidden.length[rows] = np.where(np.equal(kind, ERRANDS), ERRAND, length)

    def meet(self, hidden, rows, category, day):
        """A need for `category` was met today in `rows`: its cycle starts anew; in place."""
        place = np.searchsorted(self.catalogue.consumable, category)
        place = np.minimum(place, len(self.catalogue.consumable) - 1)
        runs = self.catalogue.consumable[place] == category
        hidden.met[rows[runs], place[runs]] = day

    def satisfy(self, hidden, rows, category, day):
        """A purchase in `category` by `rows`: it starts a cycle and closes the need it meets."""
        self.meet(hidden, rows, category, day)
        closes = (hidden.need[rows] == category) & hidden.earnest[rows]
        hidden.kind[rows[closes]] = NONE

    def buying_chance(self, hidden, rows, category):
        """Chance that a click on `category` by `rows` ends in a purchase (same shape)."""
        ripe = (hidden.age[rows] + 1 >= RIPE * hidden.length[rows]) & hidden.earnest[rows]
        return np.where(ripe & (hidden.need[rows] == category), BUY, IMPULSE)

    def newcomers(self, n, rng):
        """The hidden state of `n` users on the first day."""
        core, taste = self.new_tastes(n, rng)
        nothing = np.zeros((4, n), np.int16)
        met = np.full((n, len(self.catalogue.consumable)), NEVER, np.int16)
        return Hidden(taste, core, *nothing, met)

    def platform_shares(self, recent, total=None):
        """The default policy: the share (users, 64) of a slate that each category gets.

        `recent` (users, 64) clicks remembered; `total` (users,) of all categories, by default
        their sum.
        """
        total = recent.sum(1) if total is None else total
        weight = (1 - EXPLORE) / (total + np.float32(0.1 * CATEGORIES))
        return (recent + np.float32(0.1)) * weight[:, None] + np.float32(EXPLORE / CATEGORIES)


MECHANISMS = tuple(f.name for f in fields(Laws))


def choose(weights, rng):
    """A column (rows,) drawn in proportion to `weights` (rows, columns)."""
    total = np.cumsum(weights, axis=1)
    return (total < rng.random(len(total))[:, None] * total[:, -1:]).sum(1)


def friends_pull(friends, stocks):
    """Mean clicked vector (users, 6) of each user's friends; 0 where they clicked nothing."""
    mean = stocks.liked / np.maximum(stocks.weight, 1e-6)[:, None]
    heard = friends @ (stocks.weight > 1e-6).astype(np.float32)
    return (friends @ mean) / np.maximum(heard, 1)[:, None]
