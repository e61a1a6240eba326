"""Random logs for property tests: few users, few days, every action, unknown users."""

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from recsys_evo.collect.events import ACTIONS, Log

FIRST_DAY = np.datetime64("2020-01-01")
N_USERS, N_CATEGORIES, N_DAYS = 4, 5, 12

# Cuts are made at midnights, so the seconds beside them come up often.
_second = st.one_of(
    st.integers(0, N_DAYS * 86_400 - 1),
    st.integers(0, N_DAYS - 1).map(lambda day: day * 86_400),
    st.integers(1, N_DAYS).map(lambda day: day * 86_400 - 1),
)
_row = st.tuples(
    st.integers(-1, N_USERS - 1),
    _second,
    st.integers(0, N_CATEGORIES - 1),
    st.sampled_from(ACTIONS),
    st.one_of(st.just(np.nan), st.integers(0, 500)),
    st.integers(-20, 200),
)


def log_of(rows):
    """A log of (user, second, category, action, dwell, amount) rows."""
    user, second, category, action, dwell, amount = zip(*rows, strict=True) if rows else [()] * 6
    frame = pd.DataFrame(
        {
            "user": np.array(user, np.int32),
            "item": np.zeros(len(rows), np.int32),
            "time": FIRST_DAY.astype("datetime64[s]") + np.array(second, "timedelta64[s]"),
            "category": np.array(category, np.int16),
            "action": pd.Categorical(action, ACTIONS, ordered=True),
            "dwell": np.array(dwell, np.float32),
            "amount": np.array(amount, np.float32),
        }
    )
    tables = (pd.DataFrame({"id": np.arange(n)}) for n in (1, N_USERS))
    return Log(frame, *tables)


def rows(min_size=0):
    return st.lists(_row, min_size=min_size, max_size=60)


def logs(min_size=0):
    return rows(min_size).map(log_of)
