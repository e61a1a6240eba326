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
IMPRESSION, PURCHASE, RETURN = map(ACTIONS.index, ("impression", "purchase", "return"))
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
        By default the ids are the codes themselves. A column `category` of `items` holds codes.
    source : Source, where it is known.
    category_names : sequence of str, one a category code.

    Attributes
    ----------
    events : DataFrame with a RangeIndex, sorted by user, then time; ties keep the given order.
    items, users, source, category_names : as above; `category_names` is a tuple or None.
    n_categories : int, the number of names; without names, the largest category code plus one.

    Raises
    ------
    ValueError for missing columns, missing times, unknown actions, and codes without a row in
    their table. What else may be wrong with a stranger's table, `from_frame` looks for.
    """

    def __init__(self, events, items=None, users=None, source=None, *, category_names=None):
        absent = [c for c, (_, default) in COLUMNS.items() if default is None and c not in events]
        if absent:
            raise ValueError(
                f"`events` must have the columns user, item and time. Missing: {', '.join(absent)}"
            )
        _check_codes("user", events["user"], -1)
        _check_codes("item", events["item"], 0)
        self.source = source
        self.items = _side_table("items", items, events["item"])
        self.users = _side_table("users", users, events["user"])
        if "category" in self.items and self.items["category"].dtype.kind not in "iu":
            raise ValueError(
                "`items['category']` must hold integer codes, with `category_names` beside them. "
                f"Received: dtype {self.items['category'].dtype}"
            )
        self.events = _table(events, self.items)
        _check_codes("user", self.events["user"], -1, self.n_users)
        _check_codes("item", self.events["item"], 0, self.n_items)
        if category_names is None:
            self.category_names = None
            known = [t["category"] for t in (self.events, self.items) if "category" in t]
            self.n_categories = 1 + int(max((c.max() for c in known if len(c)), default=-1))
        else:
            self.category_names = tuple(category_names)
            self.n_categories = len(self.category_names)
        _check_codes("category", self.events["category"], 0, self.n_categories)
        if "category" in self.items:
            _check_codes("items['category']", self.items["category"], 0, self.n_categories)

    @classmethod
    def from_frame(
        cls, df, columns=None, *, items=None, users=None, source=None, missing_users="raise"
    ):
        """A log from anybody's own table, which is checked row by row and never changed.

        Parameters
        ----------
        df : DataFrame, one event a row, in any order and with any index.
        columns : dict from our name to the column of `df`, such as `{"user": "CustomerID"}`;
            names that are the same need no entry. Columns that are neither ours nor named here
            are left out; one named here under a name of its own comes along as it is.
        items, users : DataFrame with a column `id` that has every id in `df` once, to keep more
            about them. By default they are made from `df`, in the order of first appearance.
        source : Source, where it is known.
        missing_users : "raise", or "keep" to give rows without a user the code -1.

        User and item ids may be of any type. Times are datetimes or ISO 8601 text, become UTC,
        and are cut to whole seconds; those without a time zone are taken to be UTC already.
        Categories are codes from 0, or text, which is sorted, numbered and kept as
        `category_names`. Missing `dwell`, `rating`, `slate`, `position` and `propensity` mean
        unknown; nothing else may be missing.

        Raises
        ------
        ValueError with the column, the rule, the value and its row (by position, from 0).
        """
        from recsys_evo.collect.frames import read

        return cls(**read(df, columns or {}, items, users, missing_users), source=source)

    def clean(self):
        """(log, report): the log without the rows that mislead, and how many went for what.

        Dropped are, a row under the first that fits: rows of unknown users; copies of an earlier
        row, alike in every column; rows of items whose `items["product"]` is False, where there
        is such a column; and *cancelled orders*: a purchase worth more than 1,000 times the
        median purchase, with the return that undoes it (same user, item and amount) within the
        hour. The report has one row a reason and one for the rows kept; `rows` adds up to all.
        """
        log, rows = self, {}
        for reason, find in _DROPS.items():
            dropped = find(log)
            rows[reason] = int(dropped.sum())
            if dropped.any():
                log = log.where(~dropped)
        rows["kept"] = len(log)
        return log, pd.DataFrame({"rows": pd.Series(rows)}).rename_axis("reason")

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
        return touching(self.events["action"].cat.codes.to_numpy())

    @property
    def purchase(self):
        """(events,) bool: True where the user bought."""
        return self.events["action"].cat.codes.to_numpy() == PURCHASE

    def where(self, mask):
        """The log of the rows where `mask`, (events,) bool, is True; codes and tables stay."""
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.shape != (len(self),):
            raise ValueError(
                f"`mask` must be {len(self)} booleans, one an event. "
                f"Received: {mask.dtype} of shape {mask.shape}"
            )
        log = self._replace(events=self.events[mask])
        log.n_categories = self.n_categories
        return log

    def _replace(self, **changes):
        kept = ("events", "items", "users", "source", "category_names")
        return Log(**{name: getattr(self, name) for name in kept} | changes)

    def _times(self):
        if not len(self):
            raise ValueError("an empty log has neither `start` nor `end`. Received: 0 events")
        return self.events["time"].to_numpy()


def touching(codes):
    """Which action codes, an int array, are touches: see `Log.touch`."""
    return (codes != IMPRESSION) & (codes != RETURN)


def group_categories(log, n):
    """(log, report): at most `n` categories; the rarest are folded into a last one, "other".

    The `n` - 1 categories with the most events keep their order and names. A log with no more
    than `n` comes back as it is. The report has one row an old category: its `name`, `events`
    and new code, `group`. Used where a model needs a fixed number of categories (chapter 04).
    """
    _check_count("n", n, 1)
    size = np.bincount(log.events["category"], minlength=log.n_categories)
    names = log.category_names or tuple(str(code) for code in range(log.n_categories))
    group = np.arange(log.n_categories)
    if log.n_categories > n:
        kept = np.sort(np.argsort(-size, kind="stable")[: n - 1])
        group = np.full(log.n_categories, n - 1)
        group[kept] = np.arange(n - 1)
        changed = {"events": log.events, "items": log.items}
        for name, table in changed.items():
            if "category" in table:
                codes = group[table["category"]].astype("int16")
                changed[name] = table.assign(category=codes)
        log = log._replace(**changed, category_names=[*(names[k] for k in kept), "other"])
    report = pd.DataFrame({"name": names, "events": size, "group": group})
    return log, report.rename_axis("category")


def categories_from_titles(log, n):
    """The log with up to `n` categories made from the words of `items["title"]`.

    TF-IDF vectors of the titles, reduced to 50 dimensions and set to length 1, are put into
    clusters by k-means from a fixed start. A category is called after its three heaviest words;
    codes follow the names' alphabet. Items without a title, and those that are no products,
    share a last category, "other". Where there are fewer distinct titles than `n`, there are
    fewer categories. For logs without categories of their own (chapter 03).
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    _check_count("n", n, 2)
    if "title" not in log.items:
        raise ValueError(
            f"`log.items` must have a column 'title'. Received: {list(log.items.columns)}"
        )
    title = log.items["title"].fillna("").astype(str).str.lower()
    if "product" in log.items:
        title = title.where(log.items["product"], "")
    vectoriser = TfidfVectorizer(
        token_pattern=r"[^\W\d_]{3,}", stop_words="english", sublinear_tf=True
    )
    try:
        weights = vectoriser.fit_transform(title)
    except ValueError:  # scikit-learn's "empty vocabulary"
        raise ValueError("`log.items['title']` must hold words. Received: none") from None
    words = vectoriser.get_feature_names_out()
    titled = np.flatnonzero(weights.getnnz(axis=1))
    weights = weights[titled]
    svd = TruncatedSVD(min(50, *weights.shape), random_state=0)
    points = normalize(svd.fit_transform(weights))
    k = min(n - (len(titled) < len(title)), len(np.unique(points.round(6), axis=0)))
    cluster = KMeans(k, n_init=4, random_state=0).fit(points).labels_

    names = []
    for code in range(k):
        weight = np.asarray(weights[cluster == code].mean(axis=0)).ravel()
        name = " ".join(words[i] for i in np.argsort(-weight, kind="stable")[:3] if weight[i] > 0)
        names.append(name if name not in names else f"{name} ({code})")
    rank = np.argsort(np.argsort(names))
    category = np.full(len(title), k)
    category[titled] = rank[cluster]
    names = sorted(names) + ["other"] * (len(titled) < len(title))
    category = category.astype("int16")
    return log._replace(
        events=log.events.assign(category=category[log.events["item"]]),
        items=log.items.assign(category=category),
        category_names=names,
    )


def _side_table(name, table, codes):
    if table is None:
        n = int(codes.max()) + 1 if len(codes) else 0
        if n > 2**27:
            raise ValueError(
                f"`{name}` must be given where codes go beyond {2**27:,}, or the numbers are ids: "
                f"see Log.from_frame. Received: code {n - 1}"
            )
        return pd.DataFrame({"id": np.arange(n)})
    if "id" not in table:
        raise ValueError(f"`{name}` must have a column 'id'. Received: {list(table.columns)}")
    if not np.array_equal(table.index, np.arange(len(table))):
        raise ValueError(
            f"`{name}` must have the codes 0 … {len(table) - 1} as its index, in order. "
            f"Received: {list(table.index[:3])} …"
        )
    return table.copy(deep=False)  # lazy: writing to either leaves the other


def _table(events, items):
    """`events` with all columns, typed and sorted; no column is copied that is right already."""
    events = events.reset_index(drop=True)  # lazy as well
    given = {name: events[name] for name in events}
    for name in given.keys() & COLUMNS.keys():
        dtype = COLUMNS[name][0]
        if dtype is ACTION:
            given[name] = actions("`action`", given[name])
        elif given[name].dtype != dtype:
            if dtype.startswith("int"):  # a cast would wrap round
                _check_codes(name, given[name], -1, np.iinfo(dtype).max + 1)
            given[name] = given[name].astype(dtype)
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
    n = len(user)
    if (int(user.max()) + 2) * span * n >= 2**63:
        return np.lexsort((time, user))
    # User, time and row in one number: sorting values is six times as fast as sorting by them.
    key = (user.astype("int64") * span + (time - first)) * n + np.arange(n)
    key.sort()
    return key % n


def _check_codes(name, codes, low, high=2**31):
    if len(codes) and not (low <= codes.min() and codes.max() < high):
        row = int(((codes < low) | (codes >= high)).to_numpy().argmax())
        raise ValueError(
            f"`{name}` codes must lie in [{low}, {high}). Received: {codes.iloc[row]} in row {row}"
        )


def _check_count(name, n, least):
    if not isinstance(n, (int, np.integer)) or isinstance(n, bool) or n < least:
        raise ValueError(f"`{name}` must be an integer of at least {least}. Received: {name}={n!r}")


def refuse(label, rule, values, bad):
    """Raise for the first row that is `bad`, (rows,) bool, if there is one."""
    rows = np.flatnonzero(bad)
    if len(rows):
        value = values.iloc[rows[0]]
        value = value.item() if isinstance(value, np.generic) else value
        more = f" and in {len(rows) - 1:,} more" if len(rows) > 1 else ""
        raise ValueError(f"{label} {rule}. Received: {value!r} in row {rows[0]}{more}")


def actions(label, values):
    """The actions as a categorical of the right order; one that is that already, as it is."""
    if values.dtype == ACTION and not (values.cat.codes == -1).any():
        return values
    codes = pd.Index(ACTIONS).get_indexer(values)
    refuse(label, f"must be one of {', '.join(ACTIONS)}", values, codes < 0)
    return pd.Series(pd.Categorical.from_codes(codes, dtype=ACTION))


# What `clean` drops: each finds its rows, (events,) bool, in what the ones before have left.


def _unknown_users(log):
    return log.events["user"].to_numpy() < 0


def copies(log):
    """Which rows, (events,) bool, are alike in every column to an earlier one."""
    user, time = log.events["user"].to_numpy(), log.events["time"].to_numpy()
    later = (user[1:] != user[:-1]) | (time[1:] != time[:-1])
    # Copies share user, second and item; few other rows do, and only these are compared in full.
    key = np.cumsum(np.r_[False, later][: len(log)]) * log.n_items + log.events["item"].to_numpy()
    order = np.argsort(key, kind="stable")  # fast on what is nearly sorted
    same = np.flatnonzero(key[order[1:]] == key[order[:-1]])
    near = np.unique(order[np.r_[same, same + 1]])
    found = np.zeros(len(log), bool)
    found[near] = log.events.iloc[near].duplicated()
    return found


def _no_products(log):
    if "product" not in log.items:
        return np.zeros(len(log), bool)
    return ~log.items["product"].to_numpy(bool)[log.events["item"]]


def _cancelled(log):
    found = np.zeros(len(log), bool)
    action = log.events["action"]
    huge = 1000 * log.events["amount"][action == "purchase"].median()
    if not huge > 0:  # no purchases, or half of them for nothing: no measure of size
        return found
    pairs = log.events[action.isin(["purchase", "return"]) & (log.events["amount"] > huge)]
    bought = {}  # within a user in the order of time
    for event in pairs.itertuples():
        order = (event.user, event.item, event.amount)
        if event.action == "purchase":
            bought.setdefault(order, []).append(event)
        elif bought.get(order) and event.time - bought[order][-1].time <= pd.Timedelta(hours=1):
            found[[bought[order].pop().Index, event.Index]] = True
    return found


_DROPS = {
    "unknown user": _unknown_users,
    "duplicate row": copies,
    "not a product": _no_products,
    "cancelled order": _cancelled,
}
