"""What a log can bear: its quality is measured and reported, not assumed.

    user 0  ──tt───────t──────────────t──▶     t t     two visits, a span: something can evolve
    user 1  ──ttttttt────────────────────▶     ttttt   one visit in one second: nothing can

`quality(log)` is one table, a row a measure, with what the measure puts at risk; `plots.quality`
draws the tables of several logs side by side. Chapter 03 does so before anything is learned.
"""

import csv
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_evo.collect import datasets
from recsys_evo.collect.events import ACTIONS, IMPRESSION, copies

# Measure: (its unit, what it puts at risk). All the words of the table are in the file.
with open(Path(__file__).with_suffix(".csv"), encoding="utf-8", newline="") as words:
    MEASURES = {measure: (unit, risk) for measure, unit, risk in csv.reader(words)}
_DAY, _MONTH = 86_400, 30 * 86_400  # seconds


def quality(log):
    """Measure what a log can bear.

    The rows from `same-second pairs` to `pace of the busiest user` are about what users did: the
    events of known users, impressions left out, since a slate's all come in one second. All other
    rows are about every event.

    - *part of the complete log*: events here, for one of the official build that `log.source`
      names, or of the data set of which that is a sample; unknown without a card.
    - *copies*: as `Log.clean` finds them, those among the rows without a user included.
    - *time resolution*: the coarsest of second, minute, hour, day and month (of 30 days) such that
      at least 95% of the times begin one.
    - *same-second pairs*: of a user's neighbouring events. *Same-second events*: the same events
      that are no later than the one before, as a share of all, the users' first included.
    - *span a user*: from the first event to the last. *Users in both halves* have an event up to
      the median event's time and one after it.
    - *visits a user*: days (UTC) with an event. *Events a visit*: all events for all visits.
    - *events of the busiest 1%* of the users, at least one user. *Pace of the busiest user*:
      events a visit of the user with the most events, for the median user's.
    - *dwell known*: of the events that are no impressions. *Amount known*: not 0.
    - *action …*: 0 where the source lacks it.

    No log proves from inside that it was thinned: few events a visit, and few users in both
    halves, are what thinning does, and also what users do who want one thing at a time. Only the
    source can tell, and *part of the complete log* says what it told.

    Parameters
    ----------
    log : Log with at least one event.

    Returns
    -------
    DataFrame, a row a measure in the order of `MEASURES`, with the columns `value` (float; NaN
    where there is nothing to measure), `unit` and `risk`, both text.

    Raises
    ------
    ValueError for an empty log.
    """
    if not len(log):
        raise ValueError("`log` must have at least one event. Received: 0 events")
    table = pd.DataFrame.from_dict(MEASURES, orient="index", columns=["unit", "risk"])
    events = log.events
    user, time = events["user"].to_numpy(), events["time"].to_numpy()
    action = events["action"].cat.codes.to_numpy()
    known, acted = user >= 0, action != IMPRESSION
    values = {
        "events": len(log),
        "users": events["user"][known].nunique(),
        "items": events["item"].nunique(),
        "days": (log.end - log.start).astype(int),
        "part of the complete log": len(log) / _official(log),
        "rows without a user": (~known).mean(),
        "copies": copies(log).mean(),
        **_times(time),
        **_behaviour(user[known & acted], time[known & acted]),
        "dwell known": _share(events["dwell"].notna().to_numpy(), acted),
        "amount known": _share(events["amount"].to_numpy() != 0, log.purchase),
        "propensity known": _share(events["propensity"].notna().to_numpy(), ~acted),
    }
    counts = np.bincount(action, minlength=len(ACTIONS))
    values |= {f"action {name}": n / len(log) for name, n in zip(ACTIONS, counts)}
    table.insert(0, "value", pd.Series(values, dtype=float))
    return table.rename_axis("measure")


def _official(log):
    """Number of events in the complete official build, NaN where nobody knows."""
    if log.source is None or log.source.name not in datasets.names():
        return np.nan
    card = datasets.card(log.source.name)
    return (datasets.card(card.sample_of) if card.sample_of else card).rows or np.nan


def _times(time):
    """The measures of how exact the times are."""
    seconds, month = time.view("int64"), time.astype("datetime64[M]")
    whole = {length: (seconds % length == 0).mean() for length in (1, 60, 3_600, _DAY)}
    whole[_MONTH] = (time == month).mean()
    return {
        "time resolution": max(length for length, share in whole.items() if share >= 0.95),
        "times at midnight": whole[_DAY],
        "times on day 1": (time.astype("datetime64[D]") == month).mean(),
    }


def _behaviour(user, time):
    """The measures of what users did, from their events sorted by user and time."""
    if not len(user):
        return {}
    seconds = time.view("int64")
    _, first, events = np.unique(user, return_index=True, return_counts=True)  # of each user
    last = first + events - 1
    same = np.r_[False, seconds[1:] == seconds[:-1]]  # as the user's event before
    same[first] = False
    day = seconds // _DAY
    new_day = np.r_[True, day[1:] != day[:-1]]
    new_day[first] = True
    visits = np.add.reduceat(new_day, first, dtype=int)
    span = (seconds[last] - seconds[first]) / _DAY
    middle = np.partition(seconds, (len(seconds) - 1) // 2)[(len(seconds) - 1) // 2]
    pairs = len(user) - len(first)
    few = -(-len(first) // 100)
    pace = events / visits
    return {
        "same-second pairs": same.sum() / pairs if pairs else np.nan,
        "same-second events": same.mean(),
        "span a user": np.median(span),
        "users over 1 day": (span > 1).mean(),
        "users over 30 days": (span > 30).mean(),
        "users in both halves": ((seconds[first] <= middle) & (seconds[last] > middle)).mean(),
        "events a user": np.median(events),
        "visits a user": np.median(visits),
        "events a visit": len(user) / visits.sum(),
        "events of the busiest 1%": np.partition(events, -few)[-few:].sum() / len(user),
        "pace of the busiest user": pace[events.argmax()] / np.median(pace),
    }


def _share(known, rows):
    """The share of `rows` that are `known`, both bool (events,); NaN where there are no rows."""
    return known[rows].mean() if rows.any() else np.nan
