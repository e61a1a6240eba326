"""The true world continued: the law of the simulation itself, from the true state on."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from recsys_evo.collect import laws
from recsys_evo.collect.ceiling import HORIZON, oracle
from recsys_evo.collect.continuation import continued
from recsys_evo.collect.events import PURCHASE
from recsys_evo.collect.world import FIRST_DAY, World
from recsys_evo.prepare.images import behaviour_images

SIGMAS = 4.5  # how many standard errors a figure may lie off
END, USERS, COPIES = 24, 1_200, 30  # two towns
WORLD = World(churn=20)  # so that it matters how worn out a user is


def images(log):
    """(users, days, categories, channels) from day END on."""
    return behaviour_images(log, end=FIRST_DAY + END + HORIZON, days=HORIZON)


def figures(image):
    """What a user did (users, 5): touches, their square, dwell, money, days on which they came."""
    clicks, dwell, money = image.sum(axis=(1, 2)).T
    came = image[..., 0].any(axis=2).sum(axis=1)
    return np.stack([clicks, clicks**2, dwell, money, came], axis=1)


@pytest.fixture(scope="module")
def lived():
    return WORLD.simulate(USERS, END + HORIZON, rng=np.random.default_rng(0))


@pytest.fixture(scope="module")
def futures(lived):
    logs = continued(
        WORLD, lived, end=END, days=HORIZON, copies=COPIES, rng=np.random.default_rng(1)
    )
    return np.stack([images(log) for log in logs])


def test_what_happened_is_one_more_future(lived, futures):
    drawn, happened = np.stack([figures(f) for f in futures]), figures(images(lived.log))
    miss = happened - drawn.mean(0)
    assert (abs(miss.sum(0)) < SIGMAS * np.sqrt((miss**2).sum(0))).all()
    # Its rank among the futures of the same user is as good as any other.
    below = (drawn < happened).mean(0) + (drawn == happened).mean(0) / 2
    error = below.std(axis=0) / np.sqrt(USERS)
    assert (abs(below.mean(axis=0) - 0.5) < SIGMAS * error).all()
    # Between users the futures differ as the users do.
    halves = drawn[::2].mean(axis=0), drawn[1::2].mean(axis=0)
    beside = halves[0] - halves[0].mean(axis=0)
    product = (happened - halves[1]) * beside
    assert (abs(product.mean(0)) < SIGMAS * product.std(0) / np.sqrt(USERS)).all()
    shared = happened * beside
    assert (shared.mean(0) > SIGMAS * shared.std(0) / np.sqrt(USERS))[[0, 2, 4]].all()


def test_the_oracle_expects_their_mean(lived, futures):
    chance = oracle(WORLD, lived, end=END, copies=60, rng=np.random.default_rng(2)).touch
    touched = futures[..., 0].any(axis=2).mean(axis=0)
    assert abs(touched.mean() - chance.mean()) < 0.004  # it lets expected clicks stand for clicks
    likely = chance > 0.3
    error = np.sqrt((chance * (1 - chance))[likely].sum() / COPIES) / likely.sum()
    assert abs((touched - chance)[likely].mean()) < SIGMAS * error + 0.01
    assert np.corrcoef(touched.ravel(), chance.ravel())[0, 1] > 0.8


def test_futures_of_a_user_are_independent(futures):
    clicks = futures[..., 0].sum(axis=(2, 3))
    rest = clicks[2:].mean(axis=0)
    one, two = clicks[0] - rest, clicks[1] - rest
    shared = clicks[2:].var(axis=0).mean() / (COPIES - 2)  # the mean of the rest is in both
    product = one * two - shared
    assert abs(product.mean()) < SIGMAS * product.std() / np.sqrt(USERS)
    assert product.std() > 0


def test_the_same_stream_draws_the_same_and_changes_nothing(lived):
    before = {f.name: getattr(lived.truth, f.name).copy() for f in dataclasses.fields(lived.truth)}
    one, two = (
        list(continued(WORLD, lived, end=END, days=1, copies=2, rng=np.random.default_rng(3)))
        for _ in range(2)
    )
    for a, b in zip(one, two):
        assert a.events.equals(b.events)
    assert not one[0].events.equals(one[1].events)
    for name, values in before.items():
        np.testing.assert_array_equal(getattr(lived.truth, name), values)


def test_the_log_holds_the_days_to_come_of_the_same_users(lived):
    (log,) = continued(WORLD, lived, end=END + HORIZON, days=2, rng=np.random.default_rng(4))
    day = (log.events["time"].to_numpy().astype("M8[D]") - FIRST_DAY).astype(int)
    assert Counter(np.unique(day)) == Counter([END + HORIZON, END + HORIZON + 1])
    assert log.n_users == USERS
    assert log.items.equals(lived.log.items)
    for one, two in zip(log.users["friends"], lived.log.users["friends"], strict=True):
        np.testing.assert_array_equal(one, two)
    assert (log.events["action"] == "impression").any()


def test_from_the_first_day_on_it_is_a_simulation():
    short = World().simulate(300, 1, rng=np.random.default_rng(5), impressions=False)
    (log,) = continued(World(), short, end=0, days=1, rng=np.random.default_rng(6))
    one, two = (
        behaviour_images(x, end=FIRST_DAY + 1, days=1)[..., 0].sum((1, 2)) for x in (log, short.log)
    )
    error = np.sqrt((one - two).var() / 300)
    assert abs(one.mean() - two.mean()) < SIGMAS * error


class TestState:
    """Each part of the state is carried over: a changed one changes the futures."""

    def total(self, simulation, world=WORLD, channel=0):
        logs = continued(world, simulation, end=END, days=1, copies=4, rng=np.random.default_rng(7))
        return np.mean(
            [behaviour_images(x, end=FIRST_DAY + END + 1, days=1)[..., channel] for x in logs]
        )

    def test_habit(self, lived):
        lazy = dataclasses.replace(lived.truth, habit=lived.truth.habit * 0.1)
        changed = dataclasses.replace(lived, truth=lazy)
        assert self.total(changed) < 0.3 * self.total(lived)

    def test_needs(self, lived):
        needs = lived.truth.needs.copy()
        needs[:, END, 0] = laws.NONE
        idle = dataclasses.replace(lived, truth=dataclasses.replace(lived.truth, needs=needs))
        assert self.total(idle, channel=2) < 0.7 * self.total(lived, channel=2)

    def test_taste_and_log(self, lived):
        """The tastes, the memory of the platform and the weariness of others give other days."""
        order = np.arange(USERS)[::-1]
        other = dataclasses.replace(lived.truth, taste=lived.truth.taste[order])
        swapped = dataclasses.replace(lived, truth=other)
        mine, alien = (
            oracle(WORLD, s, end=END, copies=20, rng=np.random.default_rng(8)).touch
            for s in (lived, swapped)
        )
        (log,) = continued(WORLD, swapped, end=END, days=HORIZON, rng=np.random.default_rng(9))
        touched = images(log)[..., 0].any(axis=1)
        fits = [np.corrcoef(touched.ravel(), chance.ravel())[0, 1] for chance in (mine, alien)]
        assert fits[1] > fits[0] + 0.01

    def test_weariness(self, lived):
        """With a churn of 20, regular users are worn out by day END."""
        fresh = WORLD.simulate(USERS, 1, rng=np.random.default_rng(10))
        (young,) = continued(WORLD, fresh, end=0, days=1, rng=np.random.default_rng(11))
        assert self.total(lived) < 0.8 * behaviour_images(
            young, end=FIRST_DAY + 1, days=1
        )[..., 0].mean()  # fmt: skip


@pytest.mark.parametrize(
    ("argument", "value"),
    [("end", END + HORIZON + 1), ("end", -1), ("end", [1, 2]), ("days", 0), ("copies", 0)],
)
def test_wrong_numbers(lived, argument, value):
    given = {"end": END, "days": 1} | {argument: value}
    with pytest.raises(ValueError, match=f"`{argument}`.*Received"):
        continued(WORLD, lived, **given, rng=np.random.default_rng(0))


def test_a_log_without_impressions(lived):
    events = lived.log.where(lived.log.events["action"].cat.codes.to_numpy() >= PURCHASE)
    assert len(events)
    blind = dataclasses.replace(lived, log=events)
    with pytest.raises(ValueError, match=r"`simulation` must hold impressions.*Received"):
        continued(WORLD, blind, end=END, days=1, rng=np.random.default_rng(0))
