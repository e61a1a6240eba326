"""What a log can bear: its quality is measured and reported, not assumed.

    user 0  ──tt───────t──────────────t──▶     t t     two visits, a span: something can evolve
    user 1  ──ttttttt────────────────────▶     ttttt   one visit in one second: nothing can

`quality(log)` is one table, a row a measure, with what the measure puts at risk; `plots.quality`
draws the tables of several logs side by side. Chapter 03 does so before anything is learned.
"""

import numpy as np
import pandas as pd

from recsys_evo.collect import datasets
from recsys_evo.collect.events import ACTIONS, IMPRESSION, copies

# Measure: (its unit, what it puts at risk). All the words of the table are here.
MEASURES = {
    "events": ("events", "Few: wide intervals, whatever the model."),
    "users": ("users", "Few: no statement about users in general."),
    "items": ("items", "Many for few events: most are hardly ever seen."),
    "days": ("days", "Few: no season is seen. Far too many: some dates are wrong."),
    "part of the complete log": (
        "share of events",
        "Below 1: thinned or cut, so that counts, gaps and baskets are not the users' own.",
    ),
    "rows without a user": (
        "share of events",
        "They cannot be followed, and who stays unknown differs from who does not.",
    ),
    "copies": ("share of events", "What was written twice counts as done twice."),
    "time resolution": ("seconds", "What happens within it has no order."),
    "times at midnight": ("share of events", "Near 1: dates without an hour."),
    "times on day 1": ("share of events", "Far above 0.03: months written as dates."),
    "same-second pairs": (
        "share of neighbouring pairs",
        "Their order is that of the file: it does not say what came first.",
    ),
    "same-second events": ("share of events", "The same, counted in events."),
    "span a user": ("days, median", "Short: tastes have no time to move."),
    "users over 1 day": ("share of users", "Few: one sitting is seen, and no return."),
    "users over 30 days": ("share of users", "Few: no evolution over months can be shown."),
    "users in both halves": (
        "share of users",
        "Few: what looks like a change of taste is a change of users.",
    ),
    "events a user": ("events, median", "Few: one user's taste cannot be told from chance."),
    "visits a user": ("days, median", "Few: no habit, and no interval between visits."),
    "events a visit": (
        "events, mean",
        "Near 1: nothing to see within a visit; a thinned log looks like this.",
    ),
    "events of the busiest 1%": (
        "share of events",
        "High: averages describe a few machines, traders or enthusiasts.",
    ),
    "pace of the busiest user": (
        "times the median user's",
        "Beyond what a person can do: a machine, or an account that many share.",
    ),
    "dwell known": ("share of events", "Unknown: a glance counts as much as an hour."),
    "amount known": ("share of purchases", "Unknown: a trifle counts as much as a fortune."),
    "propensity known": (
        "share of impressions",
        "Unknown: what another policy would have earned cannot be computed.",
    ),
    "action impression": ("share of events", "None: not wanted looks like not shown."),
    "action view": ("share of events", "None: what was looked at is not known."),
    "action click": ("share of events", "None: interest short of a purchase is not seen."),
    "action cart": ("share of events", "None: the wish to buy is seen only where it ends in one."),
    "action purchase": ("share of events", "None: nothing is said about who buys."),
    "action return": ("share of events", "None: what was sent back counts as wanted."),
    "action like": ("share of events", "None: approval has to be guessed."),
    "action comment": ("share of events", "None: users do not speak."),
    "action share": ("share of events", "None: what users pass on is not seen."),
    "action follow": ("share of events", "None: whom users choose to hear is not seen."),
    "action rate": ("share of events", "None: nobody says how good it was."),
}
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
