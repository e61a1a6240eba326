"""A book of one chapter, built with the real configuration and the real tools."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))  # the scripts import each other so, and so do the tests

TOC = """\
format: jb-book
root: index
parts:
  - caption: The question
    numbered: true
    chapters:
      - file: 01-one
      - file: 02-two
"""

BIB = """\
@book{someone2020,
  author = {Someone, Ann},
  title = {A book},
  publisher = {A publisher},
  year = {2020},
}
"""


class SmallBook:
    """A checkout with two chapters; the package in it says ``one`` until a test changes it."""

    def __init__(self, root: Path):
        self.root = root
        root.mkdir(parents=True)
        for name in ("_config.yml", "requirements.lock"):
            shutil.copy(ROOT / name, root / name)
        for name in ("_ext", "assets"):
            shutil.copytree(ROOT / "book" / name, root / "book" / name)
        (root / "book" / "references.bib").write_text(BIB)
        (root / "book" / "_toc.yml").write_text(TOC)
        (root / "book" / "index.md").write_text("# A small book\n\n```{bibliography}\n:all:\n```\n")
        (root / "book" / "results").mkdir()
        self.says("word one")
        self.chapter("01-one", "import recsys_evo", "print(recsys_evo.WORD)")
        self.chapter("02-two", "print('second', 6 * 7)")

    def says(self, word: str) -> None:
        """Change the package."""
        package = self.root / "recsys_evo"
        package.mkdir(exist_ok=True)
        shutil.copy(ROOT / "recsys_evo" / "machine.py", package / "machine.py")
        (package / "__init__.py").write_text(f"WORD = {word!r}\n")

    def chapter(self, name: str, *cells: str, text: str = "# A chapter\n\nIts story.") -> None:
        """Write a chapter: some text, then code cells."""
        notebook = nbformat.v4.new_notebook(
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        )
        notebook.cells = [nbformat.v4.new_markdown_cell(text, id="text")]
        notebook.cells += [
            nbformat.v4.new_code_cell(cell, id=f"cell-{number}")
            for number, cell in enumerate(cells)
        ]
        nbformat.write(notebook, self.root / "book" / f"{name}.ipynb")

    def run(self, tool: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess:
        """Run a script of ``tools/`` on this book."""
        environment = {
            **{name: v for name, v in os.environ.items() if not name.startswith("RECSYS_EVO_")},
            # this book's package, not the one that is installed
            "PYTHONPATH": str(self.root),
            "PYTHONDONTWRITEBYTECODE": "1",
            **settings,
        }
        command = [sys.executable, str(ROOT / "tools" / tool), "--root", str(self.root)]
        return subprocess.run(
            [*command, *arguments], env=environment, capture_output=True, text=True, check=False
        )

    def build(self, *arguments: str, **settings: str) -> dict[str, str]:
        """Build the pages; return what the progress said of each chapter."""
        done = self.run("make_book.py", *arguments, **settings)
        assert done.returncode == 0, done.stdout + done.stderr
        return dict(re.findall(r"^\[\d/\d\] (\S+) +(.*)$", done.stdout, re.MULTILINE))

    def page(self, name: str) -> str:
        return (self.root / "_build" / "html" / f"{name}.html").read_text("utf-8")


@pytest.fixture
def small_book(tmp_path) -> SmallBook:
    return SmallBook(tmp_path / "checkout")


@pytest.fixture(scope="session")
def make_small_book() -> type[SmallBook]:
    """For a test file that shares one book: give it the folder."""
    return SmallBook
