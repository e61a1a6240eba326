"""What the sources of real logs share: their cards, finding their files, damage to these."""

import html
import tarfile
import tomllib
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from python_calamine import CalamineError

# What reading a file that is cut short, altered or not there raises.
DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    zlib.error,
    zipfile.BadZipFile,
    tarfile.TarError,
    CalamineError,
)


def nothing(folder):
    """What most official files need to be quick to read."""


@dataclass(frozen=True)
class Card:
    """What to know about a data set before using it.

    `rows` is the number of events in the official build, None where its makers do not say.
    `archive_checksum` and the values of `members` are `algorithm:hash`, None where nobody has
    established one. `reading` says how the files become a log. `instructions` says how a person
    comes by the files where `load` may not fetch them: behind a login, a form or terms.
    `sample_of` names the data set of which this one is a sample.
    """

    name: str
    title: str
    address: str
    build: str
    licence: str
    redistribution: str
    citation: str
    rows: int | None
    archive_checksum: str | None
    members: dict[str, str | None]
    checksum_note: str
    traps: tuple[str, ...]
    read: Callable = field(repr=False)  # what `find` returns → Log without a source
    find: Callable = field(repr=False)  # folder or file → what `read` takes, or None
    keep: Callable = field(repr=False, default=nothing)  # (unpacked folder): for quick reading
    instructions: str | None = None
    reading: str = ""
    sample_of: str | None = None

    def _lines(self):
        none = "none established"
        events = "an unknown number of" if self.rows is None else f"{self.rows:,}"
        lines = {
            "official address": self.address,
            "how to get it": self.instructions or "",
            "build": f"{self.build}; {events} events",
            "licence": self.licence,
            "redistribution": self.redistribution,
            "citation": self.citation,
            "checksum": f"archive: {self.archive_checksum or none}. "
            + "".join(f"Member {name}: {value or none}. " for name, value in self.members.items())
            + self.checksum_note,
            "reading": self.reading,
            "traps": " ".join(f"({i}) {trap}" for i, trap in enumerate(self.traps, 1)),
        }
        return {name: line for name, line in lines.items() if line}

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


_FUNCTIONS = ("read", "find", "keep")  # of a card, which no file can hold


def cards(source, functions):
    """The cards that lie beside a source's `.py` as a `.toml` of the same name.

    `functions`: by the name of each card its `read`, `find` and perhaps `keep`. The file has a
    table a card, and two more: "every" holds what the cards share, "words" the texts that several
    of them name in {braces}. An empty text is None: a member without a known checksum.
    """
    file = tomllib.loads(Path(source).with_suffix(".toml").read_text("utf-8"))
    shared = {"rows": None, "archive_checksum": None, "members": {}} | file.get("every", {})
    words = file.get("words", {})
    return tuple(
        Card(name=name, **_filled(shared | file[name], words), **dict(zip(_FUNCTIONS, own)))
        for name, own in functions.items()
    )


def _filled(part, words):
    """A part of a card's file with the words put in and arrays as tuples."""
    if isinstance(part, str):
        return part.format(**words) or None
    if isinstance(part, list):
        return tuple(_filled(each, words) for each in part)
    if isinstance(part, dict):
        return {_filled(key, words): _filled(value, words) for key, value in part.items()}
    return part


def holding(place, files, *names):
    """The folders that hold all `files`: the place itself, or one in it under one of `names`."""
    for folder in (place, *(place / name for name in names)):
        if all((folder / file).is_file() for file in files):
            yield folder


def finder(files, *names):
    """What finds the first of the folders `holding` the files, as a card's `find`."""
    return lambda place: next(holding(place, files, *names), None)


def found(find, folder, files):
    """What `find` finds in a folder that somebody named; ValueError where it finds nothing."""
    place = find(Path(folder))
    if place is None:
        raise ValueError(f"`folder` must hold {', '.join(files)}. Received: {folder}")
    return place


def with_all(table, seen):
    """The table, whose index holds ids, with a row for each of these and each `seen` in the log."""
    return table.reindex(np.union1d(table.index, seen)).rename_axis("id").reset_index()
