"""MovieLens: the three formats against a slow reading, and which build a folder holds."""

import csv
import hashlib
import io
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsys_evo.collect import datasets
from recsys_evo.collect.sources import movielens

from .invented import folder_of
from .official import FIXTURES, SMALL, WHOLE, folder, official

SMALL_2016, SMALL_2018 = "movielens-latest-small-2016", "movielens-latest-small"
CSV_BUILDS = [SMALL_2016, SMALL_2018, "movielens-25m", "movielens-32m"]

pytestmark = SMALL


def genres(log, row, columns):
    return [name for name in columns if log.items.loc[row, name]]


# The fixtures


def test_100k():
    log = datasets.load("movielens-100k", FIXTURES)
    assert len(log) == 12
    assert log.events["action"].eq("rate").all()
    first = log.events[log.events["user"] == 0]
    assert log.items["id"][first["item"]].tolist() == [1, 3, 2, 4]  # a tie as in the file
    assert first["rating"].tolist() == [1, 5, 3, 2]
    assert first["time"].iloc[1] == pd.Timestamp(892000000, unit="s")
    assert log.items["title"].tolist()[1] == "L'Orage d'été (1996)"
    assert log.items["released"].iloc[0] == pd.Timestamp("1995-01-01")
    assert log.items["released"].isna().tolist() == [False, False, True, False]
    assert [log.category_names[c] for c in log.items["category"]] == [
        "Animation", "Drama", "unknown", "Film-Noir",
    ]  # fmt: skip
    assert log.items.loc[0, ["Animation", "Comedy", "Drama"]].tolist() == [True, True, False]
    assert log.users.to_dict("list") == {
        "id": [1, 2, 3],
        "age": [24, 53, 23],
        "gender": ["M", "F", "M"],
        "job": ["technician", "other", "writer"],
        "zip": ["01234", "94043", "60615"],
    }
    assert log.n_categories == 19


def test_1m():
    log = datasets.load("movielens-1m", FIXTURES)
    assert len(log) == 7
    assert log.events["action"].eq("rate").all()
    first = log.events[log.events["user"] == 0]
    assert log.items["id"][first["item"]].tolist() == [11, 12, 13]  # a tie as in the file
    assert first["rating"].tolist() == [1, 5, 3]
    assert first["time"].iloc[0] == pd.Timestamp(978300299, unit="s")
    assert log.items["title"].tolist() == [
        'Kettle Story: Part "Two" (1995)', "Orage d'été, L' (1996)", "Night Lantern (1950)",
        "NA (1999)",
    ]  # fmt: skip
    assert genres(log, 0, log.items.columns[3:]) == ["Animation", "Children's", "Comedy"]
    assert [log.category_names[c] for c in log.items["category"]] == [
        "Animation", "Drama", "Film-Noir", "Drama",
    ]  # fmt: skip
    assert log.users.to_dict("list") == {
        "id": [1, 2, 3],
        "gender": ["F", "M", "M"],
        "age": [1, 56, 25],
        "job": ["K-12 student", "other", "scientist"],
        "zip": ["01234", "01234-5678", "94043"],
    }


def test_latest_small():
    log = datasets.load(SMALL_2018, FIXTURES)
    assert len(log) == 8
    assert log.users["id"].tolist() == [1, 2, 3]
    third = log.events[log.events["user"] == 2]
    assert log.items["id"][third["item"]].tolist() == [13, 12, 11]  # a tie as in the file
    assert third["rating"].tolist() == [2, 3, 1.5]
    assert log.items["title"].tolist()[1:4] == [
        "Orage d'été, L' (Summer \"Storm\", The) (1996)", "Night Lantern (1950)", "NA",
    ]  # fmt: skip
    assert [log.category_names[c] for c in log.items["category"]] == [
        "Adventure", "Drama", "Film-Noir", "(no genres listed)", "Comedy",
    ]  # fmt: skip
    assert genres(log, 0, ["Adventure", "Animation", "Drama", "IMAX"]) == [
        "Adventure", "Animation", "IMAX",
    ]  # fmt: skip
    assert log.items["imdb"].tolist()[0] == "0000101"
    assert log.items["tmdb"].tolist() == [700001, 700002, pd.NA, 400001, 400002]
    assert log.items["tags"].fillna("").tolist() == ["warm, funny", "", "slow|NA|slow", "", ""]


def test_the_csv_files_may_be_ratings_and_films_alone(tmp_path):
    for name in ("ratings.csv", "movies.csv"):
        shutil.copy(FIXTURES / "ml-latest-small" / name, tmp_path)
    log = datasets.load(SMALL_2018, tmp_path)
    assert len(log) == 8
    assert {"imdb", "tmdb", "tags"}.isdisjoint(log.items)


# Which build a folder holds


def ratings_until(last, target):
    """A folder with the fixture's ratings, the last of them at second `last`."""
    target.mkdir(parents=True)
    shutil.copy(FIXTURES / "ml-latest-small" / "movies.csv", target)
    ratings = pd.read_csv(FIXTURES / "ml-latest-small" / "ratings.csv")
    ratings["timestamp"] += last - ratings["timestamp"].max()
    ratings.to_csv(target / "ratings.csv", index=False)


def second(day):
    return int(np.datetime64(day, "s").astype("int64"))


@pytest.mark.parametrize(
    ("last", "build"),
    [
        ("2016-10-16T17:57:24", SMALL_2016),
        ("2018-09-24T14:27:30", SMALL_2018),
        ("2019-11-21T09:15:03", "movielens-25m"),
        ("2023-10-13T02:29:07", "movielens-32m"),
    ],
)
@pytest.mark.parametrize("name", ["ml-latest-small", "anything"])
def test_the_last_rating_tells_the_build(tmp_path, last, build, name):
    ratings_until(second(last), tmp_path / name)
    for card in map(datasets.card, CSV_BUILDS):
        if card.name == build:
            assert card.find(tmp_path / name) == tmp_path / name
        else:
            with pytest.raises(ValueError, match=rf"{name} holds {build}, going by its last"):
                card.find(tmp_path / name)


def test_a_folder_that_is_called_after_one_build_is_that(tmp_path):
    for build, name in (("movielens-25m", "ml-25m"), ("movielens-32m", "ml-32m"),
                        ("movielens-25m", "movielens-25m"), (SMALL_2016, SMALL_2016)):  # fmt: skip
        ratings_until(second("2023-01-01"), tmp_path / build / name)
        card = datasets.card(build)
        assert card.find(tmp_path / build / name) == tmp_path / build / name
        assert card.find(tmp_path / build) is not None
    assert datasets.card("movielens-32m").find(tmp_path) is None


def test_later_ratings_are_of_no_build(tmp_path):
    ratings_until(second("2023-10-14"), tmp_path / "new")
    with pytest.raises(datasets.DataUnavailable, match="new holds no build, going by its last"):
        datasets.load("movielens-32m", tmp_path / "new")


# Damage


@pytest.mark.parametrize("kept", [1, 2, 3])
@pytest.mark.parametrize(
    ("name", "file", "separator"),
    [("movielens-100k", "ml-100k/u.data", "\t"), ("movielens-1m", "ml-1m/ratings.dat", "::"),
     (SMALL_2018, "ml-latest-small/ratings.csv", ",")],
)  # fmt: skip
def test_ratings_cut_short(tmp_path, name, file, separator, kept):
    shutil.copytree(FIXTURES, tmp_path / "data")
    path = tmp_path / "data" / file
    *lines, last = path.read_text().splitlines()
    path.write_text("\n".join([*lines, separator.join(last.split(separator)[:kept])]))
    message = "must be as its makers publish it; it is damaged or cut short. Received: ValueError"
    with pytest.raises(ValueError, match=message):
        datasets.load(name, tmp_path / "data")


@pytest.mark.parametrize(
    ("name", "file"),
    [("movielens-100k", "ml-100k/u.item"), ("movielens-100k", "ml-100k/u.user"),
     ("movielens-1m", "ml-1m/movies.dat"), ("movielens-1m", "ml-1m/users.dat"),
     (SMALL_2018, "ml-latest-small/movies.csv")],
)  # fmt: skip
def test_a_side_table_cut_short(tmp_path, name, file):
    shutil.copytree(FIXTURES, tmp_path / "data")
    path = tmp_path / "data" / file
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    with pytest.raises(ValueError, match=r"damaged or cut short. Received: ValueError: column"):
        datasets.load(name, tmp_path / "data")


# Any table against a slow reading

GENRES = ["Action", "Children", "Drama", "Film-Noir", "War", "IMAX"]
words = st.text(
    st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="|\x7f\x85\xa0",
                  exclude_categories=["Cc"]),
    min_size=1, max_size=12,
).map(lambda text: text.strip() + " (1999)").filter(lambda text: "::" not in text)  # fmt: skip
films = st.dictionaries(
    st.integers(1, 300_000),
    st.tuples(words, st.lists(st.sampled_from(GENRES), min_size=1, max_size=3, unique=True)),
    min_size=1,
    max_size=8,
)


@st.composite
def tables(draw):
    """(films, ratings): few users and seconds, so that ties and copies come up often."""
    known = draw(films)
    rating = st.tuples(
        st.integers(1, 4),
        st.sampled_from(sorted(known)),
        st.integers(1, 10).map(lambda half: half / 2),
        st.integers(1_500_000_000, 1_500_000_003),
    )
    rows = draw(st.lists(rating, min_size=1, max_size=30))
    return known, rows + draw(st.lists(st.sampled_from(rows), max_size=5))


def slow(rows, users):
    """The ratings by user in the order of `users`, then time, then place in the file."""
    return [row for user in users
            for row in sorted((r for r in rows if r[0] == user), key=lambda r: r[3])]  # fmt: skip


def copies(rows):
    return sum(row in rows[:k] for k, row in enumerate(rows))


def same(log, known, rows, users):
    events = log.events
    read = zip(
        log.users["id"][events["user"]],
        log.items["id"][events["item"]],
        events["rating"].astype(float),
        events["time"].astype("int64"),
    )
    assert list(read) == slow(rows, users)
    assert events["action"].eq("rate").all()
    assert log.items["id"].tolist() == list(known)
    assert log.items["title"].tolist() == [title for title, _ in known.values()]
    for name in GENRES:
        has = log.items[name] if name in log.items else pd.Series(False, log.items.index)
        assert has.tolist() == [name in given for _, given in known.values()]
    clean, report = log.clean()
    assert report["rows"]["duplicate row"] == copies(rows)
    assert report["rows"]["kept"] == len(clean) == len(set(rows))
    assert report["rows"].sum() == len(rows)


def written(lines):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


@settings(max_examples=60, deadline=None)
@given(tables(), st.booleans())
@example(({7: ('"Storm', ["Drama"]), 9: ("NA", ["War"])}, [(1, 9, 0.5, 1_500_000_000)]), True)
def test_csv_against_a_slow_reading(table, shared):
    known, rows = table
    lines = [[k, title, "|".join(given)] for k, (title, given) in known.items()]
    build = "ml-latest-small" if shared else "ml-25m"
    files = {
        f"{build}/movies.csv": written([["movieId", "title", "genres"], *lines]),
        f"{build}/ratings.csv": written([["userId", "movieId", "rating", "timestamp"], *rows]),
    }
    with folder_of(files) as place:
        log = datasets.load(SMALL_2018 if shared else "movielens-25m", place)
    same(log, known, rows, dict.fromkeys(row[0] for row in rows))
    first = [log.category_names[c] for c in log.items["category"]]
    assert first == [given[0] for _, given in known.values()]


def latin(lines):
    return "".join(f"{line}\n" for line in lines).encode("latin-1")


@settings(max_examples=40, deadline=None)
@given(tables(), st.permutations([1, 2, 3, 4]))
@example(({7: ('"Storm', ["Drama"])}, [(1, 7, 3.0, 1_500_000_000)]), [4, 3, 2, 1])
def test_1m_against_a_slow_reading(table, users):
    known, rows = table[0], [(u, i, round(r + 0.1), t) for u, i, r, t in table[1]]
    files = {
        "users.dat": [f"{u}::F::25::{u}::0{u}" for u in users],
        "movies.dat": [f"{k}::{title}::{'|'.join(given)}" for k, (title, given) in known.items()],
        "ratings.dat": ["::".join(map(str, row)) for row in rows],
    }
    with folder_of({name: latin(lines) for name, lines in files.items()}) as place:
        log = datasets.load("movielens-1m", place)
    same(log, known, rows, users)
    assert log.users["zip"].tolist() == [f"0{u}" for u in users]


@settings(max_examples=40, deadline=None)
@given(tables(), st.permutations([1, 2, 3, 4]))
@example(({7: ('"Storm', ["Drama"])}, [(1, 7, 3.0, 1_500_000_000)]), [4, 3, 2, 1])
def test_100k_against_a_slow_reading(table, users):
    known, rows = table[0], [(u, i, round(r + 0.1), t) for u, i, r, t in table[1]]
    columns = movielens._GENRES
    files = {
        "u.user": [f"{u}|30|F|writer|0{u}" for u in users],
        "u.item": [
            f"{k}|{title}|01-Jan-1999||http://example.org|"
            + "|".join(str(int(name in given)) for name in columns)
            for k, (title, given) in known.items()
        ],
        "u.data": ["\t".join(map(str, row)) for row in rows],
    }
    with folder_of({name: latin(lines) for name, lines in files.items()}) as place:
        log = datasets.load("movielens-100k", place)
    named = {k: (t, [g for g in given if g in columns]) for k, (t, given) in known.items()}
    same(log, named, rows, users)


# The official files, where they are


@WHOLE
def test_official_100k():
    log = official("movielens-100k")
    assert (len(log), log.n_users, log.n_items, log.n_categories) == (100_000, 943, 1_682, 19)
    assert (str(log.start), str(log.end)) == ("1997-09-20", "1998-04-23")
    assert round(same_second(log), 1) == 50.6
    assert round(spans(log).median() / 3600, 1) == 0.8
    assert round(100 * (spans(log) > 86_400).mean()) == 32
    assert log.events.groupby("user").size().min() == 20
    assert log.items["title"].duplicated().sum() == 18
    toy = log.items.set_index("title").loc["Toy Story (1995)"]
    assert [g for g in log.category_names if toy[g]] == ["Animation", "Children's", "Comedy"]
    assert log.events["rating"].value_counts().to_dict() == {
        1: 6_110, 2: 11_370, 3: 27_145, 4: 34_174, 5: 21_201,
    }  # fmt: skip


def test_official_100k_files_are_those_of_the_card():
    card = datasets.card("movielens-100k")
    found = card.find(folder())
    for member, expected in card.members.items():
        content = (found / Path(member).name).read_bytes()
        assert "sha256:" + hashlib.sha256(content).hexdigest() == expected


@WHOLE
def test_official_latest_small_2016():
    log = official(SMALL_2016)
    assert (len(log), log.n_users, log.n_items) == (100_004, 671, 9_066)
    assert (str(log.start), str(log.end)) == ("1995-01-09", "2016-10-17")
    assert round(same_second(log), 1) == 21.8
    assert round(spans(log).median() / 3600, 1) == 1.2
    assert round(100 * (spans(log) > 86_400).mean()) == 39
    assert log.events.groupby("user").size().min() == 20
    half = log.events["rating"] % 1 != 0
    assert round(100 * half.mean(), 1) == 25.5
    assert log.events["time"][half].min() == pd.Timestamp("2003-05-16 12:19:03")
    assert log.items["title"].isna().sum() == 5
    assert log.items["title"].dropna().duplicated().sum() == 2
    lion = log.items.set_index("title").loc["Lion King, The (1994)"]
    assert [name for name in log.items.columns[3:] if lion[name]] == [
        "Adventure", "Animation", "Children", "Drama", "IMAX", "Musical",
    ]  # fmt: skip
    assert log.category_names[lion["category"]] == "Adventure"
    assert len(log.category_names) == 19


def same_second(log):
    """Per cent of the ratings that carry the second of the user's one before."""
    user, time = log.events["user"].to_numpy(), log.events["time"].to_numpy()
    return 100 * ((user[1:] == user[:-1]) & (time[1:] == time[:-1])).sum() / len(log)


def spans(log):
    """Seconds from first to last rating of each user."""
    time = log.events.groupby("user")["time"]
    return (time.max() - time.min()).dt.total_seconds()
