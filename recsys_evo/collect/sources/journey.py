"""The Complete Journey: a year of groceries, as the R package completejourney publishes it."""

from functools import partial

import pandas as pd

from recsys_evo.collect.events import Log
from recsys_evo.collect.sources.cards import cards, found, with_all

_ZONE = "America/New_York"  # the one that the package's times carry
# Card: its table of purchases.
_BUILDS = {"complete-journey-sample": "transactions_sample", "complete-journey": "transactions"}
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
    folder = found(partial(_find, _CAMPAIGNS), folder, _CAMPAIGNS)
    tables = {name: _table(folder, name) for name in _CAMPAIGNS}
    for table in tables.values():
        for column in table.columns[table.columns.str.endswith("_date")]:
            table[column] = pd.to_datetime(table[column], unit="D")
    return tables


def _find(tables, place):
    folders = [place, place / "complete_journey", place / "complete-journey", place / "data"]
    folders += sorted(place.glob("completejourney*/data"))
    whole = (folder for folder in folders if all(_file(folder, table) for table in tables))
    return next(whole, None)


def _file(folder, table):
    """A table's file: what `_keep` made of it, else the package's."""
    files = (folder / f"{table}.{ending}" for ending in ("parquet", "rda", "rds"))
    return next((file for file in files if file.is_file()), None)


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
    items = with_all(items.set_index("product_id"), bought["product_id"])
    return Log.from_frame(
        events,
        {"user": "household_id", "item": "product_id", "amount": "sales_value",
         "basket": "basket_id", "store": "store_id", "week": "week"}
        | {name: name for name in _EXTRAS},
        items=items.assign(category=items["category"].fillna("unknown")),
        users=with_all(households.set_index("household_id"), bought["household_id"]),
    )  # fmt: skip


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


CARDS = cards(
    __file__,
    {
        name: (partial(_read, table), partial(_find, (table, "products", "demographics")), _keep)
        for name, table in _BUILDS.items()
    },
)
