import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_evo.collect.events import Log
from recsys_evo.prepare import hand, images
from recsys_evo.prepare.hand import (
    CAREFUL,
    FEATURES,
    careful_features,
    recency_frequency_money,
)
from recsys_evo.prepare.images import behaviour_images

from .strategies import FIRST_DAY, N_CATEGORIES, N_DAYS, N_USERS, log_of, logs

ends = st.integers(0, N_DAYS + 3).map(lambda d: FIRST_DAY + d)


def by_hand(log, end, days, categories):
    out = np.zeros((N_USERS, categories, len(FEATURES)))
    out[:, :, [0, 2]] = days
    for row in log.events.itertuples():
        age = (end - row.time.to_datetime64().astype("datetime64[D]")).astype(int)
        if row.user < 0 or not 1 <= age <= days or row.action in ("impression", "return"):
            continue
        cell = out[row.user, row.category]
        cell[0] = min(cell[0], age)
        cell[1] += 1
        if row.action == "purchase":
            cell[2] = min(cell[2], age)
            cell[3] += 1
            cell[4] += row.amount
    return out


@given(logs(), ends, st.integers(1, 8))
def test_features_are_what_a_loop_over_the_rows_finds(log, end, days):
    expected = by_hand(log, end, days, N_CATEGORIES)
    found = recency_frequency_money(log, end=end, days=days, categories=N_CATEGORIES)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    whole = recency_frequency_money(log, end=end, days=days, users=[3, 1])
    np.testing.assert_array_equal(whole[:, [0, 2]], expected.min(axis=1)[[3, 1]][:, [0, 2]])
    np.testing.assert_array_equal(whole[:, [1, 3, 4]], expected.sum(axis=1)[[3, 1]][:, [1, 3, 4]])


@given(logs(), ends, st.integers(1, 8))
def test_features_know_what_the_image_of_the_same_window_knows(log, end, days):
    image = behaviour_images(log, end=end, days=days, categories=N_CATEGORIES)
    found = recency_frequency_money(log, end=end, days=days, categories=N_CATEGORIES)
    np.testing.assert_array_equal(found[..., 1], image[..., 0].sum(axis=1))
    np.testing.assert_array_equal(found[..., 4], image[..., 2].sum(axis=1))
    touched = image[..., 0].any(axis=1)
    last = days - 1 - image[:, ::-1, :, 0].astype(bool).argmax(axis=1)
    np.testing.assert_array_equal(found[..., 0], np.where(touched, days - last, days))


def carefully(log, end, days, ahead, order):
    """One user, one category, one feature at a time: the definitions in plain Python."""
    cells = {}
    for user in range(N_USERS):
        for category in range(N_CATEGORIES):
            rows = []
            for row in log.events.itertuples():
                day = (row.time.to_datetime64().astype("datetime64[D]") - end).astype(int)
                if row.user == user and -days <= day < 0 and row.action not in HIDDEN:
                    rows.append((day, row.category, row.action == "purchase", row.dwell))
            cells[user, category] = rows
    gaps = {cell: gaps_of(rows, cell[1]) for cell, rows in cells.items()}
    recent = [
        row.category
        for row in log.events.itertuples()
        if row.user >= 0 and row.action not in HIDDEN
        and end - 7 <= row.time.to_datetime64().astype("datetime64[D]") < end
    ]  # fmt: skip

    found = {}
    for (user, category), rows in cells.items():
        place = list(order).index(category)

        def count(last, *these, rows=rows):
            return sum(day >= -last and c in these for day, c, *_ in rows)

        def seconds(last, *these, rows=rows):
            read = [d for day, c, _, d in rows if day >= -last and c in these]
            return sum(d for d in read if not np.isnan(d))

        everything = range(N_CATEGORIES)
        whole = seconds(days, category) / max(count(days, category), 1)
        late = seconds(3, category) / max(count(3, category), 1)
        cell = {f"touches in {n} days": count(n, category) for n in (1, 3, 7, 14, 28)}
        cell["days with a touch"] = len({day for day, c, *_ in rows if c == category})
        cell["trend of touches"] = count(7, category) - (count(14, category) - count(7, category))
        weekdays = {k % 7 for k in range(ahead)}
        cell["touches on the weekdays to come"] = sum(
            c == category and day % 7 in weekdays for day, c, *_ in rows
        )
        cell["dwell a touch"] = whole
        cell["dwell a touch in 3 days"] = late
        cell["trend of dwell"] = late - whole
        own = gaps[user, category]
        pooled = [gap for (_, c), some in gaps.items() if c == category for gap in some]
        usual = np.mean(own) if own else np.median(pooled) if pooled else days
        bought = [-day for day, c, paid, _ in rows if c == category and paid]
        cell["usual days between purchases"] = usual
        cell["days since purchase / usual"] = min(bought, default=days) / usual
        for n in (1, 2, 3):
            beside = [order[k] for k in (place - n, place + n) if 0 <= k < N_CATEGORIES]
            cell[f"touches in 3 days at distance {n}"] = count(3, *beside)
            cell[f"touches in 7 days at distance {n}"] = count(7, *beside)
            cell[f"dwell in 3 days at distance {n}"] = seconds(3, *beside)
        cell["user's touches in 3 days"] = count(3, *everything)
        cell["user's touches in 7 days"] = count(7, *everything)
        cell["user's days with a touch"] = len({day for day, *_ in rows})
        cell["user's dwell a touch in 3 days"] = seconds(3, *everything) / max(
            count(3, *everything), 1
        )
        cell["user's categories in 3 days"] = sum(count(3, c) > 0 for c in everything)
        cell["user's categories in 7 days"] = sum(count(7, c) > 0 for c in everything)
        cell["share of user's touches in 7 days"] = count(7, category) / max(
            count(7, *everything), 1
        )
        cell["popularity"] = recent.count(category) / N_USERS
        cell["place"] = place
        found[user, category] = cell
    return found


HIDDEN = ("impression", "return")


def gaps_of(rows, category):
    bought = sorted({day for day, c, paid, _ in rows if c == category and paid})
    return np.diff(bought).tolist()


@given(
    logs(),
    ends,
    st.integers(1, 16),
    st.integers(1, 9),
    st.permutations(range(N_CATEGORIES)),
    st.integers(1, 3),
)
def test_careful_features_are_what_their_definitions_say(log, end, days, ahead, order, block):
    window = {"end": end, "days": days, "categories": N_CATEGORIES}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "_USERS", block)
        found = careful_features(log, ahead=ahead, order=order, **window)
        some = careful_features(log, ahead=ahead, order=order, users=[3, 1, 3], **window)
    np.testing.assert_array_equal(some, found[[3, 1, 3]])
    expected = carefully(log, end, days, ahead, order)
    told = dict.fromkeys(expected[0, 0]) | dict.fromkeys(FEATURES)
    assert set(CAREFUL) == {*told, *(f"user's {name}" for name in FEATURES)}
    for k, name in enumerate(CAREFUL):
        if name in expected[0, 0]:
            values = [
                [expected[user, c][name] for c in range(N_CATEGORIES)] for user in range(N_USERS)
            ]
            np.testing.assert_allclose(found[..., k], values, rtol=1e-5, atol=1e-4, err_msg=name)
    np.testing.assert_array_equal(found[..., :5], recency_frequency_money(log, **window))
    of_user = recency_frequency_money(log, end=end, days=days)
    start = CAREFUL.index(f"user's {FEATURES[0]}")
    np.testing.assert_array_equal(found[:, 2, start : start + 5], of_user)


def test_usual_days_between_purchases():
    bought = [
        (0, 0, 0),
        (0, 3, 0),
        (0, 7, 0),
        (0, 8, 1),
        (1, 1, 0),
        (2, 5, 0),
        (2, 5, 0),
        (2, 6, 1),
    ]
    log = log_of([(user, 86_400 * day, c, "purchase", 1, 1) for user, day, c in bought])
    found = careful_features(log, end=FIRST_DAY + 9, days=9, categories=3)
    usual, share = (
        found[..., CAREFUL.index(name)].tolist()
        for name in ("usual days between purchases", "days since purchase / usual")
    )
    # User 0's own mean gap is 3.5 days; the others get the median gap of the category, 3.5 too,
    # and nobody bought twice in categories 1 and 2: the whole window.
    assert usual == [[3.5, 9, 9]] * N_USERS
    assert share[0] == [np.float32(2 / 3.5), np.float32(1 / 9), 1]
    assert share[1] == [np.float32(8 / 3.5), 1, 1]


@given(logs(), logs(), ends)
def test_careful_features_cannot_see_the_future(log, other, end):
    past = log.where(log.events["time"].to_numpy() < end)
    future = other.where(other.events["time"].to_numpy() >= end)
    both = Log(pd.concat([past.events, future.events]), log.items, log.users)
    size = {"end": end, "days": 9, "categories": N_CATEGORIES}
    np.testing.assert_array_equal(careful_features(both, **size), careful_features(past, **size))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ahead": 0}, "`ahead` must be a positive integer. Received: ahead=0"),
        ({"order": [0, 1]}, "`order` must be a permutation of 0 … 63"),
        ({"categories": 2}, "group_categories"),
        ({"users": [7]}, "`users` must be codes"),
    ],
)
def test_bad_arguments_of_careful_features_are_named(wrong, message):
    log = log_of([(0, 0, 4, "click", np.nan, 0)])
    with pytest.raises(ValueError, match=message):
        careful_features(log, **({"end": "2020-01-02"} | wrong))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"days": 0}, "`days` must be a positive integer. Received: days=0"),
        ({"end": None}, "`end` must be a date"),
        ({"users": [7]}, "`users` must be codes"),
        ({"categories": 2}, "group_categories"),
    ],
)
def test_bad_arguments_are_named(wrong, message):
    log = log_of([(0, 0, 4, "click", np.nan, 0)])
    with pytest.raises(ValueError, match=message):
        recency_frequency_money(log, **({"end": "2020-01-02"} | wrong))


@given(logs(), ends, st.integers(1, 8), st.sampled_from([0.5, 2, 16]))
def test_fading_touches_count_each_touch_by_its_age(log, end, days, half_life):
    sums = np.zeros((N_USERS, N_CATEGORIES))
    for row in log.events.itertuples():
        age = (end - row.time.to_datetime64().astype("datetime64[D]")).astype(int)
        if row.user >= 0 and 1 <= age <= days and row.action not in HIDDEN:
            sums[row.user, row.category] += 2 ** ((0.5 - age) / half_life)
    found = hand.fading_touches(
        log, end=end, days=days, half_life=half_life, categories=N_CATEGORIES
    )
    np.testing.assert_allclose(found, np.log1p(sums), rtol=1e-5, atol=1e-6)


def test_the_taste_basis_finds_the_planted_directions():
    rng = np.random.default_rng(0)
    planted = np.linalg.qr(rng.normal(size=(30, 3)))[0].T
    values = rng.normal(size=(2_000, 3)) * [5, 3, 2] @ planted
    basis = hand.taste_basis(values + rng.normal(scale=0.1, size=values.shape), rank=3)
    assert basis.shape == (3, 30)
    np.testing.assert_allclose(basis @ basis.T, np.eye(3), atol=1e-5)
    # The same plane: what is left of the planted directions after projection is nothing.
    np.testing.assert_allclose(planted @ basis.T @ basis, planted, atol=0.02)
    with pytest.raises(ValueError, match="`rank` must be a positive integer"):
        hand.taste_basis(values, rank=0)
