"""Online Retail, of the UCI Machine Learning Repository."""

import numpy as np
import pandas as pd

from recsys_evo.collect.events import Log, categories_from_titles
from recsys_evo.collect.sources.cards import DAMAGE, Card

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
    returned = (raw["Quantity"] < 0).to_numpy()
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
            action=np.where(returned, "return", "purchase"),
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


CARDS = (
    Card(
        name="online-retail",
        title="Online Retail: a year of a British gift shop",
        address="https://archive.ics.uci.edu/static/public/352/online+retail.zip",
        build="UCI Machine Learning Repository, data set 352, December 2010 to December 2011",
        licence="CC BY 4.0",
        redistribution="allowed, naming the source",
        citation="Chen, D. (2015). Online Retail [Dataset]. UCI Machine Learning Repository. "
        "https://doi.org/10.24432/C5BW33",
        rows=541_909,
        archive_checksum=None,
        members={
            "Online Retail.xlsx": "sha256:"
            "43465a06f2ccf7c8b5bd2892bc7defb52f97487934fe93b16ae4c3936424676d"
        },
        checksum_note="UCI publishes none; the member's is the one that several independent "
        "projects state for their downloads.",
        traps=(
            "24.9% of the rows have no customer.",
            "10,624 quantities are negative: returns, some of purchases before the log "
            "begins, and 1,336 write-offs of stock at price 0 without a customer.",
            "5,268 rows are copies of others.",
            "Fees have stock codes like goods (POST, DOT, M, ...): 1,916 rows with a customer.",
            "Two orders of over 70,000 pieces were cancelled within minutes; one order of "
            "38,970 pounds was a slip, and its refund is booked under M.",
            "Many customers are wholesalers.",
            "Some stock codes occur in upper and lower case (85123A, 85123a).",
            "8 customers have two countries.",
            "There are no categories: ours are made from the titles. No clicks, no dwell.",
            "Times are British wall-clock time without a zone.",
        ),
        reading="A row is a purchase, or a return where the quantity is negative. `amount` "
        "(pounds) is quantity × unit price and positive for both; two columns come along, "
        "`quantity` (pieces, positive) and `invoice` (its number). Times are kept as they are and "
        "not moved to UTC. `items`: `title` (the most frequent description) and `price` (the "
        "median), both of the rows that were paid; `product` (False for postage and other fees); "
        "`category` (64, made from the titles). `users`: `country` (the most frequent). Rows "
        "without a customer have user -1.",
        read=_read_retail,
        find=_find_retail,
        keep=_keep_retail,
    ),
)
