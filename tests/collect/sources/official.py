"""Official files for the tests of their readers: fixtures in their format, and the real ones."""

import functools
import os
from pathlib import Path

import pytest

from recsys_evo.collect import datasets

FIXTURES = Path(__file__).parents[1] / "fixtures"
SMALL = pytest.mark.filterwarnings("ignore:.*not the official build")
WHOLE = pytest.mark.filterwarnings("error:.*not the official build")


def folder():
    """The folder of real logs; skips only where there is none on this machine."""
    beside = Path(datasets.__file__).parents[3] / "shared" / "data"
    place = Path(os.environ.get("RECSYS_EVO_DATA") or beside)
    if not place.is_dir():
        pytest.skip("no folder of real logs on this machine")
    return place


@functools.cache
def official(name):
    """The log of the official files."""
    return datasets.load(name, folder())
