"""OTTO: fixture, random sessions, the real excerpt."""

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_evo.collect import datasets
from recsys_evo.collect.sources import otto

from .invented import folder_of, read, rows
from .official import FIXTURES, SMALL, official

NAME = "otto"
ACTIONS = {"clicks": "click", "carts": "cart", "orders": "purchase"}


@SMALL
def test_events_of_a_session_in_the_order_of_milliseconds():
    log = datasets.load(NAME, FIXTURES)
    assert rows(log) == [
        (0, 31, 1659304800, "click"),
        (0, 7, 1659304800, "click"),
        (0, 7, 1659304801, "cart"),
        (0, 7, 1659305000, "purchase"),
        (0, 31, 1659305000, "purchase"),
        (40, 7, 1660000000, "cart"),
        (41, 31, 1660000002, "cart"),  # 100 ms after the second, in the file after a later one
        (41, 12, 1660000002, "click"),
        (41, 12, 1660000002, "click"),
    ]
    assert log.items["id"].tolist() == [7, 12, 31]
    assert (log.events["amount"] == 0).all()
    assert log.clean()[1]["rows"]["duplicate row"] == 1  # 50 ms apart
    assert log.source.build == "not the official build: 9 of 216,716,096 events"


@pytest.mark.parametrize("name", ["train.jsonl", "otto-recsys-train.jsonl"])
def test_both_names_of_the_file_are_known(name):
    content = (FIXTURES / "otto" / "train.jsonl").read_bytes()
    with folder_of({name: content, "test.jsonl": content * 2}) as place:
        assert len(read(NAME, place)) == 9


def test_a_test_file_is_read_where_it_is_named():
    with folder_of({"test.jsonl": (FIXTURES / "otto" / "train.jsonl").read_bytes()}) as place:
        assert datasets.card(NAME).find(place) is None
        assert len(read(NAME, place / "test.jsonl")) == 9


def test_other_peoples_training_files_are_let_alone():
    with folder_of({"train.jsonl": '{"prompt": "session", "events": 1}\n'}) as place:
        assert datasets.card(NAME).find(place) is None
    with folder_of({"train.jsonl": '["session", "events"]\n'}) as place:
        assert datasets.card(NAME).find(place) is None


event = st.builds(
    lambda aid, ts, type: {"aid": aid, "ts": ts, "type": type},
    st.integers(0, 5),
    st.integers(1_660_000_000_000, 1_660_000_004_000) | st.just(1_660_000_000_999),
    st.sampled_from(list(ACTIONS)),
)
sessions = st.dictionaries(st.integers(0, 2**40), st.lists(event, max_size=8), min_size=1)


@given(sessions.filter(lambda sessions: any(sessions.values())), st.integers(500, 3000))
@settings(max_examples=60, deadline=None)
def test_any_sessions_are_read_as_a_loop_reads_them(sessions, block):
    lines = [json.dumps({"session": id, "events": events}) for id, events in sessions.items()]
    expected = []
    for id, events in sessions.items():
        for event in sorted(events, key=lambda event: event["ts"]):
            second = event["ts"] // 1000
            expected.append((id, event["aid"], second, ACTIONS[event["type"]]))
    files = {"train.jsonl": "\n".join(lines) + "\n"}
    with folder_of(files) as place, pytest.MonkeyPatch.context() as patch:
        patch.setattr(otto, "_BLOCK", block)  # a few lines, or all
        log = read(NAME, place)
    assert rows(log) == expected
    assert log.users["id"].tolist() == list(sessions)
    assert log.items["id"].tolist() == sorted({row[1] for row in expected})
    report = log.clean()[1]["rows"]
    assert report["duplicate row"] == len(expected) - len(Counter(expected))
    assert report.sum() == len(expected)


LINE = '{"session":1,"events":[{"aid":1,"ts":1660000000000,"type":"clicks"}]}\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LINE + LINE.replace("1,", "2,", 1)[:40], "JSON parse error"),
        (LINE + LINE, "each session must have one line. Received: two of 1"),
        (LINE.replace("clicks", "click"), r"a line must have .* lines 0 to 0"),
        (LINE.replace('"ts":1660000000000,', ""), "a line must have"),
        (LINE.replace('"aid":1', '"aid":-1'), "a line must have"),
        (LINE.replace("]", ",null]"), "a line must have"),
        (LINE + LINE.replace('"session":1,', ""), "a line must have"),
        (LINE.replace('"aid":1', '"aid":1.5'), "1.5"),
    ],
)
def test_a_damaged_file_says_so(content, message):
    with (
        folder_of({"train.jsonl": content}) as place,
        pytest.raises(ValueError, match=f"damaged or cut short.*{message}"),
    ):
        datasets.load(NAME, place)


def test_nothing_is_fetched():
    with folder_of({}) as place, pytest.raises(datasets.DataUnavailable, match="Kaggle's login"):
        datasets.load(NAME, place)


@SMALL
def test_the_real_excerpt():
    log = official(NAME)
    assert (len(log), log.n_users, log.n_items) == (862, 20, 510)
    assert log.events["action"].value_counts().to_dict() | {"click": 800} == {
        **dict.fromkeys(log.events["action"].cat.categories, 0),
        "click": 800, "cart": 52, "purchase": 10,
    }  # fmt: skip
    assert log.users["id"].tolist() == [*range(10), *range(12_899_769, 12_899_779)]
    assert str(log.events["time"].iloc[0]) == "2022-07-31 22:00:00"
    assert (str(log.start), str(log.end)) == ("2022-07-31", "2022-08-29")
