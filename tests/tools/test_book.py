"""`make book`: never a stale output, progress that can be read, errors that say where."""

import json
import re
import zipfile

import pytest
from chapters import ROOT
from make_book import fingerprint, pack


def executed(said: str) -> bool:
    """Whether the line of progress tells of an execution, with its seconds."""
    return re.fullmatch(r"\d+\.\d s", said.strip()) is not None


def test_pages_are_never_stale(small_book):
    # one chapter for its writer: the others stay bare
    said = small_book.build("--only", "02")
    assert list(said) == ["02-two"]
    assert executed(said["02-two"])
    assert "second 42" in small_book.page("02-two")
    assert "word one" not in small_book.page("01-one")

    # the whole book fills them, and does no chapter twice
    said = small_book.build()
    assert list(said) == ["01-one", "02-two"]
    assert executed(said["01-one"])
    assert said["02-two"] == "unchanged"
    assert "word one" in small_book.page("01-one")

    # a change in a chapter is a change in that chapter
    small_book.chapter("02-two", "print('second', 6 * 8)")
    said = small_book.build()
    assert said["01-one"] == "unchanged"
    assert executed(said["02-two"])
    assert "second 48" in small_book.page("02-two")

    # a change in the package may show anywhere
    small_book.says("word two")
    assert all(executed(line) for line in small_book.build().values())
    assert "word two" in small_book.page("01-one")
    assert "word one" not in small_book.page("01-one")


@pytest.mark.parametrize(
    "change",
    ["package", "new module", "card", "lock", "result", "seed", "log"],
)
def test_what_a_chapter_may_read_is_in_the_fingerprint(small_book, monkeypatch, change):
    root = small_book.root
    monkeypatch.delenv("RECSYS_EVO_DATA", raising=False)
    monkeypatch.delenv("RECSYS_EVO_SEED", raising=False)
    before = fingerprint(root)
    assert fingerprint(root) == before
    if change == "package":
        small_book.says("two")
    elif change == "new module":
        (root / "recsys_evo" / "new.py").touch()
    elif change == "card":
        (root / "recsys_evo" / "new.toml").touch()
    elif change == "lock":
        (root / "requirements.lock").write_text("keras==4\n")
    elif change == "result":
        (root / "book" / "results" / "new.json").write_text("{}")
    elif change == "seed":
        monkeypatch.setenv("RECSYS_EVO_SEED", "3")
    else:
        logs = root.parent / "shared" / "data"
        logs.mkdir(parents=True)
        (logs / "log.csv").write_text("user,item\n")
    assert fingerprint(root) != before


def test_the_fingerprint_leaves_out_prose_and_byte_code(small_book):
    before = fingerprint(small_book.root)
    (small_book.root / "book" / "index.md").write_text("# Other words\n")
    (small_book.root / "recsys_evo" / "__pycache__").mkdir()
    (small_book.root / "recsys_evo" / "__pycache__" / "x.pyc").touch()
    assert fingerprint(small_book.root) == before


def test_a_failing_cell_is_named_with_its_traceback(small_book):
    small_book.chapter("01-one", "good = 1", "good / 0")
    done = small_book.run("make_book.py")
    assert done.returncode != 0
    assert "01-one.ipynb, cell 3" in done.stderr
    assert "good / 0" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert "\x1b" not in done.stderr
    # the other chapter was still run, and nothing pretends to be a finished book
    assert re.search(r"02-two +\d", done.stdout)
    assert not (small_book.root / "_build" / "html").exists()
    # a failure is not remembered as a result
    assert "FAILED" in small_book.run("make_book.py", "--only", "01").stdout


def test_warnings_are_errors(small_book):
    noise = "import sys; print('first\\nnoise', file=sys.stderr)"
    small_book.chapter("01-one", noise, text="# A chapter\n\nSee {ref}`nowhere`.")
    done = small_book.run("make_book.py", "--only", "01")
    assert done.returncode != 0
    assert "nowhere" in done.stderr
    # what a cell writes to stderr is told to its writer, and left out of the page
    assert "cell 2 writes to stderr: noise" in done.stdout
    assert "first" not in small_book.page("01-one").partition("cell_output")[2]


def test_an_unknown_chapter_is_refused_by_name(small_book):
    done = small_book.run("make_book.py", "--only", "77")
    assert done.returncode != 0
    assert "'77'" in done.stderr
    assert "01-one, 02-two" in done.stderr


STATUS = """\
---
orphan: true
---
# Status

```{status} chapters
chapter | seconds | memory | hold | undecided | stored | undecided
```

```{status} undecided
chapter | claim | margin | interval
```

```{status} machine
what | which
```
"""

CLAIM = """
import json, os
claim = {{"statement": "a | b", "margin": 0.5, "bound": "at most", "low": {low}, "high": 0.7,
          "kind": "{kind}", "verdict": "{verdict}"}}
with open(os.environ["RECSYS_EVO_CLAIMS_FILE"], "a") as record:
    print(json.dumps(claim), file=record)
"""


def test_the_status_page_tells_what_the_build_measured(small_book):
    (small_book.root / "book" / "status.md").write_text(STATUS)
    toc = small_book.root / "book" / "_toc.yml"
    toc.write_text(toc.read_text() + "      - file: status\n")
    undecided = CLAIM.format(low=0.4, kind="stored", verdict="undecided")
    holds = CLAIM.format(low=0.6, kind="live", verdict="holds")
    block = "x = bytearray(300 * 2**20); x[::4096] = b'1' * len(x[::4096]); del x"
    small_book.chapter("01-one", "import time; time.sleep(2)", block, holds, holds, undecided)

    small_book.build("--only", "01")
    facts = json.loads((small_book.root / "_build" / "status.json").read_text())["chapters"]
    assert facts["02-two"] is None
    seconds, memory = facts["01-one"]["execution_seconds"], facts["01-one"]["memory"]
    assert 2 < seconds < 60
    assert memory is None or 300 < memory < 2_000  # the peak, though the block is gone
    table = rows(small_book.page("status"))
    shown = f"{memory:.0f}" if memory else "–"
    assert table[1][1:] == [f"{seconds:.0f}", shown, "2", "0", "0", "1"]
    assert table[2][1:] == ["–"] * 6
    assert table[4][1:] == ["a | b", "≤ 0.5", "0.4 to 0.7"]

    # a chapter that is not executed again keeps its figures; one that is gets new ones
    small_book.chapter("02-two", holds)
    small_book.build()
    again = rows(small_book.page("status"))
    assert again[1] == table[1]
    assert again[2][3:] == ["1", "0", "0", "0"]


def rows(page):
    """The cells' texts of all tables of a page, row by row."""
    found = re.findall(r"<tr.*?</tr>", page, re.DOTALL)
    cells = (re.findall(r"<t[dh].*?>(.*?)</t[dh]>", row, re.DOTALL) for row in found)
    return [[re.sub(r"<.*?>", "", cell).strip() for cell in row] for row in cells]


def test_the_pages_carry_what_it_takes_to_run_them(tmp_path):
    name = "how-user-behaviour-evolves"
    pack(ROOT, tmp_path / f"{name}.zip")
    held = zipfile.ZipFile(tmp_path / f"{name}.zip").namelist()
    needed = ["Makefile", "requirements.lock", "book/01-background.ipynb", "recsys_evo/claims.py"]
    assert {f"{name}/{path}" for path in needed} <= set(held)
    assert not [path for path in held if "__pycache__" in path or "/_build" in path]
    for page in ("index.md", "20-tools.ipynb"):
        assert f"{name}.zip" in (ROOT / "book" / page).read_text("utf-8")
