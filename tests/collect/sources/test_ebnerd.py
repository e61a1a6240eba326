"""EB-NeRD: fixture, random tables, the real sample."""

from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_evo.collect import datasets
from recsys_evo.collect.sources import ebnerd

from .invented import folder_of, read, rows
from .official import FIXTURES, official

NAME = "ebnerd"
BUNDLE = FIXTURES / "ebnerd_demo"
START = int(datetime(2023, 5, 18, 8, tzinfo=UTC).timestamp())


def nan_to_none(values):
    return [tuple(None if x != x else x for x in row) for row in values]


def test_a_row_becomes_a_view_impressions_and_clicks():
    log = datasets.load(NAME, FIXTURES)
    columns = ("slate", "dwell", "scroll", "device", "session")
    assert nan_to_none(rows(log, *columns)) == [
        (12, 0, START + 50, "view", 72, 6, None, 3, 3),
        (12, 501, START + 50, "impression", 72, None, None, 3, 3),
        (12, 505, START + 50, "impression", 72, None, None, 3, 3),
        (12, 505, START + 50, "click", 72, 3, 10, 3, 3),
        (12, 501, START + 50, "click", 72, None, None, 3, 3),  # of two, the first has a reading
        (40, 502, START - 5000, "view", -1, 61, 100, -1, -1),
        (40, 502, START - 4000, "view", -1, 0, None, -1, -1),
        (40, 0, START + 100, "view", 9, 17, None, 2, 7),
        (40, 503, START + 100, "impression", 9, None, None, 2, 7),
        (40, 501, START + 100, "impression", 9, None, None, 2, 7),
        (40, 502, START + 100, "impression", 9, None, None, 2, 7),
        (40, 501, START + 100, "click", 9, 40.5, 88, 2, 7),
        (40, 501, START + 130, "view", 71, 40.5, 88, 1, 7),
        (40, 504, START + 130, "impression", 71, None, None, 1, 7),
        (40, 503, START + 130, "impression", 71, None, None, 1, 7),
        (40, 503, START + 130, "click", 71, None, None, 1, 7),
        (77, 506, START - 3000, "view", -1, 9, 35, -1, -1),
    ]
    assert (log.events["position"] == -1).all()
    assert log.clean()[1]["rows"]["not a product"] == 2


def test_articles_and_users():
    log = datasets.load(NAME, FIXTURES)
    items = log.items.set_index("id")
    assert items.index.tolist() == [0, 501, 502, 503, 504, 505, 506, 510]
    assert items["product"].tolist() == [False] + [True] * 7
    assert items["title"].tolist()[:2] == ["front page", "Æbler på tilbud"]
    assert [log.category_names[code] for code in items["category"]] == [
        "unknown", "nyheder", "vejr", "sport", "nyheder", "unknown", "unknown", "vejr",
    ]  # fmt: skip
    assert items["category_id"].tolist()[1:3] == [118, 140]
    assert "body" not in items
    assert items["topics"].tolist()[1].tolist() == ["Mad"]
    users = log.users.set_index("id")
    assert users.index.tolist() == [12, 40, 77]
    assert users["is_sso_user"].tolist()[:2] == [False, True]  # the latest given
    assert users["gender"].tolist()[1] == 1
    assert users["postcode"].tolist()[1] == 2
    assert users["age"].isna().all()
    assert users.loc[77].isna().all()


def test_the_smallest_bundle_or_the_split_that_is_named():
    find = datasets.card(NAME).find
    assert find(FIXTURES) == find(BUNDLE) == find(BUNDLE / "train") == BUNDLE / "train"
    files = {path.name: path.read_bytes() for path in (BUNDLE / "train").iterdir()}
    splits = {
        f"{split}/{name}": x for split in ("train", "validation") for name, x in files.items()
    }
    with folder_of(splits) as place:
        assert find(place / "validation") == place / "validation"
        assert find(place) == place / "train"
        log = read(NAME, place)  # without articles
    assert log.items.to_dict("list") == {
        "id": [0, 501, 502, 503, 504, 505, 506], "product": [False] + [True] * 6,
    }  # fmt: skip
    assert log.n_categories == 1


def test_other_peoples_behaviour_is_let_alone():
    table = pa.table({"user_id": [1]})
    with folder_of({}) as place:
        for name in ("behaviors", "history"):
            pq.write_table(table, place / f"{name}.parquet")
        assert datasets.card(NAME).find(place) is None


number = st.none() | st.integers(0, 100)
article = st.integers(1, 5)
row = st.fixed_dictionaries(
    {
        "article_id": st.none() | article,
        "impression_time": st.integers(0, 3),
        "read_time": number,
        "scroll_percentage": number,
        "device_type": st.integers(0, 3),
        "article_ids_inview": st.lists(article, max_size=4),
        "article_ids_clicked": st.lists(article, max_size=2),
        "user_id": st.integers(1, 3),
        "is_sso_user": st.booleans(),
        "gender": st.none() | st.integers(0, 1),
        "postcode": st.none() | st.integers(0, 4),
        "age": st.none() | st.sampled_from([30, 40]),
        "is_subscriber": st.booleans(),
        "session_id": st.integers(0, 9),
        "next_read_time": number,
        "next_scroll_percentage": number,
    }
)
read_before = st.lists(st.tuples(st.integers(7, 11), article, number, number), max_size=4)
TYPES = pq.read_schema(BUNDLE / "train" / "behaviors.parquet")
PAST = pq.read_schema(BUNDLE / "train" / "history.parquet")


def write(place, behaviors, history):
    time = [datetime.fromtimestamp(START + row["impression_time"], UTC).replace(tzinfo=None)
            for row in behaviors]  # fmt: skip
    table = [row | {"impression_time": t, "impression_id": n}
             for n, (row, t) in enumerate(zip(behaviors, time), 100)]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(table, TYPES), place / "behaviors.parquet")
    past = [
        {
            "user_id": user,
            "impression_time_fixed": [
                datetime.fromtimestamp(START - 9 + t, UTC).replace(tzinfo=None)
                for t, _, _, _ in entries
            ],
            "article_id_fixed": [article for _, article, _, _ in entries],
            "read_time_fixed": [seconds for _, _, seconds, _ in entries],
            "scroll_percentage_fixed": [depth for _, _, _, depth in entries],
        }
        for user, entries in history.items()
    ]
    pq.write_table(pa.Table.from_pylist(past, PAST), place / "history.parquet")


@given(st.lists(row, min_size=1, max_size=6), st.dictionaries(st.integers(2, 5), read_before))
@settings(max_examples=60, deadline=None)
def test_any_tables_are_read_as_a_loop_reads_them(behaviors, history):
    with folder_of({}) as place:
        write(place, behaviors, history)
        log = read(NAME, place)
    expected = []
    for user, entries in history.items():
        for at, article, seconds, depth in entries:
            expected.append((user, article, START - 9 + at, "view", -1, seconds, depth, -1, -1))
    for slate, row in enumerate(behaviors, 100):
        at, tail = START + row["impression_time"], (row["device_type"], row["session_id"])

        def add(item, action, seconds, depth):
            expected.append((row["user_id"], item, at, action, slate, seconds, depth, *tail))  # noqa: B023

        add(row["article_id"] or 0, "view", row["read_time"], row["scroll_percentage"])
        for item in row["article_ids_inview"]:
            add(item, "impression", None, None)
        for place_in_list, item in enumerate(row["article_ids_clicked"]):
            first = place_in_list == 0
            add(item, "click", row["next_read_time"] if first else None,
                row["next_scroll_percentage"] if first else None)  # fmt: skip
    expected.sort(key=lambda event: (event[0], event[2]))  # stable
    columns = ("slate", "dwell", "scroll", "device", "session")
    assert nan_to_none(rows(log, *columns)) == expected

    users = log.users.set_index("id")
    assert users.index.tolist() == sorted({row["user_id"] for row in behaviors} | set(history))
    for name in ("gender", "age", "is_subscriber"):
        for user in users.index:
            given = [row[name] for row in sorted(behaviors, key=lambda row: row["impression_time"])
                     if row["user_id"] == user and row[name] is not None]  # fmt: skip
            value = users.loc[user, name]
            assert (value == given[-1]) if given else pd.isna(value)
    assert log.items["id"].tolist() == sorted({event[1] for event in expected} | {0})
    report = log.clean()[1]["rows"]
    copies = Counter(expected)
    assert report["duplicate row"] == len(expected) - len(copies)
    assert report["not a product"] == sum(event[1] == 0 for event in copies)
    assert report.sum() == len(expected)


@pytest.mark.parametrize("name", ["behaviors.parquet", "history.parquet"])
def test_a_file_cut_short_says_so(name):
    files = {path.name: path.read_bytes() for path in (BUNDLE / "train").iterdir()}
    files[name] = files[name][:-20]
    with (
        folder_of(files) as place,
        pytest.raises((ValueError, datasets.DataUnavailable), match="Parquet"),
    ):
        datasets.load(NAME, place)


def test_a_missing_column_or_an_uneven_list_says_so():
    behaviors, history = (
        pq.read_table(BUNDLE / "train" / f"{name}.parquet") for name in ("behaviors", "history")
    )
    uneven = history.set_column(
        history.schema.get_field_index("read_time_fixed"), "read_time_fixed",
        pa.array([[1.0], [2.0]], pa.large_list(pa.float32())),
    )  # fmt: skip
    for tables, message in [
        ((behaviors.drop_columns("article_ids_clicked"), history), "article_ids_clicked"),
        ((behaviors, uneven), "same length"),
    ]:
        with folder_of({}) as place:
            for name, table in zip(("behaviors", "history"), tables):
                pq.write_table(table, place / f"{name}.parquet")
            with pytest.raises(ValueError, match=f"damaged or cut short.*{message}"):
                datasets.load(NAME, place)


def test_nothing_is_fetched():
    with (
        folder_of({}) as place,
        pytest.raises(datasets.DataUnavailable, match="behind a form with terms"),
    ):
        datasets.load(NAME, place)


def test_the_real_sample():
    log = official(NAME)
    events = log.events
    assert (len(log), log.n_users, log.n_items) == (21_244, 44, 3_378 + 1)
    counts = events["action"].value_counts()
    assert counts[["impression", "click", "view"]].tolist() == [10_848, 1_047, 1_046 + 8_303]
    lists = events[events["slate"] >= 0]
    assert lists["slate"].nunique() == 1_046
    assert (lists["action"] == "click").groupby(lists["slate"]).any().all()
    front = log.items["id"][events["item"]].to_numpy() == ebnerd._FRONT
    assert front.sum() == 740
    assert (str(log.start), str(log.end)) == ("2023-02-02", "2023-03-03")
    report = log.clean()[1]["rows"]
    assert report.to_dict() == {
        "unknown user": 0, "duplicate row": 0, "not a product": 740, "cancelled order": 0,
        "kept": 20_504,
    }  # fmt: skip
    clicks = events[events["action"] == "click"]
    pages = lists[(lists["action"] == "view") & (lists["item"] != events["item"][front].iloc[0])]
    assert len(pages) == 306
    both = clicks.merge(pages, on=["user", "session", "item", "dwell"], suffixes=("", "_page"))
    twice = both.loc[both["time_page"] >= both["time"], "slate_page"]
    assert twice.nunique() == 93
    assert log.users["gender"].isna().sum() < 44


def test_the_order_of_a_real_list_says_nothing():
    """The clicked article's relative place has the mean, 1/2, that chance gives it."""
    events = official(NAME).events
    lists = events[events["action"] == "impression"]
    place = lists.groupby("slate").cumcount() / (
        lists.groupby("slate")["item"].transform("size") - 1
    )
    clicked = events[events["action"] == "click"].drop_duplicates("slate")[["slate", "item"]]
    place = lists.assign(place=place).merge(clicked)["place"]
    assert len(place) == 1_046
    assert abs(place.mean() - 0.5) < 3 * place.std() / np.sqrt(len(place))
