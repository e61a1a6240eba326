"""The chapters: which there are, and how one is executed. Used by the other scripts here."""

import argparse
import json
import os
import re
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

ROOT = Path(__file__).resolve().parent.parent
CELL_SECONDS = 300

# What a chapter's kernel inherits; the caller's own choice wins.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


class Run(NamedTuple):
    """A chapter's execution, whether it came to its end or not."""

    seconds: float
    memory: float | None  # the kernel's peak in MiB; None where the system does not tell
    claims: list[dict]  # as `recsys_evo.claims` writes them
    trouble: str | None  # what stopped it, and in which cell


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


def execute(path: Path, notebook: nbformat.NotebookNode) -> Run:
    """Execute ``notebook``, read from ``path``, in place.

    The working directory is the chapter's folder, as in JupyterLab and in the tests. While
    ``RECSYS_EVO_CLAIMS_FILE`` is set, ``recsys_evo.claims`` appends a line of JSON to that file
    for each claim that a cell makes.
    """
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    number, memory, trouble = 0, None, None

    def note(cell, cell_index):
        nonlocal number
        number = cell_index + 1

    def weigh(cell, cell_index, execute_reply):
        nonlocal memory
        memory = peak_memory(client.km.provisioner.pid)

    client.on_cell_start = note
    client.on_cell_executed = weigh
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder, "claims.jsonl")
        record.touch()
        try:
            client.execute(env={**os.environ, "RECSYS_EVO_CLAIMS_FILE": str(record)})
        except CellExecutionError as error:
            # the kernel colours its tracebacks, also for a log file
            trouble = ":\n" + re.sub(r"\x1b\[[0-9;]*m", "", str(error))
        except CellTimeoutError:
            trouble = f": still running after {CELL_SECONDS} s"
        except DeadKernelError:
            trouble = ": the kernel died (memory?)"
        claims = [json.loads(line) for line in record.read_text("utf-8").splitlines()]
    seconds = time.perf_counter() - started
    return Run(seconds, memory, claims, trouble and f"{path.name}, cell {number}{trouble}")


def peak_memory(pid: int) -> float | None:
    """Return the most memory in MiB that a process has held, where Linux keeps the account."""
    account = Path(f"/proc/{pid}/status")
    found = account.exists() and re.search(r"VmHWM:\s+(\d+) kB", account.read_text())
    return int(found[1]) / 1024 if found else None


def each(paths: list[Path]):
    """Yield the paths, printing a line of progress that the caller ends with ``done``."""
    width = max(len(path.stem) for path in paths)
    for number, path in enumerate(paths, 1):
        print(f"[{number}/{len(paths)}] {path.stem:<{width}}  ", end="", flush=True)
        yield path
