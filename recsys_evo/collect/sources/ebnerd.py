"""EB-NeRD: a Danish newspaper's lists of articles, clicks and reading times."""

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_evo.collect.events import Log
from recsys_evo.collect.sources.cards import cards, holding, with_all

# A split, the smallest first; a bundle holds its articles beside its splits.
_FOLDERS = ("ebnerd-sample", "train", "ebnerd_demo/train", "ebnerd_small/train",
            "ebnerd_large/train")  # fmt: skip
_USER = ["gender", "postcode", "age", "is_sso_user", "is_subscriber"]
_FRONT = 0  # the id given to the front page; articles have numbers far above


def _find(place):
    for folder in holding(place, ("behaviors.parquet", "history.parquet"), *_FOLDERS):
        if "article_ids_inview" in pq.read_schema(folder / "behaviors.parquet").names:
            return folder
    return None


def _read(folder):
    behaviors = pq.read_table(folder / "behaviors.parquet")
    history = pq.read_table(folder / "history.parquet")
    events = pd.concat([_history(history), _behaviors(behaviors)], ignore_index=True)
    rows = behaviors.select(["user_id", "impression_time", *_USER]).to_pandas()
    known = rows.sort_values("impression_time", kind="stable").groupby("user_id")[_USER].last()
    return Log.from_frame(
        events,
        {name: name for name in ("scroll", "device", "session")},
        items=_items(folder, events["item"]),
        users=with_all(known, history["user_id"]),
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
    items = with_all(articles, ids)
    items["category"] = items["category"].fillna("unknown")
    items.loc[items["id"] == _FRONT, "title"] = "front page"
    return items.assign(product=items["id"] != _FRONT)


CARDS = cards(__file__, {"ebnerd": (_read, _find)})
