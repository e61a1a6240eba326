"""Last.fm, of the HetRec 2011 workshop, kept by GroupLens."""

import csv

import numpy as np
import pandas as pd

from recsys_evo.collect.events import Log
from recsys_evo.collect.sources.cards import cards, finder, found, with_all

# The encodings differ; what is not ASCII in a file of numbers is damage.
_ENCODINGS = {
    "user_taggedartists.dat": "ascii",
    "user_artists.dat": "ascii",
    "user_friends.dat": "ascii",
    "artists.dat": "utf-8",
    "tags.dat": "latin-1",
}
_TEXT = ("name", "url", "pictureURL", "tagValue")
_find = finder(_ENCODINGS, "hetrec2011-lastfm-2k", "lastfm-hetrec-2011")


def listens(folder):
    """How often each user played each artist, without times: `user`, `artist`, `plays`.

    `folder` is one that `load` takes; the ids are those of `log.users` and `log.items`.
    ValueError where the data set is not in it.
    """
    folder = found(_find, folder, _ENCODINGS)
    return _table(folder, "user_artists.dat").set_axis(["user", "artist", "plays"], axis=1)


def friends(folder):
    """Who is whose friend, without times, each pair both ways: `user`, `friend`.

    `folder` is one that `load` takes; the ids are those of `log.users`. ValueError where the data
    set is not in it. For chapter 13.
    """
    folder = found(_find, folder, _ENCODINGS)
    return _table(folder, "user_friends.dat").set_axis(["user", "friend"], axis=1)


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
        items=with_all(items, tagged["artistID"]),
        users=pd.DataFrame({"id": np.sort(users)}),
    )
    return Log(log.events, log.items, log.users, category_names=tags["tagValue"])


CARDS = cards(__file__, {"lastfm-hetrec-2011": (_read, _find)})
