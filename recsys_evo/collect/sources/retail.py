"""Online Retail, of the UCI Machine Learning Repository."""

import numpy as np
import pandas as pd

from recsys_evo.collect.events import Log, categories_from_titles
from recsys_evo.collect.sources.cards import DAMAGE, cards

_RETAIL = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice",
           "CustomerID", "Country")  # fmt: skip
# Stock codes that are postage, discounts, samples, corrections and other people's commission.
_FEES = ("POST", "DOT", "C2", "D", "M", "m", "S", "B", "BANK CHARGES", "CRUK", "AMAZONFEE")


def _find_retail(place):
    """The file in `place` that has the columns of Online Retail, whatever it is called."""
    folders = (place, place / "online_retail", place / "online-retail")
    files = [file for folder in folders if folder.is_dir() for file in sorted(folder.iterdir())]
    unreadable = []
    for file in [place] if place.is_file() else files:
        if file.name.endswith((".csv", ".csv.gz", ".xlsx")):
            try:
                columns = _table(file, nrows=0).columns
            except DAMAGE as error:
                unreadable.append(f"{file} cannot be read ({type(error).__name__}: {error})")
                continue
            if set(_RETAIL) <= set(columns):
                return file
    if unreadable:
        raise ValueError("; ".join(unreadable))
    return None


def _table(file, nrows=None):
    # codes that look like numbers are text all the same
    codes = {"InvoiceNo": str, "StockCode": str}
    if file.suffix == ".xlsx":
        return pd.read_excel(file, dtype=codes, nrows=nrows, engine="calamine")
    return pd.read_csv(file, dtype=codes, nrows=nrows)


def _read_retail(file):
    raw = _table(file)
    paid = raw[raw["UnitPrice"] > 0]
    items = pd.DataFrame(index=pd.Index(raw["StockCode"].unique(), name="id").sort_values())
    # of the paid: what was written off is described by how it was lost
    items["title"] = _most_frequent(paid["StockCode"], paid["Description"])
    items["price"] = paid.groupby("StockCode")["UnitPrice"].median()
    items["product"] = ~items.index.isin(_FEES)
    country = _most_frequent(raw["CustomerID"], raw["Country"])
    users = pd.DataFrame({"id": country.index.astype("int64"), "country": country.to_numpy()})
    log = Log.from_frame(
        raw.assign(
            InvoiceDate=pd.to_datetime(raw["InvoiceDate"], format="ISO8601"),
            action=np.where(raw["Quantity"] < 0, "return", "purchase"),
            amount=raw["UnitPrice"] * raw["Quantity"].abs(),
            quantity=raw["Quantity"].abs().astype("int32"),
            invoice=raw["InvoiceNo"].str.lstrip("AC").astype("int32"),
        ),
        {"user": "CustomerID", "item": "StockCode", "time": "InvoiceDate",
         "quantity": "quantity", "invoice": "invoice"},
        items=items.reset_index(),
        users=users,
        missing_users="keep",
    )  # fmt: skip
    return categories_from_titles(log, 64)


def _most_frequent(keys, values):
    """For each key its most frequent value, the first in the alphabet among equals."""
    counts = pd.DataFrame({"key": keys, "value": values}).value_counts().reset_index()
    counts = counts.sort_values(["key", "count", "value"], ascending=[True, False, True])
    return counts.drop_duplicates("key").set_index("key")["value"]


def _keep_retail(folder):
    """As text: to read the workbook takes a minute each time."""
    workbook = next(folder.glob("*.xlsx"))
    _table(workbook).to_csv(folder / "online-retail.csv.gz", index=False)
    workbook.unlink()


CARDS = cards(__file__, {"online-retail": (_read_retail, _find_retail, _keep_retail)})
