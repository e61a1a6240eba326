"""One list of versions: the lock, what it is made from, the package and the conda file agree."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


def wanted() -> dict[str, Requirement]:
    """What ``requirements.in`` asks for, by name."""
    lines = (ROOT / "requirements.in").read_text().splitlines()
    asked = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in asked}


def locked() -> dict[str, set[str]]:
    """The versions in ``requirements.lock``, by name (more than one where a Python needs it)."""
    out = {}
    text = (ROOT / "requirements.lock").read_text()
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^ \\;]+)", text, re.MULTILINE):
        out.setdefault(canonicalize_name(name), set()).add(version)
    return out


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_lock_holds_every_wish_within_its_bounds():
    versions = locked()
    for name, requirement in wanted().items():
        assert name in versions, f"{name} is not in requirements.lock: run make lock"
        assert all(requirement.specifier.contains(v) for v in versions[name]), requirement


def test_lock_is_hashed_and_names_no_address():
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    assert "--index-url" not in text
    pinned = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(pinned) > 100
    assert all("--hash=sha256:" in block for block in pinned)


def test_package_asks_for_what_is_locked():
    parts = project()
    asked = [Requirement(line) for line in parts["dependencies"]]
    asked += [Requirement(line) for line in parts["optional-dependencies"]["dev"]]
    assert {canonicalize_name(requirement.name) for requirement in asked} == set(wanted())
    for requirement in asked:
        for version in locked()[canonicalize_name(requirement.name)]:
            assert requirement.specifier.contains(version), requirement


def test_gpu_extra_is_the_same_tensorflow():
    (gpu,) = (Requirement(line) for line in project()["optional-dependencies"]["gpu"])
    assert gpu.extras == {"and-cuda"}
    assert gpu.specifier == wanted()["tensorflow"].specifier


def test_conda_takes_the_lock_itself():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    python, pip, inner = environment["dependencies"]
    assert pip == "pip"
    assert inner == {"pip": ["-r requirements.lock"]}
    bounds = Requirement(python.replace("python", "python ", 1)).specifier
    assert bounds == Requirement(f"python {project()['requires-python']}").specifier


@pytest.mark.parametrize("version", ["2.0.0", "2.1.7"])
def test_jupyter_book_stays_below_two(version):
    asked = [wanted()["jupyter-book"]]
    asked += [
        Requirement(line)
        for line in project()["optional-dependencies"]["dev"]
        if line.startswith("jupyter-book")
    ]
    assert len(asked) == 2
    assert not any(requirement.specifier.contains(version) for requirement in asked)
    assert all(v.startswith("1.") for v in locked()["jupyter-book"])


def test_benchmarks_add_to_the_lock_and_change_nothing():
    text = (ROOT / "benchmarks" / "requirements.txt").read_text()
    versions = locked()
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^ \\;]+)", text, re.MULTILINE):
        assert version in versions.get(canonicalize_name(name), {version})
    asked = (ROOT / "benchmarks" / "requirements.in").read_text().split()
    assert project()["optional-dependencies"]["bench"] == asked


def test_make_takes_the_pythons_that_the_package_takes():
    script = (ROOT / "tools" / "install.sh").read_text()
    low, high = re.search(r"\((3, \d+)\) <= .* < \((3, \d+)\)", script).groups()
    assert project()["requires-python"] == f">={low},<{high}".replace(", ", ".")
