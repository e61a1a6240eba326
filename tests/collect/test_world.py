"""The simulated world: what its log shows, held against a second account of its laws."""

import dataclasses
import hashlib
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from recsys_evo.collect import laws
from recsys_evo.collect.laws import CATEGORIES, FEED, ITEMS, MECHANISMS, VISITS
from recsys_evo.collect.world import FIRST_DAY, TOWN, World

SIGMAS = 4.7  # how many standard errors a figure may lie off; hundreds are looked at
GOODS = laws.CATALOGUE
USERS, DAYS = 1_200, 40
OFF = dict.fromkeys(MECHANISMS, 0)


def simulate(world=None, n_users=60, n_days=4, seed=0, **options):
    world = world or World()
    return world.simulate(n_users, n_days, rng=np.random.default_rng(seed), **options)


def assert_chances(happened, chance, group, error=None):
    """What `happened` agrees with its `chance` in every group."""
    n = int(group.max()) + 1
    error = np.sqrt(chance * (1 - chance)) if error is None else error
    off = np.bincount(group, happened - chance, n)
    scale = np.sqrt(np.bincount(group, error**2, n))
    assert (np.abs(off) <= SIGMAS * scale + 1e-9).all(), (off / np.maximum(scale, 1e-12)).round(1)


def bins(values, n=8):
    """The group of each value, about equally large."""
    return np.searchsorted(np.unique(np.quantile(values, np.linspace(0, 1, n + 1)[1:-1])), values)


@pytest.fixture(scope="module")
def lived():
    return simulate(n_users=USERS, n_days=DAYS, seed=1)


@pytest.fixture(scope="module")
def account(lived):
    """A second account of the laws: every stock as a plain sum over the days before.

    `appeal`, `boosted`, `tired`, `seen`, `recent` (users, days, 64); `kind`, `need`, `age`,
    `length` of the open need when the user acts; `came`, `engagement` (users, days).
    """
    events, truth = lived.log.events, lived.truth
    day = (events["time"].to_numpy().astype("M8[D]") - FIRST_DAY).astype(int)
    user, category = events["user"].to_numpy(), events["category"].to_numpy()
    action = events["action"].astype(str).to_numpy()

    def count(rows):
        cells = np.zeros((USERS, DAYS, CATEGORIES), np.float32)
        np.add.at(cells, (user[rows], day[rows], category[rows]), 1)
        return cells

    def before(cells, kept):
        """Sum over earlier days, `kept` a day; yesterday counts whole."""
        ago = np.arange(DAYS)[:, None] - np.arange(DAYS) - 1.0
        weight = np.where(ago >= 0, kept ** np.maximum(ago, 0), 0).astype(np.float32)
        return np.einsum("ds,us...->ud...", weight, cells, optimize=True)

    clicks, bought, shown = (count(action == a) for a in ("click", "purchase", "impression"))
    came = shown.sum(2) > 0
    fed = np.zeros((USERS, DAYS))
    rows = (action == "click") & (events["position"].to_numpy() >= 0)
    np.add.at(fed, (user[rows], day[rows]), 1)
    worn = came * (laws.WEAR + laws.BORE * np.maximum(1 - fed / 2, 0))

    # A need of the morning that is not over by its age; else what is open in the next morning.
    kind, need, age, length = np.moveaxis(truth.needs[:, :-1].astype(int), 2, 0)
    runs = (kind != laws.NONE) & (age + 1 < length)
    tomorrow = np.moveaxis(truth.needs[:, 1:].astype(int), 2, 0)
    kind, need, age, length = (
        np.where(runs, now, then) for now, then in zip((kind, need, age + 1, length), tomorrow)
    )
    step = np.where(kind == laws.IDLE, length - age, age + 1)
    stage = (step / np.maximum(length, 1))[..., None]
    far = np.abs(GOODS.position[need][..., None] - GOODS.position)
    spread = np.exp(-(far**2) / (2 * (0.6 + 3 * (1 - stage)) ** 2)) * (kind > 0)[..., None]

    tired = before(clicks + laws.SATED * bought, laws.REST)
    seen = before(laws.SEEN * shown, laws.FADE)
    week = laws.WEEK * np.cos(2 * np.pi * (np.arange(DAYS)[:, None] - GOODS.phase) / 7)
    boosted = laws.PUSH * (0.4 + 0.6 * stage) * spread
    appeal = np.einsum("udk,ck->udc", truth.taste[:, 1:], GOODS.vectors)
    appeal = appeal + GOODS.base + week - laws.TIRE * tired + laws.FOND * seen / (1 + seen)
    return SimpleNamespace(
        day=day, user=user, category=category, action=action, came=came, runs=runs,
        appeal=appeal + boosted, boosted=boosted, stage=spread * stage, tired=tired, seen=seen,
        recent=before(clicks, laws.PLATFORM), kind=kind, need=need, age=age, length=length,
        engagement=np.exp(-before(worn, 1.0)),
    )  # fmt: skip


def of_items(item, day):
    """Value of items with their news, and their age in days."""
    age = day - GOODS.born.ravel()[item]
    news = laws.NEWS * np.exp(-np.maximum(age, 0) / laws.STALE)
    return GOODS.value.ravel()[item] + news, age


class TestLaws:
    """All nine mechanisms at once: what happened agrees with its chance, however it is cut."""

    def test_users_come_by_habit_and_engagement(self, lived, account):
        chance = lived.truth.habit[:, None] * account.engagement
        day = np.broadcast_to(np.arange(DAYS), chance.shape)
        for group in (day, bins(chance), bins(account.engagement)):
            assert_chances(account.came.ravel(), chance.ravel(), group.ravel())
        mean, law = lived.truth.habit.mean(), stats.beta(*laws.HABIT)
        assert abs(mean - law.mean()) < SIGMAS * law.std() / np.sqrt(USERS)
        assert account.engagement.min() < 0.9

    def test_clicks_on_the_feed(self, lived, account):
        a, events = account, lived.log.events
        rows = np.flatnonzero(a.action == "impression")
        fed = (a.action == "click") & (events["position"].to_numpy() >= 0)
        slot = events["slate"].to_numpy() * FEED + events["position"].to_numpy()
        clicked = np.isin(slot[rows], slot[fed])
        where = (a.user[rows], a.day[rows], a.category[rows])
        position = events["position"].to_numpy()[rows]
        value, age = of_items(events["item"].to_numpy()[rows], a.day[rows])
        odds = a.appeal[where] + value + laws.CLICK
        chance = (1.0 + position) ** -laws.POSITION / (1 + np.exp(-odds))
        cuts = (position, bins(age), bins(chance), bins(a.tired[where]), bins(a.seen[where], 16),
                bins(a.boosted[where]), a.kind[where[:2]], a.category[rows],
                a.day[rows] % 7 * 8 + GOODS.position[a.category[rows]] // 8)  # fmt: skip
        for group in cuts:
            assert_chances(clicked, chance, group)

        # Slots of a slate are exchangeable, so the rate falls by the exponent alone.
        rate, log_place = (
            np.bincount(position, clicked) / np.bincount(position),
            np.log1p(range(10)),
        )
        slope = np.polyfit(log_place, np.log(rate), 1)[0]
        error = np.sqrt((1 - rate) / rate / (len(rows) / 10)).max() / log_place.std() / np.sqrt(10)
        assert abs(slope + laws.POSITION) < SIGMAS * error

    def test_own_visits(self, lived, account):
        a, events = account, lived.log.events
        rows = np.flatnonzero((a.action == "click") & (events["position"].to_numpy() < 0))
        counts = np.zeros_like(a.appeal)
        np.add.at(counts, (a.user[rows], a.day[rows], a.category[rows]), 1)
        chance = np.exp(a.appeal)
        chance /= chance.sum(2, keepdims=True) + np.exp(laws.ELSEWHERE)
        counts, chance = counts[a.came], chance[a.came]
        assert counts.sum(1).max() <= VISITS
        category = np.broadcast_to(np.arange(CATEGORIES), counts.shape)
        day = np.broadcast_to(np.nonzero(a.came)[1][:, None], counts.shape)
        family = GOODS.position[category] // 8
        cuts = (category, day % 7 * 8 + family, bins(a.boosted[a.came]), bins(a.tired[a.came]),
                bins(a.seen[a.came], 16), bins(chance))  # fmt: skip
        for group in cuts:
            error = np.sqrt(VISITS * chance * (1 - chance)).ravel()
            assert_chances(counts.ravel(), VISITS * chance.ravel(), group.ravel(), error)

        # Within a category, items are drawn by quality and news.
        all_items, all_days = np.meshgrid(np.arange(CATEGORIES * ITEMS), np.arange(DAYS))
        value, age = of_items(all_items, all_days)
        weight = np.where(age >= 0, np.exp(value), 0).reshape(DAYS, CATEGORIES, ITEMS)
        share = weight / weight.sum(2, keepdims=True)
        item = events["item"].to_numpy()[rows]
        assert (item // ITEMS == a.category[rows]).all()
        times = np.zeros((DAYS, CATEGORIES, ITEMS))
        np.add.at(times, (a.day[rows], item // ITEMS, item % ITEMS), 1)
        total = times.sum(2, keepdims=True)
        error = np.sqrt(total * share * (1 - share)).ravel()
        for group in (bins(age.ravel()), np.tile(np.arange(CATEGORIES * ITEMS), DAYS)):
            assert_chances(times.ravel(), (total * share).ravel(), group, error)

    def test_dwell(self, lived, account):
        a = account
        rows = np.flatnonzero(a.action == "click")
        where = (a.user[rows], a.day[rows], a.category[rows])
        dwell = lived.log.events["dwell"].to_numpy()[rows]
        mean = laws.READ + laws.DEEPER * np.clip(a.appeal[where], -2, 4)
        mean = mean + laws.LINGER * a.stage[where]
        excess = (np.log(dwell) - mean) / laws.VARIED
        assert dwell.max() == laws.LONGEST
        half = np.full(len(rows), 0.5)
        for group in (bins(a.appeal[where]), bins(a.stage[where], 20), a.kind[where[:2]]):
            assert_chances(excess < 0, half, group)
        short = mean < np.log(laws.LONGEST) - 5 * laws.VARIED  # none of these is cut off
        assert short.sum() > 10_000
        assert stats.kstest(excess[short], "norm").pvalue > 1e-5

    def test_purchases(self, lived, account):
        a, events = account, lived.log.events
        rows = np.flatnonzero(a.action == "click")
        bought = a.action[np.minimum(rows + 1, len(a.action) - 1)] == "purchase"
        where = (a.user[rows], a.day[rows])
        sought = (a.need[where] == a.category[rows]) & np.isin(a.kind[where], [1, 2])
        ripe = sought & (a.age[where] + 1 >= laws.RIPE * a.length[where])
        chance = np.where(ripe, laws.BUY, laws.IMPULSE)
        assert_chances(bought, chance, 1 * ripe + 1 * sought)
        assert_chances(bought[ripe], chance[ripe], a.kind[where][ripe])

        paid = np.flatnonzero(a.action == "purchase")
        assert bought.sum() == len(paid) > 1_000
        amount, item = events["amount"].to_numpy()[paid], events["item"].to_numpy()[paid]
        ratio = np.log(amount / lived.log.items["price"].to_numpy()[item]) / laws.BASKET
        assert stats.kstest(ratio, "norm").pvalue > 1e-5

    def test_replenishment_asks_by_its_hazard(self, lived, account):
        """The days from the last purchase to the asking, against the law of the intervals."""
        a, met = account, lived.truth.met[:, :-1].copy()
        kind, need, age, length = np.moveaxis(lived.truth.needs[:, :-1], 2, 0)
        over = (kind != laws.NONE) & (age + 1 >= length)
        free = over | (kind == laws.NONE)
        ended = np.nonzero(over & (kind != laws.IDLE))
        place = np.searchsorted(GOODS.consumable, need[ended])
        runs = np.isin(need[ended], GOODS.consumable)
        met[ended[0][runs], ended[1][runs], place[runs]] = ended[1][runs]
        since = np.arange(DAYS)[:, None] - met
        known = free[:, :, None] & (met != laws.NEVER) & (since < 35)
        asks = np.zeros(met.shape, bool)
        new = np.nonzero(free & (a.kind == laws.ERRANDS) & (a.age == 0))
        asks[*new, np.searchsorted(GOODS.consumable, a.need[new])] = True
        asks, since = asks[known], since[known]
        period = np.broadcast_to(GOODS.period[GOODS.consumable], known.shape)[known]

        # Hazards from the distribution of the intervals, written out again.
        def reached(day):
            law = stats.norm(period, laws.JITTER * period)
            return (1 - laws.STOP) * law.cdf(day + 0.5)

        chance = (reached(since) - reached(since - 1)) / (1 - reached(since - 1))
        assert asks.sum() > 300
        assert_chances(asks, chance, since)
        assert_chances(asks, chance, period)

    def test_needs_open_at_their_rate(self, account):
        a = account
        free = ~a.runs & (a.kind != laws.ERRANDS)
        opened = free & np.isin(a.kind, [laws.GOALS, laws.IDLE])
        day = np.broadcast_to(np.arange(DAYS), free.shape)
        chance = np.full(free.sum(), laws.OPEN)
        assert_chances(opened[free], chance, day[free] // 5)
        goals = (a.kind == laws.GOALS)[opened]
        assert_chances(goals, np.full(len(goals), laws.GOAL), np.zeros(len(goals), int))


class TestDefaultPolicy:
    def test_propensities_are_the_shares_of_what_is_on_offer(self, lived, account):
        a, events = account, lived.log.events
        rows = np.flatnonzero(a.action == "impression")
        on_offer = (GOODS.born <= np.arange(DAYS)[:, None, None]).sum(2)
        shares = (1 - laws.EXPLORE) * (a.recent + 0.1)
        shares /= (a.recent + 0.1).sum(2, keepdims=True)
        shares += laws.EXPLORE / CATEGORIES
        chance = shares / on_offer  # of any one item on offer, in any one slot
        np.testing.assert_allclose((chance * on_offer).sum(2), 1, rtol=1e-5)
        logged = events["propensity"].to_numpy()
        where = (a.user[rows], a.day[rows], a.category[rows])
        np.testing.assert_allclose(logged[rows], chance[where], rtol=1e-4)

        shown = np.zeros((USERS, DAYS, CATEGORIES))
        np.add.at(shown, where, 1)
        shown, expected = shown[a.came], FEED * shares[a.came]
        category = np.broadcast_to(np.arange(CATEGORIES), shown.shape)
        assert (np.abs(shown - expected) < 1 + 1e-3).all()  # drawn with little noise
        part = expected % 1
        error = np.sqrt(part * (1 - part)).ravel()
        for group in (category, bins(expected, 20)):
            assert_chances(shown.ravel(), expected.ravel(), group.ravel(), error)

        # Evenly among a category's items on offer; no other is shown.
        item = events["item"].to_numpy()[rows]
        times = np.zeros((DAYS, CATEGORIES, ITEMS))
        np.add.at(times, (a.day[rows], item // ITEMS, item % ITEMS), 1)
        even = (GOODS.born <= np.arange(DAYS)[:, None, None]) / on_offer[:, :, None]
        total = times.sum(2, keepdims=True)
        group = np.tile(np.arange(CATEGORIES * ITEMS), DAYS)
        error = np.sqrt(total * even * (1 - even)).ravel()
        assert_chances(times.ravel(), (total * even).ravel(), group, error)
        assert times[even == 0].sum() == 0

    def test_slots_are_dealt_by_chance(self, lived):
        """A category's place in the slate says nothing: the mean of 0 to 9 in all of them."""
        shown = lived.log.events.query("action == 'impression'")
        category, position = shown["category"].to_numpy(), shown["position"].to_numpy()
        off, n = np.bincount(category, position - (FEED - 1) / 2), np.bincount(category)
        assert (np.abs(off) < SIGMAS * np.sqrt(n * (FEED**2 - 1) / 12)).all()

    def test_clicks_carry_the_propensity_of_their_slot(self, lived):
        events = lived.log.events
        fed = events[events["position"] >= 0]
        clicks = fed[fed["action"] != "impression"]
        shown = fed[fed["action"] == "impression"].set_index(["slate", "position"])
        same = shown.loc[list(zip(clicks["slate"], clicks["position"]))]
        for column in ("user", "item", "propensity"):
            np.testing.assert_array_equal(clicks[column], same[column])
        own = events[events["position"] < 0]
        assert (own["slate"] == -1).all()
        assert own["propensity"].isna().all()


class TestLog:
    def test_slates_are_whole(self, lived):
        shown = lived.log.events.query("action == 'impression'")
        slates = shown.groupby("slate")
        assert (slates.size() == FEED).all()
        assert (slates["position"].apply(list).map(lambda p: p == list(range(FEED)))).all()
        assert (slates["user"].nunique() == 1).all()
        assert (slates["time"].nunique() == 1).all()
        day = shown["time"].dt.normalize()
        assert len(shown.groupby(["user", day])) == len(slates)  # one a day

    def test_events_are_sorted_and_within_their_day(self, lived):
        events = lived.log.events
        user, time = events["user"].to_numpy(), events["time"].to_numpy()
        later = time[1:] >= time[:-1]
        assert ((user[1:] > user[:-1]) | ((user[1:] == user[:-1]) & later)).all()
        assert time.min() >= FIRST_DAY
        assert time.max() < FIRST_DAY + DAYS
        second = (time - time.astype("M8[D]")).astype(int)
        assert second.min() >= 7 * 3600
        assert second.max() < 24 * 3600

    def test_a_purchase_follows_its_click(self, lived):
        events = lived.log.events
        rows = np.flatnonzero(events["action"] == "purchase")
        click, bought = events.iloc[rows - 1], events.iloc[rows]
        assert (click["action"] == "click").all()
        for column in ("user", "item", "category", "slate", "position", "propensity"):
            np.testing.assert_array_equal(click[column], bought[column])
        wait = (bought["time"].to_numpy() - click["time"].to_numpy()).astype(int)
        # Both are cut to whole seconds.
        assert (np.abs(wait - click["dwell"].to_numpy()) <= 1).all()

    def test_dwell_and_amount_are_known_where_they_belong(self, lived):
        events = lived.log.events
        clicked, bought = (events["action"] == a for a in ("click", "purchase"))
        np.testing.assert_array_equal(events["dwell"].notna(), clicked)
        np.testing.assert_array_equal(events["amount"] > 0, bought)
        assert (events["dwell"][clicked] > 0).all()
        assert events["rating"].isna().all()
        assert set(events["action"].astype(str)) == {"impression", "click", "purchase"}

    def test_reading_takes_its_time(self, lived):
        """A page is opened after the one before has been read."""
        clicks = lived.log.events.query("action == 'click'")
        same = (np.diff(clicks["user"]) == 0) & (
            np.diff(clicks["time"].to_numpy().astype("M8[D]")).astype(int) == 0
        )
        gap = np.diff(clicks["time"].to_numpy()).astype(int)
        assert (gap[same] >= np.floor(clicks["dwell"].to_numpy()[:-1][same])).all()

    def test_side_tables(self, lived):
        items, users = lived.log.items, lived.log.users
        np.testing.assert_array_equal(items["category"], np.arange(CATEGORIES * ITEMS) // ITEMS)
        np.testing.assert_array_equal(items["born"], (FIRST_DAY + GOODS.born.ravel()))
        np.testing.assert_allclose(items["price"], GOODS.price.ravel())
        assert len(users) == USERS
        assert lived.log.source.name == "world"

    def test_without_impressions_only_they_are_missing(self):
        with_all, without = simulate(), simulate(impressions=False)
        events = with_all.log.events
        kept = events[events["action"] != "impression"].reset_index(drop=True)
        pd.testing.assert_frame_equal(without.log.events, kept)
        assert digest(without)[1] == digest(with_all)[1]


class TestTowns:
    def test_friends_are_mutual_and_stay_in_town(self):
        n = 2 * TOWN + 500
        friends = simulate(n_users=n, n_days=1, impressions=False).log.users["friends"]
        user = np.repeat(np.arange(n), friends.map(len))
        other = np.concatenate(friends.to_list())
        town = np.searchsorted([n // 3, 2 * n // 3], np.arange(n), side="right")
        assert np.bincount(town).max() <= TOWN
        assert (town[user] == town[other]).all()
        pairs = set(zip(user.tolist(), other.tolist()))
        assert len(pairs) == len(user)
        assert all((b, a) in pairs and a != b for a, b in pairs)
        # A user names six others, less a few named twice; others' naming doubles that.
        assert 1.8 * laws.CIRCLE < len(user) / n < 2 * laws.CIRCLE

    def test_half_of_the_friends_are_like_minded(self):
        simulation = simulate(n_users=TOWN, n_days=1, impressions=False)
        core, friends = simulation.truth.core[:, 0], simulation.log.users["friends"]
        user = np.repeat(np.arange(TOWN), friends.map(len))
        near = ((core[user] - core[np.concatenate(friends.to_list())]) ** 2).mean()
        assert near < 0.75 * 2 * laws.CORE**2  # strangers are twice the variance apart

    @pytest.mark.parametrize(("n_users", "n_days"), [(1, 1), (1, 9), (7, 1), (TOWN + 1, 1)])
    def test_small_worlds(self, n_users, n_days):
        simulation = simulate(n_users=n_users, n_days=n_days)
        assert simulation.log.n_users == len(simulation.truth.habit) == n_users
        assert simulation.truth.taste.shape == (n_users, n_days + 1, 6)

    @pytest.mark.parametrize("name", ["n_users", "n_days"])
    @pytest.mark.parametrize("number", [0, -3, 2.5, "9"])
    def test_numbers_are_positive_integers(self, name, number):
        rule = f"`{name}` must be a positive integer. Received: {number!r}"
        with pytest.raises(ValueError, match=rule):
            simulate(**{name: number})


def digest(simulation):
    """Checksums of the bytes of the log and of the truth."""
    log, truth = hashlib.sha256(), hashlib.sha256()
    for column in simulation.log.events:
        values = simulation.log.events[column]
        values = values.cat.codes if column == "action" else values
        log.update(np.ascontiguousarray(values.to_numpy()).tobytes())
    log.update(np.concatenate(simulation.log.users["friends"].to_list()).tobytes())
    for field in dataclasses.fields(simulation.truth):
        truth.update(np.ascontiguousarray(getattr(simulation.truth, field.name)).tobytes())
    return log.hexdigest(), truth.hexdigest()


class TestBytes:
    def test_same_seed_same_bytes_with_1_and_2_threads(self):
        runs = [simulate(n_users=2 * TOWN, n_days=5, threads=t) for t in (1, 2, None)]
        assert digest(runs[0]) == digest(runs[1]) == digest(runs[2])

    def test_another_seed_another_world(self):
        for one, other in zip(digest(simulate(seed=0)), digest(simulate(seed=1))):
            assert one != other

    def test_same_bytes_whatever_the_threads_of_the_algebra_library(self):
        code = (
            "import sys; sys.path.insert(0, sys.argv[1]); import test_world as t;"
            "print(t.digest(t.simulate(n_users=t.TOWN, n_days=12)))"
        )
        runs = []
        for threads in ("1", "2"):
            names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
            environment = os.environ | dict.fromkeys(names, threads)
            command = [sys.executable, "-c", code, os.path.dirname(__file__)]
            runs.append(
                subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
            )
        found = [run.communicate()[0] for run in runs]
        assert [run.returncode for run in runs] == [0, 0]
        assert found[0] == found[1] != ""


class Policy:
    """Random slates, and a record of what it was asked and told."""

    def __init__(self, change=None):
        self.change = change or (lambda items, chances: (items, chances))
        self.asked = []

    def slates(self, users, log, n, *, rng):
        items = rng.integers(0, CATEGORIES * ITEMS, (len(users), n))
        items[:, 0] = ITEMS * (users % CATEGORIES)
        self.asked.append((users, log, items))
        return self.change(items, np.full(items.shape, 0.25))


class TestPolicy:
    def test_sees_the_days_before_and_its_slates_are_shown(self):
        policy, days = Policy(), 6
        simulation = simulate(n_users=TOWN + 200, n_days=days, policy=policy)
        events = simulation.log.events
        assert len(policy.asked) == days
        for day, (users, log, items) in enumerate(policy.asked):
            midnight = FIRST_DAY + day
            # What it saw is the final log up to the midnight, row for row.
            earlier = events[events["time"] < midnight].reset_index(drop=True)
            pd.testing.assert_frame_equal(log.events, earlier)
            assert log.n_users == TOWN + 200
            today = events[(events["time"] >= midnight) & (events["time"] < midnight + 1)]
            shown = today[today["action"] == "impression"]
            np.testing.assert_array_equal(shown["user"], np.repeat(users, FEED))
            np.testing.assert_array_equal(shown["item"], items.ravel())
            assert (shown["propensity"] == 0.25).all()

    def test_same_seed_same_bytes(self):
        one, two = (simulate(n_users=TOWN + 200, n_days=3, policy=Policy()) for _ in range(2))
        assert digest(one) == digest(two)

    def test_an_item_that_is_not_born_is_never_clicked(self):
        unborn = np.flatnonzero(GOODS.born.ravel() > 5)

        def change(items, chances):
            return np.broadcast_to(unborn[:FEED], items.shape), chances

        events = simulate(n_days=5, policy=Policy(change)).log.events
        assert (events["position"][events["action"] == "click"] == -1).all()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda i, p: (i[:, 1:], p[:, 1:]), r"of shape \(\d+, 10\). Received: \(\d+, 9\)"),
            (lambda i, p: (i, p[0]), r"of shape \(\d+, 10\). Received: .*, \(10,\)"),
            (lambda i, p: (i[:-1], p[:-1]), "items and propensities of shape"),
            (lambda i, p: (i * 0 + 1024, p), r"integer codes in \[0, 1024\). Received: .*1024"),
            (lambda i, p: (i * 0 - 1, p), r"integer codes in \[0, 1024\). Received: .*-1"),
            (lambda i, p: (i * 1.0, p), r"integer codes in \[0, 1024\). Received: "),
            (lambda i, p: (i, p * 0), r"propensities in \(0, 1\]. Received: .*0.0"),
            (lambda i, p: (i, p + 1), r"propensities in \(0, 1\]. Received: .*1.25"),
            (lambda i, p: (i, p * np.nan), r"propensities in \(0, 1\]. Received: .*nan"),
        ],
    )
    def test_slates_that_cannot_be_shown(self, change, message):
        with pytest.raises(ValueError, match=f"`policy.slates` must return .*{message}"):
            simulate(n_days=1, policy=Policy(change))


class TestMechanisms:
    """What each mechanism alone does to whole lives; closed forms are in test_laws.py."""

    def test_all_off_is_a_world_without_change(self):
        truth = simulate(World(**OFF), n_users=300, n_days=30).truth
        np.testing.assert_array_equal(truth.taste, truth.taste[:, :1].repeat(31, 1))
        np.testing.assert_array_equal(truth.taste, truth.core)
        assert not truth.needs.any()

    def test_drift_alone_moves_the_taste_around_its_core(self):
        truth = simulate(World(**OFF | {"drift": 1}), n_users=1_000, n_days=40).truth
        np.testing.assert_array_equal(truth.core, truth.core[:, :1].repeat(41, 1))
        around = truth.taste - truth.core
        variance = around.var(axis=(0, 2))
        error = laws.SPREAD**2 * np.sqrt(2 / 6_000)
        assert (np.abs(variance - laws.SPREAD**2) < SIGMAS * error).all()
        alike = (around[:, :1] * around).mean((0, 2)) / laws.SPREAD**2
        expected = np.exp(-laws.RETURN * np.arange(41))
        assert (np.abs(alike - expected) < SIGMAS * np.sqrt(2 / 6_000)).all()

    def test_shift_alone_is_rare_and_sudden(self):
        truth = simulate(World(**OFF | {"shift": 1}), n_users=1_000, n_days=40).truth
        np.testing.assert_array_equal(truth.taste, truth.core)
        struck = (truth.core[:, 1:] != truth.core[:, :-1]).any(2)
        assert_chances(struck.ravel(), np.full(struck.size, laws.EVENT), np.zeros(struck.size, int))

    def test_research_ramps_up_to_a_purchase(self):
        """Clicks in the bought category on the days before, against a world without need."""
        rate = {}
        for need in (0, 1):
            world = World(**OFF | {"need": need})
            events = simulate(world, n_users=1_000, n_days=40, seed=3, impressions=False).log.events
            day = (events["time"].to_numpy().astype("M8[D]") - FIRST_DAY).astype(int)
            clicks = np.zeros((1_000, 40 + 1, CATEGORIES), int)
            place = [events["user"].to_numpy(), day, events["category"].to_numpy()]
            rows = (events["action"] == "click").to_numpy()
            np.add.at(clicks, tuple(p[rows] for p in place), 1)
            rows = (events["action"] == "purchase").to_numpy() & (day >= 6)
            user, day, category = (p[rows] for p in place)
            assert len(user) > 250
            rate[need] = [clicks[user, day - ago, category].mean() for ago in (1, 2, 4, 6)]
        assert (np.diff(rate[1]) < 0).all()
        assert rate[1][0] > 2.5 * rate[1][3]
        spread = np.sqrt(np.mean(rate[0]) / 250)
        assert np.ptp(rate[0]) < SIGMAS * spread
        assert rate[1][0] > np.max(rate[0]) + SIGMAS * spread

    def test_contagion_makes_friends_alike(self):
        alike = {}
        for strength in (0, 2):
            world = World(**OFF | {"drift": 1, "contagion": strength})
            simulation = simulate(world, n_users=1_000, n_days=40, seed=4, impressions=False)
            around = (simulation.truth.taste - simulation.truth.core)[:, -1]
            friends = simulation.log.users["friends"]
            user = np.repeat(np.arange(1_000), friends.map(len))
            other = np.concatenate(friends.to_list())
            # Own sums: what moves all users alike is taken out.
            around = around - around.mean(0)
            alike[strength] = (around[user] * around[other]).mean() / around.var()
        error = 1 / np.sqrt(6 * len(user) / 2)
        assert abs(alike[0]) < SIGMAS * error
        assert alike[2] > SIGMAS * error

    def test_poor_slates_drive_users_away(self):
        """The worst of all categories in every slot, for users whose taste stands still."""
        world = World(**OFF | {"churn": 1})
        n, days = 500, 60
        own = simulate(world, n_users=n, n_days=days, seed=5)
        appeal = own.truth.taste[:, 0] @ GOODS.vectors.T + GOODS.base
        worst = ITEMS * appeal.argmin(1)

        class Worst:
            def slates(self, users, log, n, *, rng):
                return np.repeat(worst[users][:, None], n, axis=1), np.ones((len(users), n))

        # The policy is handed the log of every day; users come and lose heart just the same
        # under one that looks at nothing.
        poor = simulate(world, n_users=n, n_days=days, seed=5, policy=Worst())
        np.testing.assert_array_equal(poor.truth.taste, own.truth.taste)
        late = FIRST_DAY + days - 20
        visits = [
            (s.log.events.query("action == 'impression'")["time"] >= late).sum() / FEED
            for s in (own, poor)
        ]
        assert visits[1] < visits[0] - SIGMAS * np.sqrt(n * 20 / 4)
        without = simulate(World(**OFF), n_users=n, n_days=days, seed=5).log.events
        visits.append((without.query("action == 'impression'")["time"] >= late).sum() / FEED)
        assert visits[2] > visits[0] + SIGMAS * np.sqrt(n * 20 / 4)
