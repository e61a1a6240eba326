import datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_evo.prepare import splits

from .strategies import FIRST_DAY, N_CATEGORIES, N_DAYS, N_USERS, log_of, logs, rows

DAY = 86_400
ends = st.integers(0, N_DAYS).map(lambda d: FIRST_DAY + d)
lengths = st.integers(1, N_DAYS)


@given(logs(), ends, lengths)
def test_past_and_future_do_not_overlap_and_lose_nothing(log, end, days):
    before, after = splits.past(log, end), splits.future(log, end, days)
    rest = log.where((log.events["time"] >= np.datetime64(end + days)).to_numpy())
    assert (before.events["time"] < np.datetime64(end)).all()
    assert (after.events["time"] >= np.datetime64(end)).all()
    assert len(before) + len(after) + len(rest) == len(log)
    whole = pd.concat([before.events, after.events, rest.events])
    columns = ["user", "time", "category", "action", "amount"]
    pd.testing.assert_frame_equal(
        whole[columns].sort_values(columns, ignore_index=True),
        log.events[columns].sort_values(columns, ignore_index=True),
    )


@given(rows(min_size=1), rows(), ends, lengths)
def test_labels_do_not_depend_on_the_past(some, others, end, days):
    cut = (end - FIRST_DAY).astype(int) * DAY
    later = [row for row in some if row[1] >= cut] + [(0, N_DAYS * DAY - 1, 0, "view", 1, 0)]
    one = log_of([row for row in some if row[1] < cut] + later)
    two = log_of([row for row in others if row[1] < cut] + later)
    if one.end <= end:
        return
    np.testing.assert_array_equal(*(splits.touches(x, end, days, categories=8) for x in (one, two)))
    np.testing.assert_array_equal(*(splits.buys(x, end, days) for x in (one, two)))


@given(logs(min_size=1), ends, lengths)
def test_labels_are_what_a_loop_over_the_rows_finds(log, end, days):
    if log.end <= end:
        return
    touched = np.zeros((N_USERS, N_CATEGORIES), bool)
    bought = np.zeros(N_USERS, bool)
    for row in log.events.itertuples():
        day = (row.time.to_datetime64().astype("datetime64[D]") - end).astype(int)
        if row.user >= 0 and 0 <= day < days:
            touched[row.user, row.category] |= row.action not in ("impression", "return")
            bought[row.user] |= row.action == "purchase"
    some = np.array([2, 0, 2])
    label = splits.touches(log, end, days, categories=N_CATEGORIES)
    np.testing.assert_array_equal(label, touched)
    np.testing.assert_array_equal(splits.buys(log, end, days), bought)
    np.testing.assert_array_equal(
        splits.touches(log, end, days, users=some, categories=N_CATEGORIES), touched[some]
    )
    np.testing.assert_array_equal(splits.buys(log, end, days, users=some), bought[some])


@given(
    st.integers(1, 300),
    st.lists(st.floats(0.01, 1), min_size=1, max_size=4),
    st.integers(0, 5),
)
def test_split_users_is_disjoint_and_keeps_its_shares(n_users, weights, seed):
    shares = np.array(weights) / sum(weights)
    parts = splits.split_users(n_users, shares, rng=np.random.default_rng(seed))
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(n_users))
    for part, share in zip(parts, shares, strict=True):
        assert abs(len(part) - share * n_users) <= 1
        assert np.array_equal(part, np.sort(part))


def test_split_users_leaves_out_what_no_share_claims_and_shuffles():
    parts = splits.split_users(1000, (0.25, 0.25), rng=np.random.default_rng(0))
    assert [len(part) for part in parts] == [250, 250]
    assert not np.array_equal(parts[0], np.arange(250))


@given(logs())
def test_leave_last_out_takes_the_last_touch_of_each_user(log):
    train, test = splits.leave_last_out(log)
    columns = ["user", "time", "category", "action"]
    train_rows, test_rows = ([*x.events[columns].itertuples(index=False)] for x in (train, test))
    expected_train, expected_test = [], []
    for user, events in log.events.groupby("user", sort=True):
        events = [*events[columns].itertuples(index=False)]
        touch = [k for k, e in enumerate(events) if e.action not in ("impression", "return")]
        cut = touch[-1] if user >= 0 and len(touch) > 1 else len(events)
        expected_train += events[:cut]
        expected_test += events[cut : cut + 1]
    assert train_rows == expected_train
    assert test_rows == expected_test


def test_leave_last_out_drops_the_return_of_the_held_out_purchase():
    log = log_of([
        (0, 0, 1, "click", np.nan, 0),
        (0, 1, 2, "purchase", np.nan, 9),
        (0, 2, 2, "return", np.nan, 9),
        (0, 3, 2, "impression", np.nan, 0),
    ])  # fmt: skip
    train, test = splits.leave_last_out(log)
    assert train.events["category"].tolist() == [1]
    assert test.events["action"].tolist() == ["purchase"]


@pytest.mark.parametrize(
    "end",
    ["2020-01-03", datetime.date(2020, 1, 3), pd.Timestamp("2020-01-03"),
     np.datetime64("2020-01-03", "ns")],
)  # fmt: skip
def test_midnight_takes_any_date(end):
    assert splits.midnight(end) == np.datetime64("2020-01-03", "D")


@pytest.mark.parametrize(
    ("end", "rule"),
    [
        ("2020-01-03T12:00", "must be a midnight"),
        ("yesterday", "must be a date"),
        (18_000, "must be a date"),
        (None, "must be a date"),
        (np.datetime64("NaT"), "must be a date"),
        (pd.Timestamp("2020-01-03", tz="UTC"), "without a time zone"),
    ],
)
def test_midnight_names_what_is_wrong(end, rule):
    with pytest.raises(ValueError, match=f"`end` {rule}|`end` .*{rule}.*Received"):
        splits.midnight(end)


LOG = log_of([(0, 0, 1, "click", np.nan, 0), (1, 3 * DAY, 4, "purchase", np.nan, 5)])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: splits.future(LOG, "2020-01-01", 0), "`days` must be a positive.*days=0"),
        (lambda: splits.future(LOG, "2020-01-01", 2.5), "`days` must be a positive.*days=2.5"),
        (lambda: splits.touches(LOG, "2020-01-05", 3), "`end` must lie before the end of the log"),
        (lambda: splits.buys(LOG, "2030-01-01", 3), "`end` must lie before the end of the log"),
        (lambda: splits.touches(LOG, "2020-01-01", 3, categories=4), "group_categories.*=4"),
        (lambda: splits.buys(LOG, "2020-01-01", 3, users=[0, 9]), r"0 to 3.*users\[1\]=9"),
        (lambda: splits.buys(LOG, "2020-01-01", 3, users=[-1]), r"0 to 3.*users\[0\]=-1"),
        (lambda: splits.buys(LOG, "2020-01-01", 3, users=[0.5]), "`users` must be an array"),
        (
            lambda: splits.split_users(9, (0.6, 0.6), rng=np.random.default_rng(0)),
            r"`shares` must be positive.*0\.6",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
