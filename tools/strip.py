"""Strip the notebooks given: outputs stay only in cells tagged for checking or keeping.

``--check`` changes nothing and fails where there would be something to strip.
"""

import argparse
import sys
from pathlib import Path

import nbformat
from nbstripout import strip_output

KEEPING = {"nbval-check-output", "keep_output"}


def strip(notebook: nbformat.NotebookNode) -> None:
    """Strip ``notebook`` in place, so that executing it again gives the same bytes."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and KEEPING & set(cell.metadata.get("tags", ())):
            # nbstripout knows the one tag, nbval the other
            cell.metadata["tags"] = sorted({*cell.metadata["tags"], "keep_output"})
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    # nbval compares only cells with a count
    strip_output(
        notebook,
        keep_output=False,
        keep_count=True,
        keep_id=True,
        extra_keys=["metadata.language_info.version", "cell.metadata.execution"],
    )
    for cell in notebook.cells:
        if cell.cell_type == "code" and not cell.outputs:
            cell.execution_count = None


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command.add_argument("--check", action="store_true", help="change nothing, fail instead")
    command.add_argument("notebooks", nargs="*", type=Path)
    options = command.parse_args()
    unstripped = []
    for path in options.notebooks:
        before = path.read_text("utf-8")
        notebook = nbformat.reads(before, 4)
        strip(notebook)
        after = nbformat.writes(notebook) + "\n"
        if after != before:
            unstripped.append(str(path))
            if not options.check:
                path.write_text(after, "utf-8", newline="\n")
    if options.check and unstripped:
        sys.exit(f"Not stripped: {', '.join(unstripped)}. Put right with: make format")


if __name__ == "__main__":
    main()
