"""The Complete Journey: a year of groceries, as the R package completejourney publishes it."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_evo.collect.events import Log
from recsys_evo.collect.sources.cards import Card

_ZONE = "America/New_York"  # the one that the package's times carry
_COMMIT = "5b5d06192b9856edd04e4d405787af2f2e4a1fef"
_EXTRAS = ("quantity", "retail_disc", "coupon_disc", "coupon_match_disc")
_CAMPAIGNS = ("campaigns", "campaign_descriptions", "coupons", "coupon_redemptions")


def campaigns(folder):
    """What the shop did to sell, as a dict of four DataFrames with whole-number ids.

    `campaigns`: which household got which campaign. `campaign_descriptions`: type, first and last
    day of each. `coupons`: which coupon of which campaign is for which product.
    `coupon_redemptions`: household, coupon, campaign and day. Days are the log's. Coupons were not
    given out at random. `folder` is one that `load` takes; ValueError where the tables are not in
    it. For chapter 12.
    """
    found = _find(_CAMPAIGNS, Path(folder))
    if found is None:
        raise ValueError(f"`folder` must hold {', '.join(_CAMPAIGNS)}. Received: {folder}")
    tables = {name: _table(found, name) for name in _CAMPAIGNS}
    for table in tables.values():
        for column in table.columns[table.columns.str.endswith("_date")]:
            table[column] = pd.to_datetime(table[column], unit="D")
    return tables


def _find(tables, place):
    folders = [place, place / "complete_journey", place / "complete-journey", place / "data"]
    folders += sorted(place.glob("completejourney*/data"))
    for folder in folders:
        if all(_file(folder, table) is not None for table in tables):
            return folder
    return None


def _file(folder, table):
    """A table's file: what `_keep` made of it, else the package's."""
    for ending in ("parquet", "rda", "rds"):
        if (file := folder / f"{table}.{ending}").is_file():
            return file
    return None


def _read(table, folder):
    bought, products, households = (
        _table(folder, name) for name in (table, "products", "demographics")
    )
    time = pd.to_datetime(bought["transaction_timestamp"], unit="s", utc=True)
    events = bought.assign(
        action="purchase",
        time=time.dt.tz_convert(_ZONE).dt.tz_localize(None),  # the time on the shop's clock
        week=bought["week"].astype("int16"),
    ).astype(dict.fromkeys(_EXTRAS, "float32"))
    items = products.rename(
        columns={"product_category": "category", "product_type": "title", "package_size": "size"}
    )
    items = _all(items, "product_id", bought["product_id"])
    return Log.from_frame(
        events,
        {"user": "household_id", "item": "product_id", "amount": "sales_value",
         "basket": "basket_id", "store": "store_id", "week": "week"}
        | {name: name for name in _EXTRAS},
        items=items.assign(category=items["category"].fillna("unknown")),
        users=_all(households, "household_id", bought["household_id"]),
    )  # fmt: skip


def _all(table, key, seen):
    """The table with a row for every id, those `seen` in the log included."""
    table = table.set_index(key)
    return table.reindex(np.union1d(table.index, seen)).rename_axis("id").reset_index()


def _table(folder, name):
    """A table of the package, with whole-number ids, times in seconds and days, as R has them."""
    file = _file(folder, name)
    if file.suffix == ".parquet":
        return pd.read_parquet(file)
    import rdata

    frame = rdata.conversion.DEFAULT_CLASS_MAP["data.frame"]
    classes = dict.fromkeys(("spec_tbl_df", "tbl_df", "tbl", "grouped_df"), frame)
    classes |= dict.fromkeys(("POSIXct", "POSIXt", "Date"), lambda numbers, attributes: numbers)
    classes = rdata.conversion.DEFAULT_CLASS_MAP | classes
    try:
        if file.suffix == ".rds":
            table = rdata.read_rds(file, constructor_dict=classes)
        else:
            table = rdata.read_rda(file, constructor_dict=classes)[name]
    except (AssertionError, IndexError, NotImplementedError) as error:
        raise ValueError(f"{file.name} is not as R writes it: {error!r}") from error
    ids = table.columns[table.columns.str.endswith(("_id", "_upc"))]
    table = table.assign(**{name: _whole(table[name]) for name in ids}).reset_index(drop=True)
    return table.astype(dict.fromkeys(table.select_dtypes("string"), "str"))


def _whole(ids):
    """Text as numbers. R wrote 40128000000 as 4.0128e+10."""
    numbers = ids.to_numpy("float64")
    broken = ids[numbers % 1 != 0]
    if len(broken):
        raise ValueError(f"{ids.name} must be whole numbers. Received: {broken.iloc[0]}")
    return numbers.astype("int64")


def _keep(folder):
    """As Parquet: to read what R wrote takes 20 millionths of a second and 600 bytes a string."""
    for file in folder.glob("*.rd[as]"):
        _table(folder, file.stem).to_parquet(folder / f"{file.stem}.parquet")
        file.unlink()


_SHARED = {
    "address": f"https://github.com/bradleyboehmke/completejourney/archive/{_COMMIT}.zip",
    "licence": "CC0 (the package)",
    "redistribution": "allowed",
    "citation": "Boehmke, B. and Mortimer, S. (2025). completejourney: Retail Shopping Data. "
    "R package version 1.1.1. https://doi.org/10.32614/CRAN.package.completejourney. "
    "The study: 84.51°, The Complete Journey",
    "keep": _keep,
    "archive_checksum": None,
}
_MEMBERS = {
    "campaigns.rda": "33c7b3dc1bc722d465f97416fb1327c6a9a640190e464c73e354bce8c001a772",
    "campaign_descriptions.rda": "601bd17ea1a6de92cc288f393164813fbaf293b997d44054dcf1f3ebbe8dacee",
    "coupons.rda": "4d87effce5b8813c0934b581a83292707347577743320ca746878de89cc16f34",
    "coupon_redemptions.rda": "4b68148175ed19300bb2615d68d1a0300a5f971db3240819ab5d92e5919e1598",
    "demographics.rda": "8b80455bc841003b64e47f5e5c2221f6093b995e923d59e72a1f852c7e268980",
    "products.rda": "a80c6df33623b4af296ae9f317a6647e369db7e8ce7e7baed0e1bf44b9d979e5",
}
_SAMPLE = "3abc5ec5a86c25913564a22314ea9ad2ab98160ebe77ee99672e0378929f0a03"
_READING = (
    "A row of {} is a `purchase`; `amount` is sales_value, the dollars that the shop got. "
    "Come along: `basket`, `store`, `week` (1 to 53, Monday to Sunday), `quantity`, retail_disc, "
    "coupon_disc and coupon_match_disc (dollars off, by the loyalty card, the maker's coupon and "
    "the shop's match of it). Times are those of the shop's clock, New York's in the files, kept "
    "so that days and weeks are the shop's, and not moved to UTC. `items`: every product, bought "
    'or not; `title` (product_type), `category` (product_category, "unknown" without), '
    "department, brand, manufacturer_id, `size`. `users`: every household, with demographics "
    "where they are known. Ids are whole numbers. Campaigns, coupons and redemptions are no acts "
    "on an item: recsys_evo.collect.sources.journey has `campaigns(folder)`. Promotions (mailers "
    "and displays, by store and week) are not read."
)
_TRAPS = (
    "The days of a study whose year is not said were moved onto 2017; 25 December was taken out.",
    "Hours and minutes are the till's; the seconds were made from the basket's number.",
    "Fuel is among the items, its `quantity` in thousandths of a gallon: up to 32,623 in the "
    "sample. So are gift cards and coupons.",
    "A row may have quantity 0: 416 of the sample, 415 of them with amount 0 as well.",
    "801 households have demographics, the others none.",
    "Coupons were not given out at random.",
    "Five products of the sample have no description. Categories are uneven: of the 290 in the "
    "sample 145 have fewer than 100 rows.",
    "R wrote some ids as 4.0128e+10; other programs may read them as text that matches nothing.",
)


def _members(file, checksum):
    top = f"completejourney-{_COMMIT}/data/"
    known = {name: f"sha256:{value}" for name, value in _MEMBERS.items()}
    return {top + name: value for name, value in ({file: checksum} | known).items()}


CARDS = (
    Card(
        name="complete-journey-sample",
        title="The Complete Journey, a sample of the rows: a year of groceries",
        build="R package completejourney 1.1.1, transactions_sample: 75,000 rows of 1,469,307",
        rows=75_000,
        members=_members("transactions_sample.rda", f"sha256:{_SAMPLE}"),
        checksum_note="The members' are ours, of the files of that commit.",
        traps=(
            "A uniform sample of rows, 1 in 20: 1.59 rows a basket. Baskets are torn, and times "
            "between purchases, lifetimes and all counts a household are biased.",
            "29% of the household-weeks have a row.",
            *_TRAPS,
        ),
        read=partial(_read, "transactions_sample"),
        find=partial(_find, ("transactions_sample", "products", "demographics")),
        reading=_READING.format("transactions_sample"),
        sample_of="complete-journey",
        **_SHARED,
    ),
    Card(
        name="complete-journey",
        title="The Complete Journey: a year of groceries of 2,469 households",
        build="R package completejourney 1.1.1, all transactions",
        rows=1_469_307,
        members=_members("transactions.rds", None),
        checksum_note="The members' are ours, of the files of that commit; that of the "
        "transactions nobody has established.",
        traps=(
            "The files of R take minutes and about 4 gigabytes of memory to read: what is fetched "
            "is kept as Parquet.",
            *_TRAPS,
        ),
        read=partial(_read, "transactions"),
        find=partial(_find, ("transactions", "products", "demographics")),
        reading=_READING.format("transactions"),
        **_SHARED,
    ),
)
