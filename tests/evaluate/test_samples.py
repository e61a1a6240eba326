import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import special, stats
from sklearn.linear_model import LogisticRegression

from recsys_evo.evaluate.forecasts import auc, bootstrap_auc
from recsys_evo.evaluate.samples import (
    coverage,
    crps,
    energy_score,
    pit,
    transfer,
    two_sample,
    week_features,
)

# Few distinct values, so that ties are the rule.
numbers = st.integers(-20, 20).map(lambda n: n / 4)


@st.composite
def futures(draw):
    users, m, dims = (draw(st.integers(low, 5)) for low in (1, 2, 1))
    return draw(arrays(float, (users, m, dims), elements=numbers)), draw(
        arrays(float, (users, dims), elements=numbers)
    )


def standard_error(values):
    return values.std() / np.sqrt(len(values))


@settings(max_examples=50, deadline=None)
@given(futures(), st.sampled_from([0.5, 2.0, 3.0]), st.randoms())
def test_the_energy_score_is_its_definition(futures, scale, random):
    draws, happened = futures
    m = draws.shape[1]
    expected = []
    for x, y in zip(draws, happened, strict=True):
        near = sum(np.sqrt(((one - y) ** 2).sum()) for one in x) / m
        apart = sum(np.sqrt(((one - other) ** 2).sum()) for one in x for other in x)
        expected.append(near - apart / (m * (m - 1)) / 2)
    found = energy_score(draws, happened)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    order = list(range(m))
    random.shuffle(order)
    np.testing.assert_allclose(energy_score(draws[:, order], happened), found, atol=1e-12)
    moved = energy_score(scale * draws + 7, scale * happened + 7)
    np.testing.assert_allclose(moved, scale * found, atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(futures())
def test_in_one_dimension_the_energy_score_is_the_crps(futures):
    draws, happened = futures[0][..., 0], futures[1][..., 0]
    expected = energy_score(draws[..., None], happened[:, None])
    np.testing.assert_allclose(crps(draws, happened), expected, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(arrays(np.uint8, (3, 4)), arrays(np.uint8, 3))
def test_unsigned_counts_are_numbers(draws, happened):
    expected = crps(draws.astype(float), happened.astype(float))
    np.testing.assert_allclose(crps(draws, happened), expected)
    np.testing.assert_allclose(energy_score(draws[..., None], happened[:, None]), expected)


@pytest.mark.parametrize("m", [2, 5])
@pytest.mark.parametrize("y", [-0.5, 0.0, 2.0])
def test_crps_of_a_normal_is_its_closed_form_for_any_number_of_draws(m, y):
    draws = np.random.default_rng(1).normal(size=(20_000, m))
    found = crps(draws, np.full(20_000, y))
    exact = y * (2 * stats.norm.cdf(y) - 1) + 2 * stats.norm.pdf(y) - 1 / np.sqrt(np.pi)
    assert abs(found.mean() - exact) < 4 * standard_error(found)


@pytest.mark.parametrize("m", [2, 8])
def test_energy_score_of_a_normal_is_its_closed_form_for_any_number_of_draws(m):
    """‖X‖ is chi-distributed, and X − X' is √2 times as long, in 21 dimensions as in any."""
    draws = np.random.default_rng(2).normal(size=(4000, m, 21))
    found = energy_score(draws, np.zeros((4000, 21)))
    length = np.sqrt(2) * np.exp(special.gammaln(11) - special.gammaln(10.5))
    assert abs(found.mean() - length * (1 - np.sqrt(2) / 2)) < 4 * standard_error(found)


def test_the_true_law_scores_best_by_what_theory_says():
    """The loss of N(b, s) where N(0, 1) is true, from the mean length of a normal difference."""
    rng = np.random.default_rng(3)
    happened, noise = rng.normal(size=20_000), rng.normal(size=(20_000, 8))

    def expected(b, s):
        d = np.hypot(1, s)
        near = d * np.sqrt(2 / np.pi) * np.exp(-((b / d) ** 2) / 2) + b * special.erf(
            b / d / np.sqrt(2)
        )
        return near - s / np.sqrt(np.pi)

    true = crps(noise, happened)
    for b, s in [(0.5, 1), (0, 0.5), (0, 1.5)]:
        loss = crps(b + s * noise, happened) - true
        assert loss.mean() > 5 * standard_error(loss)
        assert abs(loss.mean() - expected(b, s) + expected(0, 1)) < 4 * standard_error(loss)


def test_the_energy_score_sees_what_the_margins_do_not():
    rng = np.random.default_rng(4)
    happened = np.repeat(rng.normal(size=(4000, 1)), 5, axis=1)
    together = np.repeat(rng.normal(size=(4000, 8, 1)), 5, axis=2)
    apart = rng.normal(size=(4000, 8, 5))
    loss = energy_score(apart, happened) - energy_score(together, happened)
    assert loss.mean() > 5 * standard_error(loss)


@pytest.mark.parametrize("m", [2, 9])
def test_the_rank_of_counts_is_uniform_and_covers_what_it_should(m):
    rng = np.random.default_rng(5)
    rate = rng.gamma(0.5, size=20_000)  # three users in four have a most likely count of 0
    draws, happened = rng.poisson(rate, size=(m, 20_000)).T, rng.poisson(rate)
    assert (happened == 0).mean() > 0.5
    assert stats.kstest(pit(draws, happened, rng=rng), "uniform").pvalue > 0.001
    for level in (0.5, 0.9):
        inside = coverage(draws, happened, rng=rng, level=level)
        assert abs(inside.mean() - level) < 4 * np.sqrt(level * (1 - level) / 20_000)


@pytest.mark.parametrize("width", [0.5, 2.0])
def test_coverage_tells_draws_that_are_too_narrow_or_too_wide(width):
    rng = np.random.default_rng(15)
    draws, happened = width * rng.normal(size=(4000, 199)), rng.normal(size=4000)
    exact = 2 * stats.norm.cdf(width * stats.norm.ppf(0.95)) - 1
    inside = coverage(draws, happened, rng=rng).mean()
    assert abs(inside - exact) < 4 * np.sqrt(exact * (1 - exact) / 4000) + 1 / 199


@settings(max_examples=50, deadline=None)
@given(futures(), st.integers(0, 99), st.randoms())
def test_a_rank_is_among_the_draws(futures, seed, random):
    draws, happened = futures[0][..., 0], futures[1][..., 0]
    found = pit(draws, happened, rng=np.random.default_rng(seed))
    m = draws.shape[1]
    for x, y, place in zip(draws, happened, found, strict=True):
        assert sum(x < y) / (m + 1) <= place <= (sum(x <= y) + 1) / (m + 1)
    order = list(range(m))
    random.shuffle(order)
    again = pit(np.exp(draws[:, order]), np.exp(happened), rng=np.random.default_rng(seed))
    np.testing.assert_array_equal(again, found)
    inside = coverage(draws, happened, rng=np.random.default_rng(seed), level=0.5)
    np.testing.assert_array_equal(inside, (found >= 0.25) & (found <= 0.75))


def test_week_features_by_hand():
    week = np.zeros((2, 7, 3))
    week[0, 0] = [1, 2, 3]
    week[0, 6, 2] = 4
    found = week_features(week)
    assert found.shape == (2, 24)
    np.testing.assert_allclose(np.expm1(found[0, [0, 1, 2, 20, 21, 22, 23]]), [1, 2, 3, 4, 1, 2, 7])
    assert np.count_nonzero(found) == 7


def test_a_critic_cannot_tell_the_same_law():
    """Of the larger of two, either at most 1.3 standard errors off: so within 4 of them."""
    rng = np.random.default_rng(6)
    past = rng.normal(size=(2000, 2))
    real, generated = past[None, :, :1] + rng.normal(size=(2, 2000, 3))
    found = two_sample(real, generated, past, rng=rng).auc
    assert abs(found.point - 0.5) < 4 / np.sqrt(6 * 1000)
    assert found.low < 0.5 < found.high


@pytest.mark.parametrize("shift", [0.3, 1.5])
def test_a_critic_tells_two_normals_as_well_as_theory_says(shift):
    rng = np.random.default_rng(7)
    real, generated = rng.normal(size=(2, 3000, 1))
    found, critic = two_sample(real + shift, generated, rng=rng)
    exact = stats.norm.cdf(shift / np.sqrt(2))
    assert critic == "logistic"
    assert abs(found.point - exact) < 4 / np.sqrt(6 * 1500)
    assert found.low < found.point < found.high


def test_the_trees_tell_what_is_not_a_matter_of_direction():
    rng = np.random.default_rng(8)
    real, generated = rng.normal(size=(2, 2000, 1))
    found, critic = two_sample(real, 2 * generated, rng=rng)
    assert critic == "trees"
    # AUC of −|x|, N(0, 1) against N(0, 4): the chance of |t| < 2 for Student's t of one degree.
    assert found.point == pytest.approx(2 * stats.t.cdf(2, 1) - 1, abs=0.04)


def test_weeks_of_the_wrong_users_are_told_by_their_past_alone():
    rng = np.random.default_rng(9)
    past = rng.normal(size=(3000, 1))
    real, generated = past + 0.3 * rng.normal(size=(2, 3000, 2))
    swapped = np.roll(generated, 1, axis=0)
    assert abs(two_sample(real, swapped, rng=rng).auc.point - 0.5) < 4 / np.sqrt(6 * 1500)
    found, critic = two_sample(real, swapped, past, rng=rng)
    assert critic == "trees"
    assert found.low > 0.85


def test_both_rows_of_a_user_are_on_one_side():
    """Copies of the real rows can be told from them only if one was learnt and one is asked."""
    rng = np.random.default_rng(10)
    names = rng.permutation(2000)[:, None] * 1.0
    assert two_sample(names, names, names, rng=rng).auc == (0.5, 0.5, 0.5)


def test_both_rows_of_a_user_are_drawn_together():
    """A user's rows rise and fall as one, so their difference is known better than two samples."""
    rng = np.random.default_rng(16)
    real = rng.normal(size=(2000, 1))
    found = two_sample(real, real + 0.3, rng=rng).auc
    assert found.high - found.low < 2 * 1.96 / np.sqrt(6 * 1000) / 2


def test_transfer_learns_from_each_table_what_is_in_it():
    rng = np.random.default_rng(11)

    def table(slope, rows=2000):
        x = rng.normal(size=(rows, 2))
        return x, rng.random(rows) < special.expit(x @ slope)

    train, test = table([2, 0]), table([2, 0])
    found = transfer(train, table([2, 0]), test, rng=rng)
    assert found.difference.low < 0.01
    assert found.difference.high > -0.01
    assert found.real.point > 0.75
    found = transfer(train, table([0, 2]), test, rng=rng)  # the synthetic world has it wrong
    assert found.synthetic.point == pytest.approx(0.5, abs=0.06)
    assert found.difference.high < -0.2
    assert found.difference.point == pytest.approx(found.synthetic.point - found.real.point)


def test_transfer_with_a_model_and_users_of_ones_own():
    rng = np.random.default_rng(12)
    x = rng.normal(size=(3, 300, 2))
    y = (x[..., 0] + rng.normal(size=(3, 300)) > 0).astype(int)
    user = np.repeat(np.arange(30), 10)
    model = LogisticRegression(C=0.1)
    found = transfer(*zip(x, y), model=model, user=user, rng=np.random.default_rng(13))
    scores = [LogisticRegression(C=0.1).fit(x[k], y[k]).decision_function(x[2]) for k in (0, 1)]
    assert found.real.point == pytest.approx(auc(y[2], scores[0]))
    assert found.synthetic.point == pytest.approx(auc(y[2], scores[1]))
    expected = bootstrap_auc(y[2], scores[0], user, rng=np.random.default_rng(13))
    np.testing.assert_allclose(found.real, expected)
    assert not hasattr(model, "coef_")


def test_the_same_seed_gives_the_same_answer():
    rng = np.random.default_rng(14)
    real, generated = rng.normal(size=(2, 200, 3))
    one, other = (two_sample(real, generated, rng=np.random.default_rng(1)) for _ in range(2))
    assert one == other


RNG = np.random.default_rng(0)
TWO = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: energy_score(np.zeros((2, 1, 3)), TWO), "`draws` must hold two .*Received: 1"),
        (lambda: energy_score(np.zeros((2, 4, 3)), TWO.T), r"\(users, dims\).*\(2, 4, 3\) and"),
        (lambda: energy_score(np.full((2, 4, 3), np.nan), TWO), "`draws` must be finite"),
        (lambda: energy_score(np.zeros((2, 4, 3)), TWO + np.inf), "`happened` must be finite"),
        (lambda: crps(TWO, np.zeros(3)), r"`draws` must be \(users, m\).*\(2, 3\) and \(3,\)"),
        (lambda: crps(TWO[:, :1], np.zeros(2)), "`draws` must hold two draws or more"),
        (lambda: pit(TWO[0], np.zeros(3), rng=RNG), r"`draws` must be \(users, m\)"),
        (lambda: pit(TWO, [0, np.nan], rng=RNG), "`happened` must be finite"),
        (lambda: coverage(TWO, np.zeros(2), rng=RNG, level=90), "`level` must .*level=90"),
        (lambda: week_features(TWO), r"`week` must be \(users, days, channels\).*\(2, 3\)"),
        (lambda: week_features(TWO[None] - 1), "`week` must be .*not negative"),
        (lambda: two_sample(TWO, TWO, rng=RNG), "four users or more"),
        (lambda: two_sample(np.eye(4), np.eye(5), rng=RNG), r"\(users, k\).*\(4, 4\) and \(5, 5\)"),
        (lambda: two_sample(np.eye(4), np.eye(4), TWO, rng=RNG), r"`past` must be \(4, p\).*\(2, "),
        (
            lambda: transfer((TWO, [0, 1]), (TWO, [1, 1]), (TWO, [0, 1]), rng=RNG),
            r"`synthetic` must hold rows of both outcomes. Received: \[1\]",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
