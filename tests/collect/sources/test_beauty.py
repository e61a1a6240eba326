"""Amazon Beauty as S3-Rec publishes it: fixture, random lines, the real file."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_evo.collect import datasets

from .invented import folder_of, read, rows
from .official import FIXTURES, SMALL, WHOLE, folder, official

NAME = "amazon-beauty-s3rec"


@SMALL
def test_a_line_is_a_user_and_their_items_in_order():
    log = datasets.load(NAME, FIXTURES)
    assert rows(log) == [
        (1, 3, 0, "rate"), (1, 1, 1, "rate"), (1, 2, 2, "rate"), (2, 2, 0, "rate"),
        (2, 4, 1, "rate"), (3, 1, 0, "rate"),
    ]  # fmt: skip
    assert log.events["rating"].isna().all()
    assert log.items["id"].tolist() == [1, 2, 3, 4, 6]
    assert log.items["attributes"].tolist() == [(7, 9), (7,), (8, 7, 5), (9,), (5,)]
    assert log.source.build == (
        "not the official build: 6 of 198,502 events, other checksum of Beauty.txt, "
        "Beauty_item2attributes.json"
    )


def test_the_file_itself_may_be_named():
    assert len(read(NAME, FIXTURES / "s3rec-beauty" / "Beauty.txt")) == 6
    assert (
        datasets.card(NAME).find(FIXTURES / "s3rec-beauty" / "Beauty_item2attributes.json") is None
    )


lines = st.dictionaries(st.integers(1, 99), st.lists(st.integers(1, 9), max_size=6), min_size=1)
attributes = st.none() | st.dictionaries(st.integers(1, 12), st.lists(st.integers(0, 50)))


@given(lines.filter(lambda lines: any(lines.values())), attributes)
@settings(max_examples=60, deadline=None)
def test_any_lines_are_read_as_a_loop_reads_them(lines, attributes):
    text = "".join(" ".join(map(str, [user, *items])) + "\n" for user, items in lines.items())
    files = {"Beauty.txt": text}
    if attributes is not None:
        files["Beauty_item2attributes.json"] = json.dumps(attributes)
    with folder_of(files) as place:
        log = read(NAME, place)
    expected = []
    for user, items in lines.items():
        for place, item in enumerate(items):
            expected.append((user, item, place, "rate"))
    code = {user: code for code, user in enumerate(lines)}
    assert rows(log) == sorted(expected, key=lambda row: (code[row[0]], row[2]))
    assert log.users["id"].tolist() == list(lines)  # those without an item as well
    seen = {item for items in lines.values() for item in items}
    assert log.items["id"].tolist() == sorted(seen | set(attributes or {}))
    if attributes is not None:
        for item, codes in zip(log.items["id"], log.items["attributes"]):
            assert codes == tuple(attributes.get(item, ()))
    clean, report = log.clean()  # places differ, so no two rows of a user are alike
    assert report["rows"].to_dict() == {
        "unknown user": 0, "duplicate row": 0, "not a product": 0, "cancelled order": 0,
        "kept": len(expected),
    }  # fmt: skip
    pd.testing.assert_frame_equal(clean.events, log.events)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 2 3\n2 x 4\n", "invalid literal"),
        ("1 2 3\n\n2 4\n", "an empty one in Beauty.txt"),
        ("1 2\n1 3\n", "must hold each id once"),
        ("", "an empty one"),
        ("1 2 \xff\n".encode("latin-1"), "'ascii' codec"),
    ],
)
def test_a_damaged_file_says_so(content, message):
    with folder_of({"Beauty.txt": content}) as place:
        rule = re.escape("Beauty.txt must be as its makers publish it; it is damaged or cut short")
        with pytest.raises(ValueError, match=f"{rule}.*{message}"):
            datasets.load(NAME, place)


def test_nothing_is_fetched():
    with folder_of({}) as place, pytest.raises(datasets.DataUnavailable, match="states no licence"):
        datasets.load(NAME, place)


@WHOLE
def test_the_real_file():
    log = official(NAME)
    assert (len(log), log.n_users, log.n_items) == (198_502, 22_363, 12_101)
    assert log.events.groupby("user").size().min() == 5
    assert log.events.groupby("item").size().min() == 5
    assert not log.events[["user", "item"]].duplicated().any()
    first = log.events.drop_duplicates("item")["item"]
    assert (np.diff(first) > 0).all()  # ids follow the first appearance
    codes = log.items["attributes"]
    assert len({code for item in codes for code in item}) == 637
    assert (codes.map(len).min(), codes.map(len).max()) == (1, 6)


def test_the_real_popularity_baseline_with_and_without_the_leak():
    """HR@10 of popularity for leave-last-out over all items, as published and without the leak."""
    events = official(NAME).events
    user, item = events["user"].to_numpy(), events["item"].to_numpy()
    last = np.r_[user[1:] != user[:-1], True]
    for counted, published in ((item, 0.0152), (item[~last], 0.0141)):
        counts = np.bincount(counted, minlength=12_101).astype(float)
        hits = 0
        for start, end in zip(np.r_[0, np.flatnonzero(last)[:-1] + 1], np.flatnonzero(last)):
            scores = counts.copy()
            scores[item[start:end]] = -1  # what the user has had is not ranked
            hits += (scores > scores[item[end]]).sum() < 10
        assert round(hits / last.sum(), 4) == pytest.approx(published, abs=1e-4)


def test_the_real_files_are_those_of_the_card():
    card = datasets.card(NAME)
    assert datasets._altered(card, card.find(folder())) == ""
