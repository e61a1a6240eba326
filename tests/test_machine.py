"""What figures were made on: right, and silent on whose machine it was."""

import json
import platform

import numpy as np

from recsys_evo.machine import machine, versions


def test_versions_are_those_that_run():
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["numpy"] == np.__version__


def test_a_machine_is_its_processor_and_no_name():
    found = machine()
    assert set(found) == {"processor", "cores"}
    assert found["processor"]
    assert found["cores"] >= 1
    assert platform.node() not in json.dumps(found)
