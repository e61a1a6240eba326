"""Amazon Beauty, as S3-Rec published it: sequences without times."""

import json

import numpy as np
import pandas as pd

from recsys_evo.collect.events import Log
from recsys_evo.collect.sources.cards import Card


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


CARDS = (
    Card(
        name="amazon-beauty-s3rec",
        title="Amazon Beauty: who reviewed what, in order",
        address="https://github.com/RUCAIBox/CIKM2020-S3Rec",
        build="S3-Rec (CIKM 2020), 5-core of the Beauty reviews of 1996 to 2014",
        licence="none stated",
        redistribution="not known to be allowed",
        citation="Zhou, K., Wang, H., Zhao, W. X., Zhu, Y., Wang, S., Zhang, F., Wang, Z. and Wen, "
        "J.-R. (2020). S3-Rec: Self-Supervised Learning for Sequential Recommendation with Mutual "
        "Information Maximization. CIKM '20, 1893-1902. https://doi.org/10.1145/3340531.3411954. "
        "The reviews: McAuley, J., Targett, C., Shi, Q. and van den Hengel, A. (2015). Image-Based "
        "Recommendations on Styles and Substitutes. SIGIR '15, 43-52. "
        "https://doi.org/10.1145/2766462.2767755",
        rows=198_502,
        archive_checksum=None,
        members={
            "data/Beauty.txt": "sha256:"
            "226cce9c3105299ca0db9615d7d3fb32b3175e90da43100ae352599f0f0107b8",
            "data/Beauty_item2attributes.json": "sha256:"
            "129e40f67486f6877eff0f5318cfa8530ee8ac23d8b0d1de04e1bb7a2ba0b2d4",
        },
        checksum_note="S3-Rec publishes none; the members' are ours.",
        traps=(
            "The files give an order and no times. The seconds of the log are places in it: days, "
            "gaps and the order between users mean nothing.",
            "Every user and every item has 5 reviews or more, by selection over the whole span: "
            "what is left knows the future.",
            "A user reviews an item once; a review is no purchase, and comes later.",
            "Ids are numbered anew, in the order of first appearance: a low one appears early in "
            "the file.",
            "For leave-one-out on these lists, a popularity baseline that counts the held-out "
            "items too reaches HR@10 .0152. Without them it is .0141 if equal scores count for the "
            "user, and .0136 if they share their ranks.",
        ),
        read=_read,
        find=_find,
        instructions="https://github.com/RUCAIBox/CIKM2020-S3Rec states no licence, so nothing is "
        "fetched for you. If you may use it, put `Beauty.txt` and `Beauty_item2attributes.json` "
        "of its folder `data` into one folder",
        reading="An item in a user's line is a `rate` whose stars the file does not have: `rating` "
        "is unknown. `time` is the place in the line, one second each from 1970-01-01: it orders "
        "a user's own events and says nothing else. `items`: `attributes`, a tuple of numbers "
        "that stand for categories and brands.",
    ),
)
