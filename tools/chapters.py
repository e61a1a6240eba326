"""The chapters: which there are, and how one is executed. Used by the other scripts here."""

import argparse
import os
import re
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

ROOT = Path(__file__).resolve().parent.parent
CELL_SECONDS = 300

# What a chapter's kernel inherits; the caller's own choice wins.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


class ChapterError(Exception):
    """A chapter that did not run to its end; the message names chapter and cell."""


def parser(description: str) -> argparse.ArgumentParser:
    """Return the parser that the scripts share, with ``--only``."""
    out = argparse.ArgumentParser(description=description)
    out.add_argument("--only", metavar="NN", help="the chapter that starts so, and no other")
    return out


def chapters(root: Path = ROOT, only: str | None = None) -> list[Path]:
    """Return ``book/NN-*.ipynb`` in order, or those of them that start with ``only``."""
    found = sorted((root / "book").glob("[0-9][0-9]-*.ipynb"))
    chosen = [path for path in found if path.name.startswith(only or "")]
    if not chosen:
        names = ", ".join(path.stem for path in found) or "none"
        raise SystemExit(f"No chapter in {root / 'book'} starts with {only!r}. There are: {names}")
    return chosen


def execute(path: Path, notebook: nbformat.NotebookNode) -> float:
    """Execute ``notebook``, read from ``path``, in place; return the seconds it took.

    The working directory is the chapter's folder, as in JupyterLab and in the tests.
    """
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    started = time.perf_counter()
    number = 0

    def note(cell, cell_index):
        nonlocal number
        number = cell_index + 1

    client.on_cell_start = note
    try:
        client.execute()
    except CellExecutionError as error:
        # the kernel colours its tracebacks, also for a log file
        traceback = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
        raise ChapterError(f"{path.name}, cell {number}:\n{traceback}") from None
    except CellTimeoutError:
        raise ChapterError(
            f"{path.name}, cell {number}: still running after {CELL_SECONDS} s"
        ) from None
    except DeadKernelError:
        raise ChapterError(f"{path.name}, cell {number}: the kernel died (memory?)") from None
    return time.perf_counter() - started


def each(paths: list[Path]):
    """Yield the paths, printing a line of progress that the caller ends with ``done``."""
    width = max(len(path.stem) for path in paths)
    for number, path in enumerate(paths, 1):
        print(f"[{number}/{len(paths)}] {path.stem:<{width}}  ", end="", flush=True)
        yield path
