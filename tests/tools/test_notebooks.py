"""Stripping, and that every chapter holds an output wherever one is to be compared.

That the rest is stripped is for `make lint`: a reader who has run a chapter may still run these.
"""

from pathlib import Path

import nbformat
import pytest
from chapters import chapters
from strip import strip


def cell(source="1", outputs=(), count=3, **metadata):
    out = nbformat.v4.new_code_cell(source, id="cell", metadata=metadata)
    out.outputs, out.execution_count = list(outputs), count
    return out


def stripped(one):
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [one]
    notebook.metadata["language_info"] = {"name": "python", "version": "3.11.7"}
    strip(notebook)
    assert notebook.metadata["language_info"] == {"name": "python"}
    return notebook.cells[0]


RESULT = nbformat.v4.new_output("execute_result", {"text/plain": "1"}, execution_count=3)
NOISE = nbformat.v4.new_output("stream", name="stderr", text="warning")


def test_an_output_without_a_tag_goes_and_its_count_with_it():
    one = stripped(cell(outputs=[RESULT], execution={"iopub.status.busy": "now"}))
    assert one.outputs == []
    assert one.execution_count is None
    assert "execution" not in one.metadata
    assert one.id == "cell"


@pytest.mark.parametrize("tag", ["nbval-check-output", "keep_output"])
def test_a_tagged_output_stays_with_its_count_but_without_stderr(tag):
    one = stripped(cell(outputs=[NOISE, RESULT], tags=[tag, "check"]))
    assert [out.output_type for out in one.outputs] == ["execute_result"]
    assert one.execution_count == 3
    assert "keep_output" in one.metadata["tags"]
    assert "check" in one.metadata["tags"]


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_what_is_compared_is_there(path: Path):
    notebook = nbformat.read(path, 4)
    for number, one in enumerate(notebook.cells, 1):
        if one.cell_type != "code":
            continue
        tags = set(one.metadata.get("tags", ()))
        if "nbval-check-output" in tags:
            # nbval passes over a cell without a count
            assert one.execution_count, f"cell {number} was not executed: make keep"
            assert one.outputs, f"cell {number} has nothing to compare: make keep"
