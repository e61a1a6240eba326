"""Off-policy: every log that a small platform could write, one by one; closed forms; coverage."""

from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats

from recsys_evo.evaluate.forecasts import bootstrap
from recsys_evo.recommend.offpolicy import (
    Interval,
    diagnose,
    doubly_robust,
    ips,
    snips,
    unsupported,
)

SLATES = np.array(list(permutations(range(3), 2)))  # two of three items, in order: six
USER = np.repeat([0, 0, 1], 2)  # user 0 gets two slates, user 1 one


def once(estimate, *columns, **options):
    """The point of an estimate, without an interval to speak of."""
    return estimate(*columns, rng=np.random.default_rng(0), n=1, **options).point


class Platform:
    """Three slates to fill, each from the six by chances of its own, so that slots depend.

    Tables are (slates, positions, items): `logged`, `target`, `reward`, and the model's `guess`.
    """

    def __init__(self, seed, *, never=()):
        rng = np.random.default_rng(seed)
        self.chance = rng.dirichlet(np.ones(6), 3)  # of each of the six, under the log's policy
        for slate, item in never:  # not shown on top of this slate
            self.chance[slate, SLATES[:, 0] == item] = 0
        self.chance /= self.chance.sum(axis=1, keepdims=True)
        self.logged, self.target = (
            self.per_position(c) for c in (self.chance, rng.dirichlet(np.ones(6), 3))
        )
        self.reward, self.guess = rng.normal(size=(2, 3, 2, 3))
        self.value = (self.target * self.reward).sum(axis=2).mean()

    @staticmethod
    def per_position(chance):
        return np.einsum("cs,spi->cpi", chance, np.eye(3)[SLATES])

    def mean(self, function):
        """The expectation, over all logs, of a function of what is `at` the shown items."""
        total = 0
        for picks in product(range(6), repeat=3):
            chance = self.chance[range(3), picks].prod()
            items = SLATES[list(picks)][:, :, None]
            if chance:
                total += chance * function(
                    lambda table, items=items: np.take_along_axis(table, items, 2).ravel()
                )
        return total

    def expected(self, guess):
        return (self.target * guess).sum(axis=2).ravel()

    def mean_ips(self, **options):
        return self.mean(
            lambda at: once(ips, *map(at, (self.reward, self.logged, self.target)), USER, **options)
        )

    def mean_doubly_robust(self, guess, *, logged=None, **options):
        tables = self.reward, self.logged if logged is None else logged, self.target, guess
        expected = self.expected(guess)
        return self.mean(
            lambda at: once(doubly_robust, *map(at, tables), expected, USER, **options)
        )


platforms = pytest.mark.parametrize("platform", [Platform(seed) for seed in range(4)])


@platforms
def test_ips_is_right_on_average_whatever_depends_within_a_slate(platform):
    assert platform.mean_ips() == pytest.approx(platform.value)


@platforms
def test_doubly_robust_needs_one_of_two_to_be_right(platform):
    wrong = np.sqrt(platform.logged)
    right = platform.reward
    assert platform.mean_doubly_robust(platform.guess) == pytest.approx(platform.value)
    assert platform.mean_doubly_robust(right, logged=wrong) == pytest.approx(platform.value)
    both = platform.mean_doubly_robust(platform.guess, logged=wrong)
    assert abs(both - platform.value) > 0.01


@platforms
def test_a_limit_to_the_weights_costs_what_is_said(platform):
    """Closed form: the part of the weights above the limit, times what it was to put right."""
    weight, p = platform.target / platform.logged, platform.logged
    over = np.maximum(weight - 1.3, 0)
    assert over.any()

    def lost(reward):
        return (p * over * reward).sum(axis=2).mean()

    assert platform.mean_ips(clip=1.3) == pytest.approx(platform.value - lost(platform.reward))
    error = lost(platform.reward - platform.guess)
    assert platform.mean_doubly_robust(platform.guess, clip=1.3) == pytest.approx(
        platform.value - error
    )
    assert platform.mean_doubly_robust(platform.reward, clip=1.3) == pytest.approx(platform.value)


@pytest.mark.parametrize("seed", range(3))
def test_mean_weight_falls_short_of_one_by_what_the_log_cannot_show(seed):
    platform = Platform(seed, never=[(0, 2), (1, 0), (1, 1)])
    missing = np.where(platform.logged == 0, platform.target, 0)
    share = unsupported(platform.logged, platform.target)
    assert share.shape == (3, 2)
    np.testing.assert_allclose(share, missing.sum(axis=2))
    assert share[0, 0] == platform.target[0, 0, 2] > 0
    assert share[2].tolist() == [0, 0]
    mean = platform.mean(
        lambda at: once(
            lambda *columns, **o: diagnose(*columns, **o).mean,
            *map(at, (platform.logged, platform.target)),
            USER,
        )
    )
    assert mean == pytest.approx(1 - share.mean())
    lost = (missing * platform.reward).sum(axis=2).mean()
    assert platform.mean_ips() == pytest.approx(platform.value - lost)


# The self-normalised estimate


def test_snips_is_right_where_the_log_holds_every_slate_as_often_as_its_chance(rng):
    counts = rng.multinomial(60, np.full(6, 1 / 6), 2) + 1
    chance = counts / counts.sum(axis=1, keepdims=True)
    target = Platform.per_position(rng.dirichlet(np.ones(6), 2))
    logged, reward = Platform.per_position(chance), rng.normal(size=(2, 2, 3))
    of, slate = np.repeat(np.indices(counts.shape).reshape(2, -1), counts.ravel(), axis=1)
    at = of[:, None], [[0, 1]], SLATES[slate]
    columns = [table[at].ravel() for table in (reward, logged, target)]
    # Users have slates in different numbers, and so does their part of the value.
    value = np.average((target * reward).sum(axis=2).mean(axis=1), weights=counts.sum(axis=1))
    assert once(snips, *columns, np.repeat(of, 2)) == pytest.approx(value)
    assert once(ips, *columns, np.repeat(of, 2)) == pytest.approx(value)


def test_bias_of_snips_falls_as_one_over_users():
    """One slot a user, two items: how often the first was shown is binomial."""
    logged, target, reward = np.array([0.4, 0.6]), np.array([0.7, 0.3]), np.array([2.0, 1.0])

    def bias(users):
        mean = 0
        for first in range(users + 1):
            item = (np.arange(users) >= first).astype(int)
            found = once(snips, reward[item], logged[item], target[item], np.arange(users))
            mean += stats.binom.pmf(first, users, logged[0]) * found
        return mean - target @ reward

    small, large = bias(50), bias(100)
    assert abs(small) > 1e-4
    assert small / large == pytest.approx(2, rel=0.05)


def log_of_users(rng, users, slots=10, *, spread=1.0):
    """Users of 12 kinds, their slots, and the value over all kinds; columns (users · slots,)."""
    kinds = np.random.default_rng(5)
    liking = kinds.uniform(0.05, 0.6, (12, 1)) * kinds.uniform(0.3, 1.6, (12, 4))
    logged, target = (kinds.dirichlet(np.full(4, 5 / spread), 12) for _ in range(2))
    guess = liking * kinds.uniform(0.7, 1.3, liking.shape)
    user = np.repeat(np.arange(users), slots)
    kind = rng.integers(12, size=users)[user]
    item = (logged[kind].cumsum(axis=1) < rng.random((len(user), 1))).sum(axis=1)
    item = np.minimum(item, 3)
    click = (rng.random(len(user)) < liking[kind, item]).astype(float)
    columns = click, logged[kind, item], target[kind, item]
    model = guess[kind, item], (target * guess).sum(axis=1)[kind]
    return columns, model, user, (target * liking).sum(axis=1).mean()


def test_snips_moves_with_the_rewards_and_does_not_mind_the_scale_of_propensities(rng):
    (reward, logged, target), _, user, _ = log_of_users(rng, 40)
    found = np.array(snips(reward, logged, target, user, rng=np.random.default_rng(1)))
    other = snips(3 * reward + 7, logged / 2, target, user, rng=np.random.default_rng(1))
    np.testing.assert_allclose(other, 3 * found + 7)
    # IPS moves by the mean weight, which is 1 on average only.
    mean = diagnose(logged, target, user, rng=np.random.default_rng(1)).mean.point
    moved = once(ips, reward + 7, logged, target, user) - once(ips, reward, logged, target, user)
    assert moved == pytest.approx(7 * mean)
    assert abs(mean - 1) > 1e-3


def test_the_same_policy_earned_the_mean_reward(rng):
    (reward, logged, _), (predicted, _), user, _ = log_of_users(rng, 40)
    for estimate in (ips, snips):
        assert once(estimate, reward, logged, logged, user) == pytest.approx(reward.mean())
    found = once(doubly_robust, reward, logged, logged, predicted, predicted, user)
    assert found == pytest.approx(reward.mean())


# Intervals


def test_an_interval_is_the_bootstrap_of_the_slots_of_whole_users(rng):
    """On rows, without sums over users first; users with few and many slots, in no order."""
    (reward, logged, target), model, user, _ = log_of_users(rng, 30)
    keep = rng.permutation(len(user))[:220]
    reward, logged, target, predicted, expected, user = (
        column[keep] for column in (reward, logged, target, *model, 3 * user + 5)
    )
    weight = np.minimum(target / logged, 1.5)
    value = expected + weight * (reward - predicted)
    settings = {"n": 50, "level": 0.8}
    cases = [
        (ips(reward, logged, target, user, clip=1.5, rng=np.random.default_rng(3), **settings),
         lambda w, r, v, weight: np.average(w * r, weights=weight)),
        (snips(reward, logged, target, user, clip=1.5, rng=np.random.default_rng(3), **settings),
         lambda w, r, v, weight: np.average(r, weights=weight * w)),
        (doubly_robust(reward, logged, target, predicted, expected, user, clip=1.5,
                       rng=np.random.default_rng(3), **settings),
         lambda w, r, v, weight: np.average(v, weights=weight)),
        (diagnose(logged, target, user, clip=1.5, rng=np.random.default_rng(3), **settings).mean,
         lambda w, r, v, weight: np.average(w, weights=weight)),
    ]  # fmt: skip
    for found, measure in cases:
        rows = bootstrap(measure, weight, reward, value, user=user, rng=np.random.default_rng(3),
                         **settings)  # fmt: skip
        assert isinstance(found, Interval)
        np.testing.assert_allclose(found, rows)


def test_intervals_hold_the_value_as_often_as_they_say():
    rng = np.random.default_rng(2)
    held = np.zeros(4)
    for _ in range(300):
        columns, model, user, value = log_of_users(rng, 120)
        settings = {"rng": rng, "n": 200, "level": 0.9}
        found = (
            ips(*columns, user, **settings),
            snips(*columns, user, **settings),
            doubly_robust(*columns, *model, user, **settings),
            diagnose(*columns[1:], user, **settings).mean,
        )
        held += [low <= v <= high for (_, low, high), v in zip(found, (value, value, value, 1))]
    assert (held / 300 > 0.85).all()
    assert (held / 300 < 0.94).all()


def test_a_draw_of_users_of_whom_the_log_says_nothing_is_left_out():
    """Two users, one of whom was shown only what the target never shows."""
    found = snips([5, 1], [0.5, 0.5], [0.5, 0], [0, 1], rng=np.random.default_rng(0), n=100)
    assert found == (5, 5, 5)


# Signs of failure


def test_weights_that_are_all_alike_are_worth_all_slots():
    found = diagnose(np.full(8, 0.2), np.full(8, 0.2), np.arange(8), rng=np.random.default_rng(0))
    assert found == (1, 1 / 8, (1, 1, 1))


@pytest.mark.parametrize("heard", [1, 3, 10])
def test_weight_on_a_few_slots_is_worth_so_many_slots(heard):
    target = np.where(np.arange(20) < heard, 0.05 * 20 / heard, 0)
    found = diagnose(np.full(20, 0.05), target, np.arange(20), rng=np.random.default_rng(0))
    assert found.effective == pytest.approx(heard / 20)
    assert found.largest == pytest.approx(1 / heard)
    assert found.mean.point == pytest.approx(1)


def test_effective_share_is_what_the_variance_of_weights_leaves(rng):
    (_, logged, target), _, user, _ = log_of_users(rng, 50)
    weight = target / logged
    found = diagnose(logged, target, user, rng=rng)
    assert found.effective == pytest.approx(1 / (1 + weight.var() / weight.mean() ** 2))
    assert found.largest == pytest.approx(weight.max() / weight.sum())
    clipped = diagnose(logged, target, user, clip=1.5, rng=rng)
    assert clipped.effective > found.effective
    assert clipped.mean.point == pytest.approx(np.minimum(weight, 1.5).mean())


@pytest.mark.parametrize(("factor", "says"), [(1, "fine"), (0.5, "above"), (2, "below")])
def test_wrong_propensities_are_seen(rng, factor, says):
    (_, logged, target), _, user, _ = log_of_users(rng, 200)
    _, low, high = diagnose(np.minimum(factor * logged, 1), target, user, rng=rng).mean
    assert {"fine": low < 1 < high, "above": low > 1, "below": high < 1}[says]


def test_what_was_never_shown_is_seen_though_the_effective_size_looks_well(rng):
    """The target shows an item half of the time that the log's policy never shows."""
    users = 300
    logged, target = np.full(users, 0.5), np.full(users, 0.25)
    found = diagnose(logged, target, np.arange(users), rng=rng)
    assert found.effective == 1
    assert found.mean == (0.5, 0.5, 0.5)
    assert unsupported([0.5, 0.5, 0], [0.25, 0.25, 0.5]) == 0.5


# What will not do

GOOD = {
    "reward": [1, 0, 1],
    "logged": [0.5, 0.5, 1],
    "target": [0.1, 0, 1],
    "predicted": [0, 0, 0],
    "expected": [0, 0, 0],
    "user": [0, 0, 1],
}
BAD = [
    ({"logged": [0.5, 0, 1]}, r"`logged` must lie in \(0, 1\]. Received: 0.0"),
    ({"logged": [0.5, 1.5, 1]}, r"`logged` must lie in \(0, 1\]. Received: 1.5"),
    ({"target": [0.5, -0.1, 1]}, r"`target` must lie in \[0, 1\]. Received: -0.1"),
    ({"target": [0.5, 0.1, 2]}, r"`target` must lie in \[0, 1\]. Received: 2.0"),
    ({"logged": [0.5, np.nan, 1]}, "`logged` must be 3 finite numbers.*1 not finite"),
    ({"target": [0.5, 1]}, r"`target` must be 3 finite numbers.*shape \(2,\)"),
    ({"user": [[0, 0, 1]]}, r"`user` must be 3 finite numbers.*shape \(1, 3\)"),
    ({"user": [1, 1, 1]}, "`user` must hold two users or more. Received: 1"),
    ({"clip": 0.5}, "`clip` must be a number from 1 to inf. Received: clip=0.5"),
    ({"clip": None}, "`clip` must be a number .*clip=None"),
]
BAD_REWARD = [
    ({"reward": [1, np.inf, 1]}, "`reward` must be 3 finite numbers.*1 not finite"),
    ({"reward": [1, 0]}, r"`reward` must be 3 finite numbers.*shape \(2,\)"),
]
BAD_MODEL = [
    ({"predicted": [0, 0]}, r"`predicted` must be 3 finite numbers.*shape \(2,\)"),
    ({"expected": [0, 0, np.nan]}, "`expected` must be 3 finite numbers.*1 not finite"),
]
SILENT = [({"target": [0, 0, 0]}, "`target` must be above 0 .* 0 at all 3")]
CASES = [
    *product([ips], BAD + BAD_REWARD),
    *product([snips], BAD + BAD_REWARD + SILENT),
    *product([doubly_robust], BAD + BAD_REWARD + BAD_MODEL),
    *product([diagnose], BAD + SILENT),
]
TAKES = {
    ips: ["reward", "logged", "target", "user"],
    snips: ["reward", "logged", "target", "user"],
    doubly_robust: ["reward", "logged", "target", "predicted", "expected", "user"],
    diagnose: ["logged", "target", "user"],
}


@pytest.mark.parametrize(("estimate", "case"), CASES)
def test_bad_arguments_are_named(estimate, case, rng):
    change, message = case
    given = GOOD | change
    columns = [given[name] for name in TAKES[estimate]]
    options = {name: given[name] for name in ("clip",) if name in given}
    with pytest.raises(ValueError, match=message):
        estimate(*columns, rng=rng, n=5, **options)


@pytest.mark.parametrize("estimate", TAKES)
def test_good_arguments_are_taken(estimate, rng):
    estimate(*(GOOD[name] for name in TAKES[estimate]), rng=rng, n=5)


@pytest.mark.parametrize(
    ("logged", "target", "message"),
    [
        ([0.5, 0.5], [1, 0, 0], r"must be \(…, items\), both alike. Received: shapes \(2,\), \(3,"),
        (0.5, 1.0, r"must be \(…, items\)"),
        ([-0.5, 1], [1, 0], r"`logged` must lie in \[0, 1\]. Received: -0.5"),
        ([0.5, 0.5], [1.5, -0.5], r"`target` must lie in \[0, 1\]. Received: 1.5"),
        ([[0.5, 0.5]] * 2, [[1, 0], [0.5, 0.4]], "`target` must add up to 1 .* a sum of 0.9"),
        ([0.5, np.nan], [1, 0], r"`logged` must lie in \[0, 1\]. Received: nan"),
    ],
)
def test_bad_tables_are_named(logged, target, message):
    with pytest.raises(ValueError, match=message):
        unsupported(logged, target)
