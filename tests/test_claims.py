import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from recsys_evo import claims
from recsys_evo.claims import Claim, ClaimContradicted, table

ROOT = Path(__file__).resolve().parents[1]
RESULTS = sorted((ROOT / "book" / "results").glob("*.json"))

HOLDS = Claim("the sun rises", 0.0, 0.2, 0.1, 0.3)
UNDECIDED = Claim("it will rain & pour", 0.0, 0.1, -0.1, 0.3)
CONTRADICTED = Claim("pigs fly", 0.0, -0.2, -0.3, -0.1)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_no_stored_result_is_stale(path):
    assert not claims.is_stale(path.stem), f"make it again: make result NAME={path.stem}"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.5, 0.7, "holds"),
        (0.499, 0.7, "undecided"),
        (0.3, 0.5, "undecided"),
        (0.3, 0.499, "contradicted"),
    ],
)
def test_the_verdict_turns_on_the_whole_interval(low, high, verdict):
    assert Claim("x", 0.5, (low + high) / 2, low, high).verdict == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.3, 0.5, "holds"), (0.4, 0.501, "undecided"), (0.501, 0.7, "contradicted")],
)
def test_at_most_turns_the_margin_round(low, high, verdict):
    claim = Claim("x", 0.5, (low + high) / 2, low, high, bound="at most")
    assert claim.verdict == verdict
    if verdict != "contradicted":
        assert "≤ 0.5" in repr(table(claim))


def test_a_bound_is_one_of_two():
    with pytest.raises(ValueError, match=r"`bound` must be .* Received: bound='near'"):
        Claim("x", 0.5, 1, 1, 1, bound="near")


@given(st.lists(st.floats(-10, 10), min_size=3, max_size=9), st.floats(-10, 10))
def test_over_seeds_is_a_t_test_against_the_margin(values, margin):
    if np.std(values) < 1e-3:
        return
    claim = Claim.over_seeds("x", values, margin=margin)
    assert claim.values == tuple(values)
    p = stats.ttest_1samp(values, margin).pvalue
    if abs(p - 0.05) > 1e-6:
        assert (claim.verdict == "undecided") == (p > 0.05)
        assert (claim.verdict == "holds") == (p < 0.05 and np.mean(values) > margin)


def test_over_users_takes_an_interval():
    claim = Claim.over_users("x", (np.float32(0.5), 0.25, 0.75), margin=0.1, kind="stored")
    assert (claim.point, claim.low, claim.high, claim.kind) == (0.5, 0.25, 0.75, "stored")
    assert claim.values == ()


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ((np.nan, 1, 1, 1), "`margin`.* must be finite.*margin=nan"),
        ((0, 1, 2, 3), "in order. Received: margin=0, low=2, point=1, high=3"),
        ((0, 1, 0, np.inf), "must be finite.*high=inf"),
        ((0, 1, 0, 2, (), "guessed"), "`kind` must be .*kind='guessed'"),
    ],
)
def test_bad_claims_are_named(figures, message):
    with pytest.raises(ValueError, match=message):
        Claim("x", *figures)


def test_table_shows_itself_and_its_verdicts():
    shown = table(HOLDS, UNDECIDED)
    assert shown.verdicts == "holds: the sun rises\nundecided: it will rain & pour"
    head, first, second = repr(shown).splitlines()
    assert head.split() == ["claim", "margin", "found", "low", "high", "kind", "verdict"]
    assert first.split()[-6:] == ["0", "0.2", "0.1", "0.3", "live", "holds"]
    assert second.startswith("it will rain & pour  ≥ 0 ")
    page = shown._repr_html_()
    assert page.count("<tr>") == 3
    assert "it will rain &amp; pour" in page


def test_table_speaks_another_language():
    words = {"claim": "论断", "verdict": "结论", "holds": "成立", "live": "现场计算"}
    shown = table(HOLDS, words=words)
    assert shown.verdicts == "成立: the sun rises"
    assert "现场计算" in repr(shown)
    assert "结论" in shown._repr_html_()


def test_a_contradicted_claim_stops_the_cell_and_says_which():
    with pytest.raises(ClaimContradicted, match=r"(?s)holds.*pigs fly.*contradicted"):
        table(HOLDS, CONTRADICTED)


def test_an_empty_table_is_a_mistake():
    with pytest.raises(ValueError, match="`claims` must hold"):
        table()


def test_claims_are_recorded_even_when_contradicted(tmp_path, monkeypatch):
    record = tmp_path / "claims.jsonl"
    monkeypatch.setenv("RECSYS_EVO_CLAIMS_FILE", str(record))
    table(HOLDS)
    with pytest.raises(ClaimContradicted):
        table(CONTRADICTED)
    first, second = map(json.loads, record.read_text().splitlines())
    assert first["statement"] == "the sun rises"
    assert (first["low"], first["high"], first["margin"]) == (0.1, 0.3, 0.0)
    assert (first["verdict"], second["verdict"]) == ("holds", "contradicted")


SCRIPT = '''
"""What it measures."""

MODULES = ["recsys_evo.evaluate.forecasts"]
SEEDS = [0, 1, 2]


def run(seed):
    """Return a figure."""
    import numpy as np
    import pathlib

    with open(pathlib.Path(__file__).with_suffix(".log"), "a") as file:
        file.write(f"{seed}\\n")
    return {"auc": np.float64(seed) / 2, "draws": np.arange(2)}
'''


@pytest.fixture
def script(tmp_path, monkeypatch):
    """A result to make, in a checkout of its own; the package itself has none of that name."""
    folder = tmp_path / "book" / "results"
    folder.mkdir(parents=True)
    path = folder / "tried.py"
    path.write_text(SCRIPT)
    monkeypatch.chdir(tmp_path / "book")
    return path


def ran(script):
    log = script.with_suffix(".log")
    seeds = log.read_text().split() if log.exists() else []
    log.unlink(missing_ok=True)
    return seeds


def test_a_result_is_made_read_and_kept(script):
    assert claims.run(script) == script.with_suffix(".json")
    assert ran(script) == ["0", "1", "2"]
    result = claims.stored("tried")
    assert result["figures"]["1"] == {"auc": 0.5, "draws": [0, 1]}
    assert result["command"] == "make result NAME=tried"
    assert result["versions"]["numpy"] == np.__version__
    assert set(result["machine"]) == {"processor", "cores"}
    assert not claims.is_stale("tried")
    claims.run(script)
    assert ran(script) == []


def test_nothing_in_a_result_names_the_machine(script):
    import platform

    text = claims.run(script).read_text()
    assert str(script.parents[2]) not in text
    assert platform.node() not in text


def test_a_run_that_was_cut_off_is_taken_up_again(script, monkeypatch):
    cut = "import os; assert seed < 2 or 'GO_ON' in os.environ\n    return {"
    script.write_text(SCRIPT.replace("return {", cut))
    with pytest.raises(AssertionError):
        claims.run(script)
    assert list(claims.stored("tried")["figures"]) == ["0", "1"]
    assert claims.is_stale("tried")
    assert not list(script.parent.glob("*.part"))
    ran(script)
    monkeypatch.setenv("GO_ON", "yes")
    claims.run(script)
    assert ran(script) == ["2"]
    assert not claims.is_stale("tried")


def test_a_new_seed_runs_alone_and_changed_code_runs_all(script):
    claims.run(script)
    ran(script)
    script.write_text(SCRIPT.replace("[0, 1, 2]", "[0, 1, 2, 3]"))
    assert claims.is_stale("tried")
    claims.run(script)
    assert ran(script) == ["3"]
    script.write_text(SCRIPT.replace("/ 2", "/ 3"))
    assert claims.is_stale("tried")
    claims.run(script)
    assert ran(script) == ["0", "1", "2"]


def test_other_versions_start_the_result_again(script, monkeypatch):
    claims.run(script)
    ran(script)
    monkeypatch.setattr(claims, "versions", lambda: {"python": "2.7"})
    claims.run(script)
    assert ran(script) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[0, 1, 2]", "make_seeds()", "`script` must assign a literal list to SEEDS"),
        ("SEEDS", "seeds", "`script` must assign a literal list to SEEDS"),
        ("recsys_evo.evaluate.forecasts", "recsys_evo.nowhere", "`MODULES` .*recsys_evo.nowhere"),
        ("np.arange(2)", "object()", "`run` must return numbers.*object"),
    ],
)
def test_bad_scripts_are_named(script, old, new, message):
    script.write_text(SCRIPT.replace(old, new))
    with pytest.raises(ValueError, match=message):
        claims.run(script)


def test_missing_results_say_what_to_do(script):
    with pytest.raises(ValueError, match="make result NAME=tried"):
        claims.stored("tried")
    with pytest.raises(ValueError, match=r"`name` must be a script in book/results.*'never'"):
        claims.stored("never")


def test_the_command_line_makes_a_result(script):
    done = subprocess.run(
        [sys.executable, "-m", "recsys_evo.claims", "results/tried.py"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "3/3" in done.stderr
    assert "Warning" not in done.stderr
    assert not claims.is_stale("tried")
