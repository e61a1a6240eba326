"""`make claims`: another seed, no claim contradicted, no cell that raises."""

SAY = """
import json, os
claim = dict(statement="{statement}", margin=0.0, bound="at most", low={low}, high=0.2, kind="live",
             verdict="{verdict}")
with open(os.environ["RECSYS_EVO_CLAIMS_FILE"], "a") as record:
    print(json.dumps(claim), file=record)
"""
HOLDS = SAY.format(statement="a beats b", low=0.1, verdict="holds")
UNDECIDED = SAY.format(statement="b beats c", low=-0.1, verdict="undecided")
CONTRADICTED = SAY.format(statement="c beats d", low=-0.3, verdict="contradicted")


def test_claims_that_hold_or_are_undecided_pass(small_book):
    seed = 'import os; assert os.environ["RECSYS_EVO_SEED"] == "7"'
    small_book.chapter("01-one", seed, HOLDS, UNDECIDED)
    done = small_book.run("claims.py", "--seed", "7")
    assert done.returncode == 0, done.stderr
    assert "under seed 7" in done.stdout
    assert "02-two: none" in done.stdout
    (line,) = (line for line in done.stdout.splitlines() if "a beats b" in line)
    assert line.split()[0] == "holds"
    assert "[0.1, 0.2]" in line
    assert "at most 0" in line
    assert "holds: 1, undecided: 1, contradicted: 0" in done.stdout


def test_a_contradiction_fails(small_book):
    small_book.chapter("01-one", HOLDS, CONTRADICTED)
    done = small_book.run("claims.py", "--seed", "7", "--only", "01")
    assert done.returncode != 0
    assert "Contradicted: 1" in done.stderr
    assert "c beats d" in done.stdout


def test_a_cell_that_raises_fails_and_the_claims_before_it_are_shown(small_book):
    small_book.chapter("01-one", HOLDS, "1 / 0")
    done = small_book.run("claims.py", "--seed", "7", "--only", "01")
    assert done.returncode != 0
    assert "a beats b" in done.stdout
    assert "01-one.ipynb, cell 3" in done.stderr
    assert "ZeroDivisionError" in done.stderr
