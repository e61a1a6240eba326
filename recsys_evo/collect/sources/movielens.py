"""MovieLens, of GroupLens: six builds of film ratings, in three formats."""

import csv

import numpy as np
import pandas as pd

from recsys_evo.collect.events import ACTION, ACTIONS, Log
from recsys_evo.collect.sources.cards import Card

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


_TERMS = {
    "licence": "for research, with acknowledgement; no commercial use without permission",
    "citation": "Harper, F. M. and Konstan, J. A. (2015). The MovieLens Datasets: History and "
    "Context. ACM Transactions on Interactive Intelligent Systems 5(4), article 19. "
    "https://doi.org/10.1145/2827872",
}
_SHARED_ALIKE = "allowed under the same terms"
_SITE = "https://files.grouplens.org/datasets/movielens/"
_FILES = ("ratings.csv", "movies.csv", "links.csv", "tags.csv")
_READING = (
    "A row is a rating; ties keep the order of the file. `items`: `title`, a bool for each genre, "
    "`category` (the first genre)"
)
_READING_CSV = (
    f"{_READING}; where links.csv is there, `imdb` (text) and `tmdb`, the film's numbers at those "
    "sites; where tags.csv is there, `tags`, all that users wrote on the film, in the order of the "
    "file, with | between. Who tagged when is left out"
)
_BY_THE_PAGE = (
    "Users rate from lists of films that the site picks: the order shows those lists as much as "
    "the user (Fan, Ji, Zhang and Sun, 2024, https://doi.org/10.1145/3675163)."
)
_TIMES = "A rating's time is when it was given, not when the film was seen."
_TWENTY = "Every user has 20 ratings or more, by selection."
_HALVES = "Half stars came in 2003: the scale is another one before (Harper and Konstan, 2015)."

CARDS = (
    Card(
        name="movielens-100k",
        title="MovieLens 100k: film ratings by students and visitors",
        address=f"{_SITE}ml-100k.zip",
        build="GroupLens, April 1998",
        **_TERMS,
        redistribution="not allowed without permission",
        rows=100_000,
        archive_checksum="md5:0e33842e24a9c977be4e0107933c0723",
        members={
            "ml-100k/u.data": "sha256:"
            "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490",
            "ml-100k/u.item": "sha256:"
            "553841ebc7de3a0fd0d6b62a204ea30c1e651aacfb2814c7a6584ac52f2c5701",
            "ml-100k/u.user": "sha256:"
            "f120e114da2e8cf314fd28f99417c94ae9ddf1cb6db8ce0e4b5995d40e90e62c",
        },
        checksum_note="GroupLens publishes the archive's; the members' are ours.",
        traps=(
            "50.6% of the ratings carry the same second as the user's one before, the median "
            "user spans 0.8 hours, 32% span more than a day: fit to check evaluators, useless "
            "as proof that tastes evolve.",
            _TWENTY,
            _TIMES,
            "18 titles occur twice under different ids.",
        ),
        reading=f"{_READING}, `released`. `users`: `age`, `gender`, `job`, `zip`. The films' web "
        "addresses are left out.",
        read=_read_100k,
        find=_finder(("u.data", "u.item", "u.user"), "ml-100k", "ml-100k/ml-100k"),
    ),
    Card(
        name="movielens-1m",
        title="MovieLens 1M: film ratings by users who joined in 2000",
        address=f"{_SITE}ml-1m.zip",
        build="GroupLens, February 2003",
        **_TERMS,
        redistribution="not allowed without permission",
        rows=1_000_209,
        archive_checksum="md5:c4d9eecfca2ab87c1945afe126590906",
        members={f"ml-1m/{name}.dat": None for name in ("ratings", "users", "movies")},
        checksum_note="GroupLens publishes the archive's.",
        traps=(
            "Many of a user's ratings carry the same second, so that their order cannot be known; "
            "shuffling it costs a sequential recommender little (Woolridge, Wilner and Glick, "
            "2021, https://ceur-ws.org/Vol-2955/).",
            _TWENTY,
            _TIMES,
            "`age` is the lower end of a range (18 is 18 to 24; 1 is under 18). Age, gender, job "
            "and zip are what users said of themselves, unchecked; those who said nothing are "
            "left out.",
            "Ids run to 3,952, but not every number is a film, and titles were typed by hand, "
            "with errors.",
        ),
        reading=f"{_READING}. `users`: `age` and `zip` as in the file, `gender`, `job` (its code "
        "put into the words of the README).",
        read=_read_1m,
        find=_finder(("ratings.dat", "users.dat", "movies.dat"), "ml-1m", "movielens-1m"),
    ),
    Card(
        name="movielens-latest-small-2016",
        title="MovieLens latest-small of 2016: film ratings over twenty years",
        address="https://grouplens.org/datasets/movielens/latest/",
        instructions="GroupLens replaced this build by movielens-latest-small in 2018; its "
        "README.txt says that it was generated on October 17, 2016. Take ratings.csv and "
        "movies.csv from a copy that somebody kept, and put them into one folder.",
        build="GroupLens, October 2016",
        **_TERMS,
        redistribution=_SHARED_ALIKE,
        rows=100_004,
        archive_checksum=None,
        members={"ratings.csv": None, "movies.csv": None},
        checksum_note="GroupLens no longer publishes the build.",
        traps=(
            "21.8% of the ratings carry the same second as the user's one before, the median user "
            "spans 1.2 hours, 39% span more than a day.",
            "671 users only.",
            _TWENTY,
            _TIMES,
            "25.5% of the ratings have half stars, all from May 2003 on: the scale is another one "
            "before.",
            "2 titles occur twice under different ids. Some copies lack the films without ratings "
            "(they have 9,066 of 9,125) and five titles.",
            "GroupLens means the build for development, not for results to be compared.",
        ),
        reading=f"{_READING_CSV}.",
        read=_read_csv,
        find=_csv_finder("movielens-latest-small-2016", _SHARED),
    ),
    Card(
        name="movielens-latest-small",
        title="MovieLens latest-small: film ratings, 1996 to 2018",
        address=f"{_SITE}ml-latest-small.zip",
        build="GroupLens, September 2018",
        **_TERMS,
        redistribution=_SHARED_ALIKE,
        rows=100_836,
        archive_checksum="sha256:696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436",
        members={f"ml-latest-small/{name}": None for name in _FILES},
        checksum_note="The archive's is the one that several independent projects state, "
        "TensorFlow Datasets among them.",
        traps=(
            "610 users only.",
            _BY_THE_PAGE,
            _TWENTY,
            _HALVES,
            "GroupLens means the build for development, not for results to be compared, and may "
            "replace it: what is fetched then has another checksum and is refused.",
        ),
        reading=f"{_READING_CSV}.",
        read=_read_csv,
        find=_csv_finder("movielens-latest-small", _SHARED),
    ),
    Card(
        name="movielens-25m",
        title="MovieLens 25M: film ratings, 1995 to 2019",
        address=f"{_SITE}ml-25m.zip",
        build="GroupLens, November 2019",
        **_TERMS,
        redistribution=_SHARED_ALIKE,
        rows=25_000_095,
        archive_checksum="md5:6b51fb2759a8657d3bfcbfc42b592ada",
        members={f"ml-25m/{name}": None for name in _FILES},
        checksum_note="GroupLens publishes the archive's.",
        traps=(_BY_THE_PAGE, _TWENTY, _HALVES, "The log takes about 3 GB of memory to read."),
        reading=f"{_READING_CSV}, and so is the tag genome (genome-scores.csv, genome-tags.csv).",
        read=_read_csv,
        find=_csv_finder("movielens-25m", "ml-25m"),
    ),
    Card(
        name="movielens-32m",
        title="MovieLens 32M: film ratings, 1995 to 2023",
        address=f"{_SITE}ml-32m.zip",
        build="GroupLens, October 2023",
        **_TERMS,
        redistribution=_SHARED_ALIKE,
        rows=32_000_204,
        archive_checksum="md5:d472be332d4daa821edc399621853b57",
        members={
            "ml-32m/ratings.csv": "md5:cf12b74f9ad4b94a011f079e26d4270a",
            "ml-32m/movies.csv": "md5:0df90835c19151f9d819d0822e190797",
            "ml-32m/links.csv": "md5:8f033867bcb4e6be8792b21468b4fa6e",
            "ml-32m/tags.csv": "md5:963bf4fa4de6b8901868fddd3eb54567",
        },
        checksum_note="GroupLens publishes all of them.",
        traps=(_BY_THE_PAGE, _TWENTY, _HALVES, "The log takes about 4 GB of memory to read."),
        reading=f"{_READING_CSV}.",
        read=_read_csv,
        find=_csv_finder("movielens-32m", "ml-32m"),
    ),
)
