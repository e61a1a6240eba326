"""MovieLens, of GroupLens: six builds of film ratings, in three formats."""

import csv
from functools import partial

import numpy as np
import pandas as pd

from recsys_evo.collect.events import ACTION, ACTIONS, Log
from recsys_evo.collect.sources.cards import cards, finder, holding

_GENRES = ("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime",
           "Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery",
           "Romance", "Sci-Fi", "Thriller", "War", "Western")  # fmt: skip
# The occupations of movielens-1m by their codes, as its README lists them.
_JOBS = ("other", "academic/educator", "artist", "clerical/admin", "college/grad student",
         "customer service", "doctor/health care", "executive/managerial", "farmer", "homemaker",
         "K-12 student", "lawyer", "programmer", "retired", "sales/marketing", "scientist",
         "self-employed", "technician/engineer", "tradesman/craftsman", "unemployed",
         "writer")  # fmt: skip
_SHARED = "ml-latest-small"  # a folder's name that says no build: it held several over the years
# The builds with `ratings.csv`: official folder, and day of generation, as their READMEs say.
_BUILDS = {
    "movielens-latest-small-2016": (_SHARED, np.datetime64("2016-10-17")),
    "movielens-latest-small": (_SHARED, np.datetime64("2018-09-26")),
    "movielens-25m": ("ml-25m", np.datetime64("2019-11-21")),
    "movielens-32m": ("ml-32m", np.datetime64("2023-10-13")),
}
_TEXT = {"keep_default_na": False, "na_values": [""]}  # a film may be called "NA"
_DAT = _TEXT | {"encoding": "latin-1", "quoting": csv.QUOTE_NONE, "dtype": {"zip": str}}
_RATINGS = {"userId": "int32", "movieId": "int32", "rating": "float32", "timestamp": "int64"}
_find_100k = finder(("u.data", "u.item", "u.user"), "ml-100k", "ml-100k/ml-100k")
_find_1m = finder(("ratings.dat", "users.dat", "movies.dat"), "ml-1m", "movielens-1m")


def _find_csv(name, place):
    """Finds a build with `ratings.csv`: these look alike, so name or last rating must tell."""
    official, others = _BUILDS[name][0], []
    for folder in holding(place, ("ratings.csv", "movies.csv"), official, name):
        if folder.name in {name, official} - {_SHARED}:
            return folder
        build = _build(folder / "ratings.csv")
        if build == name:
            return folder
        others.append(f"{folder} holds {build}, going by its last rating")
    if others:
        raise ValueError("; ".join(others))
    return None


def _build(ratings):
    """The first build that was generated after the last of the ratings."""
    last = pd.read_csv(ratings, usecols=["timestamp"])["timestamp"].max()
    day = np.datetime64(int(last), "s").astype("datetime64[D]")
    return next((name for name, (_, made) in _BUILDS.items() if day <= made), "no build")


# The three formats


def _read_100k(folder):
    columns = ["id", "age", "gender", "job", "zip"]
    users = pd.read_csv(folder / "u.user", sep="|", names=columns, **_DAT)
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
    dat = {"sep": "::", "engine": "python"} | _DAT
    users = pd.read_csv(folder / "users.dat", names=["id", "gender", "age", "job", "zip"], **dat)
    films = pd.read_csv(folder / "movies.dat", names=["id", "title", "genres"], **dat)
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
        text = {"dtype": {"tag": str}, "na_filter": False}
        tags = pd.read_csv(folder / "tags.csv", usecols=["movieId", "tag"], **text)
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


CARDS = cards(
    __file__,
    {"movielens-100k": (_read_100k, _find_100k), "movielens-1m": (_read_1m, _find_1m)}
    | {name: (_read_csv, partial(_find_csv, name)) for name in _BUILDS},
)
