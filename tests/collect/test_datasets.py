"""The loaders: official formats, where files are looked for, and what may go wrong on the way."""

import dataclasses
import errno
import functools
import gzip
import hashlib
import http.server
import os
import re
import shutil
import threading
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pooch
import pytest

from recsys_evo.collect import datasets

FIXTURES = Path(__file__).parent / "fixtures"
RETAIL, MOVIES = "online-retail", "movielens-100k"
SMALL = pytest.mark.filterwarnings("ignore:.*not the official build")

pytestmark = SMALL


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A machine on which no data set is, with an empty cache and no official address."""
    monkeypatch.delenv("RECSYS_EVO_DATA", raising=False)
    monkeypatch.setattr(datasets, "__file__", str(tmp_path / "a/b/c/datasets.py"))
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    for name in datasets.names():
        change_card(monkeypatch, name, address="http://127.0.0.1:9/data.zip")
    return tmp_path


def change_card(monkeypatch, name, **changes):
    card = dataclasses.replace(datasets.card(name), **changes)
    monkeypatch.setitem(datasets._CARDS, name, card)


def unavailable(name, *parts, **options):
    with pytest.raises(datasets.DataUnavailable) as caught:
        datasets.load(name, **options)
    for part in parts:
        assert part in str(caught.value)


def movies():
    return {
        f"ml-100k/{name}": (FIXTURES / "ml-100k" / name).read_bytes()
        for name in ("u.data", "u.item", "u.user")
    } | {"ml-100k/README": b"Invented."}


def checksum(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


# Cards


def test_names_and_cards():
    assert datasets.names() == [RETAIL, MOVIES]
    for name in datasets.names():
        card = datasets.card(name)
        assert card.name == name
        for shown in (repr(card), card._repr_html_()):
            for words in (card.title, card.address, card.licence, "redistribution", "https://doi"):
                assert words.split("'")[0] in shown
            for value in [card.archive_checksum or "none established", *card.members.values()]:
                assert value in shown
            for trap in card.traps:
                assert trap.split("'")[0] in shown


@pytest.mark.parametrize("call", [datasets.card, datasets.load, datasets.available])
def test_an_unknown_name_lists_the_known(call):
    message = "`name` must be one of ['online-retail', 'movielens-100k']. Received: 'netflix'"
    with pytest.raises(ValueError, match=re.escape(message)):
        call("netflix")


# Online Retail


@pytest.fixture
def shop():
    return datasets.load(RETAIL, FIXTURES)


def test_retail_rows_become_purchases_and_returns(shop):
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


def test_retail_items_and_users(shop):
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


def test_retail_cleans(shop):
    _, report = shop.clean()
    assert report["rows"].to_dict() == {
        "unknown user": 4, "duplicate row": 1, "not a product": 1, "cancelled order": 2, "kept": 5,
    }  # fmt: skip


def workbook(path):
    """The fixture as UCI lays it out: numbers as numbers, dates as Excel dates."""
    raw = pd.read_csv(FIXTURES / "online_retail" / "shop.csv", dtype={"StockCode": str})
    for name in ("InvoiceNo", "StockCode"):
        raw[name] = [int(v) if str(v).isdigit() else v for v in raw[name]]
    raw["InvoiceDate"] = pd.to_datetime(raw["InvoiceDate"])
    raw["CustomerID"] = raw["CustomerID"].astype("Int64").astype(object)
    raw.to_excel(path, index=False)


def test_the_workbook_of_uci_gives_the_same_log_under_any_name(shop, tmp_path):
    workbook(tmp_path / "anything.xlsx")
    (tmp_path / "a note.csv").write_text("no,such\n1,2\n")
    log = datasets.load(RETAIL, str(tmp_path))
    pd.testing.assert_frame_equal(log.events, shop.events)
    pd.testing.assert_frame_equal(log.items, shop.items)
    pd.testing.assert_frame_equal(log.users, shop.users)
    again = datasets.load(RETAIL, tmp_path / "anything.xlsx")
    assert len(again) == len(log)


def test_files_with_fewer_rows_than_the_official_build_are_read_with_a_warning():
    with pytest.warns(UserWarning, match=r"shop.csv is not the official build: 13 of 541,909"):
        datasets.load(RETAIL, FIXTURES)


# MovieLens


def test_movielens(tmp_path):
    log = datasets.load(MOVIES, FIXTURES)
    assert len(log) == 12
    assert log.events["action"].eq("rate").all()
    first = log.events[log.events["user"] == 0]
    assert log.items["id"][first["item"]].tolist() == [1, 3, 2, 4]  # a tie as in the file
    assert first["rating"].tolist() == [1, 5, 3, 2]
    assert first["time"].iloc[1] == pd.Timestamp(892000000, unit="s")
    assert log.items["title"].tolist()[1] == "L'Orage d'été (1996)"
    assert log.items["released"].iloc[0] == pd.Timestamp("1995-01-01")
    assert [log.category_names[c] for c in log.items["category"]] == [
        "Animation", "Drama", "unknown", "Film-Noir",
    ]  # fmt: skip
    assert log.items.loc[0, ["Animation", "Comedy", "Drama"]].tolist() == [True, True, False]
    assert log.users.to_dict("list") == {
        "id": [1, 2, 3],
        "age": [24, 53, 23],
        "gender": ["M", "F", "M"],
        "job": ["technician", "other", "writer"],
        "zip": ["01234", "94043", "60615"],
    }
    assert log.n_categories == 19


# Where the files are looked for


def test_the_order_of_looking(alone, monkeypatch):
    def put(folder, rows):
        folder.mkdir(parents=True)
        lines = (FIXTURES / "online_retail" / "shop.csv").read_text().splitlines()
        (folder / "x.csv").write_text("\n".join(lines[: rows + 1]))

    put(alone / "cache/recsys_evo/online-retail", 4)
    assert len(datasets.load(RETAIL)) == 4
    checkout = alone / "checkout"
    monkeypatch.setattr(datasets, "__file__", str(checkout / "recsys_evo/collect/datasets.py"))
    put(alone / "shared/data/online_retail", 5)
    assert len(datasets.load(RETAIL)) == 4  # installed, not a checkout
    checkout.mkdir()
    (checkout / "pyproject.toml").touch()
    assert len(datasets.load(RETAIL)) == 5
    monkeypatch.setenv("RECSYS_EVO_DATA", str(alone / "nowhere"))
    assert len(datasets.load(RETAIL)) == 5
    monkeypatch.setenv("RECSYS_EVO_DATA", str(alone / "mine"))
    put(alone / "mine/online_retail", 6)
    assert len(datasets.load(RETAIL)) == 6
    put(alone / "named", 7)
    assert len(datasets.load(RETAIL, alone / "named")) == 7
    assert datasets.available(RETAIL)
    assert not datasets.available(MOVIES)


def test_nowhere_and_no_network_lists_what_was_tried(alone, monkeypatch):
    monkeypatch.setenv("RECSYS_EVO_DATA", str(alone))
    assert not datasets.available(RETAIL)
    unavailable(
        RETAIL,
        "'online-retail' is not to be had. Tried",
        f"RECSYS_EVO_DATA: it is not in {alone}",
        f"cache: there is no {alone}",
        "official address: ConnectionError",
        "To get it by hand: fetch http://127.0.0.1:9/data.zip, unpack it, and call "
        "load('online-retail', folder=...)",
    )


def test_a_named_folder_is_the_only_place_looked_in(alone):
    unavailable(MOVIES, f"folder: it is not in {alone}", folder=alone)
    unavailable(MOVIES, f"folder: there is no {alone / 'x'}", folder=alone / "x")


# Files that are damaged


def test_files_cut_short(tmp_path):
    lines = (FIXTURES / "online_retail" / "shop.csv").read_text().splitlines()
    long = [lines[1].replace("BLUE KETTLE", os.urandom(20).hex()) for _ in range(20_000)]
    packed = gzip.compress("\n".join([lines[0], *long]).encode())
    (tmp_path / "shop.csv.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(ValueError, match=r"shop.csv.gz must be as its makers publish it; it is "
                       r"damaged or cut short. Received: EOFError"):  # fmt: skip
        datasets.load(RETAIL, tmp_path)
    workbook(tmp_path / "shop.xlsx")
    (tmp_path / "shop.csv.gz").unlink()
    content = (tmp_path / "shop.xlsx").read_bytes()
    (tmp_path / "shop.xlsx").write_bytes(content[:-100])
    unavailable(RETAIL, "shop.xlsx cannot be read (", folder=tmp_path)
    shutil.copytree(FIXTURES / "ml-100k", tmp_path / "ml-100k")
    data = tmp_path / "ml-100k" / "u.data"
    data.write_bytes(data.read_bytes()[:-14])
    with pytest.raises(ValueError, match=r"ml-100k must be as its makers publish it.*cut short. "
                       r"Received: ValueError: column 'item' must not be missing"):  # fmt: skip
        datasets.load(MOVIES, tmp_path)


def test_a_file_that_differs_by_a_byte_is_read_with_a_warning(alone, monkeypatch, recwarn):
    members = {name: checksum(content) for name, content in movies().items() if "u." in name}
    change_card(monkeypatch, MOVIES, rows=12, members=members)
    assert datasets.load(MOVIES, FIXTURES).source.build == "GroupLens, April 1998"
    assert not recwarn.list
    shutil.copytree(FIXTURES / "ml-100k", alone / "ml-100k")
    data = alone / "ml-100k" / "u.data"
    data.write_bytes(data.read_bytes()[:-2])  # the last time loses a digit
    with pytest.warns(UserWarning, match=r"12 of 12 events, other checksum of u.data"):
        datasets.load(MOVIES, alone)


# The official address


@pytest.fixture
def server(alone, monkeypatch):
    """The official address, on this machine: puts an archive there and makes the card fit it."""
    site = alone / "site"
    site.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def copyfile(self, source, output):
            content = source.read()
            output.write(content[: len(content) - self.server.cut])

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=site)
    ) as httpd:
        httpd.cut = 0
        threading.Thread(target=httpd.serve_forever, daemon=True).start()

        def publish(name, content, **changes):
            with zipfile.ZipFile(site / "data.zip", "w") as archive:
                for member, data in content.items():
                    archive.writestr(member, data)
            md5 = hashlib.md5((site / "data.zip").read_bytes()).hexdigest()
            known = {
                member: checksum(data)
                for member, data in content.items()
                if member in datasets.card(name).members
            }
            address = f"http://127.0.0.1:{httpd.server_port}/data.zip"
            fitting = {"address": address, "archive_checksum": f"md5:{md5}", "members": known}
            change_card(monkeypatch, name, **fitting | changes)
            return httpd

        yield publish
        httpd.shutdown()


def cached(alone):
    """What lies in the cache under final or temporary names."""
    return [path.name for path in (alone / "cache" / "recsys_evo").glob("*")]


def test_a_download_shows_a_bar_and_comes_to_stay(alone, server, monkeypatch, capsys):
    server(MOVIES, movies())
    log = datasets.load(MOVIES)
    assert len(log) == 12
    assert "100%" in capsys.readouterr().err
    assert cached(alone) == [MOVIES]
    assert sorted(p.name for p in (alone / "cache/recsys_evo" / MOVIES).iterdir()) == [
        "u.data", "u.item", "u.user",
    ]  # fmt: skip
    assert datasets.available(MOVIES)
    change_card(monkeypatch, MOVIES, address="http://127.0.0.1:9/data.zip")
    assert len(datasets.load(MOVIES)) == 12


def test_the_workbook_is_kept_as_text(alone, server, shop):
    workbook(alone / "book.xlsx")
    server(RETAIL, {"Online Retail.xlsx": (alone / "book.xlsx").read_bytes()},
           archive_checksum=None)  # fmt: skip
    first, second = datasets.load(RETAIL), datasets.load(RETAIL)
    assert [p.name for p in (alone / "cache/recsys_evo" / RETAIL).iterdir()] == [
        "online-retail.csv.gz"
    ]
    for log in (first, second):
        pd.testing.assert_frame_equal(log.events, shop.events)
        pd.testing.assert_frame_equal(log.items, shop.items)


def test_an_unreadable_file_in_the_cache_is_replaced(alone, server):
    folder = alone / "cache/recsys_evo" / MOVIES
    folder.mkdir(parents=True)
    (folder / "u.data").write_text("half")
    server(MOVIES, movies())
    assert len(datasets.load(MOVIES)) == 12


def test_a_wrong_checksum_names_both(alone, server):
    server(MOVIES, movies(), archive_checksum="md5:" + "0" * 32)
    received = hashlib.md5((alone / "site/data.zip").read_bytes()).hexdigest()
    unavailable(MOVIES, f"must be md5:{'0' * 32}. Received: md5:{received}")
    assert cached(alone) == []
    server(MOVIES, movies(), members={"ml-100k/u.data": "sha256:" + "f" * 64})
    received = checksum(movies()["ml-100k/u.data"])
    unavailable(
        MOVIES,
        f"the checksum of ml-100k/u.data must be sha256:{'f' * 64}. Received: {received}",
    )
    assert cached(alone) == []


def test_a_download_cut_short_leaves_nothing(alone, server):
    server(MOVIES, movies(), archive_checksum=None).cut = 300
    unavailable(MOVIES, "official address: ChunkedEncodingError")
    assert cached(alone) == []


def test_an_archive_cut_short_leaves_nothing(alone, server):
    server(MOVIES, movies(), archive_checksum=None)
    archive = alone / "site/data.zip"
    archive.write_bytes(archive.read_bytes()[:-100])
    unavailable(MOVIES, "official address: BadZipFile")
    assert cached(alone) == []


@pytest.mark.parametrize("evil", ["../../evil", "/evil", "ml-100k/../../evil", "C:\\evil",
                                  "..\\evil"])  # fmt: skip
def test_an_archive_member_that_climbs_out_is_refused(alone, server, evil):
    server(MOVIES, movies() | {evil: b"!"})
    unavailable(MOVIES, "members of archive.zip must stay within its folder. Received: ", "evil")
    assert cached(alone) == []
    assert not list(alone.rglob("evil"))


def test_an_archive_without_the_file_says_what_it_holds(alone, server):
    server(MOVIES, {"ml-100k/README": b"moved"}, members={"ml-100k/u.data": "sha256:0"})
    unavailable(MOVIES, "archive.zip must hold 'ml-100k/u.data'. Received: ['ml-100k/README']")


def test_a_page_that_is_gone(alone, server):
    server(MOVIES, movies())
    (alone / "site/data.zip").unlink()
    unavailable(MOVIES, "official address: HTTPError: 404")
    assert cached(alone) == []


def test_a_full_disk_leaves_nothing(alone, server, monkeypatch):
    server(MOVIES, movies())

    def full(source, target):
        target.write(source.read(10))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfileobj", full)
    unavailable(MOVIES, "official address: OSError: [Errno 28] No space left on device")
    assert cached(alone) == []


def test_a_cache_that_may_not_be_written_to(alone, server, monkeypatch):
    server(MOVIES, movies())
    message = f"the cache folder {alone / 'cache' / 'recsys_evo'} may not be written to"
    (alone / "cache").write_text("a file where the folder should be")
    unavailable(MOVIES, message, "Not a directory" if os.name == "posix" else "")
    (alone / "cache").unlink()

    def denied(*args, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(datasets.tempfile, "TemporaryDirectory", denied)
    unavailable(MOVIES, message, "Permission denied")


# The official files, where they are


def folder_of_logs():
    beside = Path(datasets.__file__).parents[3] / "shared" / "data"
    return Path(os.environ.get("RECSYS_EVO_DATA") or beside)


@pytest.fixture(scope="module")
def official():
    """Loads a data set from the data folder; skips only where there is no such folder."""
    if not folder_of_logs().is_dir():
        pytest.skip("no folder of real logs on this machine")
    return functools.cache(lambda name: datasets.load(name, folder_of_logs()))


@pytest.mark.filterwarnings("error:.*not the official build")
def test_official_online_retail(official):
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


@pytest.mark.filterwarnings("error:.*not the official build")
def test_official_online_retail_cleans(official):
    log = official(RETAIL)
    clean, report = log.clean()
    assert report["rows"].sum() == len(log)
    assert report["rows"]["unknown user"] == 541_909 - 406_829
    assert report["rows"]["cancelled order"] == 4
    assert clean.events["quantity"].max() < 70_000
    assert clean.events["amount"].max() == 38_970  # the slip that the card names


@pytest.mark.filterwarnings("error:.*not the official build")
def test_official_movielens(official):
    log = official(MOVIES)
    assert (len(log), log.n_users, log.n_items, log.n_categories) == (100_000, 943, 1_682, 19)
    assert (str(log.start), str(log.end)) == ("1997-09-20", "1998-04-23")
    user, time = log.events["user"].to_numpy(), log.events["time"].to_numpy()
    neighbours = user[1:] == user[:-1]
    same = (time[1:] == time[:-1]) & neighbours
    assert round(100 * same.sum() / len(log), 1) == 50.6
    span = log.events.groupby("user")["time"].agg(lambda t: (t.max() - t.min()).total_seconds())
    assert round(span.median() / 3600, 1) == 0.8
    assert round(100 * (span > 86_400).mean()) == 32
    assert log.events.groupby("user").size().min() == 20
    assert log.items["title"].duplicated().sum() == 18
    toy = log.items.set_index("title").loc["Toy Story (1995)"]
    assert [g for g in log.category_names if toy[g]] == ["Animation", "Children's", "Comedy"]
    assert log.events["rating"].value_counts().to_dict() == {
        1: 6_110, 2: 11_370, 3: 27_145, 4: 34_174, 5: 21_201,
    }  # fmt: skip


def test_official_movielens_files_are_those_of_the_card(official):
    card = datasets.card(MOVIES)
    found = card.find(folder_of_logs())
    for member, expected in card.members.items():
        path = found / Path(member).name
        assert checksum(path.read_bytes()) == expected
