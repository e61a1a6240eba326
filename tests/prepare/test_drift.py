"""The measures of drift against slow loops, exact nulls, closed forms and the world's own truth."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_evo.collect import laws
from recsys_evo.collect.world import World
from recsys_evo.prepare.drift import distance, half_life, shuffle_days, similarity, turnover
from recsys_evo.prepare.splits import future

from .strategies import FIRST_DAY, N_CATEGORIES, N_USERS, log_of, logs

DAY = 86_400
few = settings(max_examples=50, deadline=None)


def visits_of(log):
    """{user: {day: shares (categories,)}}, one row at a time."""
    counts = {}
    for row in log.events.itertuples():
        if row.user >= 0 and row.action not in ("impression", "return"):
            day = (row.time.to_datetime64().astype("datetime64[D]") - FIRST_DAY).astype(int)
            visit = counts.setdefault(row.user, {}).setdefault(int(day), np.zeros(N_CATEGORIES))
            visit[row.category] += 1
    return {u: {d: c / c.sum() for d, c in days.items()} for u, days in counts.items()}


def clicks(*rows):
    """A log of (user, day, category) clicks."""
    return log_of([(user, DAY * day, c, "click", 1, 0) for user, day, c in rows])


# Likeness by the days between


@few
@given(logs(), st.sampled_from([(6, 1), (6, 2), (11, 1)]))
def test_similarity_is_what_a_loop_over_pairs_of_visits_finds(log, lags):
    longest, step = lags
    found = similarity(log, longest=longest, step=step, categories=N_CATEGORIES)
    visits = visits_of(log)
    pairs, own, others = np.zeros((3, N_USERS, longest // step))
    for user, days in visits.items():
        for one, two in itertools.permutations(days, 2):
            if abs(one - two) > longest:
                continue
            k = (abs(one - two) - 1) // step
            weight = 0.5 / (len(days) - 1)
            company = [v[two] for u, v in visits.items() if u != user and two in v]
            crowd = np.mean(company, axis=0) if company else days[two]
            pairs[user, k] += weight
            own[user, k] += weight * days[one] @ days[two]
            others[user, k] += weight * days[one] @ crowd
    for name, expected in (("pairs", pairs), ("own", own), ("others", others)):
        np.testing.assert_allclose(getattr(found, name), expected, atol=1e-9, err_msg=name)
    curves = found.curves()
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(curves.own, own.sum(0) / pairs.sum(0), atol=1e-9)
        np.testing.assert_allclose(curves.others, others.sum(0) / pairs.sum(0), atol=1e-9)


def test_the_null_is_the_mean_over_all_orders_of_the_visits():
    days, wants = [0, 1, 4], [0, 0, 1]
    orders = [
        similarity(
            clicks(*((0, d, c) for d, c in zip(days, order))), longest=4, categories=N_CATEGORIES
        ).curves().own
        for order in itertools.permutations(wants)
    ]  # fmt: skip
    log = clicks(*((0, d, c) for d, c in zip(days, wants)))
    found = similarity(log, longest=4, categories=N_CATEGORIES).curves()
    seen = [0, 2, 3]  # lags of 1, 3 and 4 days; there is no pair 2 days apart
    np.testing.assert_allclose(found.shuffled[seen], np.mean(orders, axis=0)[seen])
    np.testing.assert_allclose(found.shuffled[seen], 1 / 3)
    assert np.isnan(found.own[1])


def test_draws_of_users_weigh_their_sums():
    log = clicks((0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 1), (2, 3, 2))
    found = similarity(log, longest=1, categories=N_CATEGORIES)
    times = [[1, 0, 0, 0], [0, 1, 0, 0], [3, 1, 0, 0]]
    np.testing.assert_allclose(found.curves(times).own[:, 0], [1, 0, 0.75])


def test_a_step_must_divide_the_longest_lag():
    with pytest.raises(ValueError, match=r"`step` must divide `longest`.*step=4 with longest=10"):
        similarity(clicks((0, 0, 0)), longest=10, step=4)


# The null of no order


@few
@given(logs(), st.integers(0, 9))
def test_shuffled_days_keep_all_but_which_visit_came_when(log, seed):
    shuffled = shuffle_days(log, rng=np.random.default_rng(seed))
    days = [table.events["time"].to_numpy().astype("datetime64[D]") for table in (log, shuffled)]
    for user in range(-1, N_USERS):
        before, after = (
            table.events[table.events["user"] == user].assign(day=day[table.events["user"] == user])
            for table, day in ((log, days[0]), (shuffled, days[1]))
        )
        assert set(before["day"]) == set(after["day"])
        if user < 0:
            assert before.equals(after)

        def contents(table):
            clock = (table["time"] - table["day"]).dt.total_seconds()
            rows = table.assign(clock=clock, action=table["action"].astype(str)).fillna(-1)
            visits = rows.groupby("day")[["clock", "category", "action", "dwell", "amount"]]
            return sorted(sorted(map(tuple, visit.to_numpy().tolist())) for _, visit in visits)

        assert contents(before) == contents(after)


def test_every_order_comes_up_equally_often():
    log = clicks((0, 0, 0), (0, 2, 1), (0, 7, 2))
    rng = np.random.default_rng(0)
    seen = {}
    for _ in range(1_200):
        order = tuple(shuffle_days(log, rng=rng).events["category"])
        seen[order] = seen.get(order, 0) + 1
    assert len(seen) == 6
    assert max(abs(n - 200) for n in seen.values()) < 5 * np.sqrt(1_200 * 5 / 36)


# Turnover


def test_turnover_by_hand():
    log = clicks(
        (0, 0, 0), (0, 1, 0), (0, 1, 1), (0, 7, 0), (0, 8, 2),
        (1, 3, 1), (1, 9, 1), (1, 15, 1), (1, 16, 1), (1, 20, 0),
    )  # fmt: skip
    found = turnover(log, days=7)
    np.testing.assert_allclose(found[:2], [[0.5, np.nan], [0, 1 / 3]])
    assert np.isnan(found[2:]).all()
    with pytest.raises(ValueError, match=r"`of` must be .* Received: of='shop'"):
        turnover(log, of="shop")


def test_turnover_of_fixed_shares_is_its_closed_form():
    rng = np.random.default_rng(1)
    shares, before, users = np.array([0.5, 0.3, 0.1, 0.1]), 3, 4_000
    rows = [
        (0, DAY * (7 * week + k), int(rng.choice(4, p=shares)), "click", 1, 0)
        for week in range(users)
        for k in range(before)
    ]
    found = turnover(log_of(rows), days=7)[0]
    expected = (shares * (1 - shares) ** before).sum()
    assert abs(found.mean() - expected) < 5 * found.std() / np.sqrt(len(found)) * 1.5


# Distance


@few
@given(logs(), st.integers(1, 11))
def test_distance_is_what_a_loop_over_pairs_of_visits_finds(log, cut):
    end = FIRST_DAY + cut
    time = log.events["time"].to_numpy()
    before, after = log.where(time < end), log.where(time >= end)
    found = distance(before, after, categories=N_CATEGORIES)
    one, two = visits_of(before), visits_of(after)
    assert found.users.tolist() == sorted(set(one) & set(two))
    for user, change, own in zip(found.users, found.change, found.own):
        a, b = list(one[user].values()), list(two[user].values())
        np.testing.assert_allclose(change, np.mean(b, axis=0) - np.mean(a, axis=0), atol=1e-9)
        if min(len(a), len(b)) < 2:
            assert np.isnan(own)
            continue
        within = sum(
            np.mean([x @ y for x, y in itertools.permutations(side, 2)]) for side in (a, b)
        )
        across = np.mean([x @ y for x in a for y in b])
        np.testing.assert_allclose(own, within - 2 * across, atol=1e-9)
    if len(found.users) > 1:
        together = np.mean([x @ y for x, y in itertools.permutations(found.change, 2)])
        np.testing.assert_allclose(found.crowd(), together, atol=1e-9)


def test_distance_needs_the_same_users_and_no_common_day():
    one, two = clicks((0, 0, 0)), clicks((0, 0, 1))
    with pytest.raises(ValueError, match=r"must share no day\. Received: both on 2020-01-01"):
        distance(one, two)


# The world's own truth

ONLY_DRIFT = dict.fromkeys(laws.MECHANISMS, 0) | {"drift": 1}


def own_visits(world, n_users, n_days, seed):
    log = world.simulate(n_users, n_days, impressions=False, rng=np.random.default_rng(seed)).log
    return log.where(log.events["slate"].to_numpy() < 0)


def test_the_half_life_of_taste_is_found_where_taste_only_drifts():
    log = own_visits(World(**ONLY_DRIFT), 3_000, 120, 0)
    found = half_life(similarity(log, longest=80), rng=np.random.default_rng(0), n=200)
    point, low, high = found.half_life
    truth = np.log(2) / laws.RETURN
    assert low < truth < high
    assert abs(point - truth) < 4
    assert found.lift[0] > found.lift[-1] > 1


def test_where_nothing_moves_the_order_of_visits_says_nothing():
    log = own_visits(World(**dict.fromkeys(laws.MECHANISMS, 0)), 1_000, 70, 1)
    still = similarity(log, longest=40, step=10).curves()
    moving = similarity(own_visits(World(**ONLY_DRIFT), 1_000, 70, 1), longest=40, step=10).curves()
    assert np.abs(still.own / still.shuffled - 1).max() < 0.02
    assert (moving.own / moving.shuffled)[0] > 1.03
    assert (moving.own / moving.shuffled)[-1] < 0.97


def test_users_who_do_not_move_are_at_distance_nought_and_others_are_not():
    found = {}
    for name, world in (("still", World(**dict.fromkeys(laws.MECHANISMS, 0))),
                        ("moving", World(**ONLY_DRIFT))):  # fmt: skip
        log = own_visits(world, 1_000, 90, 2)
        start = log.start
        moved = distance(future(log, start, 30), future(log, start + 60, 30)).own
        found[name] = np.nanmean(moved), np.nanstd(moved) / np.sqrt(np.isfinite(moved).sum())
    assert abs(found["still"][0]) < 4 * found["still"][1]
    assert found["moving"][0] > 10 * found["moving"][1]


def test_too_few_lags_for_a_half_life():
    log = clicks((0, 0, 0), (0, 1, 0), (0, 2, 0))
    with pytest.raises(ValueError, match="`similarity` must have four lags or more"):
        half_life(similarity(log, longest=2), rng=np.random.default_rng(0))
