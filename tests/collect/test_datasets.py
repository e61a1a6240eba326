"""`load`: where files are looked for, what is fetched, and what may go wrong on the way."""

import dataclasses
import errno
import functools
import hashlib
import html
import http.server
import io
import os
import re
import shutil
import tarfile
import threading
import zipfile
from pathlib import Path

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


def test_names():
    assert datasets.names() == [
        "online-retail", "movielens-100k", "movielens-1m", "movielens-latest-small-2016",
        "movielens-latest-small", "movielens-25m", "movielens-32m", "complete-journey-sample",
        "complete-journey", "otto", "kuairand-pure", "ebnerd", "lastfm-hetrec-2011",
        "amazon-beauty-s3rec",
    ]  # fmt: skip


@pytest.mark.parametrize("name", datasets.names())
def test_a_card_shows_all_that_it_knows(name):
    card = datasets.card(name)
    assert card.name == name
    for shown in (repr(card), html.unescape(card._repr_html_())):
        for words in (card.title, card.address, card.build, card.licence, card.redistribution,
                      card.citation, card.checksum_note, card.reading, *card.traps):  # fmt: skip
            assert words
            assert words in shown
        assert (card.instructions or "") in shown
        assert ("how to get it" in shown) == (card.instructions is not None)
        rows = "an unknown number of" if card.rows is None else f"{card.rows:,}"
        assert f"{card.build}; {rows} events" in shown
        assert f"archive: {card.archive_checksum or 'none established'}. " in shown
        for member, value in card.members.items():
            assert f"Member {member}: {value or 'none established'}. " in shown


@pytest.mark.parametrize("name", datasets.names())
def test_a_card_is_whole(name):
    card = datasets.card(name)
    assert card.address.startswith("https://")
    assert card.members or card.instructions is not None
    length = {"md5": 32, "sha256": 64}
    for value in [card.archive_checksum, *card.members.values()]:
        if value is not None:
            algorithm, digits = value.split(":")
            assert re.fullmatch("[0-9a-f]+", digits)
            assert len(digits) == length[algorithm]


@pytest.mark.parametrize("call", [datasets.card, datasets.load, datasets.available])
def test_an_unknown_name_lists_the_known(call):
    message = f"`name` must be one of {datasets.names()}. Received: 'netflix'"
    with pytest.raises(ValueError, match=re.escape(message)):
        call("netflix")


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
        "To get it by hand: fetch http://127.0.0.1:9/data.zip and unpack it. Then call "
        "load('online-retail', folder=...)",
    )


def test_a_named_folder_is_the_only_place_looked_in(alone):
    unavailable(MOVIES, f"folder: it is not in {alone}", folder=alone)
    unavailable(MOVIES, f"folder: there is no {alone / 'x'}", folder=alone / "x")


# Files that are not the official ones


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
    change_card(monkeypatch, MOVIES, rows=None)
    with pytest.warns(UserWarning, match=r"build: 12 events, other checksum of u.data"):
        datasets.load(MOVIES, alone)


def test_fewer_rows_than_the_official_build_are_read_with_a_warning():
    with pytest.warns(UserWarning, match=r"shop.csv is not the official build: 13 of 541,909"):
        datasets.load(RETAIL, FIXTURES)


def test_what_nobody_has_established_is_not_checked(monkeypatch, recwarn):
    nothing = dict.fromkeys(datasets.card(MOVIES).members)
    change_card(monkeypatch, MOVIES, rows=None, members=nothing)
    assert datasets.load(MOVIES, FIXTURES).source.build == "GroupLens, April 1998"
    assert not recwarn.list


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

        def publish(name, content, pack=zipped, **changes):
            pack(site / "data.zip", content)
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


def zipped(path, content):
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in content.items():
            archive.writestr(member, data)


def tarred(path, content, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for folder in ("./", "ml-100k/"):
            archive.addfile(directory(folder))
        for member, data in content.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def directory(name):
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE
    return info


PACKS = pytest.mark.parametrize("pack", [zipped, tarred])


def cached(alone):
    """What lies in the cache under final or temporary names."""
    return [path.name for path in (alone / "cache" / "recsys_evo").glob("*")]


@PACKS
def test_a_download_shows_a_bar_and_comes_to_stay(alone, server, monkeypatch, capsys, pack):
    server(MOVIES, movies(), pack)
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


def test_what_makes_reading_quick_is_done_once(alone, server, monkeypatch):
    def keep(folder):
        folder.joinpath("u.data").write_bytes(folder.joinpath("u.data").read_bytes()[:40])
        folder.joinpath("kept").touch(exist_ok=False)

    server(MOVIES, movies(), keep=keep)
    assert len(datasets.load(MOVIES)) == len(datasets.load(MOVIES)) < 12


def test_members_without_a_checksum_are_fetched_unchecked(alone, server):
    members = dict.fromkeys(name for name in movies() if "u." in name)
    server(MOVIES, movies(), members=members, archive_checksum=None)
    assert len(datasets.load(MOVIES)) == 12


def test_nothing_is_fetched_that_needs_a_person(alone, server, monkeypatch):
    server(MOVIES, movies(), instructions="Log in, agree to the terms and take ml-100k.zip.")
    unavailable(
        MOVIES,
        "cache: there is no",
        "To get it by hand: Log in, agree to the terms and take ml-100k.zip. Then call "
        "load('movielens-100k', folder=...) with the folder that the files are in.",
    )
    assert cached(alone) == []
    assert len(datasets.load(MOVIES, FIXTURES)) == 12
    shutil.copytree(FIXTURES / "ml-100k", alone / "cache/recsys_evo" / MOVIES)
    assert len(datasets.load(MOVIES)) == 12


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


@pytest.mark.parametrize(
    ("pack", "error"),
    [(zipped, "BadZipFile"), (tarred, "EOFError"),
     (functools.partial(tarred, mode="w"), "ReadError")],
)  # fmt: skip
def test_an_archive_cut_short_leaves_nothing(alone, server, pack, error):
    server(MOVIES, movies(), pack, archive_checksum=None)
    archive = alone / "site/data.zip"
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 6])
    unavailable(MOVIES, f"official address: {error}")
    assert cached(alone) == []


@PACKS
@pytest.mark.parametrize("evil", ["../../evil", "/evil", "ml-100k/../../evil", "C:\\evil",
                                  "..\\evil"])  # fmt: skip
def test_an_archive_member_that_climbs_out_is_refused(alone, server, evil, pack):
    server(MOVIES, movies() | {evil: b"!"}, pack)
    unavailable(MOVIES, "members of the archive must stay within its folder. Received: ", "evil")
    assert cached(alone) == []
    assert not list(alone.rglob("evil"))


def test_an_archive_without_the_file_says_what_it_holds(alone, server):
    server(MOVIES, {"ml-100k/README": b"moved"}, members={"ml-100k/u.data": "sha256:0"})
    unavailable(MOVIES, "the archive must hold 'ml-100k/u.data'. Received: ['ml-100k/README']")


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
