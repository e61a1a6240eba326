"""Claims: what a chapter says it found, held against a margin written before the run.

A claim is a figure with an interval and a margin, and one of three verdicts:

    contradicted            undecided               holds
    ├──●──┤   │             ├──●──┤                 │  ├──●──┤
            margin             margin             margin

The end of every chapter shows its claims with `table`, and a contradicted one stops the cell.
What takes too long for a page is run beforehand and *stored*: `book/results/NAME.py` says how, and

    python -m recsys_evo.claims book/results/NAME.py

writes `book/results/NAME.json`, which `stored(NAME)` reads. `make result NAME=…` does the same.
"""

import argparse
import html
import json
import os
import runpy
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from recsys_evo.evaluate.forecasts import interval
from recsys_evo.fingerprints import declared, fingerprint
from recsys_evo.machine import machine, versions

_COLUMNS = ("claim", "margin", "found", "low", "high", "kind", "verdict")
_BOUNDS = {"at least": "≥", "at most": "≤"}


class ClaimContradicted(Exception):
    """The whole interval of a claim lies on the wrong side of its margin."""


@dataclass(frozen=True)
class Claim:
    """A statement that is true if a figure is at least `margin`, or at most.

    Attributes
    ----------
    statement : str, in the reader's words, without the measured number.
    margin : float, written down before the run.
    point, low, high : float, the figure and its interval.
    values : tuple of float, one a seed; empty for an interval over users.
    kind : "live" (computed in this cell) or "stored" (read from `book/results`).
    bound : "at least" or "at most": on which side of the margin the figure should lie.

    Raises
    ------
    ValueError for figures that are not finite and in order, or for another kind.
    """

    statement: str
    margin: float
    point: float
    low: float
    high: float
    values: tuple = ()
    kind: str = "live"
    bound: str = "at least"

    def __post_init__(self):
        figures = (self.margin, self.low, self.point, self.high)
        if not np.isfinite(figures).all() or not self.low <= self.point <= self.high:
            raise ValueError(
                "`margin`, `low`, `point` and `high` must be finite, and the last three in order. "
                f"Received: margin={self.margin}, low={self.low}, point={self.point}, "
                f"high={self.high}"
            )
        if self.kind not in ("live", "stored"):
            raise ValueError(f'`kind` must be "live" or "stored". Received: kind={self.kind!r}')
        if self.bound not in _BOUNDS:
            raise ValueError(
                f'`bound` must be "at least" or "at most". Received: bound={self.bound!r}'
            )

    @classmethod
    def over_seeds(cls, statement, values, *, margin, kind="live", bound="at least"):
        """Claim about the mean of `values`, one a seed, with its 95% Student's t interval."""
        values = tuple(float(value) for value in values)
        return cls(statement, margin, *interval(values), values, kind, bound)

    @classmethod
    def over_users(cls, statement, found, *, margin, kind="live", bound="at least"):
        """Claim about `found`: (point, low, high), as `bootstrap_auc` gives it."""
        found = (float(figure) for figure in found)
        return cls(statement, margin, *found, kind=kind, bound=bound)

    @property
    def verdict(self):
        """ "holds", "undecided" or "contradicted"."""
        low, high = self.low - self.margin, self.high - self.margin
        if self.bound == "at most":
            low, high = -high, -low
        if low >= 0:
            return "holds"
        return "contradicted" if high < 0 else "undecided"


def table(*claims, words=None):
    """Return the claims as a table for the page, or stop the cell.

    Where the environment names a RECSYS_EVO_CLAIMS_FILE, each claim is also appended to it as a
    line of JSON, a contradicted one included.

    Parameters
    ----------
    claims : Claim, one or more.
    words : dict, what to write for the table's own words ("claim", "margin", "found", "low",
        "high", "kind", "live", "stored", "verdict", "holds", "undecided") in another language.

    Returns
    -------
    Table: shows itself in a notebook; its `verdicts` are the text without figures, which stays the
    same from machine to machine and may be compared.

    Raises
    ------
    ClaimContradicted, with the table as its text, if a claim is contradicted.
    """
    if not claims:
        raise ValueError("`claims` must hold a claim or more. Received: none")
    shown = Table(claims, words or {})
    path = os.environ.get("RECSYS_EVO_CLAIMS_FILE")
    if path:
        lines = (asdict(claim) | {"verdict": claim.verdict} for claim in claims)
        with open(path, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    if any(claim.verdict == "contradicted" for claim in claims):
        raise ClaimContradicted(f"\n{shown!r}")
    return shown


class Table:
    """Claims, a row each; see `table`."""

    def __init__(self, claims, words):
        self._head = [words.get(column, column) for column in _COLUMNS]
        self._rows = [
            [
                claim.statement,
                f"{_BOUNDS[claim.bound]} {claim.margin:.4g}",
                *(f"{figure:.4g}" for figure in (claim.point, claim.low, claim.high)),
                words.get(claim.kind, claim.kind),
                words.get(claim.verdict, claim.verdict),
            ]
            for claim in claims
        ]

    @property
    def verdicts(self):
        """A line a claim: verdict and statement."""
        return "\n".join(f"{row[-1]}: {row[0]}" for row in self._rows)

    def __repr__(self):
        rows = [self._head, *self._rows]
        widths = [max(len(row[k]) for row in rows) for k in range(len(_COLUMNS))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )

    def _repr_html_(self):
        head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in self._head)
        body = "".join(
            f'<tr><th scope="row" style="text-align: left; font-weight: normal">'
            f"{html.escape(statement)}</th>"
            + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
            + "</tr>"
            for statement, *cells in self._rows
        )
        return f'<table class="claims"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def stored(name):
    """Read the stored result `name`.

    Returns
    -------
    dict: `figures` (seed → what `run(seed)` returned), `versions`, `machine`, `command`,
    `fingerprint`. Seeds are the text of the number, in the order in which they ran.

    Raises
    ------
    ValueError where there is no such result; it says which command makes it.
    """
    path = _script(name).with_suffix(".json")
    if not path.exists():
        raise ValueError(
            f"`name` must be a stored result; make it with `make result NAME={name}`. "
            f"Received: name={name!r}"
        )
    return json.loads(path.read_text(encoding="utf-8"))


def is_stale(name):
    """Is the stored result older than the code or the list of seeds that it rests on?"""
    script, result = _script(name), stored(name)
    missing = [seed for seed in declared(script, "SEEDS") if str(seed) not in result["figures"]]
    return bool(missing) or result["fingerprint"] != fingerprint(script)


def run(script):
    """Run the missing seeds of `script`, writing its JSON after each, and return the path written.

    A result that was cut off is taken up again if code, versions and machine are still the same;
    otherwise all of its seeds run anew.
    """
    script = Path(script)
    context = {
        "command": f"make result NAME={script.stem}",
        "fingerprint": fingerprint(script),
        "versions": versions(),
        "machine": machine(),
    }
    path = script.with_suffix(".json")
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    same = all(earlier.get(key) == value for key, value in context.items())
    figures = earlier["figures"] if same else {}
    seeds = declared(script, "SEEDS")
    code = runpy.run_path(str(script))
    for seed in tqdm(seeds, desc=script.stem, unit="seed"):
        if str(seed) not in figures:
            figures[str(seed)] = code["run"](seed)
            # A new file takes the old one's place whole, so a cut leaves a right one.
            partial = path.with_suffix(".json.part")
            text = json.dumps(context | {"figures": figures}, indent=1, default=_plain)
            partial.write_text(text + "\n", encoding="utf-8")
            os.replace(partial, path)
    return path


def _script(name):
    """`book/results/NAME.py` of the checkout: beside the package, or at or above this folder."""
    for root in (Path(__file__).resolve().parents[1], Path.cwd(), *Path.cwd().parents):
        place = root / "book" / "results" / f"{name}.py"
        if place.exists():
            return place
    raise ValueError(f"`name` must be a script in book/results. Received: name={name!r}")


def _plain(value):
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise ValueError(f"`run` must return numbers, texts, lists and dicts. Received: {value!r}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make a stored result, seed by seed.")
    parser.add_argument("script", help="book/results/NAME.py")
    print(run(parser.parse_args().script))
