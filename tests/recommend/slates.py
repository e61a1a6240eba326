"""Small logs of slates, for tests: who was shown what, and clicked what."""

import numpy as np
import pandas as pd

from recsys_evo.collect.events import Log

FIRST = np.datetime64("2024-01-01")


def log_of_slates(shown, clicked, **columns):
    """User u is shown shown[u, k] on day k and clicks where clicked, bool of the same shape.

    `shown` (users, days, slots) int; `columns` are of the items and say how many there are.
    """
    user, day, place = (axis.ravel() for axis in np.indices(shown.shape))
    rows = pd.DataFrame(
        {
            "user": user,
            "item": shown.ravel(),
            "time": (FIRST + day).astype("M8[s]") + np.timedelta64(12, "h"),
            "action": "impression",
            "slate": user * shown.shape[1] + day,
            "position": place,
        }
    )
    clicks = rows[clicked.ravel()].assign(action="click")
    events = pd.concat([rows, clicks], ignore_index=True)
    n_items = len(next(iter(columns.values()))) if columns else shown.max() + 1
    items = pd.DataFrame({"id": np.arange(n_items)} | columns)
    return Log(events, items, pd.DataFrame({"id": np.arange(len(shown))}))


def random_slates(rng, *, users=9, days=6, slots=4, items=12, spread=1.0, **columns):
    """Each user likes some items more than others, the more so the larger the `spread`."""
    shown = rng.integers(items, size=(users, days, slots))
    liking = 1 / (1 + np.exp(0.5 - spread * rng.standard_normal((users, items))))
    chance = np.take_along_axis(liking, shown.reshape(users, -1), axis=1).reshape(shown.shape)
    if not columns:
        columns = {"category": (np.arange(items) % 3).astype("int16")}
    return log_of_slates(shown, rng.random(shown.shape) < chance, **columns)
