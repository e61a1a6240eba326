"""EB-NeRD: a Danish newspaper's lists of articles, clicks and reading times."""

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_evo.collect.events import Log
from recsys_evo.collect.sources.cards import Card

# A split, the smallest first; a bundle holds its articles beside its splits.
_FOLDERS = ("", "ebnerd-sample", "train", "ebnerd_demo/train", "ebnerd_small/train",
            "ebnerd_large/train")  # fmt: skip
_USER = ["gender", "postcode", "age", "is_sso_user", "is_subscriber"]
_FRONT = 0  # the id given to the front page; articles have numbers far above


def _find(place):
    for folder in (place / name for name in _FOLDERS):
        files = (folder / "behaviors.parquet", folder / "history.parquet")
        if all(file.is_file() for file in files) and (
            "article_ids_inview" in pq.read_schema(files[0]).names
        ):
            return folder
    return None


def _read(folder):
    behaviors = pq.read_table(folder / "behaviors.parquet")
    history = pq.read_table(folder / "history.parquet")
    events = pd.concat([_history(history), _behaviors(behaviors)], ignore_index=True)
    rows = behaviors.select(["user_id", "impression_time", *_USER]).to_pandas()
    known = rows.sort_values("impression_time", kind="stable").groupby("user_id")[_USER].last()
    users = known.reindex(np.union1d(known.index, history["user_id"])).rename_axis("id")
    return Log.from_frame(
        events,
        {name: name for name in ("scroll", "device", "session")},
        items=_items(folder, events["item"]),
        users=users.reset_index(),
    )


def _history(table):
    """A view an entry."""
    article, row = _lists(table, "article_id_fixed")
    return pd.DataFrame(
        {
            "user": table["user_id"].to_numpy()[row],
            "item": article,
            "time": _lists(table, "impression_time_fixed")[0],
            "action": "view",
            "dwell": _lists(table, "read_time_fixed")[0],
            "scroll": _lists(table, "scroll_percentage_fixed")[0],
            "slate": -1,
            "device": np.int8(-1),
            "session": -1,
        }
    )


def _behaviors(table):
    """A row is a view of the page, an impression for each article listed, then the clicks."""
    read, scroll, read_next, scroll_next = (
        table[name].to_numpy()
        for name in ("read_time", "scroll_percentage", "next_read_time", "next_scroll_percentage")
    )
    page = pc.fill_null(table["article_id"], _FRONT).to_numpy()
    shown, shown_in = _lists(table, "article_ids_inview")
    clicked, clicked_in = _lists(table, "article_ids_clicked")
    first = np.r_[True, clicked_in[1:] != clicked_in[:-1]]  # whose reading is the next reading
    parts = [
        (page, np.arange(len(table)), "view", read, scroll),
        (shown, shown_in, "impression", np.nan, np.nan),
        (clicked, clicked_in, "click", np.where(first, read_next[clicked_in], np.nan),
         np.where(first, scroll_next[clicked_in], np.nan)),
    ]  # fmt: skip
    events = pd.concat(
        pd.DataFrame({"item": item, "row": row, "action": action, "dwell": dwell, "scroll": depth})
        for item, row, action, dwell, depth in parts
    )
    events = events.sort_values("row", kind="stable", ignore_index=True)
    row = events.pop("row").to_numpy()
    return events.assign(
        scroll=events["scroll"].astype("float32"),
        user=table["user_id"].to_numpy()[row],
        time=table["impression_time"].to_numpy()[row],
        slate=table["impression_id"].to_numpy()[row],
        device=table["device_type"].to_numpy()[row],
        session=table["session_id"].to_numpy()[row].astype("int64"),
    )


def _lists(table, name):
    """The lists of a column end to end, and the row that each entry is of."""
    lists = table[name].combine_chunks()
    entries, row = pc.list_flatten(lists), pc.list_parent_indices(lists)
    return entries.to_numpy(zero_copy_only=False), row.to_numpy()


def _items(folder, seen):
    """The articles, those without a description included, and the front page."""
    ids = np.union1d(seen.unique(), [_FRONT])
    file = next((f for f in (folder, folder.parent) if (f / "articles.parquet").is_file()), None)
    if file is None:
        return pd.DataFrame({"id": ids, "product": ids != _FRONT})
    table = pq.read_table(file / "articles.parquet")
    articles = table.drop_columns("body").to_pandas().set_index("article_id")
    articles = articles.rename(columns={"category": "category_id", "category_str": "category"})
    items = articles.reindex(np.union1d(articles.index, ids)).rename_axis("id").reset_index()
    items["category"] = items["category"].fillna("unknown")
    items.loc[items["id"] == _FRONT, "title"] = "front page"
    return items.assign(product=items["id"] != _FRONT)


CARDS = (
    Card(
        name="ebnerd",
        title="EB-NeRD: which news were listed, clicked and read at Ekstra Bladet",
        address="https://recsys.eb.dk",
        build="the training split of a bundle (demo, small or large) of the RecSys Challenge 2024",
        licence="terms of the RecSys Challenge 2024, for research",
        redistribution="as the terms allow; not established here",
        citation="Kruse, J., Lindskow, K., Kalloori, S., Polignano, M., Pomo, C., Srivastava, A., "
        "Uppal, A., Andersen, M. R. and Frellsen, J. (2024). EB-NeRD: A Large-Scale Dataset for "
        "News Recommendation. RecSysChallenge '24, 1-11. https://doi.org/10.1145/3687151.3687152",
        rows=None,
        archive_checksum=None,
        members={},
        checksum_note="The makers publish none.",
        traps=(
            "The files name no time zone; times are as they are there.",
            "Only lists with a click are there: 1,046 lists of a sample have 1,047 clicks. A click "
            "rate from them says nothing.",
            "The order in a list is not that of the page: in the sample the clicked article lies "
            "as early as late, as at random. So `position` is unknown.",
            "The front page is an article of ours, id 0, in no list: 740 of 1,046 pages of the "
            "sample. `Log.clean` drops it as no product.",
            "`dwell` of a click is the reading of the article that it led to. Where that page has "
            "a list of its own, the same reading is a view's too: 93 of the sample's 306 views of "
            "an article. Sum over one of the two.",
            "The reading and scrolling of a click are known after it: as features they tell the "
            "answer.",
            "The history ends where the lists begin, and has no impressions.",
            "Users have 5 to 1,000 clicks in three weeks, by selection.",
            "Ages are decades. In the sample 57% of the rows have no age, 76% no postcode and 23% "
            "no gender.",
            "A sample of 44 users, without articles, is a check of the format and no data set.",
        ),
        read=_read,
        find=_find,
        instructions="the files lie behind a form with terms at https://recsys.eb.dk. Accept them "
        "there, fetch ebnerd_demo, ebnerd_small or ebnerd_large, and unpack it; name the folder "
        "`validation` in it to read that split in place of `train`",
        reading="A row of behaviors.parquet becomes a `view` of the page that was open, with its "
        "reading time as `dwell` (seconds); an `impression` for each article listed on it; and a "
        "`click` for each clicked, with the next reading time as `dwell` (of the first, where "
        "there are two). All have the row's time and its impression_id as `slate`. An entry in "
        "history.parquet becomes a `view` with slate -1. Come along: `scroll` (percent, of view "
        "and click), `device` (device_type; -1 in the history) and `session` "
        "(-1 in the history). `items`: `product` (False for the front page) and, where "
        "articles.parquet lies in the folder or beside it, all of its columns but the body, "
        "`category` by name. `users`: gender, postcode, age, is_sso_user and is_subscriber, the "
        "latest given.",
    ),
)
