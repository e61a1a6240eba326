"""KuaiRand-Pure: a short-video app, with videos shown at random among the recommended."""

import numpy as np
import pandas as pd

from recsys_evo.collect.events import Log
from recsys_evo.collect.sources.cards import Card

_LOGS = ("log_standard_4_08_to_4_21_pure.csv", "log_standard_4_22_to_5_08_pure.csv",
         "log_random_4_22_to_5_08_pure.csv")  # fmt: skip
_FEATURES = ("user_features_pure.csv", "video_features_basic_pure.csv",
             "video_features_statistic_pure.csv")  # fmt: skip
_FLAGS = {"is_click": "click", "is_like": "like", "is_comment": "comment", "is_forward": "share",
          "is_follow": "follow"}  # fmt: skip
_EXTRAS = {"is_hate": "bool", "long_view": "bool", "is_profile_enter": "bool", "is_rand": "bool",
           "tab": "int8", "duration_ms": "float32", "profile_stay_time": "float32",
           "comment_stay_time": "float32"}  # fmt: skip


def _find(place):
    for folder in (place, place / "data", place / "KuaiRand-Pure" / "data",
                   place / "kuairand-pure"):  # fmt: skip
        if all((folder / file).is_file() for file in _LOGS + _FEATURES):
            return folder
    return None


def _read(folder):
    shown = pd.concat([_log(folder / file) for file in _LOGS], ignore_index=True)
    shown["slate"] = np.arange(len(shown))
    seconds = shown["play_time_ms"] / 1000
    parts = [shown.assign(action="impression")]
    for flag, action in ({"played": "view"} | _FLAGS).items():
        # a row has one view or click, which holds the time that was watched
        chosen = ~shown["is_click"] & (seconds != 0) if flag == "played" else shown[flag]
        dwell = seconds if action in ("view", "click") else np.nan
        parts.append(shown.assign(action=action, dwell=dwell)[chosen])
    events = pd.concat(parts, ignore_index=True)
    order = np.lexsort((events["slate"], events["time_ms"]))  # stable: a row's parts stay so
    events = events.iloc[order].astype(_EXTRAS)
    events["time"] = events["time_ms"].to_numpy().astype("datetime64[ms]")

    # tags are lists such as 12,65
    users, basic, statistics = (pd.read_csv(folder / file, dtype={"tag": str})
                                for file in _FEATURES)  # fmt: skip
    items = basic.merge(statistics, "left", on="video_id", validate="one_to_one")
    items = _all(items, "video_id", shown["video_id"])
    items["category"] = [
        tags.split(",")[0] if isinstance(tags, str) else "unknown" for tags in items["tag"]
    ]
    names = {"user": "user_id", "item": "video_id"} | {name: name for name in _EXTRAS}
    return Log.from_frame(
        events, names, items=items, users=_all(users, "user_id", shown["user_id"])
    )


def _log(file):
    """A row is one video shown to one user."""
    whole = dict.fromkeys(("user_id", "video_id", "time_ms", "play_time_ms"), "int64")
    log = pd.read_csv(file, usecols=[*whole, *_FLAGS, *_EXTRAS], dtype=whole)
    flags = [*_FLAGS, *(name for name, dtype in _EXTRAS.items() if dtype == "bool")]
    bad = ~log[flags].isin([0, 1]).to_numpy()
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"column {flags[column]!r} must be 0 or 1. Received: {log[flags].iat[row, column]} "
            f"in row {row} of {file.name}"
        )
    return log.astype(dict.fromkeys(flags, "bool"))


def _all(table, key, seen):
    """The table with a row for every id, those `seen` in the log included."""
    table = table.astype({key: "int64"}).set_index(key)
    return table.reindex(np.union1d(table.index, seen)).rename_axis("id").reset_index()


CARDS = (
    Card(
        name="kuairand-pure",
        title="KuaiRand-Pure: a month of short videos, some of them shown at random",
        address="https://zenodo.org/records/10439422/files/KuaiRand-Pure.tar.gz",
        build="Zenodo record 10439422, 8 April to 8 May 2022: 2,622,668 videos shown",
        licence="CC BY-SA 4.0",
        redistribution="allowed under the same licence, naming the source",
        citation="Gao, C., Li, S., Zhang, Y., Chen, J., Li, B., Lei, W., Jiang, P. and He, X. "
        "(2022). KuaiRand: An Unbiased Sequential Recommendation Dataset with Randomly Exposed "
        "Videos. CIKM '22. https://doi.org/10.1145/3511808.3557624",
        rows=None,
        archive_checksum="md5:0820331067a3784d9691136f772b35a7",
        members={f"KuaiRand-Pure/data/{file}": None for file in _LOGS + _FEATURES},
        checksum_note="Zenodo publishes the archive's. The makers count rows, 1,436,609 of the "
        "standard policies and 1,186,059 of the random one; how many events they become is not "
        "known here.",
        traps=(
            "Only what was shown of the 7,583 videos in the random pool is left of each user's "
            "feed: gaps between events and sequences are torn.",
            "Random videos were shown from 22 April on. Compare the policies from that day.",
            "With `is_rand` the video was drawn at random from the pool. The probability of a "
            "standard row is not known, so `propensity` is unknown throughout.",
            "In the two-column screens `is_click` is a click. In the single-column ones it says "
            "that more than 7 seconds were watched, or all of a shorter video: `tab` tells the "
            "screens apart.",
            "The statistics of a video are means over the whole month and all users: as features "
            "they know the future.",
            "Play time is as long as the video runs, repeats included: it may pass `duration_ms`.",
            "Tags and most user features are numbers without names.",
        ),
        read=_read,
        find=_find,
        reading="A row of a log file, one video shown to one user, becomes an `impression` and "
        "what followed it at the same time: a `click` (is_click), or a `view` where the video "
        "played without one, with the play time as `dwell`; a `like`, a `comment`, a `share` "
        "(is_forward) and a `follow`. `slate` is the row's number, counted from 0 through the "
        "three files, standard then random, so that a row can be put together again; what else "
        "was in the list is not known. These come along with every event of the row: is_hate, "
        "long_view, is_profile_enter, is_rand, tab, duration_ms, profile_stay_time, "
        "comment_stay_time. Times are UTC, cut from milliseconds to seconds and ordered by them; "
        "date and hourmin are left out: they say the same in Chinese time. `items`: all columns "
        'of both video files; `category` is the first tag, "unknown" without. `users`: all '
        "columns of the user file.",
    ),
)
