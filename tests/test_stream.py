import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_evo import stream
from recsys_evo.collect.events import ACTIONS, Log
from recsys_evo.prepare.hand import fading_touches, recency_frequency_money
from recsys_evo.prepare.images import behaviour_images
from recsys_evo.stream import EVENT, Stream

N_USERS, N_CATEGORIES, N_DAYS, WINDOW = 3, 4, 9, 4
FIRST = np.datetime64("2024-03-01", "s")
DAY = 86_400

_second = st.one_of(
    st.integers(0, N_DAYS * DAY - 1),
    st.integers(0, N_DAYS - 1).map(lambda day: day * DAY),
    st.integers(1, N_DAYS).map(lambda day: day * DAY - 1),
)
_event = st.tuples(
    st.integers(-1, N_USERS - 1),
    st.integers(0, N_CATEGORIES - 1),
    st.sampled_from(range(len(ACTIONS))),
    _second,
    st.one_of(st.just(np.nan), st.floats(-5, 600, width=32)),
    st.floats(0, 200, width=32),
)
batches = st.lists(_event, max_size=40).map(lambda rows: made(rows))


def made(rows):
    found = np.zeros(len(rows), EVENT)
    found["id"], found["weight"] = np.arange(len(rows)), 1
    for k, row in enumerate(rows):
        user, category, action, second, dwell, amount = row
        found[k] = (k, user, category, action, FIRST + second, dwell, amount, 1)
    return found


def one(second, *, id=0, user=0, category=0, action="click", dwell=1.0, amount=0.0, weight=1):
    values = (id, user, category, ACTIONS.index(action), FIRST + second, dwell, amount, weight)
    return np.array([values], EVENT)


def log_of(batch):
    frame = pd.DataFrame(
        {
            "user": batch["user"],
            "item": np.zeros(len(batch), np.int32),
            "time": batch["time"],
            "category": batch["category"],
            "action": pd.Categorical.from_codes(batch["action"], ACTIONS, ordered=True),
            "dwell": batch["dwell"],
            "amount": batch["amount"],
        }
    )
    tables = (pd.DataFrame({"id": np.arange(n)}) for n in (1, N_USERS))
    return Log(frame, *tables)


def new(**options):
    options = {"categories": N_CATEGORIES, "days": WINDOW} | options
    return Stream(N_USERS, **options)


def by_pandas(batch, end):
    """Touches, seconds, amount (users, days, categories, 3) by grouping a table."""
    table = pd.DataFrame({name: batch[name] for name in EVENT.names})
    age = (end - table["time"].to_numpy().astype("M8[D]")).astype(int)
    table = table.assign(age=age, name=np.array(ACTIONS)[table["action"]])
    kept = ~table["name"].isin(["impression", "return"]) & (table["user"] >= 0)
    table = table[kept & table["age"].between(1, WINDOW)]
    table["dwell"] = table["dwell"].fillna(0).clip(lower=0)
    table["amount"] = table["amount"].where(table["name"] == "purchase", 0)
    found = np.zeros((N_USERS, WINDOW, N_CATEGORIES, 3))
    for (user, age, category), rows in table.groupby(["user", "age", "category"]):
        found[user, WINDOW - age, category] = len(rows), rows["dwell"].sum(), rows["amount"].sum()
    return found


def assert_equal_to_batch(found, batch, end):
    log = log_of(batch)
    image = found.image(end=end)
    for expected in (
        by_pandas(batch, end),
        behaviour_images(log, end=end, days=WINDOW, categories=N_CATEGORIES),
    ):
        np.testing.assert_array_equal(image[..., 0], expected[..., 0])
        np.testing.assert_allclose(image, expected, rtol=1e-6, atol=1e-6)
    window = {"end": end, "days": WINDOW, "categories": N_CATEGORIES}
    np.testing.assert_allclose(
        found.fading(end=end, half_life=3), fading_touches(log, half_life=3, **window), rtol=1e-6
    )
    expected = recency_frequency_money(log, **window)
    summary = found.summary(end=end, by_category=True)
    np.testing.assert_array_equal(summary[..., :4], expected[..., :4])
    np.testing.assert_allclose(summary, expected, rtol=1e-6, atol=1e-6)
    expected = recency_frequency_money(log, end=end, days=WINDOW)
    np.testing.assert_allclose(found.summary(end=end), expected, rtol=1e-6, atol=1e-6)


def shuffled_within(batch, lateness, seed):
    """An order of arrival in which nothing is older than `lateness` when it comes."""
    rng = np.random.default_rng(seed)
    delay = rng.uniform(0, lateness, len(batch)) * (rng.random(len(batch)) < 0.7)
    return batch[np.argsort(batch["time"].view("i8") + delay, kind="stable")]


@given(batches, st.integers(0, 3 * DAY), st.integers(0, 2**32 - 1), st.data())
def test_any_order_with_any_copies_and_cuts_gives_the_batch(batch, lateness, seed, data):
    rng = np.random.default_rng(seed)
    copies = batch[rng.integers(0, len(batch), rng.integers(0, 20))] if len(batch) else batch
    arriving = shuffled_within(np.concatenate([batch, copies]), lateness, seed)
    cuts = np.sort(rng.integers(0, len(arriving) + 1, data.draw(st.integers(0, 8))))
    found = new(lateness=lateness)
    for part in np.split(arriving, cuts):
        found.add(part)
    assert found.late == 0
    assert found.copies == (copies["user"] >= 0).sum()
    end = arriving["time"].max().astype("M8[D]") + 1 if len(arriving) else FIRST.astype("M8[D]")
    for before in range(lateness // DAY + 1):  # ends that have just become final, too
        assert_equal_to_batch(found, batch, end - before)


@given(batches, st.integers(0, 3 * DAY), st.integers(0, 2**32 - 1))
def test_batches_are_the_same_as_one_by_one_whatever_is_late(batch, lateness, seed):
    rng = np.random.default_rng(seed)
    arriving = rng.permutation(np.concatenate([batch, batch[::2]]))
    together, singly = new(lateness=lateness), new(lateness=lateness)
    together.add(arriving)
    for k in range(len(arriving)):
        singly.add(arriving[k : k + 1])
    for name, value in singly.state().items():
        other = together.state()[name]
        if name == "seen":  # sets have no order
            value, other = np.unique(value, axis=0), np.unique(other, axis=0)
        np.testing.assert_allclose(other, value, rtol=1e-12, atol=1e-9)
    counts = (together.taken, together.copies, together.late, together.unknown)
    assert sum(counts) == len(arriving)


@given(batches, st.integers(0, 2**32 - 1))
def test_what_is_late_is_counted_and_the_rest_is_right(batch, seed):
    lateness = DAY // 2
    arriving = np.random.default_rng(seed).permutation(batch)
    found = new(lateness=lateness)
    found.add(arriving)
    seconds = arriving["time"].view("i8")
    late = seconds < np.maximum.accumulate(seconds) - lateness if len(seconds) else seconds > 0
    assert found.late == late.sum()
    if len(batch):
        end = batch["time"].max().astype("M8[D]") + 1
        assert_equal_to_batch(found, arriving[~late], end)


@given(batches, st.integers(0, 2**32 - 1))
def test_events_taken_back_leave_no_trace_in_any_order(batch, seed):
    rng = np.random.default_rng(seed)
    gone = rng.random(len(batch)) < 0.4
    back = batch[gone].copy()
    back["weight"] = -1
    arriving = rng.permutation(np.concatenate([batch, back, back]))
    found = new(lateness=N_DAYS * DAY)
    found.add(arriving)
    if len(batch):
        end = batch["time"].max().astype("M8[D]") + 1
        image = found.image(end=end)
        expected = by_pandas(batch[~gone], end)
        np.testing.assert_array_equal(image[..., 0], expected[..., 0])
        np.testing.assert_allclose(image, expected, rtol=1e-6, atol=1e-6)


@given(batches, st.integers(0, 40), st.integers(0, 2**32 - 1), st.integers(0, 2 * DAY))
def test_a_stream_taken_up_again_goes_on_as_if_nothing_had_been(batch, cut, seed, lateness):
    arriving = np.random.default_rng(seed).permutation(np.concatenate([batch, batch[1::2]]))
    whole, first = new(lateness=lateness), new(lateness=lateness)
    whole.add(arriving)
    first.add(arriving[:cut])
    state = first.state()
    first.add(arriving[cut:])  # must not reach into the state that was taken
    second = Stream.resume(state)
    second.add(arriving[cut:])
    for name, value in whole.state().items():
        other = second.state()[name]
        if name == "seen":
            value, other = np.unique(value, axis=0), np.unique(other, axis=0)
        np.testing.assert_allclose(other, value, rtol=1e-12, atol=1e-9)


def test_state_survives_a_file(tmp_path):
    found = new()
    found.add(np.concatenate([one(5), one(DAY, id=1, action="purchase", amount=3)]))
    np.savez(tmp_path / "state.npz", **found.state())
    with np.load(tmp_path / "state.npz") as state:
        again = Stream.resume(state)
    end = FIRST.astype("M8[D]") + 2
    np.testing.assert_array_equal(again.image(end=end), found.image(end=end))
    again.add(one(DAY, id=1, action="purchase", amount=3))
    assert again.copies == 1


def test_the_watermark_decides_to_the_second():
    found = new(lateness=100)
    assert np.isnat(found.watermark)
    found.add(one(1000))
    assert found.watermark == FIRST + 900
    found.add(one(900, id=1))
    found.add(one(899, id=2))
    assert (found.taken, found.late) == (2, 1)


def test_ids_are_forgotten_once_their_copies_would_be_late():
    found = new(lateness=DAY)
    for day in range(30):
        found.add(one(day * DAY, id=day))
    assert len(found.state()["seen"]) == 2  # its own day and the day before
    found.add(one(20 * DAY, id=20))
    assert (found.copies, found.late) == (0, 1)


def test_a_leap_empties_the_window():
    found = new(lateness=0)
    found.add(one(0))
    found.add(one(400 * DAY, id=1))
    image = found.image(end=FIRST.astype("M8[D]") + 401)
    assert image[..., 0].sum() == 1
    assert image[0, -1, 0, 0] == 1


def test_days_to_come_are_empty_and_days_gone_are_refused():
    found = new(lateness=DAY)  # keeps 4 + 1 + 1 days
    for day in range(10):
        found.add(one(day * DAY, id=day))
    today = FIRST.astype("M8[D]") + 9
    assert found.image(end=today + 3)[..., 0].sum() == 2
    assert found.image(end=today + 9)[..., 0].sum() == 0
    assert found.image(end=today - 1)[..., 0].sum() == 4  # days 4 to 7
    with pytest.raises(ValueError, match=r"`end` must be .* or later"):
        found.image(end=today - 2)


def test_users_may_be_chosen_and_repeated():
    found = new()
    found.add(np.concatenate([one(0, user=2), one(1, user=2, id=1), one(2, user=0, id=2)]))
    end = FIRST.astype("M8[D]") + 1
    assert found.image(end=end, users=[2, 0, 2])[..., 0].sum(axis=(1, 2)).tolist() == [2, 1, 2]


def test_a_log_becomes_events():
    log = log_of(made([(1, 2, ACTIONS.index("purchase"), 7, 3.5, 20.0)]))
    (found,) = stream.events(log)
    assert found.tolist()[:4] == (0, 1, 2, ACTIONS.index("purchase"))
    assert found["time"] == FIRST + 7
    assert (found["dwell"], found["amount"], found["weight"]) == (3.5, 20.0, 1)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (np.zeros(2), "`batch` must be an EVENT array"),
        (one(0, user=N_USERS), r"`batch\['user'\]` must lie in \[-1, 3\).*Received: 3 in row 0"),
        (one(0, category=-1), r"`batch\['category'\]` must lie in \[0, 4\).*Received: -1"),
        (one(0, weight=0), "weights of 1 or -1"),
        (one(np.timedelta64("NaT", "s")), "1 missing times"),
    ],
)
def test_what_will_not_do_is_refused_and_nothing_counted(batch, message):
    found = new()
    with pytest.raises(ValueError, match=message):
        found.add(batch)
    assert found.taken == 0
    assert np.isnat(found.watermark)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"days": 0}, "`days` must be a positive integer"),
        ({"categories": 0}, "`categories` must be a positive integer"),
        ({"lateness": -1}, "`lateness` must not be negative. Received: lateness=-1"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        new(**options)
