import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from recsys_evo.evaluate.forecasts import (
    Interval,
    auc,
    average_precision,
    bootstrap,
    bootstrap_auc,
    calibration,
    interval,
    weighted_mean,
)

# Few distinct scores, so that ties are the rule.
rows = st.lists(
    st.tuples(st.booleans(), st.integers(-3, 3), st.integers(0, 4)), min_size=2, max_size=60
).filter(lambda rows: len({truth for truth, _, weight in rows if weight}) == 2)


@given(rows)
def test_auc_agrees_with_scikit_learn_on_ties_and_weights(rows):
    truth, score, weight = map(np.array, zip(*rows, strict=True))
    assert auc(truth, score) == pytest.approx(roc_auc_score(truth, score))
    expected = roc_auc_score(truth, score, sample_weight=weight)
    assert auc(truth, score, weight) == pytest.approx(expected)


def test_auc_of_the_cases_that_need_no_arithmetic():
    assert auc([0, 0, 1], [1.0, 2.0, 3.0]) == 1
    assert auc([1, 0, 0], [1.0, 2.0, 3.0]) == 0
    assert auc([1, 0, 1, 0], [5, 5, 5, 5]) == 0.5
    assert auc([0, 1, 0, 1], [1, 2, 3, 4]) == 0.75


def test_a_weight_is_a_number_of_copies():
    rng = np.random.default_rng(1)
    truth, score, times = rng.random(80) < 0.4, rng.integers(9, size=80), rng.integers(4, size=80)
    assert auc(truth, score, times) == pytest.approx(
        auc(*(np.repeat(x, times) for x in (truth, score)))
    )


def test_bootstrap_redraws_whole_users_as_a_plain_loop_does():
    rng = np.random.default_rng(2)
    user = np.repeat(np.arange(30), 5) * 7  # codes need not be dense
    truth = rng.random(150) < 0.3
    score, rival = rng.normal(size=(2, 150)).round(1) + truth
    draws = np.random.default_rng(3)
    plain = []
    for _ in range(200):
        drawn = draws.integers(30, size=30) * 7
        taken = np.concatenate([np.flatnonzero(user == one) for one in drawn])
        plain.append([roc_auc_score(truth[taken], s[taken]) for s in (score, rival)])
    plain = np.array(plain)
    one, difference = bootstrap_auc(
        truth, score, user, rng=np.random.default_rng(3), n=200, level=0.9, against=rival
    )
    np.testing.assert_allclose(one[1:], np.quantile(plain[:, 0], [0.05, 0.95]))
    np.testing.assert_allclose(difference[1:], np.quantile(plain @ [1, -1], [0.05, 0.95]))
    assert one.point == auc(truth, score)
    assert difference.point == pytest.approx(auc(truth, score) - auc(truth, rival))
    assert one == bootstrap_auc(truth, score, user, rng=np.random.default_rng(3), n=200, level=0.9)


def test_rows_of_one_user_are_not_independent():
    """Forty copies of every user's row say no more than one: the interval must not shrink."""
    rng = np.random.default_rng(4)
    truth = rng.random(100) < 0.5
    score = rng.normal(size=100) + truth
    one = bootstrap_auc(truth, score, np.arange(100), rng=np.random.default_rng(5), n=400)
    copied = [np.repeat(x, 40) for x in (truth, score, np.arange(100))]
    many = bootstrap_auc(*copied, rng=np.random.default_rng(5), n=400)
    np.testing.assert_allclose(one, many)


def test_bootstrap_interval_is_as_wide_as_theory_says():
    """Hanley and McNeil's standard error, for scores whose AUC is known: a normal shift of 1."""
    rng = np.random.default_rng(6)
    truth = np.arange(2000) % 2 == 0
    score = rng.normal(size=2000) + truth
    a = stats.norm.cdf(1 / np.sqrt(2))
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    se = np.sqrt((a * (1 - a) + 999 * (q1 - a * a) + 999 * (q2 - a * a)) / 1000**2)
    point, low, high = bootstrap_auc(truth, score, np.arange(2000), rng=rng, n=1000)
    assert abs(point - a) < 4 * se
    assert (high - low) / (2 * 1.96) == pytest.approx(se, rel=0.15)


@settings(max_examples=50, deadline=None)
@given(rows)
def test_average_precision_is_the_sum_of_its_steps(rows):
    """The definition, written as a loop over the thresholds; a threshold admits all its ties."""
    truth, score, weight = map(np.array, zip(*rows, strict=True))
    expected = recall = 0.0
    for threshold in np.unique(score)[::-1]:
        admitted = weight * (score >= threshold)
        if admitted.sum():
            reached = (admitted @ truth) / (weight @ truth)
            expected += (reached - recall) * (admitted @ truth) / admitted.sum()
            recall = reached
    assert average_precision(truth, score, weight) == pytest.approx(expected)
    assert average_precision(truth, np.exp(score), weight) == pytest.approx(expected)


def test_average_precision_of_the_cases_that_need_no_arithmetic():
    assert average_precision([0, 0, 1], [1.0, 2.0, 3.0]) == 1
    assert average_precision([1, 0, 0], [1.0, 2.0, 3.0]) == pytest.approx(1 / 3)
    assert average_precision([1, 0, 0, 0], [5, 5, 5, 5]) == 0.25
    assert average_precision([1, 0, 1, 0], [4, 3, 2, 1]) == pytest.approx((1 + 2 / 3) / 2)
    assert np.isnan(average_precision([1, 0], [1, 2], [0, 1]))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 8), st.integers(0, 3)), min_size=1, max_size=60
    ).filter(lambda rows: any(weight for *_, weight in rows)),
    st.integers(1, 12),
    st.randoms(),
)
def test_bins_of_a_calibration_share_out_the_rows(rows, bins, random):
    truth, chance, times = map(np.array, zip(*rows, strict=True))
    chance = chance / 8
    found = calibration(truth, chance, times, bins=bins)
    copies = [np.repeat(x, times) for x in (truth, chance)]  # a weight is a number of copies
    for one, other in zip(found, calibration(*copies, bins=bins), strict=True):
        np.testing.assert_allclose(one, other)
    truth, chance = copies
    assert len(found.share) <= min(bins, len(np.unique(chance)))
    assert (np.diff(found.expected) > 0).all()
    assert found.share.sum() == pytest.approx(1)
    assert found.share @ found.expected == pytest.approx(chance.mean())
    assert found.share @ found.observed == pytest.approx(truth.mean())
    # Equal chances are in one bin: the bins' sizes are sums of whole values' rows.
    upto = np.searchsorted(np.sort(chance), np.unique(chance), "right")
    assert set(np.rint(np.cumsum(found.share) * len(chance)).astype(int)) <= set(upto)
    order = list(range(len(chance)))
    random.shuffle(order)
    again = calibration(truth[order], chance[order], bins=bins)
    np.testing.assert_allclose(again.observed, found.observed)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 100), st.integers(1, 12))
def test_without_ties_bins_differ_by_a_row_at_most(n_rows, bins):
    share = calibration(np.zeros(n_rows), np.linspace(0, 1, n_rows), bins=bins).share
    assert len(share) == min(bins, n_rows)
    assert np.ptp(share) * n_rows < 1 + 1e-6


def test_calibration_by_hand():
    found = calibration([0, 1, 1, 1], [0.2, 0.4, 0.6, 0.7], bins=2)
    np.testing.assert_allclose(found.expected, [0.3, 0.65])
    np.testing.assert_allclose(found.observed, [0.5, 1])
    np.testing.assert_allclose(found.share, [0.5, 0.5])
    assert found.error == pytest.approx((0.2 + 0.35) / 2)
    # A heavy tie does not draw its neighbours into its bin.
    found = calibration([0] * 6 + [1] * 4, [0.1] * 6 + [0.2, 0.3, 0.4, 0.5], bins=2)
    np.testing.assert_allclose(found.share, [0.6, 0.4])


def test_calibration_finds_the_error_that_was_made():
    rng = np.random.default_rng(7)
    chance = rng.random(200_000)
    truth = rng.random(200_000) < chance
    # A bin's share has a standard error of .0035 or less here.
    assert calibration(truth, chance).error < 0.0035
    # Squared chances: the integral of p − p² is 1/6. Halved towards ½: that of |p − ½|/2 is 1/8.
    assert calibration(truth, chance**2).error == pytest.approx(1 / 6, abs=0.004)
    found = calibration(truth, 0.25 + chance / 2)
    assert found.error == pytest.approx(1 / 8, abs=0.004)
    assert (found.observed < found.expected)[:5].all()
    assert (found.observed > found.expected)[5:].all()


def test_bootstrap_does_for_any_measure_what_bootstrap_auc_does():
    rng = np.random.default_rng(8)
    user = rng.integers(40, size=300) * 3
    truth = rng.random(300) < 0.4
    score, rival = rng.normal(size=(2, 300)) + truth
    known, difference = bootstrap_auc(
        truth, score, user, rng=np.random.default_rng(9), n=200, level=0.8, against=rival
    )
    settings = {"user": user, "n": 200, "level": 0.8}
    found = bootstrap(auc, truth, score, rng=np.random.default_rng(9), **settings)
    np.testing.assert_allclose(found, known)

    def gain(truth, score, rival, weight):
        return auc(truth, score, weight) - auc(truth, rival, weight)

    found = bootstrap(gain, truth, score, rival, rng=np.random.default_rng(9), **settings)
    np.testing.assert_allclose(found, difference)


def test_bootstrap_of_a_mean_is_as_wide_as_theory_says():
    """Users of five rows with a user's own level: the variance of a mean of whole users."""
    rng = np.random.default_rng(10)
    user = np.repeat(np.arange(400), 5)
    values = rng.normal(size=400)[user] + rng.normal(size=2000)
    se = np.std([values[user == one].mean() for one in range(400)], ddof=1) / np.sqrt(400)
    point, low, high = bootstrap(weighted_mean, values, user=user, rng=rng, n=2000)
    assert point == pytest.approx(values.mean())
    assert [low, high] == pytest.approx([point - 1.96 * se, point + 1.96 * se], abs=0.2 * se)


def test_a_draw_without_an_answer_is_left_out():
    """One positive of three: missing in (2/3)³ of the draws, and ranked first in the others."""
    truth, score = [1, 0, 0], [3, 2, 1]
    found = bootstrap(
        average_precision, truth, score, user=[0, 1, 2], rng=np.random.default_rng(11), n=100
    )
    assert found == (1, 1, 1)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=20), st.sampled_from([0.8, 0.95, 0.99]))
def test_interval_is_students(values, level):
    found = interval(values, level)
    assert found.point == pytest.approx(np.mean(values))
    if np.std(values) > 1e-9:
        test = stats.ttest_1samp(values, 0).confidence_interval(level)
        np.testing.assert_allclose(found[1:], test, atol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: auc([1, 1], [0, 1]), "`truth` must hold .*Received: 2 positive of 2"),
        (lambda: auc([0, 2], [0, 1]), "`truth` must be a column of 0 and 1"),
        (lambda: auc([0, 1], [0, 1, 2]), r"`score` must be 2 numbers.*\(3,\)"),
        (lambda: auc([0, 1], [0, np.nan]), "`score` must be 2 numbers, none missing"),
        (lambda: auc([0, 1], [0, 1], [1, -1]), "`weight` must not be negative. Received: -1"),
        (lambda: auc([0, 1], [0, 1], [1, 0]), "`weight` must leave a positive and a negative"),
        (
            lambda: bootstrap_auc([0, 1], [0, 1], [5, 5], rng=np.random.default_rng()),
            "`user` must hold two users or more. Received: 1",
        ),
        (lambda: average_precision([0, 0], [0, 1]), "`truth` must hold a positive.*none of 2"),
        (lambda: average_precision([0, 2], [0, 1]), "`truth` must be a column of 0 and 1"),
        (lambda: average_precision([0, 1], [0]), r"`score` must be 2 numbers.*\(1,\)"),
        (lambda: average_precision([0, 1], [0, 1], [-2, 1]), "`weight` must not be.*-2"),
        (lambda: calibration([], []), "`truth` must be a column of 0 and 1"),
        (lambda: calibration([0, 1], [0.5, 1.5]), "`chance` must lie between 0 and 1.*0.5 to 1.5"),
        (lambda: calibration([0, 1], [0.5, np.nan]), "`chance` must be 2 numbers, none missing"),
        (lambda: calibration([0, 1], [0, 1], bins=0), "`bins` must be a positive.*bins=0"),
        (lambda: calibration([0, 1], [0, 1], bins=2.5), "`bins` must be a positive.*bins=2.5"),
        (lambda: calibration([0, 1], [0, 1], [0, 0]), "`weight` must leave a row"),
        (lambda: weighted_mean([1, np.nan]), "`values` must be 2 numbers, none missing"),
        (
            lambda: bootstrap(weighted_mean, [1, 2], user=[5, 5], rng=np.random.default_rng()),
            "`user` must hold two users or more. Received: 1",
        ),
        (
            lambda: bootstrap(weighted_mean, [1], user=[5, 6], rng=np.random.default_rng()),
            r"`columns\[0\]` must be 2 numbers.*\(1,\)",
        ),
        (
            lambda: bootstrap(lambda weight: np.nan, user=[5, 6], rng=np.random.default_rng()),
            "`measure` must be defined on all rows",
        ),
        (lambda: interval([1.0]), r"`values` must be two or more.*\[1.0\]"),
        (lambda: interval([1.0, np.inf]), "`values` must be two or more finite"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_an_interval_unpacks():
    point, low, high = Interval(2, 1, 3)
    assert (point, low, high) == (2, 1, 3)
