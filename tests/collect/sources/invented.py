"""Invented files in official formats, for tests that hypothesis repeats."""

import tempfile
from contextlib import contextmanager
from pathlib import Path

from recsys_evo.collect import datasets


@contextmanager
def folder_of(files):
    """A folder with these files, {name: content}."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            file = Path(folder, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
        yield Path(folder)


def read(name, folder):
    """The log that a card reads from a folder, unnamed and unwarned."""
    card = datasets.card(name)
    return card.read(card.find(Path(folder)))


def rows(log, *columns):
    """The events as tuples of original ids, whole seconds, action and further columns."""
    events = log.events
    assert (events["user"] >= 0).all()
    return list(
        zip(
            log.users["id"].to_numpy()[events["user"]].tolist(),
            log.items["id"].to_numpy()[events["item"]].tolist(),
            events["time"].to_numpy().astype("int64").tolist(),
            events["action"],
            *(events[column].tolist() for column in columns),
        )
    )
