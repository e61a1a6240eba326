"""Features kept up to date event by event, and equal to those of the whole log.

    events, in any order, some twice ──▶ add ──▶ cells ──▶ image · fading · summary
                                          │      (user, day, category, measure)
                                          └──▶ too late: counted, not lost silently

Two ideas make the order of arrival harmless. A cell is found by the time at which a thing
*happened*, and what happens to it is only ever an addition, so that events commute. What is not an
addition, the days since the last touch for one, is read off the cells when it is asked for.

How long one waits for the late is `lateness`. The *watermark* lies so far behind the latest event
seen: what happened before it is not taken any more, and so days before it are final (Akidau et al.
2015). It also says how long an id has to be remembered in order to know a copy by it.

Engines that do this on many machines are Flink, Beam and Bytewax; they bring the watermark and
the windows, and leave the features to their user. Chapter 17 builds on this module.
"""

import numpy as np

from recsys_evo.collect.events import PURCHASE, touching
from recsys_evo.prepare.splits import midnight, positive

EVENT = np.dtype(
    [
        ("id", "i8"),  # the same for all copies of an event, and for what takes it back
        ("user", "i4"),
        ("category", "i2"),
        ("action", "i1"),  # place in `events.ACTIONS`
        ("time", "M8[s]"),  # when it happened
        ("dwell", "f4"),
        ("amount", "f4"),
        ("weight", "i1"),  # 1: it happened; -1: it is taken back
    ]
)
_DAY = 86_400
_NEVER = -(2**60)  # the second of the latest event, before there is one
_MEASURES = 4  # touches, dwell, amount, purchases


def events(log):
    """Return the log as an `EVENT` array (events,) in the log's order; ids are its row numbers.

    A slice of it is what `Stream.add` takes. To take an event back, send it with weight -1.
    """
    found = np.zeros(len(log), EVENT)
    found["id"] = np.arange(len(log))
    found["action"] = log.events["action"].cat.codes
    found["weight"] = 1
    for name in ("user", "category", "time", "dwell", "amount"):
        found[name] = log.events[name].to_numpy()
    return found


class Stream:
    """What `days` days of events add up to, a user and a category, as the events come in.

    Parameters
    ----------
    n_users, categories : int, how many there are; codes count from 0.
    days : int, length of the window that is asked about.
    lateness : whole seconds, or a timedelta64, that an event may lie behind the latest one seen.

    Attributes
    ----------
    taken, copies, late, unknown : int, how many of the events added were counted; known by their
        id already; before the watermark, copies among them; of the unknown user, -1. They sum up
        to all that was added.
    """

    def __init__(self, n_users, *, categories=64, days=64, lateness=_DAY):
        self.n_users = positive(n_users=n_users)
        self.categories, self.days = positive(categories=categories), positive(days=days)
        self.lateness = int(np.timedelta64(lateness, "s").astype(np.int64))
        if self.lateness < 0:
            raise ValueError(f"`lateness` must not be negative. Received: lateness={lateness!r}")
        # When a day is final, all of the window that ends with it must be here still.
        self._kept = self.days + -(-self.lateness // _DAY) + 1
        self.cells = np.zeros((n_users, self._kept, categories, _MEASURES))
        self._latest = _NEVER
        self._seen = {}  # day → the keys of its events, as long as copies may come
        self.taken = self.copies = self.late = self.unknown = 0

    @property
    def watermark(self):
        """Nothing that happened before it is taken any more, datetime64[s]; NaT before all events.

        An image whose `end` is not after it is final.
        """
        begun = self._latest > _NEVER
        return np.datetime64(self._latest - self.lateness if begun else "NaT", "s")

    def add(self, batch):
        """Count an `EVENT` array (events,), in its order: as if its events were added one by one.

        Raises ValueError for another dtype, codes out of range, missing times and weights other
        than 1 and -1; then nothing is counted.
        """
        self._check(batch)
        if not len(batch):
            return
        second = batch["time"].view(np.int64)
        latest = np.maximum(np.maximum.accumulate(second), self._latest)
        late = second < latest - self.lateness
        known = batch["user"] >= 0
        self.late += int(late.sum())
        self.unknown += int((~late & ~known).sum())
        rows = np.flatnonzero(~late & known)
        day = second // _DAY
        new = [self._is_new(*key) for key in zip(day[rows].tolist(), _keys(batch[rows]).tolist())]
        self.copies += len(new) - sum(new)
        self.taken += sum(new)
        self._move_to(int(latest[-1]))
        self._count(batch, rows[np.array(new, bool)], day)

    def image(self, *, end, users=None):
        """Return what `behaviour_images(log, end=end, days=days, users=users)` would.

        float32 (users, days, categories, 3). Raises ValueError for days that are not kept.
        """
        return self._window(end, users)[..., :3].astype(np.float32)

    def fading(self, *, end, half_life=16, users=None):
        """Return what `fading_touches` of the log would, float32 (users, categories)."""
        weight = 0.5 ** ((np.arange(self.days, 0, -1) - 0.5) / half_life)
        touches = self._window(end, users)[..., 0]
        return np.log1p(np.einsum("udc,d->uc", touches, weight)).astype(np.float32)

    def summary(self, *, end, users=None, by_category=False):
        """Return what `recency_frequency_money` of the log would.

        float32 (users, 5), or (users, categories, 5) `by_category`; the last axis is
        `hand.FEATURES`.
        """
        cells = self._window(end, users)
        if not by_category:
            cells = cells.sum(axis=2, keepdims=True)
        age = np.arange(self.days, 0, -1)[:, None]
        touches, purchases = cells[..., 0], cells[..., 3]
        columns = (
            np.where(touches > 0, age, self.days).min(axis=1),
            touches.sum(axis=1),
            np.where(purchases > 0, age, self.days).min(axis=1),
            purchases.sum(axis=1),
            cells[..., 2].sum(axis=1),
        )
        found = np.stack(columns, axis=-1).astype(np.float32)
        return found if by_category else found[:, 0]

    def state(self):
        """Return all that is known as a dict of arrays, such as `numpy.savez` takes."""
        seen = [(day, key) for day, keys in self._seen.items() for key in keys]
        return {
            "cells": self.cells.copy(),
            "window": np.array([self.days, self.lateness, self._latest]),
            "seen": np.array(seen, np.int64).reshape(-1, 2),
            "counts": np.array([self.taken, self.copies, self.late, self.unknown]),
        }

    @classmethod
    def resume(cls, state):
        """Return a stream that goes on where `state` was taken."""
        n_users, _, categories, _ = state["cells"].shape
        days, lateness, latest = state["window"].tolist()
        stream = cls(n_users, categories=categories, days=days, lateness=lateness)
        stream.cells[:], stream._latest = state["cells"], latest
        for day, key in state["seen"].tolist():
            stream._is_new(day, key)
        stream.taken, stream.copies, stream.late, stream.unknown = state["counts"].tolist()
        return stream

    def _is_new(self, day, key):
        keys = self._seen.setdefault(day, set())
        new = key not in keys
        keys.add(key)
        return new

    def _move_to(self, latest):
        """Empty the rows of new days, which held old ones, and forget the ids of final days."""
        day = latest // _DAY
        for new in range(max(self._latest // _DAY, day - self._kept) + 1, day + 1):
            self.cells[:, new % self._kept] = 0
        self._latest = latest
        for old in [d for d in self._seen if (d + 1) * _DAY <= latest - self.lateness]:
            del self._seen[old]

    def _count(self, batch, rows, day):
        # a batch may span more days than are kept
        rows = rows[day[rows] > self._latest // _DAY - self._kept]
        event, place = batch[rows], day[rows] % self._kept
        touch = event["weight"] * touching(event["action"])
        bought = event["weight"] * (event["action"] == PURCHASE)
        measures = (
            touch,
            touch * np.fmax(event["dwell"], 0).astype(float),  # fmax(NaN, 0) is 0
            np.where(bought, bought * event["amount"].astype(float), 0),
            bought,
        )
        for measure, values in enumerate(measures):
            at = (event["user"], place, event["category"], measure)
            np.add.at(self.cells, at, values)

    def _window(self, end, users):
        """The cells (users, days, categories, measures) of the window that ends at `end`."""
        stop = int(midnight(end).astype(np.int64))
        newest = self._latest // _DAY
        if stop - self.days <= newest - self._kept:
            first = np.datetime64(newest - self._kept + 1 + self.days, "D")
            raise ValueError(f"`end` must be {first} or later. Received: end={end!r}")
        day = np.arange(stop - self.days, stop)
        users = np.arange(self.n_users) if users is None else np.asarray(users)
        cells = self.cells[users[:, None], day % self._kept]
        cells[:, day > newest] = 0  # days that have not begun
        return cells

    def _check(self, batch):
        if getattr(batch, "dtype", None) != EVENT or batch.ndim != 1:
            raise ValueError(f"`batch` must be an EVENT array (events,). Received: {batch!r}")
        for name, low, high in (("user", -1, self.n_users), ("category", 0, self.categories)):
            bad = np.flatnonzero((batch[name] < low) | (batch[name] >= high))
            if len(bad):
                raise ValueError(
                    f"`batch[{name!r}]` must lie in [{low}, {high}). "
                    f"Received: {batch[name][bad[0]]} in row {bad[0]}"
                )
        if np.isnat(batch["time"]).any() or not np.isin(batch["weight"], (1, -1)).all():
            raise ValueError(
                "`batch` must have times and weights of 1 or -1. Received: "
                f"{np.isnat(batch['time']).sum()} missing times, weights "
                f"{np.unique(batch['weight'])}"
            )


def _keys(batch):
    """One number an event: copies have the same, what takes an event back has another."""
    return 2 * batch["id"] + (batch["weight"] < 0)
