"""Last.fm, of the HetRec 2011 workshop, kept by GroupLens."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_evo.collect.events import Log
from recsys_evo.collect.sources.cards import Card

# The encodings differ; what is not ASCII in a file of numbers is damage.
_ENCODINGS = {
    "user_taggedartists.dat": "ascii",
    "user_artists.dat": "ascii",
    "user_friends.dat": "ascii",
    "artists.dat": "utf-8",
    "tags.dat": "latin-1",
}

_TEXT = ("name", "url", "pictureURL", "tagValue")


def listens(folder):
    """How often each user played each artist, without times: `user`, `artist`, `plays`.

    `folder` is one that `load` takes; the ids are those of `log.users` and `log.items`.
    ValueError where the data set is not in it.
    """
    return _table(_folder(folder), "user_artists.dat").set_axis(["user", "artist", "plays"], axis=1)


def friends(folder):
    """Who is whose friend, without times, each pair both ways: `user`, `friend`.

    `folder` is one that `load` takes; the ids are those of `log.users`. ValueError where the data
    set is not in it. For chapter 13.
    """
    return _table(_folder(folder), "user_friends.dat").set_axis(["user", "friend"], axis=1)


def _folder(place):
    found = _find(Path(place))
    if found is None:
        raise ValueError(f"`folder` must hold {', '.join(_ENCODINGS)}. Received: {place}")
    return found


def _find(place):
    for folder in (place, place / "hetrec2011-lastfm-2k", place / "lastfm-hetrec-2011"):
        if all((folder / file).is_file() for file in _ENCODINGS):
            return folder
    return None


def _table(folder, file):
    return pd.read_csv(
        folder / file,
        sep="\t",
        quoting=csv.QUOTE_NONE,
        keep_default_na=False,  # a band may be called None
        encoding=_ENCODINGS[file],
        dtype="int64" if _ENCODINGS[file] == "ascii" else dict.fromkeys(_TEXT, str),
    )


def _read(folder):
    tagged, artists, tags = (
        _table(folder, file) for file in ("user_taggedartists.dat", "artists.dat", "tags.dat")
    )
    events = tagged.assign(
        time=pd.to_datetime(tagged[["year", "month", "day"]]),
        action="comment",
        category=pd.Index(tags["tagID"]).get_indexer(tagged["tagID"]),
    )
    items = artists.rename(columns={"name": "title", "pictureURL": "picture"}).set_index("id")
    users = pd.unique(pd.concat([tagged["userID"], friends(folder)["user"],
                                 listens(folder)["user"]]))  # fmt: skip
    log = Log.from_frame(
        events,
        {"user": "userID", "item": "artistID"},
        # some artists that are tagged have no row of their own
        items=items.reindex(np.union1d(items.index, tagged["artistID"])).reset_index(),
        users=pd.DataFrame({"id": np.sort(users)}),
    )
    return Log(log.events, log.items, log.users, category_names=tags["tagValue"])


CARDS = (
    Card(
        name="lastfm-hetrec-2011",
        title="Last.fm, HetRec 2011: who tagged which artist, listened, and was whose friend",
        address="https://files.grouplens.org/datasets/hetrec2011/hetrec2011-lastfm-2k.zip",
        build="HetRec 2011 workshop, version 1.0, May 2011",
        licence="for non-commercial use",
        redistribution="not stated: ask Last.fm",
        citation="Cantador, I., Brusilovsky, P. and Kuflik, T. (2011). Second Workshop on "
        "Information Heterogeneity and Fusion in Recommender Systems (HetRec2011). RecSys '11, "
        "387-388. https://doi.org/10.1145/2043932.2044016",
        rows=186_479,
        archive_checksum="sha256:6738f48195667ff03caaab4d32ca9a3133d8cc026b7c3cdaf6ce1010e913c59c",
        members=dict.fromkeys(_ENCODINGS),
        checksum_note="GroupLens publishes none; the archive's is the one that several independent "
        "projects state for their downloads.",
        traps=(
            "A date says the month: 98% are its first day, the rest are the 5th, 6th or 9th. "
            "Within a month the order is that of the file and means nothing.",
            "94.9% of a user's neighbouring tags carry the same date, and 20% of the users have "
            "one date only.",
            "Five dates are absurd (1956, 1957, 1979). They are in the log: cut it at 2005.",
            "Listening counts and friendships carry no time: what a friend did first, nobody can "
            "tell from them.",
            "71% of the artists that a user tagged are not among the 50 that they listened to "
            "most, which is where the counts end.",
            "390 tagged artists have no row in artists.dat, so no name.",
            "Half of the users set 20 tags or fewer; the busiest set 2,609.",
        ),
        read=_read,
        find=_find,
        reading="A row of user_taggedartists.dat is a `comment`, the nearest action to a tag: the "
        "user's word on an artist. The tag is the event's `category`, so that a user and an artist "
        "have as many events in a month as tags. `time` is midnight of the date. `items`: `title` "
        "(the name), `url`, `picture`. What has no time is no event: "
        "`recsys_evo.collect.sources.lastfm` has `listens(folder)` and `friends(folder)`. "
        "user_taggedartists-timestamps.dat, the same rows, is not read.",
    ),
)
