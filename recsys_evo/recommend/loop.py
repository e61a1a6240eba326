"""Users ⇄ recommender: the closed loop in which both evolve.

        ┌──── show ◀──── policy ◀─── learn ────┐
        ▼                                      │
    users ── click, buy, change ──▶ log ───────┘        a round is a day

The policy sees only the log. The world goes on from what its users were shown, so that two policies
make two histories. What really happened to the users is kept beside: what each item was worth to
them, and what became of their tastes. Chapter 10 is about this loop; chapters 12 to 14 use it.
"""

import copy
from dataclasses import dataclass

import numpy as np

from recsys_evo.collect import laws
from recsys_evo.collect.events import Log
from recsys_evo.collect.laws import CATEGORIES, FEED, ITEMS
from recsys_evo.collect.world import FIRST_DAY, TOWN, Truth, World, _LogSoFar, _slates, _Town
from recsys_evo.prepare.splits import counted, positive

ATTENTION = ((1 + np.arange(FEED)) ** -laws.POSITION).astype(np.float32)  # by place in the slate


@dataclass(frozen=True, eq=False)
class Evolution:
    """What `evolve` gives: a history of users and their recommender, day by day.

    `start`: first day on which the policy chose; before it the world's default policy did.
    `came` (users, days) bool. Of shown slots, (users, days, 10): `items`, -1 where a user did not
    come; `clicked`; `propensity`; `chance`, the true chance of the click; `utility`, the log-odds
    of a click at the first place, without what mere exposure has added to them. The last two are
    NaN where a user did not come. `truth` as in `collect.world`, and `log` with all events.
    """

    world: World
    start: int
    items: np.ndarray
    clicked: np.ndarray
    propensity: np.ndarray
    chance: np.ndarray
    utility: np.ndarray
    truth: Truth
    log: Log

    @property
    def came(self):
        return self.items[:, :, 0] >= 0

    def appeals(self, day):
        """Return the lasting appeal of categories (users, 64) at the start of `day`: now, and core.

        Now is the present taste and what exposure has added to it; core is that of the core taste.
        """
        shown = self.items[:, :day] // ITEMS
        user, when, _ = np.nonzero(shown >= 0)
        weight = laws.SEEN * laws.FADE ** (day - 1.0 - when)
        shape = (len(shown), CATEGORIES)
        seen = counted(shape, user, shown[shown >= 0], weight=weight)
        vectors, base = self.world.catalogue.vectors.T, self.world.catalogue.base
        fond = _fondness(self.world, seen)
        now, core = (getattr(self.truth, name)[:, day] for name in ("taste", "core"))
        return now @ vectors + base + fond, core @ vectors + base


def evolve(world, policy, *, users, rounds, warm_up=28, memory=28, rng):
    """Let `users` and a copy of `policy` live with each other for `rounds` days.

    Parameters
    ----------
    world : World, by whose laws the users change.
    policy : as in `recommend.policies`. A copy learns; the one handed in stays as it was.
    users, rounds : int.
    warm_up : int, days before, on which the world's default policy shows, so that there is a log.
    memory : int, days of the log that the policy is given: the latest.
    rng : numpy Generator; the same state gives the same warm-up whatever the policy.

    Returns
    -------
    Evolution of warm_up + rounds days.

    Raises
    ------
    ValueError for numbers that are not positive, and for slates that cannot be shown.
    """
    numbers = {"users": users, "rounds": rounds, "warm_up": warm_up, "memory": memory}
    for name, number in numbers.items():
        positive(**{name: number})
    policy, days = copy.deepcopy(policy), warm_up + rounds
    n_towns = -(-users // TOWN)
    cuts = np.linspace(0, users, n_towns + 1).astype(int)
    *streams, own = rng.spawn(n_towns + 1)
    truth = Truth.blank(users, days)
    chance, utility = np.full((2, users, days, FEED), np.nan, np.float32)
    towns = [
        _Town(world, truth.of(slice(first, last)), stream)
        for first, last, stream in zip(cuts[:-1], cuts[1:], streams)
    ]
    for day in range(days):
        active = [town.wake(day) for town in towns]
        appeal = [t.appeal(day, a, t.hidden.cell[a]) for t, a in zip(towns, active)]
        slates = [None] * n_towns
        who = np.concatenate([a + first for a, first in zip(active, cuts)])
        value = world.item_value(day).ravel() + np.float32(laws.CLICK)
        if day >= warm_up and len(who):
            if hasattr(policy, "see"):
                policy.see(np.repeat(np.concatenate(appeal), ITEMS, axis=1) + value)
            log = _Recent(world, towns, max(day - memory, 0), day)
            items, chances = _slates(*policy.slates(who, log, FEED, rng=own), len(who))
            ends = np.cumsum([len(a) for a in active])[:-1]
            slates = list(zip(np.split(items, ends), np.split(chances, ends)))
        for town, awake, liking, slate, first in zip(towns, active, appeal, slates, cuts):
            fond = _fondness(world, town.stocks.seen[awake])
            town.act(day, awake, slate)
            shown = town.item[awake, day, :FEED]
            category = shown // ITEMS
            odds, added = (np.take_along_axis(x, category, axis=1) for x in (liking, fond))
            odds += value[shown]
            chance[awake + first, day] = ATTENTION / (1 + np.exp(-odds))
            utility[awake + first, day] = odds - added
    for town in towns:
        town.truth.write(days, town.hidden)
    slots = (
        np.concatenate([getattr(town, name)[:, :, :FEED] for town in towns])
        for name in ("item", "click", "propensity")
    )
    log = _log(world, towns, 0, days)
    return Evolution(world, warm_up, *slots, chance, utility, truth, log)


def _fondness(world, seen):
    """What exposure has added to the appeal (users, 64) of categories."""
    nothing = np.zeros((), np.float32)
    return world.known_appeal(0, nothing, seen) - world.known_appeal(0, nothing, nothing)


def _log(world, towns, first, last):
    """The log of the days from `first` to before `last`, numbered as in the whole."""
    tables = []
    for town in towns:
        part = copy.copy(town)
        part.n_days = last - first
        for name in ("item", "click", "dwell", "amount", "propensity", "began"):
            setattr(part, name, getattr(town, name)[:, first:last])
        table = part.table(True)
        table["time"] += first * 86_400
        user, day = np.divmod(table["slate"], part.n_days)
        table["slate"] = np.where(user < 0, -1, user * town.n_days + first + day)
        tables.append(table)
    return world._log(towns, tables)


class _Recent(_LogSoFar):
    """The log of some days, put together when a policy first looks at it."""

    def __init__(self, world, towns, first, last):
        super().__init__(lambda: _log(world, towns, first, last))
        self.end = FIRST_DAY + last  # also where nobody came yesterday
