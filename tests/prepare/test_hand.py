import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_evo.prepare.hand import FEATURES, recency_frequency_money
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
