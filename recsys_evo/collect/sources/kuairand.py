"""KuaiRand-Pure: a short-video app, with videos shown at random among the recommended."""

import numpy as np
import pandas as pd

from recsys_evo.collect.events import Log
from recsys_evo.collect.sources.cards import cards, finder, with_all

_LOGS = ("log_standard_4_08_to_4_21_pure.csv", "log_standard_4_22_to_5_08_pure.csv",
         "log_random_4_22_to_5_08_pure.csv")  # fmt: skip
_FEATURES = ("user_features_pure.csv", "video_features_basic_pure.csv",
             "video_features_statistic_pure.csv")  # fmt: skip
_FLAGS = {"is_click": "click", "is_like": "like", "is_comment": "comment", "is_forward": "share",
          "is_follow": "follow"}  # fmt: skip
_EXTRAS = {"is_hate": "bool", "long_view": "bool", "is_profile_enter": "bool", "is_rand": "bool",
           "tab": "int8", "duration_ms": "float32", "profile_stay_time": "float32",
           "comment_stay_time": "float32"}  # fmt: skip


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
    items = _all(items, "video_id", shown)
    items["category"] = [
        tags.split(",")[0] if isinstance(tags, str) else "unknown" for tags in items["tag"]
    ]
    names = {"user": "user_id", "item": "video_id"} | {name: name for name in _EXTRAS}
    return Log.from_frame(events, names, items=items, users=_all(users, "user_id", shown))


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


def _all(table, key, shown):
    return with_all(table.astype({key: "int64"}).set_index(key), shown[key])


_find = finder(_LOGS + _FEATURES, "data", "KuaiRand-Pure/data", "kuairand-pure")
CARDS = cards(__file__, {"kuairand-pure": (_read, _find)})
