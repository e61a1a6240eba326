"""Online Retail: text and workbook, against a slow reading, and the official file."""

import csv
import gzip
import io
import os
import shutil
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_evo.collect import datasets
from recsys_evo.collect.sources import retail

from .invented import folder_of
from .official import FIXTURES, SMALL, WHOLE, official

RETAIL = "online-retail"
COLUMNS = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice",
           "CustomerID", "Country"]  # fmt: skip
FEES = {"POST", "DOT", "C2", "D", "M", "m", "S", "B", "BANK CHARGES", "CRUK", "AMAZONFEE"}

pytestmark = SMALL


@pytest.fixture
def shop():
    return datasets.load(RETAIL, FIXTURES)


def test_rows_become_purchases_and_returns(shop):
    events = shop.events
    assert len(shop) == 13
    assert (events["user"] == -1).sum() == 4
    kettle = events[(shop.users["id"] == 501)[events["user"].clip(0)].to_numpy()
                    & (events["user"] >= 0).to_numpy()]  # fmt: skip
    assert kettle["action"].tolist() == ["purchase"] * 4 + ["return"]
    assert kettle["amount"].tolist() == [15, 14.5, 14.5, 18, 5]
    assert kettle["quantity"].tolist() == [6, 2, 2, 1, 2]
    assert kettle["invoice"].tolist() == [100001] * 4 + [100006]
    assert kettle["time"].iloc[0] == pd.Timestamp("2010-12-01 08:26:00")  # wall clock, unmoved
    assert shop.source.name == RETAIL
    assert shop.source.build == "not the official build: 13 of 541,909 events"


def test_items_and_users(shop):
    items = shop.items.set_index("id")
    assert items.index.tolist() == ["10001", "10002A", "10003", "10004", "10005", "B", "POST"]
    assert items["title"].tolist()[:4] == [
        "BLUE KETTLE", "GREEN TEAPOT", "paper lantern", "SILVER LANTERN",
    ]  # fmt: skip
    assert items["title"].isna().tolist() == [False] * 4 + [True, True, False]
    assert items["price"].tolist()[:4] == [2.5, 7.25, 1.25, 3]
    assert items["product"].tolist() == [True] * 5 + [False] * 2
    assert shop.users.to_dict("list") == {"id": [501, 502], "country": ["United Kingdom", "France"]}
    other = shop.category_names.index("other")
    assert items["category"].eq(other).tolist() == [False] * 4 + [True] * 3
    assert (shop.events["category"] == shop.items["category"][shop.events["item"]].array).all()


def test_it_cleans(shop):
    _, report = shop.clean()
    assert report["rows"].to_dict() == {
        "unknown user": 4, "duplicate row": 1, "not a product": 1, "cancelled order": 2, "kept": 5,
    }  # fmt: skip


# The workbook


def workbook(path):
    """The fixture as UCI lays it out: numbers as numbers, dates as Excel dates."""
    raw = pd.read_csv(FIXTURES / "online_retail" / "shop.csv", dtype={"StockCode": str})
    for name in ("InvoiceNo", "StockCode"):
        raw[name] = [int(v) if str(v).isdigit() else v for v in raw[name]]
    raw["InvoiceDate"] = pd.to_datetime(raw["InvoiceDate"])
    raw["CustomerID"] = raw["CustomerID"].astype("Int64").astype(object)
    raw.to_excel(path, index=False)


def same(log, other):
    for name in ("events", "items", "users"):
        pd.testing.assert_frame_equal(getattr(log, name), getattr(other, name))


def test_the_workbook_of_uci_gives_the_same_log_under_any_name(shop, tmp_path):
    workbook(tmp_path / "anything.xlsx")
    (tmp_path / "a note.csv").write_text("no,such\n1,2\n")
    same(datasets.load(RETAIL, str(tmp_path)), shop)
    assert len(datasets.load(RETAIL, tmp_path / "anything.xlsx")) == len(shop)


def test_the_workbook_is_kept_as_text(shop, tmp_path):
    workbook(tmp_path / "Online Retail.xlsx")
    datasets.card(RETAIL).keep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["online-retail.csv.gz"]
    same(datasets.load(RETAIL, tmp_path), shop)


# Damage


def test_a_file_cut_short(tmp_path):
    lines = (FIXTURES / "online_retail" / "shop.csv").read_text().splitlines()
    long = [lines[1].replace("BLUE KETTLE", os.urandom(20).hex()) for _ in range(20_000)]
    packed = gzip.compress("\n".join([lines[0], *long]).encode())
    (tmp_path / "shop.csv.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(ValueError, match=r"shop.csv.gz must be as its makers publish it; it is "
                       r"damaged or cut short. Received: EOFError"):  # fmt: skip
        datasets.load(RETAIL, tmp_path)


@pytest.mark.parametrize("kept", [2, 4, 5])
def test_a_row_cut_short(tmp_path, kept):
    path = tmp_path / "shop.csv"
    shutil.copy(FIXTURES / "online_retail" / "shop.csv", path)
    *lines, last = path.read_text().splitlines()
    path.write_text("\n".join([*lines, ",".join(last.split(",")[:kept])]))
    with pytest.raises(ValueError, match=r"damaged or cut short. Received: \w+Error"):
        datasets.load(RETAIL, tmp_path)


def test_a_workbook_cut_short(tmp_path):
    workbook(tmp_path / "shop.xlsx")
    content = (tmp_path / "shop.xlsx").read_bytes()
    (tmp_path / "shop.xlsx").write_bytes(content[:-100])
    with pytest.raises(datasets.DataUnavailable, match=r"shop.xlsx cannot be read \("):
        datasets.load(RETAIL, tmp_path)


@pytest.mark.parametrize("date", ["12/1/2010 8:26", "yesterday", "2010-13-01 08:26:00"])
def test_dates_that_are_not_official(tmp_path, date):
    text = (FIXTURES / "online_retail" / "shop.csv").read_text()
    (tmp_path / "shop.csv").write_text(text.replace("2010-12-03 11:00:00", date))
    with pytest.raises(ValueError, match=f"damaged or cut short.*{date}"):
        datasets.load(RETAIL, tmp_path)


# Any table against a slow reading

row = st.builds(
    lambda invoice, code, title, quantity, minute, price, customer, country: {
        "InvoiceNo": ("C" if quantity < 0 else "") + str(100_000 + invoice),
        "StockCode": code,
        "Description": title,
        "Quantity": quantity,
        "InvoiceDate": f"2011-01-0{1 + minute // 1440} {minute // 60 % 24:02}:{minute % 60:02}:00",
        "UnitPrice": price,
        "CustomerID": "" if customer is None else f"{customer}.0",
        "Country": country,
    },
    st.integers(0, 3),
    st.sampled_from(["10001", "10002A", "10002a", "00003", "POST", "m"]),
    st.sampled_from(["BLUE KETTLE", "blue kettle", "Lämpchen, großes", 'A "GOOD" TEAPOT', ""]),
    st.sampled_from([1, 2, 5, 90_000, -1, -2, -90_000]),
    st.sampled_from([0, 1, 2, 61, 62, 1440, 1500]),
    st.sampled_from([0.0, 0.5, 2.95, 2.5]),
    st.sampled_from([None, 501, 502, 503]),
    st.sampled_from(["United Kingdom", "France", "Österreich"]),
)


@st.composite
def tables(draw):
    """Rows in any order, with copies."""
    rows = draw(st.lists(row, min_size=1, max_size=25))
    return draw(st.permutations(rows + draw(st.lists(st.sampled_from(rows), max_size=6))))


def seconds(text):
    return int(np.datetime64(text, "s").astype("int64"))


def slow(rows):
    """The events, by customer (those unknown first), then time, then place in the file."""
    events = [
        {
            "user": int(float(row["CustomerID"])) if row["CustomerID"] else None,
            "item": row["StockCode"],
            "time": seconds(row["InvoiceDate"]),
            "action": "return" if row["Quantity"] < 0 else "purchase",
            "amount": float(np.float32(row["UnitPrice"] * abs(row["Quantity"]))),
            "quantity": abs(row["Quantity"]),
            "invoice": int(row["InvoiceNo"].lstrip("AC")),
        }
        for row in rows
    ]
    return sorted(events, key=lambda event: (event["user"] or -1, event["time"]))


def slow_report(events):
    known = [event for event in events if event["user"] is not None]
    distinct = [event for k, event in enumerate(known) if event not in known[:k]]
    goods = [event for event in distinct if event["item"] not in FEES]
    paid = [event["amount"] for event in goods if event["action"] == "purchase"]
    huge = 1000 * np.median(paid) if paid else 0
    undone = set()
    for k, back in enumerate(goods):
        if not huge > 0 or back["action"] != "return" or not back["amount"] > huge:
            continue
        orders = [
            j for j, event in enumerate(goods[:k])
            if j not in undone and event["action"] == "purchase"
            and [event[n] for n in ("user", "item", "amount")]
            == [back[n] for n in ("user", "item", "amount")]
        ]  # fmt: skip
        if orders and back["time"] - goods[orders[-1]]["time"] <= 3600:
            undone |= {orders[-1], k}
    return {
        "unknown user": len(events) - len(known),
        "duplicate row": len(known) - len(distinct),
        "not a product": len(distinct) - len(goods),
        "cancelled order": len(undone),
        "kept": len(goods) - len(undone),
    }


def most_frequent(pairs, key):
    values = [value for each, value in pairs if each == key and value]
    return min(values, key=lambda value: (-values.count(value), value)) if values else None


@settings(max_examples=60, deadline=None)
@given(tables())
def test_any_table_against_a_slow_reading(rows):
    text = io.StringIO()
    lines = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    lines.writeheader()
    lines.writerows(rows)
    # the categories are slow to make, and need titles: test_events.py tries them
    with (
        folder_of({"shop.csv": text.getvalue()}) as folder,
        mock.patch.object(retail, "categories_from_titles", lambda log, n: log),
    ):
        log = datasets.load(RETAIL, folder)
    expected, events = slow(rows), log.events
    users = log.users["id"].to_numpy()
    assert [None if k < 0 else users[k] for k in events["user"]] == [e["user"] for e in expected]
    assert log.items["id"][events["item"]].tolist() == [e["item"] for e in expected]
    assert events["time"].astype("int64").tolist() == [e["time"] for e in expected]
    for name in ("action", "amount", "quantity", "invoice"):
        assert events[name].tolist() == [event[name] for event in expected]

    assert log.items["id"].tolist() == sorted({row["StockCode"] for row in rows})
    for item in log.items.itertuples():
        paid = [r for r in rows if r["StockCode"] == item.id and r["UnitPrice"] > 0]
        title = most_frequent([(r["StockCode"], r["Description"]) for r in paid], item.id)
        assert item.title == title or (title is None and pd.isna(item.title))
        if paid:
            assert item.price == np.median([r["UnitPrice"] for r in paid])
        assert item.product == (item.id not in FEES)
    pairs = [(r["CustomerID"], r["Country"]) for r in rows]
    assert log.users["country"].tolist() == [most_frequent(pairs, f"{k}.0") for k in users]
    assert log.clean()[1]["rows"].to_dict() == slow_report(expected)


# The official file, where it is


@WHOLE
def test_official():
    log = official(RETAIL)
    events = log.events
    assert len(log) == 541_909
    assert (events["user"] >= 0).sum() == 406_829
    assert round(100 * (events["user"] < 0).mean(), 1) == 24.9
    assert log.n_users == events["user"].max() + 1 == 4_372
    assert events["item"][events["user"] >= 0].nunique() == 3_684
    assert (events["action"] == "return").sum() == 10_624
    assert (events["quantity"] > 70_000).sum() == 4  # two orders and their cancellation
    assert (str(log.start), str(log.end)) == ("2010-12-01", "2011-12-10")
    assert np.isfinite(events["amount"]).all()
    fee = log.items["id"].isin(["POST", "M", "D", "C2", "DOT", "BANK CHARGES", "CRUK", "PADS"])
    assert fee[events["item"]].to_numpy()[events["user"] >= 0].sum() == 1_920
    assert not log.items["product"][fee & (log.items["id"] != "PADS")].any()
    assert log.n_categories == 64
    assert log.category_names[-1] == "other"
    shares = events["category"].value_counts(normalize=True)
    assert len(shares) == 64
    assert shares.max() < 0.1
    assert (events["category"] == log.items["category"].to_numpy()[events["item"]]).all()
    # 5,268 copies in the file; two more rows differ in nothing but the wording of the title
    assert events.duplicated().sum() == 5_270


@WHOLE
def test_official_cleans():
    log = official(RETAIL)
    clean, report = log.clean()
    assert report["rows"].sum() == len(log)
    assert report["rows"]["unknown user"] == 541_909 - 406_829
    assert report["rows"]["cancelled order"] == 4
    assert clean.events["quantity"].max() < 70_000
    assert clean.events["amount"].max() == 38_970  # the slip that the card names
