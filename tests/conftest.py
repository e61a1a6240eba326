"""What every test may ask for."""

import numpy as np
import pytest
from hypothesis import settings

# A busy machine is no failure: no test is timed.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator of random numbers, the same at the start of every test."""
    return np.random.default_rng(0)
