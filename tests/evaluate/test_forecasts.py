import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from recsys_evo.evaluate.forecasts import Interval, auc, bootstrap_auc, interval

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
