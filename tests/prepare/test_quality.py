import dataclasses
from itertools import pairwise
from statistics import median

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_evo.collect import datasets
from recsys_evo.collect.events import ACTIONS, Log, Source
from recsys_evo.prepare.quality import MEASURES, quality

from .strategies import log_of, rows

DAY = 86_400


def log_at(times, users=0, **columns):
    """A log of one event a time, of user 0 unless told otherwise, and of item 0."""
    time = np.array(times, "datetime64[s]")
    frame = pd.DataFrame({"user": np.broadcast_to(users, len(time)), "item": 0, "time": time})
    return Log(frame.assign(**columns))


def of(log, *measures):
    values = quality(log)["value"][list(measures)].tolist()
    return values if len(values) > 1 else values[0]


def test_a_table_has_each_measure_once_with_its_unit_and_what_it_puts_at_risk():
    table = quality(log_at(["2020-01-01"]))
    assert table.index.tolist() == list(MEASURES)
    assert table.columns.tolist() == ["value", "unit", "risk"]
    assert table["value"].dtype == float
    assert list(zip(table["unit"], table["risk"])) == list(MEASURES.values())
    assert [m for m in MEASURES if m.startswith("action ")] == [f"action {a}" for a in ACTIONS]


def test_an_empty_log_has_no_quality():
    with pytest.raises(ValueError, match=r"`log` must have at least one event. Received: 0 events"):
        quality(log_of([]))


def test_closed_forms():
    log = log_of([
        # user, second, category, action, dwell, amount
        (-1, 5, 0, "click", 3, 0),
        (0, 10, 0, "click", 3, 0),
        (0, 10, 1, "click", np.nan, 0),
        (0, 10, 1, "click", np.nan, 0),
        (0, 11, 0, "impression", np.nan, 0),
        (0, 11, 0, "impression", np.nan, 0),
        (0, 40 * DAY + 10, 0, "purchase", np.nan, 7),
        (1, 20, 0, "purchase", np.nan, 0),
        (1, 2 * DAY + 20, 0, "return", np.nan, 7),
        (2, 30, 0, "rate", 0, 0),
    ])  # fmt: skip
    values = quality(log)["value"].dropna().to_dict()
    shares = {"click": 4, "impression": 2, "purchase": 2, "return": 1, "rate": 1}
    expected = {
        "events": 10,
        "users": 3,
        "items": 1,
        "days": 41,
        "rows without a user": 1 / 10,
        "copies": 2 / 10,
        "time resolution": 1,
        "times at midnight": 0,
        "times on day 1": 8 / 10,
        "same-second pairs": 2 / 4,
        "same-second events": 2 / 7,
        "span a user": 2,
        "users over 1 day": 2 / 3,
        "users over 30 days": 1 / 3,
        "users in both halves": 2 / 3,  # the median event is at second 20
        "events a user": 2,
        "visits a user": 2,
        "events a visit": 7 / 5,
        "events of the busiest 1%": 4 / 7,
        "pace of the busiest user": 2,
        "dwell known": 3 / 8,
        "amount known": 1 / 2,
        "propensity known": 0,
    } | {f"action {action}": shares.get(action, 0) / 10 for action in ACTIONS}
    assert values == pytest.approx(expected)


def slow(log):
    """The measures, counted row by row."""
    events = [*log.events[["user", "item", "time", "category", "action", "dwell", "amount"]]
              .itertuples(index=False)]  # fmt: skip
    stamp = [int(e.time.timestamp()) for e in events]
    seen, copies, acts = set(), 0, {}
    for e, second in zip(events, stamp):
        row = tuple(None if x != x else x for x in e)
        copies += row in seen
        seen.add(row)
        if e.user >= 0 and e.action != "impression":
            acts.setdefault(e.user, []).append(second)
    values = {
        "events": len(events),
        "users": len({e.user for e in events} - {-1}),
        "items": len({e.item for e in events}),
        "days": max(stamp) // DAY - min(stamp) // DAY + 1,
        "rows without a user": sum(e.user == -1 for e in events) / len(events),
        "copies": copies / len(events),
        "times at midnight": sum(second % DAY == 0 for second in stamp) / len(events),
        "times on day 1": sum(e.time.day == 1 for e in events) / len(events),
    }
    for action in ACTIONS:
        values[f"action {action}"] = sum(e.action == action for e in events) / len(events)
    known = [e.dwell == e.dwell for e in events if e.action != "impression"]
    if known:
        values["dwell known"] = sum(known) / len(known)
    known = [e.amount != 0 for e in events if e.action == "purchase"]
    if known:
        values["amount known"] = sum(known) / len(known)
    if "impression" in {e.action for e in events}:
        values["propensity known"] = 0
    if not acts:
        return values
    n = sum(map(len, acts.values()))
    same = sum(a == b for times in acts.values() for a, b in pairwise(times))
    if n > len(acts):
        values["same-second pairs"] = same / (n - len(acts))
    spans = [(times[-1] - times[0]) / DAY for times in acts.values()]
    visits = [len({second // DAY for second in times}) for times in acts.values()]
    middle = sorted(second for times in acts.values() for second in times)[(n - 1) // 2]
    both = [min(times) <= middle < max(times) for times in acts.values()]
    paces = [len(times) / days for times, days in zip(acts.values(), visits)]
    busiest = max(len(times) for times in acts.values())
    return values | {
        "same-second events": same / n,
        "span a user": median(spans),
        "users over 1 day": sum(span > 1 for span in spans) / len(acts),
        "users over 30 days": sum(span > 30 for span in spans) / len(acts),
        "users in both halves": sum(both) / len(acts),
        "events a user": median(len(times) for times in acts.values()),
        "visits a user": median(visits),
        "events a visit": n / sum(visits),
        "events of the busiest 1%": busiest / n,
        "pace of the busiest user": next(
            pace for pace, times in zip(paces, acts.values()) if len(times) == busiest
        ) / median(paces),
    }  # fmt: skip


@given(rows(min_size=1), st.integers(0, 9), st.sampled_from([1, 12]))
def test_measures_are_what_a_loop_over_the_rows_finds(some, n_copied, stretch):
    log = log_of([(u, s * stretch, *rest) for u, s, *rest in some + some[:n_copied]])
    values = quality(log)["value"].dropna().drop("time resolution")
    assert values.to_dict() == pytest.approx(slow(log))


@given(rows(min_size=1), st.integers(0, 9))
def test_copies_are_those_that_clean_drops(some, n_copied):
    log = log_of([(max(user, 0), *rest) for user, *rest in some + some[:n_copied]])
    dropped = log.clean()[1].loc["duplicate row", "rows"]
    assert of(log, "copies") == pytest.approx(dropped / len(log))


MINUTE, HOUR, MONTH = 60, 3_600, 30 * DAY


@pytest.mark.parametrize(
    ("times", "resolution"),
    [
        (["2020-01-01T00:00:01"], 1),
        (["2020-01-01T00:01", "2020-01-01T01:00"], MINUTE),
        (["1969-12-31T23:59"], MINUTE),
        (["2020-01-01", "2020-01-01T23:00"], HOUR),
        (["1956-03-02", "2020-01-01"], DAY),
        (["2020-01-01T05:00", "2020-02-01T05:00"], HOUR),  # day 1, but no date
        (["1956-03-01", "2020-01-01"], MONTH),
        (["2020-01-01"] * 19 + ["2020-01-02T03:04:05"], MONTH),
        (["2020-01-02"] * 19 + ["2020-01-02T03:04:05"], DAY),
        (["2020-01-02"] * 18 + ["2020-01-02T03:04:05"], 1),  # less than 95%
    ],
)
def test_the_resolution_is_the_coarsest_unit_that_nearly_all_times_are_whole_in(times, resolution):
    assert of(log_at(times), "time resolution") == resolution


def test_dates_and_first_days_are_shares_of_the_times():
    log = log_at(["2020-01-01", "2020-01-01T05:00", "2020-01-02", "2020-01-03", "2020-01-31"])
    assert of(log, "times at midnight", "times on day 1") == [4 / 5, 2 / 5]


def test_the_busiest_hundredth_of_the_users_is_rounded_up():
    users = np.repeat(np.arange(101), np.r_[np.full(99, 2), 40, 60])
    log = log_at(np.full(len(users), "2020-01-01"), users)
    assert of(log, "events of the busiest 1%") == pytest.approx(100 / 298)


def test_a_machine_is_faster_than_the_median_user():
    users = np.repeat([0, 1, 2, 3], [900, 30, 20, 10])
    days = np.r_[np.arange(900) % 3, np.arange(30) % 3, np.arange(20) % 10, np.zeros(10, int)]
    log = log_at(np.datetime64("2020-01-01") + days, users)
    assert of(log, "pace of the busiest user") == 300 / 10  # paces are 300, 10, 2, 10


def test_the_halves_of_a_log_hold_equally_many_events():
    # One absurd date would move the middle of the span to before everybody's first event.
    log = log_at(["1956-01-01", "2020-01-01", "2020-01-05", "2020-01-02", "2020-01-06",
                  "2020-01-07"], [0, 1, 1, 2, 2, 3])  # fmt: skip
    assert of(log, "users in both halves") == 2 / 4


def test_a_log_of_one_visit_looks_like_one():
    log = log_at(["2020-01-01T10:00:00"] * 3 + ["2020-01-01T10:00:30"])
    one_visit = ("same-second pairs", "same-second events", "visits a user", "events a visit",
                 "users over 1 day", "users in both halves")  # fmt: skip
    assert of(log, *one_visit) == pytest.approx([2 / 3, 2 / 4, 1, 4, 0, 1])


def test_users_who_come_in_the_same_second_are_no_neighbours():
    log = log_at(["2020-01-01", "2020-01-02", "2020-01-02", "2020-01-03"], [0, 0, 1, 1])
    assert of(log, "same-second pairs", "same-second events", "visits a user") == [0, 0, 2]


def test_a_span_of_just_a_day_is_not_over_a_day():
    days = ["2020-01-01", "2020-01-02", "2020-01-01", "2020-01-31", "2020-01-01",
            "2020-01-31T00:00:01"]  # fmt: skip
    log = log_at(days, [0, 0, 1, 1, 2, 2])
    assert of(log, "users over 1 day", "users over 30 days") == pytest.approx([2 / 3, 1 / 3])


def test_impressions_are_nothing_that_users_did():
    log = log_at(["2020-01-01"] * 3, action="impression", propensity=[0.5, np.nan, 0.5], slate=0)
    assert of(log, "users", "action impression", "propensity known") == [1, 1, 2 / 3]
    done = ("same-second pairs", "span a user", "events a user", "visits a user", "dwell known",
            "amount known", "events of the busiest 1%")  # fmt: skip
    assert np.isnan(of(log, *done)).all()


def test_a_thinned_log_says_how_much_of_the_official_build_it_has():
    log = log_at(["2020-01-01"] * 5)
    part = "part of the complete log"
    assert np.isnan(of(log, part))
    log.source = Source("world")
    assert np.isnan(of(log, part))
    log.source = Source("movielens-100k")
    assert of(log, part) == 5 / 100_000


def test_a_build_of_which_nobody_knows_the_size(monkeypatch):
    card = dataclasses.replace(datasets.card("movielens-100k"), rows=None)
    monkeypatch.setattr(datasets, "card", lambda name: card)
    log = log_at(["2020-01-01"])
    log.source = Source("movielens-100k")
    assert np.isnan(of(log, "part of the complete log"))


def test_thinning_shows_in_the_visits_and_hardly_in_the_spans():
    days = np.datetime64("2020-01-01") + np.tile(np.repeat(np.arange(40), 8), 3)
    log = log_at(days, np.repeat([0, 1, 2], 40 * 8))
    thinned = log.where(np.arange(len(log)) % 8 == 0)
    assert of(log, "events a visit", "users over 30 days") == [8, 1]
    assert of(thinned, "events a visit", "users over 30 days") == [1, 1]


def test_a_build_that_is_a_sample_is_held_against_the_whole(monkeypatch):
    card = dataclasses.replace(datasets.card("movielens-100k"), sample_of="online-retail")
    monkeypatch.setitem(datasets._CARDS, "movielens-100k", card)
    log = log_at(["2020-01-01"])
    log.source = Source("movielens-100k")
    assert of(log, "part of the complete log") == 1 / 541_909


# What others published of these logs, and what was counted in the files by other means.
PUBLISHED = {
    "movielens-100k": {
        "events": 100_000,
        "users": 943,
        "items": 1_682,
        "part of the complete log": 1,
        "same-second pairs": 0.510,
        "same-second events": 0.506,
        "span a user": 0.03,  # 0.8 hours
        "users over 1 day": 0.32,
        "copies": 0,
        "time resolution": 1,
        "action rate": 1,
    },
    "movielens-latest-small-2016": {
        "events": 100_004,
        "users": 671,
        "same-second pairs": 0.22,
        "same-second events": 0.22,
        "users over 1 day": 0.39,
    },
    "online-retail": {
        "events": 541_909,
        "users": 4_372,
        "part of the complete log": 1,
        "rows without a user": 0.249,
        "copies": 0.009725,  # 5,268, and two that differ in the wording of the title only
        "time resolution": MINUTE,
        "action return": 0.0196,
        "action impression": 0,
        "dwell known": 0,
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_real_logs_measure_as_published(name):
    if name not in datasets.names() or not datasets.available(name):
        pytest.skip(f"{name} is not on this machine")
    table = quality(datasets.load(name))
    for measure, published in PUBLISHED[name].items():
        digits = len(str(published).partition(".")[2])
        assert round(table.loc[measure, "value"], digits) == published, measure
