"""The event log: the one table that every other module speaks.

One row of `Log.events` is one event: a user, an item, a second, and what happened. Beside it lie
two side tables, `Log.items` and `Log.users`, that keep the original ids and whatever else is known.
`Log(...)` is for code that makes logs; `Log.from_frame(...)` is for anybody's own table. Chapters
02 and 03 introduce it; all later chapters use it.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

# From shown to rated. The order is the order of the categorical, not a scale of worth.
ACTIONS = ("impression", "view", "click", "cart", "purchase", "return",
           "like", "comment", "share", "follow", "rate")  # fmt: skip
ACTION = pd.CategoricalDtype(ACTIONS, ordered=True)

# Column: (type, value where the log does not know). None: must be given.
COLUMNS = {
    "user": ("int32", None),  # code of a row of `users`; -1 is an unknown user
    "item": ("int32", None),  # code of a row of `items`
    "time": ("datetime64[s]", None),  # UTC
    "category": ("int16", 0),
    "action": (ACTION, "click"),
    "dwell": ("float32", np.nan),  # seconds
    "amount": ("float32", 0),  # in the log's currency
    "rating": ("float32", np.nan),
    "slate": ("int64", -1),  # which list the item was shown in; -1 is none
    "position": ("int16", -1),  # place in that list, from 0; -1 is unknown
    "propensity": ("float32", np.nan),  # probability with which the item was shown, in (0, 1]
}


@dataclass(frozen=True)
class Source:
    """Where a log comes from: data set, build, licence and the citation that its makers ask for."""

    name: str
    build: str = ""
    licence: str = ""
    citation: str = ""


class Log:
    """Events with their items, users and source.

    Parameters
    ----------
    events : DataFrame with the columns `user`, `item`, `time` and any others of `COLUMNS`, in
        codes and UTC. Missing columns get their defaults (`category`: that of the item, where
        `items` has one). Further columns are kept after the known ones. Nothing is copied or
        sorted that is right already; the frame that was handed in stays as it is.
    items, users : DataFrame, row k describes code k; column `id` holds the original ids.
        By default the ids are the codes themselves.
    source : Source, where it is known.
    category_names : sequence of str, one a category code.

    Attributes
    ----------
    events : DataFrame with a RangeIndex, sorted by user, then time; ties keep the given order.
    items, users, source, category_names : as above; `category_names` is a tuple or None.

    Raises
    ------
    ValueError for missing columns, missing times and codes without a row in their table.
    """

    def __init__(self, events, items=None, users=None, source=None, *, category_names=None):
        absent = [c for c, (_, default) in COLUMNS.items() if default is None and c not in events]
        if absent:
            raise ValueError(
                f"`events` must have the columns user, item and time. Missing: {', '.join(absent)}"
            )
        self.source = source
        self.category_names = None if category_names is None else tuple(category_names)
        self.items = _side_table("items", items, events["item"])
        self.users = _side_table("users", users, events["user"])
        self.events = _table(events, self.items)
        _check_codes("user", self.events["user"], -1, self.n_users)
        _check_codes("item", self.events["item"], 0, self.n_items)
        _check_codes("category", self.events["category"], 0, self.n_categories)

    def __len__(self):
        return len(self.events)

    def __repr__(self):
        span = f"{self.start} to {self.end - 1}" if len(self) else "empty"
        name = f"{self.source.name}: " if self.source else ""
        return (
            f"Log({name}{len(self):,} events, {self.n_users:,} users, {self.n_items:,} items, "
            f"{self.n_categories:,} categories, {span})"
        )

    @property
    def n_users(self):
        """Number of known users, those without an event included."""
        return len(self.users)

    @property
    def n_items(self):
        """Number of items, those without an event included."""
        return len(self.items)

    @property
    def n_categories(self):
        """Number of category names; without names, the largest category code plus one."""
        if self.category_names is not None:
            return len(self.category_names)
        tables = [t["category"] for t in (self.events, self.items) if "category" in t and len(t)]
        return int(max((t.max() for t in tables), default=-1)) + 1

    @property
    def start(self):
        """Midnight of the first event's day, datetime64[D]."""
        return self._times().min().astype("datetime64[D]")

    @property
    def end(self):
        """Midnight after the last event's day, datetime64[D]: the span is [start, end)."""
        return self._times().max().astype("datetime64[D]") + 1

    @property
    def touch(self):
        """(events,) bool: True where the user acted, so neither an impression nor a return."""
        codes = self.events["action"].cat.codes.to_numpy()
        return (codes != ACTIONS.index("impression")) & (codes != ACTIONS.index("return"))

    def where(self, mask):
        """The log of the rows where `mask`, (events,) bool, is True; codes and tables stay."""
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.shape != (len(self),):
            raise ValueError(
                f"`mask` must be {len(self)} booleans, one an event. "
                f"Received: {mask.dtype} of shape {mask.shape}"
            )
        return self._replace(events=self.events[mask].reset_index(drop=True))

    def _replace(self, **changes):
        kept = ("events", "items", "users", "source", "category_names")
        return Log(**{name: getattr(self, name) for name in kept} | changes)

    def _times(self):
        if not len(self):
            raise ValueError("an empty log has neither `start` nor `end`. Received: 0 events")
        return self.events["time"].to_numpy()


def _side_table(name, table, codes):
    if table is None:
        n = max(int(codes.max()), -1) + 1 if len(codes) else 0
        return pd.DataFrame({"id": np.arange(n)})
    if "id" not in table:
        raise ValueError(f"`{name}` must have a column 'id'. Received: {list(table.columns)}")
    if len(table) and not np.array_equal(table.index, np.arange(len(table))):
        raise ValueError(f"`{name}` must have the codes 0 … {len(table) - 1} as its index")
    return table


def _table(events, items):
    """`events` with all columns, typed and sorted; no column is copied that is right already."""
    events = events.reset_index(drop=True)  # a lazy copy: writing to either leaves the other
    for name in events.columns.intersection(["user", "item", "category"]):
        _check_codes(name, events[name], -(2**31), np.iinfo(COLUMNS[name][0]).max + 1)
    given = {name: events[name] for name in events}
    for name in given.keys() & COLUMNS.keys():
        if given[name].dtype != COLUMNS[name][0]:
            given[name] = given[name].astype(COLUMNS[name][0])
    order = _order(given["user"].to_numpy(), given["time"].to_numpy())
    if order is not None:
        given = {name: values.array.take(order) for name, values in given.items()}

    n = len(events)
    columns = {}
    for name, (dtype, default) in COLUMNS.items():
        if name in given:
            columns[name] = given.pop(name)
        elif name == "category" and "category" in items and n:
            columns[name] = items["category"].to_numpy(dtype)[np.asarray(columns["item"])]
        elif dtype is ACTION:
            codes = np.full(n, ACTIONS.index(default), "int8")
            columns[name] = pd.Categorical.from_codes(codes, dtype=ACTION)
        else:
            columns[name] = np.full(n, default, dtype)
    return pd.DataFrame(columns | given, copy=False)


def _order(user, time):
    """The stable order by user, then time; None where that is the order they are in."""
    time = time.view("int64")
    if not len(time):
        return None
    if time.min() == np.iinfo("int64").min:
        raise ValueError(f"`time` must not be missing. Received: NaT in row {time.argmin()}")
    if ((user[1:] > user[:-1]) | ((user[1:] == user[:-1]) & (time[1:] >= time[:-1]))).all():
        return None
    first, span = int(time.min()), int(time.max()) - int(time.min()) + 1
    if (int(user.max()) + 2) * span >= 2**63:
        return np.lexsort((time, user))
    return np.argsort(user * np.int64(span) + (time - first), kind="stable")  # twice as fast


def _check_codes(name, codes, low, high):
    if len(codes) and not (low <= codes.min() and codes.max() < high):
        row = int(((codes < low) | (codes >= high)).to_numpy().argmax())
        raise ValueError(
            f"`{name}` codes must lie in [{low}, {high}). Received: {codes.iloc[row]} in row {row}"
        )
