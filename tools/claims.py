"""Run the chapters under another seed and list their claims: none may be contradicted.

Outputs are not compared. While ``RECSYS_EVO_CLAIMS_FILE`` is set, ``recsys_evo.claims`` appends
a line of JSON to that file for each claim that a cell makes.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import nbformat
from chapters import ROOT, ChapterError, chapters, each, execute, parser


def claims_of(path: Path) -> tuple[list[dict], str | None]:
    """Execute a chapter; return the claims that it made, and what stopped it (None: nothing)."""
    trouble = None
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder, "claims.jsonl")
        record.touch()
        os.environ["RECSYS_EVO_CLAIMS_FILE"] = str(record)
        try:
            seconds = execute(path, nbformat.read(path, 4))
        except ChapterError as error:
            trouble = str(error)
        lines = record.read_text("utf-8").splitlines()
    made = [json.loads(line) for line in lines]
    print("FAILED" if trouble else f"{seconds:6.1f} s, claims: {len(made)}")
    return made, trouble


def row(claim: dict) -> str:
    """Return a claim as a line of the table."""
    low, high, margin = (f"{claim[name]:.4g}" for name in ("low", "high", "margin"))
    interval, margin = f"[{low}, {high}]", f"{claim['bound']} {margin}"
    return (
        f"  {claim['verdict']:<13} {claim['kind']:<7} {interval:<22} {margin:<16} "
        f"{claim['statement']}"
    )


def main() -> None:
    command = parser(__doc__.splitlines()[0])
    command.add_argument("--seed", type=int, required=True, help="the chapters' seed")
    command.add_argument("--root", type=Path, default=ROOT, help="the book's checkout")
    options = command.parse_args()
    os.environ["RECSYS_EVO_SEED"] = str(options.seed)

    made, troubles = {}, []
    for path in each(chapters(options.root.resolve(), options.only)):
        made[path.stem], trouble = claims_of(path)
        troubles += [trouble] if trouble else []

    print(f"\nClaims under seed {options.seed}")
    for name, claims in made.items():
        print(name if claims else f"{name}: none")
        for claim in claims:
            print(row(claim))
    verdicts = [claim["verdict"] for claims in made.values() for claim in claims]
    counts = {name: verdicts.count(name) for name in ("holds", "undecided", "contradicted")}
    print(", ".join(f"{name}: {count}" for name, count in counts.items()))
    if troubles:
        sys.exit("\n" + "\n\n".join(troubles))
    if counts["contradicted"]:
        sys.exit(f"Contradicted: {counts['contradicted']}")


if __name__ == "__main__":
    main()
