"""The first thing that `make` does: find a Python that will do, or say which ones will not."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FAKE = """#!/bin/sh
case "$2" in
    *platform*) echo {version} ;;
    *version_info*) exit {wrong} ;;
    *ensurepip*) exit {bare} ;;
    *) echo "$0 would run: $*"; exit 9 ;;
esac
"""


@pytest.fixture
def install(tmp_path):
    """Run tools/install.sh in a copy of the checkout, where PATH has only the Pythons given."""
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "install.sh", tmp_path / "tools")
    path = tmp_path / "bin"
    path.mkdir()
    (path / "dirname").symlink_to(shutil.which("dirname"))

    def run(**pythons):
        for name, (version, wrong, bare) in pythons.items():
            script = path / name
            script.write_text(FAKE.format(version=version, wrong=int(wrong), bare=int(bare)))
            script.chmod(0o755)
        return subprocess.run(
            [shutil.which("sh"), str(tmp_path / "tools" / "install.sh")],
            env={**{k: v for k, v in os.environ.items() if k != "PYTHON"}, "PATH": str(path)},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_no_python_at_all_is_said(install):
    done = install()
    assert done.returncode == 1
    assert "needs Python 3.11, 3.12 or 3.13" in done.stderr
    assert "Found: none" in done.stderr


def test_a_wrong_version_is_named(install):
    done = install(python3=("3.9.2", True, False), python=("2.7.18", True, False))
    assert done.returncode == 1
    assert "python3 is Python 3.9.2" in done.stderr
    assert "python is Python 2.7.18" in done.stderr
    assert "make PYTHON=" in done.stderr


def test_a_debian_python_without_venv_is_told_what_to_install(install):
    done = install(python3=("3.11.2", False, True))
    assert done.returncode == 1
    assert "python3 is Python 3.11.2, but without venv" in done.stderr
    assert "apt install python3-venv" in done.stderr


def test_a_python_that_will_do_is_used_though_others_will_not(install):
    # a shim that fails, as version managers leave on PATH, and one without venv
    done = install(
        **{
            "python3.11": ("3.11.2", False, True),
            "python3.12": ("3.12.1", False, False),
            "python3": ("3.9.2", True, False),
        }
    )
    assert "Making .venv with python3.12 (Python 3.12.1)" in done.stdout
    assert done.returncode == 9
