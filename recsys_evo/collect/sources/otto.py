"""OTTO: sessions of a German web shop."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from recsys_evo.collect.events import ACTION, ACTIONS, Log
from recsys_evo.collect.sources.cards import cards

# Training files under the names of the competition and of the data set that came after it.
_NAMES = ("train.jsonl", "otto-recsys-train.jsonl")
_ACTIONS = {"clicks": "click", "carts": "cart", "orders": "purchase"}
_BLOCK = 2**24  # bytes that are read at a time
_EVENT = pa.struct([("aid", pa.int32()), ("ts", pa.int64()), ("type", pa.string())])
_SCHEMA = pa.schema([("session", pa.int64()), ("events", pa.list_(_EVENT))])


def _find(place):
    """The training file, or the file named; other people's train.jsonl begins otherwise."""
    folders = (place, place / "otto", place / "otto-sample")
    for file in (place, *(folder / name for folder in folders for name in _NAMES)):
        if file.suffix == ".jsonl" and file.is_file():
            with open(file, encoding="utf-8") as lines:
                first = json.loads(lines.readline())
            if isinstance(first, dict) and {"session", "events"} <= set(first):
                return file
    return None


def _read(file):
    """Block by block, and without `from_frame`: 217 million events have to fit in memory once."""
    parts, sessions, n = [], [], 0
    block = pj.ReadOptions(block_size=_BLOCK)
    format = pj.ParseOptions(explicit_schema=_SCHEMA, unexpected_field_behavior="ignore")
    with pj.open_json(file, block, format) as batches:
        for batch in batches:
            parts.append(_columns(batch, n))
            sessions.append(batch["session"].to_numpy())
            n += len(batch)
    user, item, time, action = (np.concatenate([part.pop(0) for part in parts]) for _ in range(4))
    known = np.zeros(item.max() + 1, bool)
    known[item] = True
    item = (np.cumsum(known, dtype="int32") - 1)[item]
    events = {"user": user, "item": item, "time": time.view("datetime64[s]"),
              "action": pd.Categorical.from_codes(action, dtype=ACTION)}  # fmt: skip
    users = pd.DataFrame({"id": np.concatenate(sessions)})
    if users["id"].duplicated().any():
        twice = users["id"][users["id"].duplicated()].iloc[0]
        raise ValueError(f"each session must have one line. Received: two of {twice}")
    items = pd.DataFrame({"id": np.flatnonzero(known)})
    return Log(pd.DataFrame(events, copy=False), items, users)


def _columns(batch, first):
    """[user, item, second, action code] of the events in a batch of lines, as arrays."""
    events = batch["events"]
    flat = events.flatten()
    aid, ts, type = (flat.field(name) for name in ("aid", "ts", "type"))
    action = pc.index_in(type, pa.array(_ACTIONS))
    whole = (batch["session"], events, flat, aid, ts, action)
    if any(part.null_count for part in whole) or (len(aid) and pc.min(aid).as_py() < 0):
        raise ValueError(
            "a line must have a session and events with aid (0 or more), ts (milliseconds) and "
            f"type ({', '.join(_ACTIONS)}). Received: others in lines {first} to "
            f"{first + len(batch) - 1}"
        )
    user = np.repeat(np.arange(first, first + len(batch), dtype="int32"), events.value_lengths())
    ts = ts.to_numpy()
    codes = np.array([ACTIONS.index(name) for name in _ACTIONS.values()], "int8")
    columns = [user, aid.to_numpy(), ts // 1000, codes[action.to_numpy()]]
    if ((np.diff(user) == 0) & (np.diff(ts) < 0)).any():  # the log would sort by seconds only
        order = np.lexsort((ts, user))
        columns = [column[order] for column in columns]
    return columns


CARDS = cards(__file__, {"otto": (_read, _find)})
