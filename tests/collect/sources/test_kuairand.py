"""KuaiRand-Pure: fixture and random tables; the real files are not at hand."""

from collections import Counter

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_evo.collect import datasets

from .invented import folder_of, read, rows
from .official import FIXTURES

NAME = "kuairand-pure"
LOGS = ("log_standard_4_08_to_4_21_pure.csv", "log_standard_4_22_to_5_08_pure.csv",
        "log_random_4_22_to_5_08_pure.csv")  # fmt: skip
HEADER = ["user_id", "video_id", "date", "hourmin", "time_ms", "is_click", "is_like", "is_follow",
          "is_comment", "is_forward", "is_hate", "long_view", "play_time_ms", "duration_ms",
          "profile_stay_time", "comment_stay_time", "is_profile_enter", "is_rand",
          "tab"]  # fmt: skip
FLAGS = ["is_hate", "long_view", "is_profile_enter", "is_rand"]
EXTRAS = [*FLAGS, "tab", "duration_ms", "profile_stay_time", "comment_stay_time"]


def test_a_row_becomes_an_impression_and_what_followed():
    log = datasets.load(NAME, FIXTURES)
    assert rows(log, "slate") == [
        (3, 101, 1649476800, "impression", 2),
        (3, 103, 1650646800, "impression", 3),
        (3, 103, 1650646800, "click", 3),
        (3, 103, 1650646800, "comment", 3),
        (3, 103, 1650646800, "share", 3),
        (3, 102, 1650646800, "impression", 4),  # the same millisecond: in the file's order
        (3, 102, 1650646800, "like", 4),
        (5, 102, 1649379600, "impression", 1),  # 300 ms before the row above it in the file
        (5, 102, 1649379600, "view", 1),
        (5, 101, 1649379600, "impression", 0),
        (5, 101, 1649379600, "click", 0),
        (5, 101, 1649379600, "like", 0),
        (5, 101, 1649379600, "follow", 0),
        (5, 104, 1650733200, "impression", 5),
        (5, 104, 1650733200, "view", 5),
    ]
    watched = log.events[log.events["dwell"].notna()]
    assert watched["action"].tolist() == ["click", "view", "click", "view"]
    assert watched["dwell"].tolist() == pytest.approx([0, 1.5, 21.5, 0.8])
    row = log.events[log.events["slate"] == 0]
    assert row[EXTRAS].drop_duplicates().values.tolist() == [
        [False, True, True, False, 1, 20_000, 0, 1_200]
    ]
    assert log.events["is_rand"].tolist() == [False] * 13 + [True] * 2
    assert log.events["is_hate"].sum() == 2
    assert log.events["propensity"].isna().all()
    assert log.source.build.startswith("Zenodo record 10439422")


def test_videos_and_users():
    log = datasets.load(NAME, FIXTURES)
    assert log.items["id"].tolist() == [101, 102, 103, 104, 105]
    assert [log.category_names[code] for code in log.items["category"]] == [
        "12", "unknown", "65", "unknown", "3",
    ]  # fmt: skip
    assert log.items["tag"].tolist()[0] == "12,65"
    assert log.items.loc[0, ["author_id", "music_type", "counts", "play_progress"]].tolist() == [
        441, 4, 66, 0.016,
    ]  # fmt: skip
    assert log.items["show_cnt"].isna().tolist() == [False, True, False, True, True]
    assert log.users["id"].tolist() == [3, 5, 8]
    assert log.users["follow_user_num_range"].tolist()[0] == "(0,10]"
    assert log.users["user_active_degree"].isna().tolist() == [False, True, False]


def test_the_folder_of_the_archive_or_its_files():
    for place in (FIXTURES / "KuaiRand-Pure", FIXTURES / "KuaiRand-Pure" / "data"):
        assert len(read(NAME, place)) == 15


flag = st.sampled_from([0, 0, 1])
time = st.integers(1_649_379_600_000, 1_649_379_603_000) | st.just(1_649_379_601_999)
shown = st.fixed_dictionaries(
    {
        "user_id": st.integers(0, 3),
        "video_id": st.integers(0, 4),
        "date": st.just(20220408),
        "hourmin": st.just(900),
        "time_ms": time,
        "play_time_ms": st.just(0) | st.integers(0, 8_000_000),
        "duration_ms": st.integers(0, 1_000_000),
        "profile_stay_time": st.integers(0, 9),
        "comment_stay_time": st.integers(0, 9),
        "tab": st.integers(0, 14),
    }
    | {name: flag for name in HEADER if name.startswith("is_") or name == "long_view"}
)
tags = st.dictionaries(st.integers(0, 6), st.sampled_from(["", "7", '"65,7"', '"7,3,9"']))


@given(st.lists(st.lists(shown, max_size=5), min_size=3, max_size=3).filter(any), tags)
@settings(max_examples=40, deadline=None)
def test_any_tables_are_read_as_a_loop_reads_them(logs, tags):
    files = {
        name: "\n".join([",".join(HEADER), *(",".join(str(row[k]) for k in HEADER) for row in log)])
        for name, log in zip(LOGS, logs)
    } | {
        "user_features_pure.csv": "user_id,is_live_streamer\n2,1\n9,0\n",
        "video_features_basic_pure.csv": "video_id,tag\n"
        + "".join(f"{video},{tag}\n" for video, tag in tags.items()),
        "video_features_statistic_pure.csv": "video_id,counts\n"
        + "".join(f"{v},1\n" for v in tags),
    }
    with folder_of({f"KuaiRand-Pure/data/{name}": text for name, text in files.items()}) as place:
        log = read(NAME, place)
    every = [row for log in logs for row in log]
    expected = []
    for number, row in enumerate(every):
        at = (row["user_id"], row["video_id"], row["time_ms"] // 1000)
        more = (number, *(row[name] for name in EXTRAS))
        happened = ["impression"]
        if row["is_click"]:
            happened.append("click")
        elif row["play_time_ms"]:
            happened.append("view")
        signals = ("is_like", "is_comment", "is_forward", "is_follow")
        for signal, action in zip(signals, ("like", "comment", "share", "follow")):
            happened += [action] * row[signal]
        expected += [(row["user_id"], row["time_ms"], (*at, action, *more)) for action in happened]
    expected.sort(key=lambda event: event[:2])  # stable: a row's events stay together
    assert rows(log, "slate", *EXTRAS) == [event[2] for event in expected]

    # a row can be put together again
    events = log.events
    for number, row in enumerate(every):
        its = events[events["slate"] == number]
        assert (its["action"] == "click").sum() == row["is_click"]
        assert round(1000 * its["dwell"].sum()) == row["play_time_ms"]
        assert its["dwell"].notna().sum() == (row["is_click"] or row["play_time_ms"] > 0)
    first = {video: tag.strip('"').split(",")[0] for video, tag in tags.items() if tag}
    for id, code in zip(log.items["id"], log.items["category"]):
        assert log.category_names[code] == first.get(id, "unknown")
    assert log.items["id"].tolist() == sorted({row["video_id"] for row in every} | set(tags))
    assert log.users["id"].tolist() == sorted({row["user_id"] for row in every} | {2, 9})
    report = log.clean()[1]["rows"]
    assert report["kept"] == len(expected)  # rows differ in their number
    assert Counter(report) == Counter({0: 4, len(expected): 1})


def content():
    folder = FIXTURES / "KuaiRand-Pure" / "data"
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (LOGS[0], ",0,0,0,0,0\n", ",0", "column 'is_profile_enter' must be 0 or 1. Received: nan"),
        (LOGS[0], "1649476800000", "", "NA values"),
        (LOGS[1], ",1,0,0,1", ",2,0,0,1", "column 'is_click' must be 0 or 1. Received: 2 in row 0"),
        (LOGS[2], "play_time_ms", "played", "play_time_ms"),
        (LOGS[2], ",800,", ",-800,", r"\(`dwell`\) must be finite seconds|'dwell' must be finite"),
        ("video_features_basic_pure.csv", "102,442", "101,442", "not a one-to-one"),
        ("user_features_pure.csv", "8,UNKNOWN", "3,UNKNOWN", "duplicate"),
    ],
)
def test_a_damaged_file_says_so(file, old, new, message):
    files = content()
    assert old in files[file]
    files[file] = files[file].replace(old, new)
    with (
        folder_of({f"data/{name}": text for name, text in files.items()}) as place,
        pytest.raises(ValueError, match=f"damaged or cut short.*{message}"),
    ):
        datasets.load(NAME, place)


def test_a_file_that_is_not_there_is_not_found():
    for missing in content():
        files = {name: text for name, text in content().items() if name != missing}
        with folder_of({f"data/{name}": text for name, text in files.items()}) as place:
            assert datasets.card(NAME).find(place) is None


def test_an_unknown_column_of_the_features_comes_along():
    files = content()
    files["user_features_pure.csv"] = "user_id,onehot_feat17\n3,5\n"
    with folder_of({f"data/{name}": text for name, text in files.items()}) as place:
        users = read(NAME, place).users
    pd.testing.assert_frame_equal(
        users, pd.DataFrame({"id": [3, 5], "onehot_feat17": [5.0, float("nan")]})
    )
