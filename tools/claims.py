"""Run the chapters under another seed and list their claims: none may be contradicted.

Outputs are not compared.
"""

import os
import sys
from pathlib import Path

import nbformat
from chapters import ROOT, chapters, each, execute, parser


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
        run = execute(path, nbformat.read(path, 4))
        print("FAILED" if run.trouble else f"{run.seconds:6.1f} s, claims: {len(run.claims)}")
        made[path.stem] = run.claims
        troubles += [run.trouble] if run.trouble else []

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
