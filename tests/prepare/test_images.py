import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_evo.prepare import images
from recsys_evo.prepare.images import behaviour_images, category_order

from .strategies import FIRST_DAY, N_CATEGORIES, N_DAYS, N_USERS, log_of, logs, rows

ends = st.integers(0, N_DAYS + 3).map(lambda d: FIRST_DAY + d)


def by_hand(log, end, days, categories):
    """One row at a time, in double precision: the definition."""
    image = np.zeros((N_USERS, days, categories, 3))
    for row in log.events.itertuples():
        day = days + (row.time.to_datetime64().astype("datetime64[D]") - end).astype(int)
        if row.user < 0 or not 0 <= day < days or row.action in ("impression", "return"):
            continue
        cell = image[row.user, day, row.category]
        cell[0] += 1
        cell[1] += 0 if np.isnan(row.dwell) else row.dwell
        cell[2] += row.amount if row.action == "purchase" else 0
    return image


@given(logs(), ends, st.integers(1, 8), st.integers(N_CATEGORIES, 7))
def test_images_are_what_a_loop_over_the_rows_counts(log, end, days, categories):
    image = behaviour_images(log, end=end, days=days, categories=categories)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, by_hand(log, end, days, categories))


@given(
    logs(),
    ends,
    st.lists(st.integers(0, N_USERS - 1), max_size=9),
    st.permutations(range(N_CATEGORIES)),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_users_order_out_blocks_and_threads_only_rearrange(log, end, users, order, block, threads):
    size = {"end": end, "days": 5, "categories": N_CATEGORIES}
    plain = behaviour_images(log, **size)
    users = np.array(users, int)
    out = np.full((len(users), 5, N_CATEGORIES, 3), 7, np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "_BLOCK", block * 5 * N_CATEGORIES)
        result = behaviour_images(log, users=users, order=order, out=out, threads=threads, **size)
    assert result is out
    np.testing.assert_array_equal(out, plain[users][:, :, order])


@given(logs(min_size=1))
def test_the_default_end_shows_the_last_day_in_the_last_row(log):
    image = behaviour_images(log, days=3)
    assert image.shape == (N_USERS, 3, 64, 3)
    np.testing.assert_array_equal(image, behaviour_images(log, end=log.end, days=3))


def test_an_empty_log_gives_empty_images_even_in_a_used_buffer():
    out = np.ones((N_USERS, 64, 64, 3), np.float32)
    assert not behaviour_images(log_of([]), out=out).any()


def test_unknown_users_and_returns_are_not_counted():
    log = log_of([
        (-1, 0, 0, "purchase", 3, 8),
        (0, 0, 0, "return", 3, 8),
        (0, 0, 0, "purchase", np.nan, 8),
    ])  # fmt: skip
    image = behaviour_images(log, days=1, categories=1)
    assert image[0].tolist() == [[[1, 0, 8]]]
    assert not image[1:].any()


LOG = log_of([(0, 0, 4, "click", np.nan, 0)])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"categories": 4}, "at least the log's number of categories, 5.*`group_categories`.*=4"),
        ({"days": -3}, "`days` must be a positive integer. Received: days=-3"),
        ({"days": True}, "`days` must be a positive integer. Received: days=True"),
        ({"users": [4]}, r"`users` must be codes from 0 to 3. Received: users\[0\]=4"),
        ({"end": "noon"}, "`end` must be a date"),
        ({"order": [0, 1]}, "`order` must be a permutation of 0 … 63"),
        ({"order": [0] * 64}, "`order` must be a permutation of 0 … 63"),
        ({"out": np.zeros((4, 64, 64, 3))}, "`out` must be .*Received: float64"),
        (
            {"out": np.zeros((4, 64, 64, 2), np.float32)},
            r"`out` .*Received: float32 \(4, 64, 64, 2",
        ),
        ({"out": np.zeros((3, 64, 64, 4), np.float32).T}, "`out` must be a writeable, C-contig"),
        ({"out": []}, "`out` must be .*list"),
        ({"days": 2**24}, r"`days` x `categories` must stay below 2\*\*31 / 3.*16777216 x 64"),
    ],
)
def test_bad_arguments_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        behaviour_images(LOG, **wrong)


@given(rows(), rows(), rows(), ends)
def test_category_order_is_a_permutation_that_the_future_cannot_change(early, one, two, end):
    cut = (end - FIRST_DAY).astype(int) * 86_400
    early = [row for row in early if row[1] < cut]
    first, second = (
        category_order(log_of(early + [row for row in late if row[1] >= cut]), end=end)
        for late in (one, two)
    )
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(np.sort(first), np.arange(64))


def test_category_order_does_look_at_the_past():
    pairs = [(user, second, c, "click", np.nan, 0) for user, c, second in
             [(0, 0, 0), (0, 3, 1), (1, 1, 2), (1, 4, 3), (2, 0, 4), (2, 3, 5)]]  # fmt: skip
    order = category_order(log_of(pairs), end=FIRST_DAY + 1, categories=5).tolist()
    assert abs(order.index(0) - order.index(3)) == 1
    assert abs(order.index(1) - order.index(4)) == 1
    assert order[-1] == 2  # nobody touched it


def test_category_order_finds_families():
    """Eight families of five with shuffled codes: each must come out side by side."""
    rng = np.random.default_rng(0)
    family = rng.permutation(np.repeat(np.arange(8), 5))
    taste = rng.integers(8, size=400)
    user = np.repeat(np.arange(400), 30)
    own = rng.random(user.size) < 0.7
    wanted = np.where(own, taste[user], rng.integers(8, size=user.size))
    members = np.argsort(family, kind="stable").reshape(8, 5)
    category = members[wanted, rng.integers(5, size=user.size)]
    frame = {
        "user": user.astype(np.int32),
        "item": np.zeros(user.size, np.int32),
        "time": np.full(user.size, FIRST_DAY.astype("datetime64[s]")),
        "category": category.astype(np.int16),
    }
    order = category_order(log_from(frame), end=FIRST_DAY + 1, categories=40)
    changes = np.count_nonzero(np.diff(family[order]))
    assert changes == 7


def log_from(frame):
    import pandas as pd

    from recsys_evo.collect.events import Log

    return Log(pd.DataFrame(frame))
