"""Real logs, brought into the same table as the simulated one.

`load(name)` looks for a data set's official files in the folder that the variable
`RECSYS_EVO_DATA` names, then beside the checkout, then in the cache, and at last at the official
address; `card(name)` says what the data are, what may be done with them, and where they mislead.
Chapter 03 is about them; from chapter 01 on, every chapter meets one.
"""

import contextlib
import html
import os
import shutil
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from python_calamine import CalamineError

from recsys_evo.collect.events import Log, Source, categories_from_titles

# What reading a file that is cut short, altered or not there raises.
_DAMAGE = (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile, CalamineError)


class DataUnavailable(OSError):
    """A data set is in none of the places looked in, and could not be fetched."""


@dataclass(frozen=True)
class Card:
    """What to know about a data set before using it.

    `archive_checksum` and the values of `members` are `algorithm:hash`; the archive's is None
    where its makers publish none. `rows` is the number of events in the official build.
    """

    name: str
    title: str
    address: str
    build: str
    licence: str
    redistribution: str
    citation: str
    rows: int
    archive_checksum: str | None
    members: dict[str, str]
    checksum_note: str
    traps: tuple[str, ...]
    read: Callable = field(repr=False)  # (folder or file) → Log without a source
    find: Callable = field(repr=False)  # folder → what `read` takes, or None
    keep: Callable = field(repr=False)  # (unpacked folder): makes it quick to read, once

    def _lines(self):
        archive = self.archive_checksum or "none established"
        return {
            "official address": self.address,
            "build": f"{self.build}; {self.rows:,} events",
            "licence": self.licence,
            "redistribution": self.redistribution,
            "citation": self.citation,
            "checksum": f"archive: {archive}. "
            + "".join(f"Member {name}: {value}. " for name, value in self.members.items())
            + self.checksum_note,
            "traps": " ".join(f"({i}) {trap}" for i, trap in enumerate(self.traps, 1)),
        }

    def __repr__(self):
        return "\n".join(
            [f"{self.title} ({self.name})", *(f"  {k}: {v}" for k, v in self._lines().items())]
        )

    def _repr_html_(self):
        rows = "".join(
            f"<tr><th scope='row'>{key}</th><td>{html.escape(value)}</td></tr>"
            for key, value in self._lines().items()
        )
        return f"<table><caption>{html.escape(self.title)}</caption>{rows}</table>"


def names():
    """The names that `card`, `available` and `load` know."""
    return list(_CARDS)


def card(name):
    """The `Card` of a data set. ValueError for an unknown name."""
    if name not in _CARDS:
        raise ValueError(f"`name` must be one of {names()}. Received: {name!r}")
    return _CARDS[name]


def available(name):
    """Is the data set on this machine, so that `load` needs no network?"""
    the = card(name)
    for _, place in _places(the):
        with contextlib.suppress(*_DAMAGE):  # unreadable: `load` says so, and looks further
            if the.find(place) is not None:
                return True
    return False


def load(name, folder=None):
    """The `Log` of a data set, as complete as its makers publish it: see also `Log.clean`.

    `folder` holds the official files, or is a data folder with such folders in it; given, it is
    the only place looked in. What is fetched goes into the cache, whole and checked or not at all.

    **online-retail.** Purchases and returns; a return has a negative quantity in the file. Here
    `amount` (pounds) is quantity × unit price and positive for both; two columns come along,
    `quantity` (pieces, positive) and `invoice` (its number). Times are British wall-clock time,
    kept as they are and not moved to UTC. `items`: `title` (the most frequent description) and
    `price` (the median), both of the rows that were paid; `product` (False for postage and other
    fees); `category` (64, made from the titles). `users`: `country`. Rows without a customer have
    user -1.

    **movielens-100k.** Ratings, ties in the order of the file. `items`: `title`, `released`, a
    bool for each genre, `category` (the first genre). `users`: `age`, `gender`, `job`, `zip`.

    Raises
    ------
    DataUnavailable with all that was tried; ValueError for an unknown name and damaged files.
    Warns where the files do not hold as many events as the official build.
    """
    the = card(name)
    tried, cause = [], None
    for called, place in [("folder", Path(folder))] if folder is not None else _places(the):
        try:
            found = the.find(place)
        except _DAMAGE as error:
            tried.append(f"{called}: {error}")
            continue
        if found is not None:
            return _open(the, found)
        tried.append(f"{called}: {'it is not in' if place.exists() else 'there is no'} {place}")
    if folder is None:
        try:
            fetched = _fetch(the)
        except _DAMAGE as error:
            tried.append(f"official address: {type(error).__name__}: {error}")
            cause = error
        else:
            return _open(the, the.find(fetched))
    raise DataUnavailable(
        f"{name!r} is not to be had. Tried\n  "
        + "\n  ".join(tried)
        + f"\nTo get it by hand: fetch {the.address}, unpack it, and call "
        f"load({name!r}, folder=...) with the folder that you unpacked it into."
    ) from cause


def _places(the):
    """(what it is called, folder) of the places on this machine, in the order of looking."""
    if os.environ.get("RECSYS_EVO_DATA"):
        yield "RECSYS_EVO_DATA", Path(os.environ["RECSYS_EVO_DATA"])
    checkout = Path(__file__).parents[2]
    if (checkout / "pyproject.toml").exists():
        yield "beside the checkout", checkout.parent / "shared" / "data"
    yield "cache", _cache() / the.name


def _cache():
    import pooch

    return Path(pooch.os_cache("recsys_evo"))


def _open(the, found):
    """The log read from what `find` found, with its source."""
    try:
        log = the.read(found)
    except _DAMAGE as error:
        raise ValueError(
            f"{found} must be as its makers publish it; it is damaged or cut short. "
            f"Received: {type(error).__name__}: {error}"
        ) from error
    build, altered = the.build, _altered(the, found)
    if len(log) != the.rows or altered:
        build = f"not the official build: {len(log):,} of {the.rows:,} events{altered}"
        warnings.warn(f"{found} is {build}", stacklevel=3)
    log.source = Source(the.name, build, the.licence, the.citation)
    return log


def _altered(the, found):
    """What to say of official files that are there, but not byte by byte."""
    folder = found if found.is_dir() else found.parent
    files = {folder / PurePosixPath(member).name: value for member, value in the.members.items()}
    names = [path.name for path, value in files.items()
             if path.is_file() and _checksum(path, value) != value]  # fmt: skip
    return f", other checksum of {', '.join(names)}" if names else ""


def _fetch(the):
    """The folder in the cache that holds the official files, fetched, checked and unpacked.

    All is done in a temporary folder beside it, which takes the final name when it is whole.
    """
    import pooch

    cache = _cache()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        part = tempfile.TemporaryDirectory(dir=cache, prefix=f"{the.name}.part-")
    except OSError as error:
        raise OSError(f"the cache folder {cache} may not be written to ({error})") from error
    with part:
        archive, folder = Path(part.name, "archive.zip"), Path(part.name, "unpacked")
        folder.mkdir()
        pooch.HTTPDownloader(progressbar=True, timeout=60)(the.address, str(archive), None)
        _check(archive, the.archive_checksum, the.address)
        _unpack(archive, the.members, folder)
        the.keep(folder)
        final = cache / the.name
        if final.exists():  # another process was faster, or an older one left what is unreadable
            shutil.rmtree(final)
        folder.replace(final)
    return final


def _check(path, expected, called):
    if expected is not None and _checksum(path, expected) != expected:
        raise ValueError(
            f"the checksum of {called} must be {expected}. Received: {_checksum(path, expected)}"
        )


def _checksum(path, like):
    """The file's `algorithm:hash`, by the algorithm of another one."""
    import pooch

    algorithm = like.split(":")[0]
    return f"{algorithm}:{pooch.file_hash(str(path), alg=algorithm)}"


def _unpack(archive, members, folder):
    """Write the wanted members of a zip file into `folder`, each checked."""
    with zipfile.ZipFile(archive) as packed:
        for member in packed.namelist():
            path = PurePosixPath(member.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
                raise ValueError(
                    f"members of {archive.name} must stay within its folder. Received: {member!r}"
                )
        for member, checksum in members.items():
            if member not in packed.namelist():
                raise ValueError(
                    f"{archive.name} must hold {member!r}. Received: {packed.namelist()}"
                )
            path = folder / PurePosixPath(member).name
            with packed.open(member) as source, open(path, "wb") as target:
                shutil.copyfileobj(source, target)
            _check(path, checksum, member)


# Online Retail

_RETAIL = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice",
           "CustomerID", "Country")  # fmt: skip
# Stock codes that are postage, discounts, samples, corrections and other people's commission.
_FEES = ("POST", "DOT", "C2", "D", "M", "m", "S", "B", "BANK CHARGES", "CRUK", "AMAZONFEE")


def _find_retail(place):
    """The file in `place` that has the columns of Online Retail, whatever it is called."""
    folders = (place, place / "online_retail", place / "online-retail")
    files = [file for folder in folders if folder.is_dir() for file in sorted(folder.iterdir())]
    unreadable = []
    for file in [place] if place.is_file() else files:
        if file.name.endswith((".csv", ".csv.gz", ".xlsx")):
            try:
                columns = _table(file, nrows=0).columns
            except _DAMAGE as error:
                unreadable.append(f"{file} cannot be read ({type(error).__name__}: {error})")
                continue
            if set(_RETAIL) <= set(columns):
                return file
    if unreadable:
        raise ValueError("; ".join(unreadable))
    return None


def _table(file, nrows=None):
    # codes that look like numbers are text all the same
    codes = {"InvoiceNo": str, "StockCode": str}
    if file.suffix == ".xlsx":
        return pd.read_excel(file, dtype=codes, nrows=nrows, engine="calamine")
    return pd.read_csv(file, dtype=codes, nrows=nrows)


def _read_retail(file):
    raw = _table(file)
    returned = (raw["Quantity"] < 0).to_numpy()
    paid = raw[raw["UnitPrice"] > 0]
    items = pd.DataFrame(index=pd.Index(raw["StockCode"].unique(), name="id").sort_values())
    # of the paid: what was written off is described by how it was lost
    items["title"] = _most_frequent(paid["StockCode"], paid["Description"])
    items["price"] = paid.groupby("StockCode")["UnitPrice"].median()
    items["product"] = ~items.index.isin(_FEES)
    country = _most_frequent(raw["CustomerID"], raw["Country"])
    users = pd.DataFrame({"id": country.index.astype("int64"), "country": country.to_numpy()})
    log = Log.from_frame(
        raw.assign(
            action=np.where(returned, "return", "purchase"),
            amount=raw["UnitPrice"] * raw["Quantity"].abs(),
            quantity=raw["Quantity"].abs().astype("int32"),
            invoice=raw["InvoiceNo"].str.lstrip("AC").astype("int32"),
        ),
        {"user": "CustomerID", "item": "StockCode", "time": "InvoiceDate",
         "quantity": "quantity", "invoice": "invoice"},
        items=items.reset_index(),
        users=users,
        missing_users="keep",
    )  # fmt: skip
    return categories_from_titles(log, 64)


def _most_frequent(keys, values):
    """For each key its most frequent value, the first in the alphabet among equals."""
    counts = pd.DataFrame({"key": keys, "value": values}).value_counts().reset_index()
    counts = counts.sort_values(["key", "count", "value"], ascending=[True, False, True])
    return counts.drop_duplicates("key").set_index("key")["value"]


def _keep_retail(folder):
    """As text: to read the workbook takes a minute each time."""
    workbook = next(folder.glob("*.xlsx"))
    _table(workbook).to_csv(folder / "online-retail.csv.gz", index=False)
    workbook.unlink()


# MovieLens

_GENRES = ("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime",
           "Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery",
           "Romance", "Sci-Fi", "Thriller", "War", "Western")  # fmt: skip


def _find_movielens(place):
    for folder in (place, place / "ml-100k", place / "ml-100k" / "ml-100k"):
        if all((folder / file).is_file() for file in ("u.data", "u.item", "u.user")):
            return folder
    return None


def _read_movielens(folder):
    ratings = pd.read_csv(folder / "u.data", sep="\t", names=["user", "item", "rating", "seconds"])
    users = pd.read_csv(
        folder / "u.user",
        sep="|",
        names=["id", "age", "gender", "job", "zip"],
        dtype={"zip": str},
    )
    items = pd.read_csv(
        folder / "u.item",
        sep="|",
        names=["id", "title", "released", "video", "address", *_GENRES],
        usecols=["id", "title", "released", *_GENRES],
        encoding="latin-1",
    )
    items["released"] = pd.to_datetime(items["released"], format="%d-%b-%Y")
    genres = items[list(_GENRES)].to_numpy(bool)
    items = items.astype(dict.fromkeys(_GENRES, bool)).assign(
        category=genres.argmax(axis=1).astype("int16")
    )
    log = Log.from_frame(
        ratings.assign(time=pd.to_datetime(ratings["seconds"], unit="s"), action="rate"),
        items=items,
        users=users,
    )
    return Log(log.events, log.items, log.users, category_names=_GENRES)


_CARDS = {
    the.name: the
    for the in (
        Card(
            name="online-retail",
            title="Online Retail: a year of a British gift shop",
            address="https://archive.ics.uci.edu/static/public/352/online+retail.zip",
            build="UCI Machine Learning Repository, data set 352, December 2010 to December 2011",
            licence="CC BY 4.0",
            redistribution="allowed, naming the source",
            citation="Chen, D. (2015). Online Retail [Dataset]. UCI Machine Learning Repository. "
            "https://doi.org/10.24432/C5BW33",
            rows=541_909,
            archive_checksum=None,
            members={
                "Online Retail.xlsx": "sha256:"
                "43465a06f2ccf7c8b5bd2892bc7defb52f97487934fe93b16ae4c3936424676d"
            },
            checksum_note="UCI publishes none; the member's is the one that several independent "
            "projects state for their downloads.",
            traps=(
                "24.9% of the rows have no customer.",
                "10,624 quantities are negative: returns, some of purchases before the log "
                "begins, and 1,336 write-offs of stock at price 0 without a customer.",
                "5,268 rows are copies of others.",
                "Fees have stock codes like goods (POST, DOT, M, ...): 1,916 rows with a customer.",
                "Two orders of over 70,000 pieces were cancelled within minutes; one order of "
                "38,970 pounds was a slip, and its refund is booked under M.",
                "Many customers are wholesalers.",
                "Some stock codes occur in upper and lower case (85123A, 85123a).",
                "8 customers have two countries.",
                "There are no categories: ours are made from the titles. No clicks, no dwell.",
                "Times are British wall-clock time without a zone.",
            ),
            read=_read_retail,
            find=_find_retail,
            keep=_keep_retail,
        ),
        Card(
            name="movielens-100k",
            title="MovieLens 100k: film ratings by students and visitors",
            address="https://files.grouplens.org/datasets/movielens/ml-100k.zip",
            build="GroupLens, April 1998",
            licence="for research, with acknowledgement; no commercial use without permission",
            redistribution="not allowed without permission",
            citation="Harper, F. M. and Konstan, J. A. (2015). The MovieLens Datasets: History "
            "and Context. ACM Transactions on Interactive Intelligent Systems 5(4), article 19. "
            "https://doi.org/10.1145/2827872",
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
                "Every user has 20 ratings or more, by selection.",
                "A rating's time is when it was given, not when the film was seen.",
                "18 titles occur twice under different ids.",
            ),
            read=_read_movielens,
            find=_find_movielens,
            keep=lambda folder: None,
        ),
    )
}
