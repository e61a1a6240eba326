"""MovieLens, of GroupLens: six builds of film ratings, in three formats."""

import csv

import numpy as np
import pandas as pd

from recsys_evo.collect.events import ACTION, ACTIONS, Log
from recsys_evo.collect.sources.cards import cards

_GENRES = ("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime",
           "Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery",
           "Romance", "Sci-Fi", "Thriller", "War", "Western")  # fmt: skip
# The occupations of movielens-1m by their codes, as its README lists them.
_JOBS = ("other", "academic/educator", "artist", "clerical/admin", "college/grad student",
         "customer service", "doctor/health care", "executive/managerial", "farmer", "homemaker",
         "K-12 student", "lawyer", "programmer", "retired", "sales/marketing", "scientist",
         "self-employed", "technician/engineer", "tradesman/craftsman", "unemployed",
         "writer")  # fmt: skip
# The days on which the builds with `ratings.csv` were generated, as their READMEs say.
_GENERATED = {
    "movielens-latest-small-2016": np.datetime64("2016-10-17"),
    "movielens-latest-small": np.datetime64("2018-09-26"),
    "movielens-25m": np.datetime64("2019-11-21"),
    "movielens-32m": np.datetime64("2023-10-13"),
}
_SHARED = "ml-latest-small"  # a folder's name that says no build: it held several over the years
_TEXT = {"keep_default_na": False, "na_values": [""]}  # a film may be called "NA"
_DAT = _TEXT | {"encoding": "latin-1", "quoting": csv.QUOTE_NONE}
_RATINGS = {"userId": "int32", "movieId": "int32", "rating": "float32", "timestamp": "int64"}


def _finder(files, *names):
    """Finds the folder that holds `files`: the place itself, or one in it under one of `names`."""

    def find(place):
        for folder in (place, *(place / name for name in names)):
            if all((folder / file).is_file() for file in files):
                return folder
        return None

    return find


def _csv_finder(name, official):
    """Finds a build with `ratings.csv`: these look alike, so name or last rating must tell."""

    def find(place):
        others = []
        for folder in (place, place / official, place / name):
            if not all((folder / file).is_file() for file in ("ratings.csv", "movies.csv")):
                continue
            if folder.name in {name, official} - {_SHARED}:
                return folder
            build = _build(folder / "ratings.csv")
            if build == name:
                return folder
            others.append(f"{folder} holds {build}, going by its last rating")
        if others:
            raise ValueError("; ".join(others))
        return None

    return find


def _build(ratings):
    """The first build that was generated after the last of the ratings."""
    last = pd.read_csv(ratings, usecols=["timestamp"])["timestamp"].max()
    day = np.datetime64(int(last), "s").astype("datetime64[D]")
    return next((name for name, generated in _GENERATED.items() if day <= generated), "no build")


# The three formats


def _read_100k(folder):
    users = pd.read_csv(
        folder / "u.user",
        sep="|",
        names=["id", "age", "gender", "job", "zip"],
        dtype={"zip": str},
        **_DAT,
    )
    columns = ["id", "title", "released", "video", "address", *_GENRES]
    items = pd.read_csv(folder / "u.item", sep="|", names=columns, **_DAT)
    items = items.drop(columns=["video", "address"])
    items["released"] = pd.to_datetime(items["released"], format="%d-%b-%Y")
    genres = items[list(_GENRES)].to_numpy(bool)
    items = items.astype(dict.fromkeys(_GENRES, bool)).assign(
        category=genres.argmax(axis=1).astype("int16")
    )
    ratings = pd.read_csv(folder / "u.data", sep="\t", names=list(_RATINGS), dtype=_RATINGS)
    log = _log(ratings, items, users)
    return Log(log.events, log.items, log.users, category_names=_GENRES)


def _read_1m(folder):
    columns = {
        "users.dat": ["id", "gender", "age", "job", "zip"],
        "movies.dat": ["id", "title", "genres"],
    }
    users, films = (
        pd.read_csv(
            folder / file, sep="::", names=names, engine="python", dtype={"zip": str}, **_DAT
        )
        for file, names in columns.items()
    )
    # "::" is two separators to the fast reader, with an empty column between them
    columns = [part for name in _RATINGS for part in (name, f"after {name}")][:-1]
    ratings = pd.read_csv(
        folder / "ratings.dat", sep=":", names=columns, usecols=list(_RATINGS), dtype=_RATINGS
    )
    jobs = users["job"].map(dict(enumerate(_JOBS)))
    return _log(ratings, _with_genres(films), users.assign(job=jobs))


def _read_csv(folder):
    films = pd.read_csv(folder / "movies.csv", **_TEXT).rename(columns={"movieId": "id"})
    if (folder / "links.csv").is_file():
        links = pd.read_csv(folder / "links.csv", dtype={"imdbId": str, "tmdbId": "Int64"})
        links = links.set_index("movieId").rename(columns={"imdbId": "imdb", "tmdbId": "tmdb"})
        films = films.join(links, on="id")
    if (folder / "tags.csv").is_file():
        tags = pd.read_csv(
            folder / "tags.csv", usecols=["movieId", "tag"], dtype={"tag": str}, na_filter=False
        )
        films = films.join(tags.groupby("movieId")["tag"].agg("|".join).rename("tags"), on="id")
    ratings = pd.read_csv(folder / "ratings.csv", dtype=_RATINGS)
    return _log(ratings, _with_genres(films))


def _with_genres(films):
    """The films with a bool column for each genre, and the first that is named as category."""
    genres = films.pop("genres")
    first = genres.str.split("|").str[0]
    return films.assign(category=first).join(genres.str.get_dummies("|", dtype=bool))


def _log(ratings, items, users=None):
    """The log of the table `ratings` (of the columns `_RATINGS`); `items` and `users` have ids."""
    rated = np.full(len(ratings), ACTIONS.index("rate"), "int8")
    ratings["action"] = pd.Categorical.from_codes(rated, dtype=ACTION)
    ratings["time"] = ratings.pop("timestamp").to_numpy().view("datetime64[s]")
    return Log.from_frame(ratings, {"user": "userId", "item": "movieId"}, items=items, users=users)


def _csv(name, official):
    """What reads and finds a build with `ratings.csv`."""
    return {"read": _read_csv, "find": _csv_finder(name, official)}


CARDS = cards(
    __file__,
    {
        "movielens-100k": {
            "read": _read_100k,
            "find": _finder(("u.data", "u.item", "u.user"), "ml-100k", "ml-100k/ml-100k"),
        },
        "movielens-1m": {
            "read": _read_1m,
            "find": _finder(("ratings.dat", "users.dat", "movies.dat"), "ml-1m", "movielens-1m"),
        },
        "movielens-latest-small-2016": _csv("movielens-latest-small-2016", _SHARED),
        "movielens-latest-small": _csv("movielens-latest-small", _SHARED),
        "movielens-25m": _csv("movielens-25m", "ml-25m"),
        "movielens-32m": _csv("movielens-32m", "ml-32m"),
    },
)
