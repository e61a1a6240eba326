"""Amazon Beauty, as S3-Rec published it: sequences without times."""

import json

import numpy as np
import pandas as pd

from recsys_evo.collect.events import Log
from recsys_evo.collect.sources.cards import cards


def _find(place):
    folders = (place, place / "s3rec-beauty", place / "amazon-beauty-s3rec", place / "data")
    files = (place, *(folder / "Beauty.txt" for folder in folders))
    return next((file for file in files if file.name == "Beauty.txt" and file.is_file()), None)


def _read(file):
    """A line is a user and their items, oldest first; other files hold the attributes."""
    lines = [np.array(line.split(), "int64") for line in file.read_text("ascii").splitlines()]
    if not lines or not all(map(len, lines)):
        raise ValueError(f"a line must start with a user. Received: an empty one in {file.name}")
    users, length = [line[0] for line in lines], [len(line) - 1 for line in lines]
    events = pd.DataFrame(
        {
            "user": np.repeat(users, length),
            "item": np.concatenate([line[1:] for line in lines]),
            "time": np.concatenate([np.arange(n) for n in length]).astype("datetime64[s]"),
            "action": "rate",
        }
    )
    items = pd.DataFrame({"id": np.unique(events["item"])})
    attributes = file.with_name("Beauty_item2attributes.json")
    if attributes.is_file():
        of = {int(item): tuple(codes) for item, codes in json.loads(attributes.read_text()).items()}
        known = np.union1d(items["id"], list(of))
        items = pd.DataFrame({"id": known, "attributes": [of.get(item, ()) for item in known]})
    return Log.from_frame(events, items=items, users=pd.DataFrame({"id": users}))


CARDS = cards(__file__, {"amazon-beauty-s3rec": (_read, _find)})
