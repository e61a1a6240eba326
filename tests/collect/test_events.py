"""The event log: what goes in comes out, and what will not do is named."""

import datetime
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_evo.collect.events import (
    ACTIONS,
    COLUMNS,
    Log,
    Source,
    categories_from_titles,
    group_categories,
)


def seconds(*values):
    return np.array(values, "int64").astype("datetime64[s]")


@pytest.fixture
def codes():
    """Six events in codes, neither sorted nor complete."""
    return pd.DataFrame(
        {
            "user": [1, 0, 1, 0, 1, 2],
            "item": [3, 2, 1, 0, 0, 1],
            "time": seconds(90_000, 50, 7, 50, 7, 200_000),
            "action": ["click", "purchase", "impression", "return", "view", "click"],
        }
    )


@pytest.fixture
def table():
    """Three events as a stranger keeps them."""
    return pd.DataFrame(
        {
            "who": ["bo", "al", "bo"],
            "item": [7, 10**12, 7],
            "when": ["2020-01-02 00:00:01.9", "2020-01-01", "2020-01-01T10:00"],
        }
    )


THEIRS = {"user": "who", "time": "when"}


def refused(table, message, columns=THEIRS, **options):
    with pytest.raises(ValueError, match=re.escape(message)):
        Log.from_frame(table, columns, **options)


# The trusted constructor


def test_columns_are_complete_typed_and_sorted_by_user_then_time_then_source(codes):
    log = Log(codes)
    assert list(log.events) == list(COLUMNS)
    assert [str(t) for t in log.events.dtypes] == [
        "int32", "int32", "datetime64[s]", "int16", "category", "float32", "float32", "float32",
        "int64", "int16", "float32",
    ]  # fmt: skip
    assert log.events["action"].cat.ordered
    assert tuple(log.events["action"].cat.categories) == ACTIONS
    assert log.events["user"].tolist() == [0, 0, 1, 1, 1, 2]
    assert log.events["item"].tolist() == [2, 0, 1, 0, 3, 1]  # ties as they came
    assert log.events.index.equals(pd.RangeIndex(6))
    assert log.events["amount"].eq(0).all()
    assert log.events["dwell"].isna().all()
    assert log.events["slate"].eq(-1).all()


@pytest.mark.parametrize("far", [0, 2**62])  # beyond 2**62 seconds the fast key does not fit
def test_the_order_is_that_of_a_stable_sort(rng, far):
    n = 1000
    user = rng.integers(-1, 20, n)
    time = seconds(*rng.integers(-5, 5, n)) + np.where(rng.random(n) < 0.5, far, 0)
    log = Log(pd.DataFrame({"user": user, "item": np.arange(n), "time": time}))
    order = sorted(range(n), key=lambda row: (user[row], time[row].astype("int64")))
    assert log.events["item"].tolist() == order


def test_one_second_out_of_order_is_seen():
    log = Log(pd.DataFrame({"user": [0, 0, 0, 1], "item": range(4), "time": seconds(5, 10, 9, 7)}))
    assert log.events["item"].tolist() == [0, 2, 1, 3]


def test_a_right_frame_is_neither_copied_nor_sorted_but_protected(codes):
    first = Log(codes)
    second = Log(first.events, first.items, first.users)
    for name in ("user", "time", "dwell"):
        assert np.shares_memory(first.events[name].to_numpy(), second.events[name].to_numpy())
    second.events.loc[0, "user"] = 1
    second.items.loc[0, "id"] = -5
    assert first.events.loc[0, "user"] == 0
    assert first.items.loc[0, "id"] == 0


def test_further_columns_come_along_in_the_rows_they_belong_to(codes):
    log = Log(codes.assign(quantity=codes["item"] * 10))
    assert list(log.events)[-1] == "quantity"
    assert log.events["quantity"].equals((log.events["item"] * 10).astype("int64"))


def test_counts_and_span(codes):
    log = Log(codes)
    assert (len(log), log.n_users, log.n_items, log.n_categories) == (6, 3, 4, 1)
    assert log.start == np.datetime64("1970-01-01")
    assert log.end == np.datetime64("1970-01-04")
    assert log.end.dtype == "datetime64[D]"
    assert "6 events, 3 users" in repr(log)


def test_a_touch_is_neither_impression_nor_return(codes):
    log = Log(codes)
    assert log.events["action"][~log.touch].tolist() == ["return", "impression"]


def test_categories_come_from_the_items_where_the_events_have_none(codes):
    items = pd.DataFrame({"id": list("abcd"), "category": [4, 3, 2, 1]})
    log = Log(codes, items)
    assert (log.events["category"] == 4 - log.events["item"]).all()
    assert log.n_categories == 5


def test_where_keeps_tables_codes_and_the_number_of_categories(codes):
    log = Log(codes.assign(category=codes["item"]), source=Source("ours"))
    part = log.where((log.events["item"] < 2).to_numpy())
    assert part.events["item"].tolist() == [0, 1, 0, 1]
    assert part.events.index.equals(pd.RangeIndex(4))
    assert (part.n_users, part.n_items, part.n_categories) == (3, 4, 4)
    assert part.source is log.source
    assert len(log) == 6
    with pytest.raises(ValueError, match=r"`mask` must be 6 booleans.*int64 of shape \(2,\)"):
        log.where([0, 1])


def test_an_empty_log_stands_but_has_no_span(codes):
    log = Log(codes[:0])
    assert (len(log), log.n_users, log.n_categories) == (0, 0, 0)
    assert "empty" in repr(log)
    with pytest.raises(ValueError, match="an empty log has neither `start` nor `end`"):
        _ = log.end


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"user": 2**31}, "`user` codes must lie in [-1, 2147483648). Received: 2147483648 in row"),
        ({"user": 2**30}, "`users` must be given where codes go beyond 134,217,728"),
        ({"user": -2}, "`user` codes must lie in [-1, 2147483648). Received: -2 in row 0"),
        ({"item": -1}, "`item` codes must lie in [0, 2147483648). Received: -1 in row 0"),
        ({"category": 2**15}, "`category` codes must lie in [-1, 32768). Received: 32768"),
        ({"category": -1}, "`category` codes must lie in [0, 0). Received: -1 in row 0"),
        ({"position": 2**15}, "`position` codes must lie in [-1, 32768). Received: 32768"),
        ({"time": pd.NaT}, "`time` must not be missing. Received: NaT in row 0"),
        ({"action": "buy"}, "`action` must be one of impression, view"),
    ],
)
def test_what_the_trusted_constructor_checks(codes, change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Log(codes.assign(**change))


def test_codes_must_have_a_row_in_their_table(codes):
    three = pd.DataFrame({"id": list("abc")})
    with pytest.raises(ValueError, match=r"`item` codes must lie in \[0, 3\). Received: 3 in row"):
        Log(codes, items=three)
    with pytest.raises(ValueError, match="`users` must have a column 'id'"):
        Log(codes, users=three.rename(columns={"id": "name"}))
    with pytest.raises(ValueError, match="`users` must have the codes 0 … 2 as its index"):
        Log(codes, users=three[::-1])
    with pytest.raises(ValueError, match=r"`items\['category'\]` must hold integer codes"):
        Log(codes, items=pd.DataFrame({"id": list("abcd"), "category": list("abcd")}))
    beyond = pd.DataFrame({"id": list("abcd"), "category": 1})
    with pytest.raises(ValueError, match=r"`items\['category'\]` codes must lie in \[0, 1\)"):
        Log(codes.assign(category=0), beyond, category_names=["x"])
    with pytest.raises(ValueError, match="must have the columns user, item and time"):
        Log(codes.drop(columns="item"))


# The careful door


def test_ids_become_codes_and_back(table):
    log = Log.from_frame(table, THEIRS, source=Source("theirs"))
    assert log.users["id"][log.events["user"]].tolist() == ["bo", "bo", "al"]
    assert log.items["id"].tolist() == [7, 10**12]
    assert log.source.name == "theirs"


def test_given_tables_number_the_ids_and_keep_their_columns(table):
    items = pd.DataFrame({"id": [10**12, 5, 7], "title": ["far", "new", "near"]}, index=[3, 3, 3])
    log = Log.from_frame(table, THEIRS, items=items)
    assert log.items["title"][log.events["item"]].tolist() == ["near", "near", "far"]
    assert log.n_items == 3
    refused(table, "column 'item' must hold ids of `items`. Received: 7 in row 0 and in 1 more",
            items=items[:2])  # fmt: skip
    refused(table, "`items['id']` must hold each id once. Received: 5 in row 1",
            items=items.assign(id=5))  # fmt: skip
    refused(table, "`users` must have a column 'id'", users=pd.DataFrame({"name": ["bo"]}))


def test_times_become_whole_seconds_of_utc(table):
    log = Log.from_frame(table, THEIRS)
    assert log.events["time"].astype(str).tolist() == [
        "2020-01-01 10:00:00", "2020-01-02 00:00:01", "2020-01-01 00:00:00",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "times",
    [
        pd.to_datetime(["2020-07-01 01:00", "2020-01-01 00:00", "2020-07-01 02:00"]).tz_localize(
            "Europe/London"
        ),
        ["2020-07-01T00:00Z", "2020-01-01 05:30+05:30", "2020-07-01T03:00+02:00"],
        [
            pd.Timestamp("2020-07-01 01:00", tz="Europe/London"),
            datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
            "2020-06-30 18:00-07",
        ],
        pd.Series(pd.to_datetime(["2020-07-01 09:00", "2020-01-01 09:00", "2020-07-01 10:00"]))
        .dt.tz_localize("Asia/Tokyo")
        .astype("timestamp[us, tz=Asia/Tokyo][pyarrow]"),
    ],
    ids=["one zone", "many offsets", "objects", "arrow"],
)
def test_times_with_zones_are_moved_to_utc(table, times):
    log = Log.from_frame(table.assign(when=times), THEIRS)
    assert log.events["time"].astype(str).tolist() == [
        "2020-07-01 00:00:00", "2020-07-01 01:00:00", "2020-01-01 00:00:00",
    ]  # fmt: skip


def test_days_before_1970_and_in_2200_are_right_to_the_second(table):
    when = ["1969-12-31 23:59:59.5", "1901-02-28 12:30:15", "2200-12-31 23:59:59"]
    for times in (when, pd.to_datetime(when, format="ISO8601")):
        log = Log.from_frame(table.assign(when=times), THEIRS)
        assert log.events["time"].tolist() == [
            pd.Timestamp("1969-12-31 23:59:59"),
            pd.Timestamp("2200-12-31 23:59:59"),
            pd.Timestamp("1901-02-28 12:30:15"),
        ]
        assert (str(log.start), str(log.end)) == ("1901-02-28", "2201-01-01")


ISO = "column 'when' (`time`) must be datetimes or ISO 8601 text"
ZONES = "column 'when' (`time`) must all have a time zone, as row {} has, or none. Received: "


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (["2020-01-01", "soon", "later"], ISO),
        (["2020-01-01", "soon", "later"], "Received: 'soon' in row 1 and in 1 more"),
        (["2020-02-28", "2020-02-29", "2020-02-30"], "Received: '2020-02-30' in row 2"),
        (["01/02/2020", "2020-02-29", "2020-02-28"], "Received: '01/02/2020' in row 0"),
        ([1577836800, 1577836801, 1577836802], "Received: 1577836800 in row 0 and in 2 more"),
        (
            ["2020-01-01", None, "2020-01-02"],
            "must not be missing. Received: nan in row 1",
        ),
        (["2020-01-01", "2020-01-01T10:00", "2020-01-01T10:00Z"], ZONES.format(2)),
        (["2020-01-01T10:00+02", "2020-01-01T10:00", "2020-01-01"], ZONES.format(0)),
        (["2020-01-01T10:00+02", "2020-01-01T10:00", "2020-01-01"], "00' in row 1 and in 1 more"),
        (
            pd.Series([pd.Timestamp(0), pd.Timestamp(0, tz="UTC"), pd.Timestamp(0)], dtype=object),
            ZONES.format(1) + "Timestamp('1970-01-01 00:00:00') in row 0",
        ),
    ],
)
def test_times_that_will_not_do(table, times, message):
    refused(table.assign(when=times), message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action": ["click", "buy", "x"]},
         f"column 'action' must be one of {', '.join(ACTIONS)}. Received: 'buy' in row 1 and"),
        ({"action": ["click", None, "view"]}, "Received: nan in row 1"),
        ({"dwell": [1.5, -3, np.nan]},
         "column 'dwell' must be finite seconds, 0 or more. Received: -3.0 in row 1"),
        ({"dwell": [1, np.inf, 1]}, "0 or more. Received: inf in row 1"),
        ({"dwell": ["1", "long", None]}, "0 or more. Received: 'long' in row 1"),
        ({"amount": [0, 1, np.inf]},
         "column 'amount' must be finite numbers, 0 where nothing was paid. Received: inf in row"),
        ({"amount": [0, np.nan, 1]}, "where nothing was paid. Received: nan in row 1"),
        ({"amount": [0, 1e39, 1]}, "where nothing was paid. Received: 1e+39 in row 1"),
        ({"amount": pd.array([1, None, 2], "Int64")}, "was paid. Received: <NA> in row 1"),
        ({"rating": [5, 1, -np.inf]}, "column 'rating' must be finite numbers. Received: -inf in"),
        ({"propensity": [0.5, 0, 1]}, "column 'propensity' must lie in (0, 1]. Received: 0.0 in"),
        ({"propensity": [0.5, 1, 1.01]}, "must lie in (0, 1]. Received: 1.01 in row 2"),
        ({"position": [-1, -2, 0]},
         "column 'position' must be whole numbers from -1 to 32767. Received: -2 in row 1"),
        ({"slate": [1, 1.5, 2]}, "column 'slate' must be whole numbers from -1 to 92233720368"),
        ({"slate": np.array([2**64 - 1, 0, 0], "uint64")}, "Received: 18446744073709551615 in"),
        ({"category": [0, -1, 1]},
         "column 'category' must be whole numbers from 0 to 32767, or text. Received: -1 in row 1"),
        ({"category": [0, 2**15, 1]}, "to 32767, or text. Received: 32768 in row 1"),
        ({"category": [0, 1.5, 1]}, "to 32767, or text. Received: 1.5 in row 1"),
        ({"category": [0, None, 1]}, "column 'category' must not be missing. Received: nan in row"),
        ({"category": ["a", None, "b"]}, "column 'category' must not be missing. Received: nan"),
        ({"who": ["bo", None, None]},
         "column 'who' (`user`) must not be missing (missing_users=\"keep\" gives such rows the "
         "code -1). Received: nan in row 1 and in 1 more"),
        ({"item": [1, 2, np.nan]}, "column 'item' must not be missing. Received: nan in row 2"),
        ({"item": [[1], [2], [3]]}, "column 'item' must hold ids. Received: unhashable type"),
    ],
)  # fmt: skip
def test_values_that_will_not_do(table, change, message):
    refused(table.assign(**change), message)


def test_tables_that_will_not_do(table):
    refused(table.to_dict(), "`df` must be a pandas DataFrame. Received: dict")
    refused(table[:0], "`df` must have at least one row. Received: an empty table")
    refused(
        table,
        "`df` must have a column 'time'; say which of yours it is with columns={'time': ...}. "
        "Received: ['who', 'item', 'when']",
        {"user": "who"},
    )
    refused(
        table,
        "`columns` must name columns of `df`, which has ['who', 'item', 'when']. Received: 'whom'",
        {"user": "whom", "time": "when"},
    )
    twice = pd.concat([table, table[["item"]]], axis=1)
    refused(twice, "`df` must have each column once. Received: several 'item'")
    refused(table, "`missing_users` must be 'raise' or 'keep'. Received: 'drop'",
            missing_users="drop")  # fmt: skip
    names = [f"name {k}" for k in range(2**15 + 1)]
    many = pd.DataFrame({"who": 0, "item": 0, "when": "2020-01-01", "category": names})
    refused(many, "column 'category' must hold at most 32,768 names. Received: 32,769")


def test_missing_users_may_be_kept_and_whole_ids_stay_whole(table):
    table = table.assign(who=[17850.0, np.nan, 12346.0])
    log = Log.from_frame(table, THEIRS, missing_users="keep")
    assert log.events["user"].tolist() == [-1, 0, 1]
    assert log.users["id"].tolist() == [17850, 12346]
    assert log.users["id"].dtype == "int64"
    log = Log.from_frame(table.assign(who=[1e300, 2.0, 3.0]), THEIRS)
    assert log.users["id"].tolist() == [1e300, 2, 3]


def test_text_categories_are_numbered_by_alphabet_and_named(table):
    for kind in (object, "str", "category"):
        theirs = pd.Series(["toys", "tools", "toys"]).astype(kind)
        log = Log.from_frame(table.assign(category=theirs), THEIRS)
        assert log.category_names == ("tools", "toys")
        assert log.events["category"].tolist() == [1, 1, 0]
    items = pd.DataFrame({"id": [7, 10**12, 8], "category": ["toys", "tools", "air"]})
    log = Log.from_frame(table, THEIRS, items=items)
    assert log.category_names == ("air", "tools", "toys")
    assert log.events["category"].tolist() == [2, 2, 1]
    assert log.items["category"].tolist() == [2, 1, 0]


def test_an_index_of_any_kind_is_ignored(table):
    table = table.set_index(pd.Index(["x", "x", "y"])).assign(dwell=[1, 2, -1])
    refused(table, "0 or more. Received: -1 in row 2")
    log = Log.from_frame(table.assign(dwell=[1, 2, 3]), THEIRS)
    assert log.events["dwell"].tolist() == [3, 1, 2]


def test_one_user_and_one_event_are_enough(table):
    one = Log.from_frame(table[:1], THEIRS)
    assert (len(one), one.n_users, one.end - one.start) == (1, 1, np.timedelta64(1, "D"))
    assert Log.from_frame(table.assign(who="bo"), THEIRS).n_users == 1


def test_columns_named_under_names_of_their_own_come_along(table):
    log = Log.from_frame(table.assign(Qty=[3, 1, 2], left=0), {**THEIRS, "quantity": "Qty"})
    assert log.events["quantity"].tolist() == [2, 3, 1]
    assert "left" not in log.events


def test_large_slates_keep_every_digit_beside_missing_ones(table):
    log = Log.from_frame(
        table.assign(slate=pd.array([2**62 + 1, None, 3], "Int64"), position=[None, 3, 4]), THEIRS
    )
    assert log.events["slate"].tolist() == [3, 2**62 + 1, -1]
    assert log.events["position"].tolist() == [4, -1, 3]


def floats(low, high):
    return st.floats(low, high, width=32) | st.just(np.nan)


ROWS = st.fixed_dictionaries(
    {
        "user": st.sampled_from(["al", "bo", "cy", None]),
        "item": st.integers(-(2**63), 2**63 - 1),
        "time": st.datetimes(
            datetime.datetime(1900, 1, 1), datetime.datetime(2201, 1, 1)
        ).map(lambda t: t.replace(microsecond=0)),
        "category": st.integers(0, 2**15 - 1),
        "action": st.sampled_from(ACTIONS),
        "dwell": floats(0, 1e6),
        "amount": st.floats(-1e6, 1e6, width=32),
        "rating": floats(-10, 10),
        "slate": st.integers(-1, 2**63 - 1),
        "position": st.integers(-1, 2**15 - 1),
        "propensity": floats(0.0009765625, 1),
        "note": st.text(max_size=3),
    }
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_any_right_table_comes_out_again_and_is_not_changed(rows, random):
    index = [random.choice("xyz") for _ in rows]
    df = pd.DataFrame(rows, index=index)
    before = df.copy(deep=True)
    log = Log.from_frame(df, {"note": "note"}, missing_users="keep")
    pd.testing.assert_frame_equal(df, before)

    back = log.events.copy()
    ids = dict(enumerate(log.users["id"])) | {-1: None}
    back["user"] = [ids[code] for code in back["user"]]
    back["item"] = [log.items["id"][code] for code in back["item"]]
    assert _multiset(back[list(df)]) == _multiset(df)
    key = list(zip(log.events["user"], log.events["time"], strict=True))
    assert key == sorted(key)


def _multiset(df):
    plain = df.astype(object).where(df.notna(), None)
    return sorted(map(repr, ([str(v) for v in row] for row in plain.to_numpy().tolist())))


# Cleaning


def shop(rows, items=None):
    events = pd.DataFrame(rows, columns=["user", "item", "time", "action", "amount"])
    return Log(events.assign(time=seconds(*events["time"])), items)


def test_clean_drops_each_row_for_its_first_reason_and_counts():
    small = [(0, 0, 10 * k, "purchase", 2) for k in range(20)]
    rows = [
        *small,
        (-1, 0, 0, "purchase", 2),  # unknown user, and unknown again
        (-1, 0, 0, "purchase", 2),
        (0, 0, 10, "purchase", 2),  # a copy
        (0, 0, 10, "purchase", 3),  # no copy: another amount
        (0, 1, 10, "purchase", 5),  # a fee
        (1, 2, 1000, "purchase", 5000),  # cancelled
        (1, 2, 2000, "return", 5000),
        (1, 2, 9000, "purchase", 5000),  # returned too late
        (1, 2, 9000 + 3601, "return", 5000),
        (2, 2, 1000, "purchase", 1999),  # not huge
        (2, 2, 1001, "return", 1999),
        (3, 2, 1000, "return", 5000),  # returned before it was bought
        (3, 2, 1001, "purchase", 5000),
        (4, 2, 1000, "purchase", 5000),  # another amount
        (4, 2, 1001, "return", 4999),
    ]
    items = pd.DataFrame({"id": ["kettle", "postage", "lamp"], "product": [True, False, True]})
    log = shop(rows, items)
    before = log.events.copy(deep=True)
    clean, report = log.clean()
    assert report["rows"].to_dict() == {
        "unknown user": 2,
        "duplicate row": 1,
        "not a product": 1,
        "cancelled order": 2,
        "kept": len(rows) - 6,
    }
    assert len(clean) == report["rows"]["kept"]
    assert not ((clean.events["user"] == 1) & (clean.events["time"] < seconds(3000)[0])).any()
    pd.testing.assert_frame_equal(log.events, before)


def test_a_return_cancels_one_purchase_only():
    small = [(0, 0, k, "purchase", 1) for k in range(9)]
    bought = [(1, 0, 0, "purchase", 2000), (1, 0, 60, "purchase", 2000)]
    returned = [(1, 0, second, "return", 2000) for second in (90, 95, 99)]
    for returns, left in ((1, [0]), (2, []), (3, [99])):
        clean, report = shop(small + bought + returned[:returns]).clean()
        assert report["rows"]["cancelled order"] == 2 * min(returns, 2)
        mine = clean.events["time"][clean.events["user"] == 1]
        assert mine.tolist() == [pd.Timestamp(second, unit="s") for second in left]


def test_a_log_in_which_half_is_free_has_no_measure_of_a_huge_order():
    free = [(0, 0, k, "purchase", 0) for k in range(9)]
    _, report = shop([*free, (1, 0, 0, "purchase", 2), (1, 0, 1, "return", 2)]).clean()
    assert report["rows"]["cancelled order"] == 0


EVENT = st.tuples(
    st.integers(-1, 3),
    st.integers(0, 2),
    st.integers(0, 6),
    st.sampled_from(["click", "purchase", "return"]),
    st.sampled_from([0, 1, 5000]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENT, max_size=30))
def test_what_is_dropped_and_what_is_kept_add_up(rows):
    items = pd.DataFrame({"id": [0, 1, 2], "product": [True, True, False]})
    log = shop(rows, items)
    clean, report = log.clean()
    assert report["rows"].sum() == len(rows)
    known = {row for row in rows if row[0] >= 0 and row[1] < 2}
    kept = {(e.user, e.item, int(e.time.timestamp()), e.action, e.amount)
            for e in clean.events.itertuples()}  # fmt: skip
    assert len(kept) == len(clean)  # no copies
    cancelled = {row for row in known - kept if row[4] == 5000 and row[3] != "click"}
    assert kept == known - cancelled
    assert len(cancelled) == report["rows"]["cancelled order"]
    again, second = clean.clean()
    assert second["rows"].drop(["kept", "cancelled order"]).sum() == 0
    assert len(again) <= len(clean)


# Categories


def spread(sizes, names=None, items=None):
    category = np.repeat(np.arange(len(sizes)), sizes)
    n = len(category)
    events = {"user": 0, "item": category, "time": seconds(*range(n)), "category": category}
    return Log(pd.DataFrame(events), items, category_names=names)


def test_the_rarest_categories_fold_into_other():
    items = pd.DataFrame({"id": list("abcde"), "category": range(5)})
    log = spread([3, 1, 9, 2, 4], names=["A", "B", "C", "D", "E"], items=items)
    grouped, report = group_categories(log, 3)
    assert grouped.category_names == ("C", "E", "other")
    assert report["group"].tolist() == [2, 2, 0, 2, 1]
    assert report["events"].tolist() == [3, 1, 9, 2, 4]
    assert report["name"].tolist() == ["A", "B", "C", "D", "E"]
    assert grouped.events["category"].value_counts().to_dict() == {0: 9, 2: 6, 1: 4}
    assert grouped.items["category"].tolist() == [2, 2, 0, 2, 1]
    assert grouped.events["category"].dtype == "int16"
    assert log.items["category"].tolist() == [0, 1, 2, 3, 4]
    assert log.n_categories == 5


def test_enough_room_leaves_the_log_as_it_is():
    log = spread([3, 1, 9])
    grouped, report = group_categories(log, 3)
    assert grouped is log
    assert report["group"].tolist() == [0, 1, 2]
    alone, _ = group_categories(log, 1)
    assert alone.category_names == ("other",)
    for n in (0, 2.0, True, "3"):
        with pytest.raises(ValueError, match=f"`n` must be an integer of at least 1. .*n={n!r}"):
            group_categories(log, n)


def titled(titles, **columns):
    items = pd.DataFrame({"id": range(len(titles)), "title": titles, **columns})
    return Log(pd.DataFrame({"user": 0, "item": range(len(titles)),
                             "time": seconds(*range(len(titles)))}), items)  # fmt: skip


COLOURS = ["red", "blue", "green", "white", "black", "pink"]
TITLES = [f"{colour} {thing}" for thing in ("metal lantern", "tea kettle", "paper chain")
          for colour in COLOURS]  # fmt: skip


def test_titles_that_share_words_share_a_category():
    log = categories_from_titles(titled(TITLES), 3)
    groups = log.items["category"].to_numpy().reshape(3, 6)
    assert (groups == groups[:, :1]).all()
    assert len(set(groups[:, 0])) == 3
    assert log.category_names == tuple(sorted(log.category_names))
    for code, words in zip(groups[:, 0], ["lantern", "kettle", "chain"], strict=True):
        assert words in log.category_names[code]
    assert log.events["category"].tolist() == log.items["category"].tolist()
    again = categories_from_titles(titled(TITLES), 3)
    assert again.category_names == log.category_names
    assert again.items.equals(log.items)


def test_untitled_items_and_fees_share_the_last_category():
    log = categories_from_titles(
        titled([*TITLES, None, "12", "POSTAGE"], product=[True] * 20 + [False]), 4
    )
    assert log.category_names[-1] == "other"
    assert log.items["category"].tolist()[-3:] == [3, 3, 3]
    assert log.items["category"].max() == 3
    assert (log.items["category"][:18] < 3).all()


def test_fewer_titles_than_categories_and_titles_that_will_not_do():
    log = categories_from_titles(titled(["red kettle", "red kettle", "paper chain"]), 64)
    assert log.n_categories == 2
    assert log.items["category"][0] == log.items["category"][1]
    with pytest.raises(ValueError, match=r"`log.items` must have a column 'title'. .*\['id'\]"):
        categories_from_titles(spread([1]), 4)
    with pytest.raises(ValueError, match=r"`log.items\['title'\]` must hold words"):
        categories_from_titles(titled(["1", None]), 4)
    with pytest.raises(ValueError, match=r"`n` must be an integer of at least 2. Received: n=1"):
        categories_from_titles(titled(TITLES), 1)
