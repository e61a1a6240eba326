"""Amazon Beauty, as S3-Rec published it: sequences without times."""

import json

import numpy as np
import pandas as pd

from recsys_evo.collect.events import Log
from recsys_evo.collect.sources.cards import cards


def _find(place):
    folders = (place, place / "s3rec-beauty", place / "amazon-beauty-s3rec", place / "data")
    for file in (place, *(folder / "Beauty.txt" for folder in folders)):
        if file.name == "Beauty.txt" and file.is_file():
            return file
    return None


def _read(file):
    """A line is a user and their items, oldest first; other files hold the attributes."""
    lines = [np.array(line.split(), "int64") for line in file.read_text("ascii").splitlines()]
    if not lines or not all(map(len, lines)):
        raise ValueError(f"a line must start with a user. Received: an empty one in {file.name}")
    items = [line[1:] for line in lines]
    length = np.array([len(each) for each in items])
    events = pd.DataFrame(
        {
            "user": np.repeat([line[0] for line in lines], length),
            "item": np.concatenate(items),
            "time": np.concatenate([np.arange(n) for n in length]).astype("datetime64[s]"),
            "action": "rate",
        }
    )
    known = np.unique(events["item"])
    attributes = file.with_name("Beauty_item2attributes.json")
    if attributes.is_file():
        of = {int(item): tuple(codes) for item, codes in json.loads(attributes.read_text()).items()}
        known = np.union1d(known, list(of))
        table = pd.DataFrame({"id": known, "attributes": [of.get(item, ()) for item in known]})
    else:
        table = pd.DataFrame({"id": known})
    return Log.from_frame(events, items=table, users=pd.DataFrame({"id": [k[0] for k in lines]}))


CARDS = cards(__file__, {"amazon-beauty-s3rec": {"read": _read, "find": _find}})
