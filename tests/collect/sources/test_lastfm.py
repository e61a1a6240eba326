"""Last.fm of HetRec 2011: fixture, random tables, the real files."""

from collections import Counter
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_evo.collect import datasets
from recsys_evo.collect.sources import lastfm

from .invented import folder_of, read, rows
from .official import FIXTURES, SMALL, folder, official

NAME = "lastfm-hetrec-2011"


def second(year, month, day):
    return int(datetime(year, month, day, tzinfo=UTC).timestamp())


@SMALL
def test_tags_become_comments():
    log = datasets.load(NAME, FIXTURES)
    assert rows(log, "category") == [
        (2, 7, second(2008, 11, 5), "comment", 0),
        (2, 52, second(2009, 4, 1), "comment", 0),
        (2, 52, second(2009, 4, 1), "comment", 1),
        (9, 60, second(1956, 6, 1), "comment", 2),
    ]
    assert log.category_names == ("folk", "rock français", "seen live", "never used")
    assert log.users["id"].tolist() == [2, 9, 11]  # 11 only listened
    assert log.items["id"].tolist() == [7, 52, 60]
    assert log.items["title"].tolist()[:2] == ["None", '"Éte" à deux']
    assert log.items["title"].isna().tolist() == [False, False, True]
    assert log.items["picture"].tolist()[:2] == ["http://example.org/7.jpg", ""]
    assert log.source.build == "not the official build: 4 of 186,479 events"


def test_what_has_no_time_lies_beside_the_log():
    listens, friends = lastfm.listens(FIXTURES), lastfm.friends(str(FIXTURES))
    assert listens.to_dict("list") == {
        "user": [2, 2, 11], "artist": [52, 7, 52], "plays": [1100, 40, 3],
    }  # fmt: skip
    assert friends.to_dict("list") == {"user": [2, 9], "friend": [9, 2]}


def test_what_has_no_time_needs_the_folder():
    with pytest.raises(ValueError, match=r"`folder` must hold user_taggedartists.dat, .* /no"):
        lastfm.friends("/nowhere")


def letters(codec):
    """Any text of a code page that a tab-separated line can hold."""
    return st.text(st.characters(codec=codec, exclude_characters="\t\r\n\0\x1a"), max_size=8)


@st.composite
def tables(draw):
    """Tags, their texts and the artists' names: ties, copies, artists without a name."""
    days = st.dates(date(1956, 1, 1), date(2011, 5, 9)) | st.just(date(2010, 1, 1))
    tags = draw(st.dictionaries(st.integers(1, 30), letters("latin-1"), min_size=1, max_size=5))
    row = st.tuples(st.integers(1, 4), st.integers(1, 6), st.sampled_from(sorted(tags)), days)
    names = draw(st.dictionaries(st.integers(1, 6), letters("utf-8"), min_size=1))
    return draw(st.lists(row, min_size=1, max_size=12)), tags, names


def files(tagged, tags, names):
    tagged = "".join(f"{u}\t{a}\t{t}\t{d.day}\t{d.month}\t{d.year}\r\n" for u, a, t, d in tagged)
    return {
        "user_taggedartists.dat": "userID\tartistID\ttagID\tday\tmonth\tyear\r\n" + tagged,
        "tags.dat": ("tagID\ttagValue\r\n" + "".join(f"{t}\t{x}\r\n" for t, x in tags.items()))
        .encode("latin-1"),
        "artists.dat": "id\tname\turl\tpictureURL\n"
        + "".join(f"{a}\t{x}\thttp://example.org/{a}\t\n" for a, x in names.items()),
        "user_artists.dat": "userID\tartistID\tweight\r\n8\t1\t5\r\n",
        "user_friends.dat": "userID\tfriendID\r\n7\t8\r\n8\t7\r\n",
    }  # fmt: skip


@given(tables())
@settings(max_examples=60, deadline=None)
def test_any_tables_are_read_as_a_loop_reads_them(drawn):
    tagged, tags, names = drawn
    with folder_of(files(*drawn)) as place:
        log = read(NAME, place)
    codes = list(tags)
    expected = [(u, a, second(d.year, d.month, d.day), "comment", codes.index(t))
                for u, a, t, d in tagged]  # fmt: skip
    expected.sort(key=lambda row: (row[0], row[2]))  # stable
    assert rows(log, "category") == expected
    assert log.category_names == tuple(tags.values())
    assert log.users["id"].tolist() == sorted({row[0] for row in tagged} | {7, 8})
    assert log.items["id"].tolist() == sorted({row[1] for row in tagged} | set(names))
    for item, title in zip(log.items["id"], log.items["title"]):
        assert title == names[item] if item in names else pd.isna(title)
    report = log.clean()[1]["rows"]
    assert report["duplicate row"] == len(expected) - len(Counter(expected))
    assert report.sum() == len(expected)


def test_names_that_look_like_numbers_are_text():
    with folder_of(files([(1, 1, 3, date(2010, 1, 1))], {3: "007"}, {1: "1975"})) as place:
        log = read(NAME, place)
    assert log.items["title"].tolist() == ["1975"]
    assert log.category_names == ("007",)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("user_taggedartists.dat", b"\t1\t6\t1956\r\n", b"\t1", "invalid literal"),
        ("user_taggedartists.dat", b"\t1\t6\t1956", b"\t31\t6\t1956", "1956-06-31"),
        ("user_taggedartists.dat", b"\t20\t1\t6", b"\t21\t1\t6", "category"),
        ("user_artists.dat", b"\t3\r\n", b"\t3\xe1\r\n", "codec"),
        ("artists.dat", "É".encode(), b"\xc9", "'utf-8' codec"),
    ],
)
def test_a_damaged_file_says_so(file, old, new, message):
    official = FIXTURES / "hetrec2011-lastfm-2k"
    content = {path.name: path.read_bytes() for path in official.iterdir()}
    assert old in content[file]
    content[file] = content[file].replace(old, new)
    with (
        folder_of(content) as place,
        pytest.raises(ValueError, match=f"damaged or cut short.*{message}"),
    ):
        datasets.load(NAME, place)


@SMALL
def test_the_real_files():
    log = official(NAME)
    assert log.source.build.endswith("186,478 of 186,479 events")  # one tag is missing
    assert (len(log), log.n_users, log.n_categories) == (186_478, 1_892, 11_946)
    time = log.events["time"]
    assert (log.events["item"].nunique(), len(log.items)) == (12_523, 17_632 + 390)
    assert log.items["title"].isna().sum() == 390
    assert round(100 * (time.dt.day == 1).mean()) == 98
    assert set(time.dt.day) == {1, 5, 6, 9}
    assert (time < "2005-01-01").sum() == 5
    assert str(log.end) == "2011-05-10"
    user, time = log.events["user"].to_numpy(), time.to_numpy()
    neighbours = user[1:] == user[:-1]
    same = (time[1:] == time[:-1]) & neighbours
    assert round(100 * same.sum() / neighbours.sum(), 1) == 94.9
    per_user = log.events.groupby("user")
    assert round(100 * (per_user["time"].nunique() == 1).mean()) == 20
    assert (per_user.size().median(), per_user.size().max()) == (20, 2_609)
    assert "tropicália" in log.category_names
    assert log.items.set_index("id").loc[1, "title"] == "MALICE MIZER"
    assert log.clean()[1]["rows"]["kept"] == len(log)


def test_the_real_tables_without_times():
    listens, friends = lastfm.listens(folder()), lastfm.friends(folder())
    assert (len(listens), len(friends)) == (92_834, 25_434)
    assert listens.groupby("user").size().max() == 50
    pairs = set(zip(friends["user"], friends["friend"]))
    assert pairs == {(b, a) for a, b in pairs}
    users = set(listens["user"])
    assert users == set(friends["user"]) == set(official(NAME).users["id"])
    log = official(NAME)
    tagged = {(log.users["id"][u], log.items["id"][i])
              for u, i in np.unique(log.events[["user", "item"]].to_numpy(), axis=0)}  # fmt: skip
    listened = set(zip(listens["user"], listens["artist"]))
    assert round(100 * (1 - len(tagged & listened) / len(tagged))) == 71
