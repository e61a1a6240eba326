"""The Complete Journey: fixture, random tables in R's format, the real sample."""

import bz2
import gzip
from collections import Counter
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_evo.collect import datasets
from recsys_evo.collect.sources import journey

from .invented import folder_of, read, rows
from .official import FIXTURES, SMALL, WHOLE, folder, official
from .rfiles import write_r

SAMPLE, FULL = "complete-journey-sample", "complete-journey"
JOURNEY = FIXTURES / "complete_journey"
NEW_YORK = ZoneInfo("America/New_York")
EXTRAS = ("quantity", "retail_disc", "coupon_disc", "coupon_match_disc")


def clock(*moment):
    """The time on a shop's clock, as seconds that know no zone."""
    return int((datetime(*moment) - datetime(1970, 1, 1)).total_seconds())


@SMALL
def test_a_row_is_a_purchase_at_the_shops_time():
    log = datasets.load(SAMPLE, FIXTURES)
    columns = ("amount", "basket", "store", "week", *EXTRAS)
    assert rows(log, *columns) == [
        (1, 940, clock(2017, 1, 1, 23, 30, 5), "purchase", 2.5, 31_000_000_001, 309, 1, 1, 0.5, 0,
         0),
        (1, 77, clock(2017, 1, 1, 23, 30, 5), "purchase", 0, 31_000_000_001, 309, 1, 0, 0, 0, 0),
        (1, 940, clock(2017, 7, 4, 12), "purchase", 5, 40_128_000_000, 400, 27, 2, 0, 1, 0.5),
        (30, 900_000, clock(2017, 12, 31, 22), "purchase", 20.25, 41_000_000_000, 309, 53, 8_800,
         0, 0, 0),
    ]  # fmt: skip
    assert log.source.build.startswith("not the official build: 4 of 75,000 events, other checksum")


@SMALL
def test_products_and_households():
    log = datasets.load(SAMPLE, FIXTURES)
    items = log.items.set_index("id")
    assert items.index.tolist() == [77, 940, 941, 900_000]
    assert items["title"].tolist()[1:] == ["CRÈME BRÛLÉE", "RYE", "GASOLINE"]
    assert items["title"].isna().tolist() == [True, False, False, False]
    assert [log.category_names[code] for code in items["category"]] == [
        "unknown", "DESSERTS", "unknown", "FUEL",
    ]  # fmt: skip
    assert items.loc[940, ["manufacturer_id", "department", "brand", "size"]].tolist() == [
        69, "GROCERY", "Private", "50 OZ",
    ]  # fmt: skip
    users = log.users.set_index("id")
    assert users.index.tolist() == [1, 7, 30]
    assert users["income"].isna().tolist() == [False, False, True]
    assert users["income"].cat.ordered
    assert users["income"].tolist()[:2] == ["35-49K", "Under 15K"]


@SMALL
def test_the_full_table_lies_in_the_same_folder():
    log = datasets.load(FULL, JOURNEY)
    assert len(log) == 5
    assert log.source.build.startswith("not the official build: 5 of 1,469,307 events")
    assert log.clean()[1]["rows"]["duplicate row"] == 1


def test_campaigns_lie_beside_the_log():
    tables = journey.campaigns(str(FIXTURES))
    assert tables["campaigns"].to_dict("list") == {"campaign_id": [1, 2], "household_id": [1, 30]}
    described = tables["campaign_descriptions"]
    assert described["start_date"].tolist() == [
        pd.Timestamp("2017-03-03"),
        pd.Timestamp("2017-05-01"),
    ]
    assert described["campaign_type"].tolist() == ["Type B", "Type A"]
    assert tables["coupons"].to_dict("list") == {
        "coupon_upc": [10_000_085_207], "product_id": [900_000], "campaign_id": [1],
    }  # fmt: skip
    assert tables["coupon_redemptions"].iloc[0].tolist() == [
        30, 10_000_085_207, 1, pd.Timestamp("2017-03-10"),
    ]  # fmt: skip
    with pytest.raises(
        ValueError, match="`folder` must hold campaigns, campaign_descriptions, cou"
    ):
        journey.campaigns("/nowhere")


def test_what_is_fetched_is_kept_as_parquet():
    files = {path.name: path.read_bytes() for path in JOURNEY.iterdir()}
    with folder_of(files) as place:
        before = {name: read(name, place) for name in (SAMPLE, FULL)}
        tables = journey.campaigns(place)
        datasets.card(SAMPLE).keep(place)
        assert {path.suffix for path in place.iterdir()} == {".parquet"}
        for name, log in before.items():
            kept = read(name, place)
            for table in ("events", "items", "users"):
                pd.testing.assert_frame_equal(getattr(kept, table), getattr(log, table))
            assert kept.category_names == log.category_names
        for name, table in journey.campaigns(place).items():
            pd.testing.assert_frame_equal(table, tables[name])


def test_the_folders_of_an_unpacked_archive_are_known():
    files = {path.name: path.read_bytes() for path in JOURNEY.iterdir()}
    for inside in ("data", "completejourney-5b5d061/data", "complete-journey"):
        with folder_of({f"{inside}/{name}": content for name, content in files.items()}) as place:
            assert datasets.card(FULL).find(place) == place / inside
    with folder_of({name: x for name, x in files.items() if name != "products.rda"}) as place:
        assert datasets.card(SAMPLE).find(place) is None


text = st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
cents = st.integers(0, 10_000).map(lambda n: n / 4)
# the hours about which the clocks of New York change, and any others
second = st.integers(1_489_300_000, 1_489_310_000) | st.integers(1_509_850_000, 1_509_870_000)
bought = st.fixed_dictionaries(
    {
        "household_id": st.integers(1, 4),
        "store_id": st.sampled_from([309, 100_000]),
        "basket_id": st.sampled_from([40_128_000_000, 31_625_220_889]),
        "product_id": st.integers(1, 5) | st.just(900_000),
        "quantity": st.integers(0, 9),
        "sales_value": cents,
        "retail_disc": cents,
        "coupon_disc": cents,
        "coupon_match_disc": cents,
        "week": st.integers(1, 53),
        "transaction_timestamp": second | st.integers(1_483_228_800, 1_514_764_799),
    }
)
products = st.dictionaries(st.integers(1, 6), st.tuples(text, text), min_size=1)


def r_text(number):
    """A number as R turns it into text: as short as it can."""
    short = f"{number:.15g}"
    mantissa, exponent = f"{number:.14e}".split("e")
    scientific = f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent):+03d}"
    return scientific if len(scientific) < len(short) else short


def r_table(records, **types):
    table = pd.DataFrame(records)
    for name in table:
        if name.endswith(("_id", "_upc")):
            table[name] = [r_text(number) for number in table[name]]
    return table.astype(types)


@given(
    st.lists(bought, min_size=1, max_size=8).flatmap(
        lambda rows: st.lists(st.sampled_from(rows), min_size=1, max_size=10)  # with copies
    ),
    products,
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_any_tables_are_read_as_a_loop_reads_them(bought, products, full):
    with folder_of({}) as place:
        table = r_table(bought, week="int32", quantity="float64")
        name = "transactions.rds" if full else "transactions_sample.rda"
        write_r(place / name, table)
        described = [
            {"product_id": id, "manufacturer_id": 2, "department": "X", "brand": "National",
             "product_category": category, "product_type": title, "package_size": None}
            for id, (category, title) in products.items()
        ]  # fmt: skip
        write_r(place / "products.rda", r_table(described))
        write_r(place / "demographics.rda", r_table([{"household_id": 3, "age": "65+"}]))
        log = read(FULL if full else SAMPLE, place)
    expected = []
    for row in bought:
        at = datetime.fromtimestamp(row["transaction_timestamp"], NEW_YORK).replace(tzinfo=None)
        expected.append(
            (row["household_id"], row["product_id"], clock(*at.timetuple()[:6]), "purchase",
             row["sales_value"], row["basket_id"], row["store_id"], row["week"],
             *(row[name] for name in EXTRAS))
        )  # fmt: skip
    expected.sort(key=lambda row: (row[0], row[2]))  # stable
    assert rows(log, "amount", "basket", "store", "week", *EXTRAS) == expected
    assert log.users["id"].tolist() == sorted({row[0] for row in expected} | {3})
    assert log.items["id"].tolist() == sorted({row[1] for row in expected} | set(products))
    for id, title, code in log.items[["id", "title", "category"]].itertuples(index=False):
        category, expected_title = products.get(id, (None, None))
        assert log.category_names[code] == ("unknown" if category is None else category)
        assert pd.isna(title) if expected_title is None else title == expected_title
    report = log.clean()[1]["rows"]
    assert report["duplicate row"] == len(expected) - len(Counter(expected))
    assert report["kept"] == len(Counter(expected))


def damaged(content, how):
    return {"cut": content[: len(content) // 2], "empty": b"", "other": b"RDX9\n" + content}[how]


@pytest.mark.filterwarnings("ignore:.*RDS")
@pytest.mark.parametrize("how", ["cut", "empty", "other"])
@pytest.mark.parametrize("name", ["transactions_sample.rda", "products.rda", "demographics.rda"])
def test_a_damaged_file_says_so(name, how):
    files = {path.name: path.read_bytes() for path in JOURNEY.iterdir()}
    files[name] = damaged(files[name], how)
    with folder_of(files) as place, pytest.raises(ValueError, match="damaged or cut short"):
        datasets.load(SAMPLE, place)


@pytest.mark.filterwarnings("ignore:.*RDS")
def test_whole_content_that_breaks_off_says_so():
    """A file that unpacks well, but whose content is not all there."""
    for name in ("transactions_sample.rda", "products.rda"):
        content = gzip.decompress((JOURNEY / name).read_bytes())
        for end in range(0, len(content), 23):
            files = {path.name: path.read_bytes() for path in JOURNEY.iterdir()}
            files[name] = bz2.compress(content[:end])
            with folder_of(files) as place, pytest.raises(ValueError, match="damaged or cut short"):
                datasets.load(SAMPLE, place)


def test_ids_that_are_no_whole_numbers_say_so():
    for value, message in (
        ("1.5", "product_id must be whole numbers. Received: 1.5"),
        ("A1", "A1"),
    ):
        with folder_of({}) as place:
            for path in JOURNEY.iterdir():
                (place / path.name).write_bytes(path.read_bytes())
            table = pd.DataFrame({"product_id": ["1", value]})
            write_r(place / "products.rda", table)
            with pytest.raises(ValueError, match=f"damaged or cut short.*{message}"):
                datasets.load(SAMPLE, place)


@WHOLE
def test_the_real_sample():
    log = official(SAMPLE)
    events = log.events
    assert (len(log), log.n_users, log.n_items) == (75_000, 2_377, 92_331 + 5)
    assert events["item"].nunique() == 20_902
    assert (str(log.start), str(log.end)) == ("2017-01-01", "2018-01-01")
    assert round(len(log) / events["basket"].nunique(), 2) == 1.59
    assert log.n_categories == 303 + 1
    sold = events["category"].value_counts().drop(log.category_names.index("unknown"))
    assert (len(sold), (sold < 100).sum()) == (290, 145)
    assert log.users["age"].notna().sum() == 801
    weeks = events[["user", "week"]].drop_duplicates()
    assert round(100 * len(weeks) / (2_377 * 53)) == 29
    undescribed = log.items["department"].isna()
    assert undescribed.sum() == 5
    assert events["quantity"].max() == 32_623
    fuel = log.items["title"].eq("GASOLINE-REG UNLEADED").to_numpy()[events["item"]]
    assert fuel[events["quantity"] > 100].all()
    none = events["quantity"] == 0
    assert (none.sum(), (none & (events["amount"] == 0)).sum()) == (416, 415)
    assert log.clean()[1]["rows"]["kept"] == len(log)


def test_days_of_the_real_sample_are_the_shops():
    """The weeks that the makers count, Monday to Sunday, are those of the log's days."""
    events = official(SAMPLE).events
    days = events["time"].to_numpy().astype("datetime64[D]")
    monday = np.datetime64("2016-12-26")
    assert ((days - monday).astype(int) // 7 + 1 == events["week"]).all()
    year = np.arange("2017-01-01", "2018-01-01", dtype="datetime64[D]")
    assert set(year) - set(days) == {np.datetime64("2017-12-25")}


def test_real_campaigns():
    tables = journey.campaigns(folder())
    assert {name: len(table) for name, table in tables.items()} == {
        "campaigns": 6_589, "campaign_descriptions": 27, "coupons": 116_204,
        "coupon_redemptions": 2_102,
    }  # fmt: skip
    days = tables["coupon_redemptions"]["redemption_date"]
    assert (days.dt.year == 2017).all()
    described = tables["campaign_descriptions"]
    assert (described["start_date"] < described["end_date"]).all()
    assert set(tables["campaigns"]["campaign_id"]) == set(described["campaign_id"])
    assert tables["coupons"]["product_id"].isin(official(SAMPLE).items["id"]).mean() > 0.99
