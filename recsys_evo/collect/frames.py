"""The careful door to the event log: reading anybody's own table (see `Log.from_frame`).

`label` is throughout what the owner of the table calls the column.
"""

from datetime import date

import numpy as np
import pandas as pd

from recsys_evo.collect.events import COLUMNS, actions, refuse


def read(df, columns, items, users, missing_users):
    """The keyword arguments of `Log` for a stranger's table."""
    if missing_users not in ("raise", "keep"):
        raise ValueError(f"`missing_users` must be 'raise' or 'keep'. Received: {missing_users!r}")
    given, labels = _pick(df, columns)
    events, tables, names = {}, {}, None
    for role, name, table in (("user", "users", users), ("item", "items", items)):
        events[role], tables[name] = _ids(labels[role], given[role], name, table)
    if missing_users == "raise":
        hint = 'must not be missing (missing_users="keep" gives such rows the code -1)'
        refuse(labels["user"], hint, given["user"], given["user"].isna())
    refuse(labels["item"], "must not be missing", given["item"], given["item"].isna())
    events["time"] = _times(labels["time"], given["time"])
    if "category" in given:
        events["category"], names = _categories(labels["category"], given["category"])
    elif "category" in tables["items"]:
        codes, names = _categories("`items['category']`", tables["items"]["category"])
        tables["items"] = tables["items"].assign(category=codes)
    if "action" in given:
        events["action"] = actions(labels["action"], given["action"])
    for role in [role for role in _NUMBERS if role in given]:
        events[role] = _numbers(labels[role], given[role], COLUMNS[role], *_NUMBERS[role])
    extras = {role: values for role, values in given.items() if role not in COLUMNS}
    return {"events": pd.DataFrame(events | extras), **tables, "category_names": names}


def _pick(df, columns):
    """The named columns of `df` by our names, on a RangeIndex, and how to speak of each."""
    if not isinstance(df, pd.DataFrame):
        raise ValueError(f"`df` must be a pandas DataFrame. Received: {type(df).__name__}")
    theirs = {role: role for role in COLUMNS if role in df} | dict(columns)
    absent = [column for column in theirs.values() if column not in df]
    if absent:
        raise ValueError(
            f"`columns` must name columns of `df`, which has {list(df.columns)}. "
            f"Received: {absent[0]!r}"
        )
    absent = [role for role in ("user", "item", "time") if role not in theirs]
    if absent:
        raise ValueError(
            f"`df` must have a column {absent[0]!r}; say which of yours it is with "
            f"columns={{{absent[0]!r}: ...}}. Received: {list(df.columns)}"
        )
    twice = [column for column in theirs.values() if (df.columns == column).sum() > 1]
    if twice:
        raise ValueError(f"`df` must have each column once. Received: several {twice[0]!r}")
    if not len(df):
        raise ValueError("`df` must have at least one row. Received: an empty table")
    labels = {
        role: f"column {column!r}" + (f" (`{role}`)" if column != role else "")
        for role, column in theirs.items()
    }
    return {role: df[column].reset_index(drop=True) for role, column in theirs.items()}, labels


def _ids(label, values, name, table):
    """Codes of the ids, -1 where missing, and the side table that turns codes back into ids."""
    if table is None:
        try:
            codes, ids = pd.factorize(values)
        except TypeError as error:
            raise ValueError(f"{label} must hold ids. Received: {error}") from None
        ids = pd.Series(ids)
        if ids.dtype.kind == "f" and ((ids % 1 == 0) & (ids.abs() < 2**63)).all():
            ids = ids.astype("int64")
        return codes, pd.DataFrame({"id": ids})
    if "id" not in table:
        raise ValueError(f"`{name}` must have a column 'id'. Received: {list(table.columns)}")
    table = table.reset_index(drop=True)
    refuse(f"`{name}['id']`", "must hold each id once", table["id"], table["id"].duplicated())
    codes = pd.Index(table["id"]).get_indexer(values)
    refuse(label, f"must hold ids of `{name}`", values, (codes < 0) & values.notna())
    return codes, table


def _times(label, values):
    """Whole seconds in UTC."""
    refuse(label, "must not be missing", values, values.isna())
    if not pd.api.types.is_datetime64_any_dtype(values):
        text = values.map(type).isin([str])
        rule = "must be datetimes or ISO 8601 text (pandas.to_datetime reads much else)"
        refuse(label, rule, values, ~(text | values.map(lambda value: isinstance(value, date))))
        aware = values.map(lambda value: getattr(value, "tzinfo", None) is not None)
        aware |= values.where(text, "").str.contains(r"[T ]\d\d.*(?:Z|[+-]\d\d(?::?\d\d)?)$")
        given, values = values, pd.to_datetime(values, format="ISO8601", utc=True, errors="coerce")
        refuse(label, rule, given, values.isna())
        if aware.any():
            rule = f"must all have a time zone, as row {aware.argmax()} has, or none"
            refuse(label, rule, given, ~aware)
    if values.dt.tz is not None:
        values = values.dt.tz_convert("UTC").dt.tz_localize(None)
    return values.astype("datetime64[s]")


def _categories(label, values):
    """Codes, and the names where the values are text."""
    refuse(label, "must not be missing", values, values.isna())
    if not values.map(type).isin([str]).any():
        return _numbers(label, values, COLUMNS["category"], *_WHOLE), None
    codes, names = pd.factorize(values.astype(str), sort=True)
    if len(names) > 2**15:
        raise ValueError(f"{label} must hold at most {2**15:,} names. Received: {len(names):,}")
    return codes.astype("int16"), names


def _numbers(label, values, column, rule, valid, missing_allowed):
    """The numbers in the column's type, with its default where they are missing."""
    dtype, default = column
    unknown = values.isna().to_numpy()
    numbers = values
    if not pd.api.types.is_numeric_dtype(values):
        numbers = pd.to_numeric(values.astype(str), errors="coerce")
    if pd.api.types.is_integer_dtype(numbers):
        numbers = numbers.fillna(0)  # floats would round what lies past 2**53
    whole = pd.api.types.is_integer_dtype(numbers) and numbers.max() < 2**63
    numbers = numbers.astype("int64" if whole else "float64")
    if dtype.startswith("int"):
        high = np.iinfo(dtype).max
        rule = rule.format(high=high)
        fits = (numbers % 1 == 0) & (numbers <= high) & valid(numbers)
    else:
        with np.errstate(over="ignore"):
            fits = valid(numbers.astype(dtype))  # beyond float32 is infinite
    refuse(label, rule, values, ~np.where(unknown, missing_allowed, fits))
    return numbers.mask(unknown, default).astype(dtype)


# Column: (its rule, the rule for numbers, may it be missing)
_WHOLE = ("must be whole numbers from 0 to {high}, or text", lambda x: x >= 0, False)
_NUMBERS = {
    "dwell": ("must be finite seconds, 0 or more", lambda x: (x >= 0) & np.isfinite(x), True),
    "amount": ("must be finite numbers, 0 where nothing was paid", np.isfinite, False),
    "rating": ("must be finite numbers", np.isfinite, True),
    "slate": ("must be whole numbers from -1 to {high}", lambda x: x >= -1, True),
    "position": ("must be whole numbers from -1 to {high}", lambda x: x >= -1, True),
    "propensity": ("must lie in (0, 1]", lambda x: (x > 0) & (x <= 1), True),
}
