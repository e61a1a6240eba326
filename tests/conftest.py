"""What every test may ask for."""

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator of random numbers, the same at the start of every test."""
    return np.random.default_rng(0)
