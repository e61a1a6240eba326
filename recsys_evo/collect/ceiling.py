"""What the truth would predict (the oracle), and what the log allows (the ceiling).

Two questions, asked at the start of day `end` about the next HORIZON days:

- *touch*: does user u touch category c (a visit, a click, a purchase)?
- *buy*: does user u buy anything?

The **oracle** starts from the true hidden state and lets many copies of each user live on. The
**ceiling** knows the same laws but only the log: a particle filter carries a cloud of hidden
states through the log, keeps those that explain each day, and lets the survivors live on. No
predictor that sees only the log can expect to beat the exact ceiling. A filter with finitely many
particles is itself such a predictor, so its score is a lower bound to the ceiling; two runs with
other particles show how far chance moves it.

Two parts of the state never need guessing: the core taste, given a path of the present taste, is
Gaussian and is carried exactly (Rao–Blackwellisation; Doucet et al. 2000); the chance to come on a
day depends on nothing else hidden and has its own posterior, on a grid. Chapter 02 introduces both
yardsticks; every model of the book is held against them.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.stats import beta

from . import laws
from .laws import CATEGORIES, FEED, ITEMS, NONE, VISITS, Stocks, choose
from .world import CLICKED, FIRST_DAY, IMPRESSION, PURCHASE

HORIZON = 3  # days ahead, of both questions
_GRID = np.linspace(0.01, 0.99, 50)  # chances to come on a day


@dataclass(frozen=True)
class Forecast:
    """Chances `touch` (users, 64) and `buy` (users,) over the next HORIZON days."""

    touch: np.ndarray
    buy: np.ndarray


def oracle(world, simulation, *, end, users=None, copies=100, rng):
    """Forecast from the true state at the start of day `end` (a number; 0 is the first).

    `users`: codes (default all). Of `copies` lives a user, the mean is returned. The default policy
    is taken to go on. Raises ValueError for days or users that were not simulated.
    """
    if np.ndim(end):
        raise ValueError(f"`end` must be one day's number. Received: end={end!r}")
    _check_days(end, simulation.truth.taste.shape[1] - 1)
    _check_count(copies=copies)
    users = _codes(simulation.log, users)
    *_, (day, stocks, _) = _replay(world, simulation.log, end)
    state = simulation.truth.state(end, users)
    pull = laws.friends_pull(_friendships(simulation.log), stocks)
    parts = []
    for block in _blocks(np.arange(len(users)), copies, 20_000):
        rows = np.repeat(block, copies)
        habit = simulation.truth.habit[users[rows]]
        known = _Known(stocks, pull, users[block])
        parts.append(_live_on(world, state.take(rows), known, habit, day, rng))
    return _join(parts)


def _join(parts):
    return Forecast(*(np.concatenate([getattr(p, n) for p in parts]) for n in ("touch", "buy")))


def _codes(log, users):
    users = np.arange(log.n_users) if users is None else np.asarray(users)
    if users.ndim != 1 or users.dtype.kind not in "iu" or not len(users):
        raise ValueError(f"`users` must be a column of user codes. Received: {users!r}")
    if users.min() < 0 or users.max() >= log.n_users:
        wrong = users[(users < 0) | (users >= log.n_users)][0]
        raise ValueError(f"`users` must be codes in [0, {log.n_users}). Received: {wrong}")
    return users


def _check_days(end, last):
    days = np.atleast_1d(end)
    rising = days.ndim == 1 and days.dtype.kind in "iu" and (np.diff(days) > 0).all()
    if not (rising and len(days) and days[0] >= 0 and days[-1] <= last):
        raise ValueError(
            f"`end` must be numbers of days, rising, from 0 to {last}. Received: end={end!r}"
        )


def _check_count(**count):
    for name, n in count.items():
        if not (isinstance(n, (int, np.integer)) and n > 0):
            raise ValueError(f"`{name}` must be a positive integer. Received: {name}={n!r}")


def _blocks(users, rows, most):
    """`users` in parts of about `most` rows, at `rows` a user and at least one user a part."""
    return np.array_split(users, min(len(users), -(-len(users) * rows // most)))


class _Known:
    """What the log says of `users` at the start of a day."""

    def __init__(self, stocks, pull, users):
        self.tired, self.seen, self.recent = (
            getattr(stocks, n)[users] for n in ("tired", "seen", "recent")
        )
        self.engagement, self.pull = stocks.engagement[users], pull[users]
        self.n = len(users)


def _live_on(world, hidden, known, habit, day, rng):
    """Forecast for the users of `known`, from equally many rows of `hidden` a user.

    Chances, not draws, are averaged wherever they can be. The chance that a category stays
    untouched is followed along lives in which it was not clicked: there it is less tired (`rest`)
    and gets a smaller share of the slate (`quiet`). All else goes by the expected clicks. Friends
    are taken to click as before.
    """
    goods = world.catalogue
    rows = len(hidden.kind)
    copies = rows // known.n
    owner, one = np.repeat(np.arange(known.n), copies), np.arange(rows)
    tired, seen, quiet = known.tired[owner], known.seen[owner], known.recent[owner]
    total, rest = quiet.sum(1), np.zeros_like(tired)
    pull, engagement = known.pull[owner], known.engagement[owner]
    untouched = np.ones((rows, CATEGORIES), np.float32)
    unbought, buy = np.ones(rows), np.zeros(rows)
    attention = np.float32(np.mean((1 + np.arange(FEED)) ** -laws.POSITION))
    for later in range(day, day + HORIZON):
        world.move_taste(hidden, pull, rng)
        world.move_needs(hidden, later, rng)
        value = world.item_value(later)
        value = np.where(np.isfinite(value), value, 0).sum(1) / np.isfinite(value).sum(1)
        appeal = hidden.taste @ goods.vectors.T
        appeal += world.known_appeal(later, tired, seen) + goods.boost[hidden.cell, hidden.need]
        shares = world.platform_shares(quiet, total) * FEED
        visit = np.exp(appeal)
        visit /= visit.sum(1, keepdims=True) + np.float32(np.exp(laws.ELSEWHERE))
        odds = appeal + (value + laws.CLICK)
        click = attention / (1 + np.exp(-odds))
        comes = rng.random(rows) < habit * engagement
        missed = (1 - visit * np.exp(rest)) ** VISITS
        missed *= _missed(attention / (1 + np.exp(-odds - rest)), shares)
        untouched[comes] *= missed[comes]
        clicks = comes[:, None] * (VISITS * visit + shares * click)

        need = hidden.need.copy()
        chance = world.buying_chance(hidden, one, need)
        spared = (1 - visit[one, need] * chance) ** VISITS
        spared *= _missed(click[one, need] * chance, shares[one, need])
        impulse = comes * (1 - np.exp(-laws.IMPULSE * clicks.sum(1)))
        met = comes * (1 - spared) * (chance > laws.IMPULSE)
        buy += unbought * (1 - (1 - met) * (1 - impulse))
        # A purchase closes the need for the days to come, so it is drawn; and it is a touch.
        buys = rng.random(rows) < met
        unbought *= ~buys & (rng.random(rows) >= impulse)
        untouched[one, need] *= np.where(buys, 0, 1 / (1 - met))
        buyers = np.flatnonzero(buys)
        world.satisfy(hidden, buyers, need[buyers], later)
        clicks[one, need] *= 1 - chance  # those that no purchase followed
        tired = laws.REST * tired + clicks
        tired[buyers, need[buyers]] += laws.SATED
        rest = laws.REST * rest + world.satiation * laws.TIRE * clicks
        quiet *= laws.PLATFORM
        total = laws.PLATFORM * total + clicks.sum(1)
        seen = laws.FADE * seen + laws.SEEN * comes[:, None] * shares
    mean = (known.n, copies)
    return Forecast(1 - untouched.reshape(*mean, -1).mean(1), buy.reshape(mean).mean(1))


def _missed(click, shares):
    """Chance that no slot is clicked where `shares` are expected: whole ones, and one or none."""
    slots = np.floor(shares)
    return (1 - click) ** slots * (1 - (shares - slots) * click)


def ceiling(world, log, *, end, users=None, particles=1_000, rng):
    """Forecast from the log before day `end` alone, the laws being those of `world`.

    `end`: a day's number (0 is the log's first day) or several in rising order, for which a list of
    forecasts is returned; `users`: codes (default all); `particles` a user. The default policy is
    taken to go on. Raises ValueError for a log that is not the world's or holds no impressions, and
    for days or users that are not in it. Time grows with users × particles × days.
    """
    friendships = _friendships(log)
    if not (log.events["action"] == "impression").any():
        raise ValueError(
            "`log` must hold impressions: simulate with impressions=True. Received: none"
        )
    users = _codes(log, users)
    _check_days(end, int((log.end - FIRST_DAY).astype(int)))
    _check_count(particles=particles)
    ends = np.atleast_1d(end)
    blocks = _blocks(users, particles, 10_000)
    streams = rng.spawn(len(blocks))
    clouds = [_Cloud(world, len(b), particles, r) for b, r in zip(blocks, streams)]
    came = np.zeros((log.n_users, len(_GRID)))  # log-likelihood of the grid
    forecasts = []
    for day, stocks, seen in _replay(world, log, ends[-1]):
        pull = laws.friends_pull(friendships, stocks)
        known = [_Known(stocks, pull, block) for block in blocks]
        if day in ends:
            prior = beta.pdf(_GRID, *laws.HABIT)
            parts = []
            for cloud, block, k in zip(clouds, blocks, known):
                weight = prior * np.exp(came[block] - came[block].max(1, keepdims=True))
                hidden = cloud.state()
                habit = _GRID[choose(np.repeat(weight, particles, axis=0), cloud.rng)]
                parts.append(_live_on(world, hidden, k, habit, day, cloud.rng))
            forecasts.append(_join(parts))
        if seen is None:
            break
        chance = _GRID * stocks.engagement[:, None]
        came += np.where(seen.came[:, None], np.log(chance), np.log1p(-chance))
        for cloud, block, k in zip(clouds, blocks, known):
            cloud.live(day, k, seen.of(block))
    return forecasts if np.ndim(end) else forecasts[0]


def _friendships(log):
    if "friends" not in log.users:
        raise ValueError(
            "`log` must come from the world: `log.users` with a column 'friends'. "
            f"Received: {list(log.users.columns)}"
        )
    friends = log.users["friends"].to_numpy()
    ends = np.cumsum([0] + [len(f) for f in friends])
    codes = np.concatenate([*friends, np.zeros(0, int)]).astype(int)
    return sparse.csr_matrix((np.ones(len(codes), np.float32), codes, ends), (len(friends),) * 2)


@dataclass
class _Seen:
    """A day of a log, dense: one row a user, padded with -1.

    `came` (users,); `feed`, `clicked` (users, FEED) item and whether clicked, by position; `what`,
    `read`, `bought` (users, FEED + VISITS) category, log-dwell, purchase of each click; `visits`
    (users, 64) own visits by category.
    """

    came: np.ndarray
    feed: np.ndarray
    clicked: np.ndarray
    what: np.ndarray
    read: np.ndarray
    bought: np.ndarray
    visits: np.ndarray

    def of(self, users):
        return _Seen(*(part[users] for part in vars(self).values()))


def _replay(world, log, end):
    """Yield (day, stocks at its start, what was seen on it) for each day, None for day `end`."""
    events = log.events
    day_of = (events["time"].to_numpy().astype("M8[D]") - FIRST_DAY).astype(int)
    order = np.argsort(day_of, kind="stable")
    cuts = np.searchsorted(day_of[order], np.arange(end + 1))
    columns = {name: events[name].to_numpy() for name in events if name != "action"}
    columns["action"] = events["action"].cat.codes.to_numpy()
    stocks = Stocks(log.n_users)
    for day in range(end):
        rows = order[cuts[day] : cuts[day + 1]]
        seen = _see({name: column[rows] for name, column in columns.items()}, log.n_users)
        yield day, stocks, seen
        active = np.flatnonzero(seen.came)
        counts = np.zeros((3, log.n_users, CATEGORIES), np.float32)
        user, slot = np.nonzero(seen.what >= 0)
        np.add.at(counts[0], (user, seen.what[user, slot]), 1)
        user, slot = np.nonzero(seen.bought)
        np.add.at(counts[1], (user, seen.what[user, slot]), 1)
        np.add.at(counts[2], (active[:, None], seen.feed[active] // ITEMS), 1)
        clicks, bought, shown = counts[:, active]
        stocks.end_day(world, active, clicks, bought, shown, seen.clicked[active].sum(1))
    yield end, stocks, None


def _see(rows, n_users):
    seen = _Seen(
        came=np.zeros(n_users, bool),
        feed=np.full((n_users, FEED), -1),
        clicked=np.zeros((n_users, FEED), bool),
        what=np.full((n_users, FEED + VISITS), -1),
        read=np.zeros((n_users, FEED + VISITS), np.float32),
        bought=np.zeros((n_users, FEED + VISITS), bool),
        visits=np.zeros((n_users, CATEGORIES), np.float32),
    )
    is_shown, is_click, is_bought = (rows["action"] == a for a in (IMPRESSION, CLICKED, PURCHASE))
    user, position = rows["user"], rows["position"]
    seen.came[user[is_shown]] = True
    seen.feed[user[is_shown], position[is_shown]] = rows["item"][is_shown]
    fed = is_click & (position >= 0)
    seen.clicked[user[fed], position[fed]] = True
    own = is_click & (position < 0)
    np.add.at(seen.visits, (user[own], rows["category"][own]), 1)
    # Rows are sorted by user and time, and a purchase follows its click.
    chain = np.flatnonzero(is_click | is_bought)
    first = np.searchsorted(user[chain], user[chain])
    number = np.cumsum(is_click[chain]) - 1
    number -= np.concatenate([number, [0]])[first]
    put = is_click[chain]
    at = (user[chain], number)
    seen.what[at[0][put], at[1][put]] = rows["category"][chain][put]
    seen.read[at[0][put], at[1][put]] = np.log(rows["dwell"][chain][put])
    seen.bought[at[0][~put], at[1][~put]] = True
    return seen


class _Cloud:
    """Particles of a block of users: rows (users × particles) with log-weights."""

    def __init__(self, world, n_users, particles, rng):
        self.world, self.shape, self.rng = world, (n_users, particles), rng
        self.hidden = world.newcomers(n_users * particles, rng)
        self.spread = np.float32(world.drift * laws.SPREAD)  # of the present taste around the core
        shrink = laws.CORE**2 / (laws.CORE**2 + self.spread**2)
        self.shrink, self.left = np.float32(shrink), np.float32(shrink * self.spread**2)
        # `hidden.core` is the mean of the core given the path of the taste, `doubt` its variance.
        self.hidden.core = self.shrink * self.hidden.taste
        self.doubt = np.full(len(self.hidden.kind), self.left)
        self.weight = np.zeros(self.shape)

    def state(self):
        """Equally weighted particles with the core drawn."""
        self.resample(np.ones(self.shape[0], bool))
        hidden = self.hidden.take(np.arange(len(self.hidden.kind)))
        noise = self.rng.standard_normal(hidden.core.shape, dtype=np.float32)
        hidden.core = hidden.core + np.sqrt(self.doubt)[:, None] * noise
        return hidden

    def live(self, day, known, seen):
        """Move all particles by a day, weigh them by what was seen, and resample where needed."""
        self.move_taste(np.repeat(known.pull, self.shape[1], axis=0))
        self.move_needs(day, seen)
        came = np.flatnonzero(seen.came)
        if len(came) == 0:
            return
        self.weigh(day, came, known, seen.of(came))
        weight = np.exp(self.weight - self.weight.max(1, keepdims=True))
        effective = weight.sum(1) ** 2 / (weight**2).sum(1)
        self.resample(effective < self.shape[1] / 2)
        self.shop(day, seen)

    def move_taste(self, pull):
        """As `World.move_taste`, the core integrated out and learnt from where the taste went."""
        world, hidden, rng = self.world, self.hidden, self.rng
        kept = np.float32(np.exp(-laws.RETURN))
        noise = self.spread**2 * (1 - kept**2)
        mean = kept * hidden.taste + (1 - kept) * hidden.core
        mean += np.float32(world.contagion * laws.PULL) * pull
        variance = noise + (1 - kept) ** 2 * self.doubt
        step = rng.standard_normal(mean.shape, dtype=np.float32) * np.sqrt(variance)[:, None]
        gain = (1 - kept) * self.doubt / np.maximum(variance, 1e-12)
        hidden.taste = mean + step
        hidden.core = hidden.core + gain[:, None] * step
        self.doubt = self.doubt * (1 - (1 - kept) * gain)
        struck = np.flatnonzero(rng.random(len(mean)) < world.shift * laws.EVENT)
        _, hidden.taste[struck] = world.new_tastes(len(struck), rng)
        hidden.core[struck] = self.shrink * hidden.taste[struck]
        self.doubt[struck] = self.left

    def move_needs(self, day, seen):
        """As `World.move_needs`, but needs open where the day's clicks are, and weigh less."""
        world, hidden, rng, goods = self.world, self.hidden, self.rng, self.world.catalogue
        world.end_needs(hidden, day)
        free = np.flatnonzero(hidden.kind == NONE)
        owner = free // self.shape[1]
        guide = 1 + 3 * (seen.visits @ _NEAR)
        asks = world.errand_hazard(hidden.met[free], day)
        asks /= np.maximum(asks.sum(1, keepdims=True), 1)
        quiet = 1 - asks.sum(1)
        asks *= guide[:, goods.consumable][owner]
        fresh = goods.wanted * guide
        errand = asks.sum(1)
        opened = quiet * world.need * laws.OPEN * fresh.sum(1)[owner]
        total = errand + opened + quiet * (1 - world.need * laws.OPEN)
        draw = rng.random(len(free)) * total
        gain = np.log(total)
        rows = np.flatnonzero(draw < errand)
        need = goods.consumable[choose(asks[rows], rng)]
        world.open(hidden, free[rows], laws.ERRANDS, need, rng)
        gain[rows] -= np.log(guide[owner[rows], need])
        rows = np.flatnonzero((draw >= errand) & (draw < errand + opened))
        need = choose(fresh[owner[rows]], rng)
        kind = np.where(rng.random(len(rows)) < laws.GOAL, laws.GOALS, laws.IDLE)
        world.open(hidden, free[rows], kind, need, rng)
        gain[rows] -= np.log(guide[owner[rows], need])
        self.weight.ravel()[free] += gain

    def weigh(self, day, came, known, seen):
        """Add the log-likelihood of what the users `came` did on `day`."""
        world, goods = self.world, self.world.catalogue
        n, particles = len(came), self.shape[1]
        rows = (came[:, None] * particles + np.arange(particles)).ravel()
        hidden = self.hidden.take(rows)
        cell = hidden.cell
        shape = (n, particles, -1)
        appeal = hidden.taste @ goods.vectors.T
        busy = np.flatnonzero(cell)
        appeal[busy] += goods.boost[cell[busy], hidden.need[busy]]
        appeal = appeal.reshape(shape)
        appeal += world.known_appeal(day, known.tired[came], known.seen[came])[:, None]

        gain = np.einsum("npc,nc->np", appeal, seen.visits)
        gain -= VISITS * np.log(np.exp(appeal).sum(2) + np.exp(laws.ELSEWHERE))

        value = world.item_value(day).ravel()[seen.feed] + laws.CLICK
        odds = _pick(appeal, seen.feed // ITEMS) + value[:, None]
        attention = ((1 + np.arange(FEED)) ** -laws.POSITION).astype(np.float32)
        chance = attention / (1 + np.exp(-odds))
        gain += np.log(np.where(seen.clicked[:, None], chance, 1 - chance)).sum(2)

        real = seen.what >= 0
        what = np.where(real, seen.what, 0)
        liked = _pick(appeal, what)
        mean = laws.READ + laws.DEEPER * np.clip(liked, -2, 4)
        need = hidden.need.reshape(n, particles, 1)
        mean += goods.linger[cell.reshape(n, particles, 1), need, what[:, None]]
        told = real & (seen.read < np.log(laws.LONGEST) - 1e-3)
        gain -= ((seen.read[:, None] - mean) ** 2 * told[:, None]).sum(2) / (2 * laws.VARIED**2)

        every = np.arange(n * particles).reshape(n, particles, 1)
        buying = world.buying_chance(hidden, every, what[:, None])
        buying = np.where(seen.bought[:, None], buying, 1 - buying)
        gain += np.where(real[:, None], np.log(buying), 0).sum(2)
        self.weight[came] += gain

    def resample(self, which):
        """Systematic resampling of the users where `which`."""
        users = np.flatnonzero(which)
        particles = self.shape[1]
        weight = np.exp(self.weight[users] - self.weight[users].max(1, keepdims=True))
        edges = np.cumsum(weight, axis=1)
        edges *= particles / edges[:, -1:]
        counts = np.diff(np.ceil(edges - self.rng.random((len(users), 1))), axis=1, prepend=0)
        counts[:, -1] += particles - counts.sum(1)
        parents = np.repeat(np.tile(np.arange(particles), len(users)), counts.astype(int).ravel())
        target = (users[:, None] * particles + np.arange(particles)).ravel()
        source = np.repeat(users, particles) * particles + parents
        for part in vars(self.hidden).values():
            part[target] = part[source]
        self.doubt[target] = self.doubt[source]
        self.weight[users] = 0

    def shop(self, day, seen):
        """Purchases seen close the need they meet and start the category's cycle anew."""
        hidden, particles = self.hidden, self.shape[1]
        for user, slot in zip(*np.nonzero(seen.bought)):
            rows = user * particles + np.arange(particles)
            category = seen.what[user, slot]
            self.world.satisfy(hidden, rows, np.full(particles, category), day)


_FAR = laws.CATALOGUE.position[:, None] - laws.CATALOGUE.position
_NEAR = np.exp(-(_FAR**2) / (2 * 1.2**2)).astype(np.float32)


def _pick(appeal, category):
    """`appeal` (users, particles, 64) at `category` (users, slots) → (users, particles, slots)."""
    return np.take_along_axis(appeal, category[:, None], axis=2)
