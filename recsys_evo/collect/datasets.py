"""Real logs, brought into the same table as the simulated one.

`load(name)` looks for a data set's official files in the folder that the variable
`RECSYS_EVO_DATA` names, then beside the checkout, then in the cache, and at last at the official
address; `card(name)` says what the data are, what may be done with them, and where they mislead.
Chapter 03 is about them; from chapter 01 on, every chapter meets one.
"""

import contextlib
import os
import shutil
import tarfile
import tempfile
import warnings
import zipfile
from pathlib import Path, PurePosixPath

from recsys_evo.collect.events import Source
from recsys_evo.collect.sources import (
    beauty,
    ebnerd,
    journey,
    kuairand,
    lastfm,
    movielens,
    otto,
    retail,
)
from recsys_evo.collect.sources.cards import DAMAGE, Card

__all__ = ["Card", "DataUnavailable", "available", "card", "load", "names"]

_SOURCES = (retail, movielens, journey, otto, kuairand, ebnerd, lastfm, beauty)
_CARDS = {card.name: card for source in _SOURCES for card in source.CARDS}


class DataUnavailable(OSError):
    """A data set is in none of the places looked in, and could not be fetched."""


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
        with contextlib.suppress(*DAMAGE):  # unreadable: `load` says so, and looks further
            if the.find(place) is not None:
                return True
    return False


def load(name, folder=None):
    """The `Log` of a data set, as complete as its makers publish it: see also `Log.clean`.

    `folder` holds the official files, or is a data folder with such folders in it; given, it is
    the only place looked in. What is fetched goes into the cache, whole and checked or not at all;
    nothing is fetched that lies behind a login, a form or terms. How the files of a data set become
    its log, and what is left out, `card(name)` says under "reading".

    Raises
    ------
    DataUnavailable with all that was tried and how to get the files by hand; ValueError for an
    unknown name and damaged files. Warns where the files do not hold as many events as the official
    build, or are not those of the card byte by byte.
    """
    the = card(name)
    tried, cause = [], None
    for called, place in [("folder", Path(folder))] if folder is not None else _places(the):
        try:
            found = the.find(place)
        except DAMAGE as error:
            tried.append(f"{called}: {error}")
            continue
        if found is not None:
            return _open(the, found)
        tried.append(f"{called}: {'it is not in' if place.exists() else 'there is no'} {place}")
    if folder is None and the.instructions is None:
        try:
            fetched = _fetch(the)
        except DAMAGE as error:
            tried.append(f"official address: {type(error).__name__}: {error}")
            cause = error
        else:
            return _open(the, the.find(fetched))
    by_hand = the.instructions or f"fetch {the.address} and unpack it"
    raise DataUnavailable(
        f"{name!r} is not to be had. Tried\n  "
        + "\n  ".join(tried)
        + f"\nTo get it by hand: {by_hand.rstrip('.')}. Then call load({name!r}, folder=...) "
        "with the folder that the files are in."
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
    except DAMAGE as error:
        raise ValueError(
            f"{found} must be as its makers publish it; it is damaged or cut short. "
            f"Received: {type(error).__name__}: {error}"
        ) from error
    build, altered = the.build, _altered(the, found)
    if the.rows not in (None, len(log)) or altered:
        of = "" if the.rows is None else f" of {the.rows:,}"
        build = f"not the official build: {len(log):,}{of} events{altered}"
        warnings.warn(f"{found} is {build}", stacklevel=3)
    log.source = Source(the.name, build, the.licence, the.citation)
    return log


def _altered(the, found):
    """What to say of official files that are there, but not byte by byte."""
    folder = found if found.is_dir() else found.parent
    files = {folder / PurePosixPath(member).name: value for member, value in the.members.items()}
    names = [path.name for path, value in files.items()
             if value and path.is_file() and _checksum(path, value) != value]  # fmt: skip
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
        archive, folder = Path(part.name, "archive"), Path(part.name, "unpacked")
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
    """Write the wanted members of a zip or tar file into `folder`, each checked."""
    tar = tarfile.is_tarfile(archive)
    with tarfile.open(archive) if tar else zipfile.ZipFile(archive) as packed:
        names = packed.getnames() if tar else packed.namelist()
        content = packed.extractfile if tar else packed.open
        for member in names:
            path = PurePosixPath(member.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1]):
                raise ValueError(
                    f"members of the archive must stay within its folder. Received: {member!r}"
                )
        for member, checksum in members.items():
            if member not in names:
                raise ValueError(f"the archive must hold {member!r}. Received: {names}")
            path = folder / PurePosixPath(member).name
            with content(member) as source, open(path, "wb") as target:
                shutil.copyfileobj(source, target)
            _check(path, checksum, member)
