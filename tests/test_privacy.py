import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import logsumexp
from scipy.stats import norm

from recsys_evo import privacy


def rng(seed=0):
    return np.random.default_rng(seed)


# Attacks


def test_auc_and_tpr_count_pairs_and_thresholds():
    members, others = np.array([3.0, 2.0, 2.0, 0.0]), np.array([2.0, 1.0, 1.0, 1.0])
    pairs = (members[:, None] > others) + 0.5 * (members[:, None] == others)
    auc, found = privacy.attack(members, others, fpr=0)
    assert auc == pytest.approx(pairs.mean())
    assert found == 0.25  # only 3 lies above all others
    assert privacy.attack(members, others, fpr=0.25)[1] == 0.75
    assert privacy.attack(members, others, fpr=1)[1] == 1


def test_two_normals_have_the_known_auc_and_tpr():
    members, others = rng().normal(1, 1, 200_000), rng(1).normal(0, 1, 200_000)
    auc, found = privacy.attack(members, others)
    assert auc == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.003)
    assert found == pytest.approx(norm.cdf(1 - norm.isf(0.01)), abs=0.003)


def test_the_bound_is_met_by_randomised_response():
    """Answers 0 or 1 with chance 1/(1 + e^ε) of a lie: accusing all who say 1."""
    eps = 1.3
    lie = 1 / (1 + np.exp(eps))
    assert privacy.bound(lie, eps) == pytest.approx(1 - lie)
    assert privacy.bound(0.01, 1.0) == pytest.approx(0.01 * np.e)
    assert privacy.bound(0.0, 1.0, 1e-5) == pytest.approx(1e-5)
    assert privacy.bound(1.0, 1.0) == 1


# Randomised response


@pytest.mark.parametrize("n", [2, 5])
def test_reports_have_the_chances_that_epsilon_says(n):
    eps, users = 1.2, 400_000
    reports = privacy.randomised(np.full(users, 1), n, eps, rng=rng())
    seen = np.bincount(reports, minlength=n) / users
    expected = np.ones(n)
    expected[1] = np.exp(eps)
    np.testing.assert_allclose(seen, expected / expected.sum(), atol=0.003)
    assert seen[1] / np.delete(seen, 1).max() == pytest.approx(np.exp(eps), rel=0.03)


def test_shares_are_right_on_average_and_so_is_their_error():
    truth = np.array([0.6, 0.3, 0.1])
    n, users, eps = 3, 500, 1.0
    answers = np.repeat(np.arange(n), (truth * users).astype(int))
    stream = rng(3)
    drawn = [
        privacy.shares(
            privacy.randomised(stream.choice(answers, users), n, eps, rng=stream), n, eps
        )
        for _ in range(3_000)
    ]
    estimate, error = (np.array(part) for part in zip(*drawn))
    np.testing.assert_allclose(estimate.mean(0), truth, atol=4 * estimate.std() / np.sqrt(3_000))
    np.testing.assert_allclose(estimate.sum(1), 1)
    p = np.exp(eps) / (np.exp(eps) + n - 1)
    q = (1 - p) / (n - 1)
    seen = truth * p + (1 - truth) * q
    closed = np.sqrt(seen * (1 - seen) / users) / (p - q)
    np.testing.assert_allclose(estimate.std(0), closed, rtol=0.05)
    np.testing.assert_allclose(error.mean(0), closed, rtol=0.01)


# Clipping and noise


@settings(deadline=None)
@given(st.integers(1, 6), st.floats(0.1, 20), st.integers(0, 1_000))
def test_clipped_sum_is_the_sum_of_clipped_outer_products(users, clip, seed):
    inputs, residuals = rng(seed).normal(size=(users, 4)), rng(seed + 1).normal(size=(users, 3))
    expected = np.zeros((4, 3))
    for x, r in zip(inputs, residuals):
        gradient = np.outer(x, r)
        expected += gradient * min(1, clip / np.linalg.norm(gradient))
    found = privacy.clipped_sum(inputs, residuals, clip=clip)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    without = privacy.clipped_sum(inputs[1:], residuals[1:], clip=clip)
    assert np.linalg.norm(found - without) <= clip * (1 + 1e-9)


def test_noise_is_measured_in_clips():
    nothing = np.zeros((1, 300)), np.zeros((1, 400))
    found = privacy.clipped_sum(*nothing, clip=3.0, noise=2.0, rng=rng())
    assert found.std() == pytest.approx(6, rel=0.01)
    assert abs(found.mean()) < 0.1
    assert not privacy.clipped_sum(*nothing, clip=3.0).any()


# Accountants


def gaussian_epsilon(noise, delta):
    """Closed form for one Gaussian mechanism (Balle and Wang 2018)."""

    def excess(eps):
        a, b = 0.5 / noise, eps * noise
        return norm.cdf(a - b) - math.exp(eps + norm.logcdf(-a - b)) - delta

    return brentq(excess, 1e-9, 200)


def renyi_epsilon(noise, rate, steps, delta):
    """Whole orders of the sampled Gaussian (Mironov et al. 2019), turned to ε as in 2017."""
    found = []
    for order in range(2, 128):
        k = np.arange(order + 1)
        log_binomial = [
            math.lgamma(order + 1) - math.lgamma(j + 1) - math.lgamma(order - j + 1) for j in k
        ]
        terms = log_binomial + (order - k) * np.log1p(-rate) + k * np.log(rate)
        divergence = logsumexp(terms + (k * k - k) / (2 * noise**2)) / (order - 1)
        found.append(
            (
                steps * divergence - math.log(delta) / (order - 1),
                # the later, sharper conversion (Canonne et al. 2020, proposition 12)
                steps * divergence + math.log1p(-1 / order) - math.log(delta * order) / (order - 1),
            )
        )
    return np.min(found, axis=0)


@pytest.mark.parametrize(("noise", "delta"), [(0.5, 1e-5), (1.0, 1e-6), (4.0, 1e-5)])
def test_epsilon_of_one_gaussian_is_the_closed_form(noise, delta):
    closed = gaussian_epsilon(noise, delta)
    assert privacy.epsilon(noise, delta=delta) == pytest.approx(closed, rel=1e-3)
    assert privacy.epsilon(noise, delta=delta, accountant="rdp") >= closed


@pytest.mark.parametrize(("epsilon", "delta"), [(0.1, 1e-6), (1.0, 1e-5), (8.0, 1e-3)])
def test_gaussian_noise_is_the_least_that_will_do(epsilon, delta):
    noise = privacy.gaussian(epsilon, delta)
    assert gaussian_epsilon(noise, delta) == pytest.approx(epsilon)
    if epsilon <= 1:
        assert noise < np.sqrt(2 * np.log(1.25 / delta)) / epsilon


def test_many_gaussians_are_one_with_less_noise():
    closed = gaussian_epsilon(10 / np.sqrt(50), 1e-5)
    assert privacy.epsilon(10, delta=1e-5, steps=50) == pytest.approx(closed, rel=1e-3)


@pytest.mark.parametrize(
    ("noise", "epochs", "published"), [(1.1, 60, 3.01), (1.3, 15, 1.19), (0.7, 45, 7.10)]
)
def test_epsilon_on_the_published_settings(noise, epochs, published):
    """TensorFlow Privacy's tutorial on MNIST: 60,000 pictures, batches of 256, δ = 1e-5."""
    how = {"rate": 256 / 60_000, "steps": int(epochs * 60_000 / 256), "delta": 1e-5}
    then, later = renyi_epsilon(noise, **how)
    # Published figures used fractional orders too, which help a little at small orders.
    assert then == pytest.approx(published, abs=0.005 if noise > 1 else 0.03)
    by_renyi = privacy.epsilon(noise, accountant="rdp", **how)
    assert by_renyi == pytest.approx(later, rel=0.01)
    assert privacy.epsilon(noise, **how) < by_renyi < published


# Federated averaging


def some_clients(sizes, seed=0):
    stream = rng(seed)
    return [
        (stream.normal(size=(n, 5)), (stream.random((n, 2)) < 0.4).astype(float)) for n in sizes
    ]


def test_one_local_step_is_one_central_step():
    clients = some_clients((3, 10, 1))
    start = rng(1).normal(size=(5, 2))
    together = [np.concatenate(part) for part in zip(*clients)]
    options = {"steps": 1, "rate": 0.3, "ridge": 0.1}
    np.testing.assert_allclose(
        privacy.federated_round(start, clients, **options),
        privacy.descend(start, *together, **options),
        atol=1e-14,
    )
    far = {**options, "steps": 20}
    apart = privacy.federated_round(start, clients, **far)
    assert np.abs(apart - privacy.descend(start, *together, **far)).max() > 0.01
    same = [clients[1]] * 3
    np.testing.assert_allclose(
        privacy.federated_round(start, same, **far), privacy.descend(start, *clients[1], **far)
    )


def test_descend_follows_the_slope_of_the_loss():
    ((inputs, answers),) = some_clients((8,))
    start = rng(2).normal(size=(5, 2))

    def loss(weights):
        score = inputs @ weights
        nll = (np.logaddexp(0, score) - answers * score).sum(1).mean()
        return nll + 0.05 * ((weights - 0.5) ** 2).sum()

    options = {"ridge": 0.1, "anchor": 0.5}
    moved = privacy.descend(start, inputs, answers, steps=1, rate=1.0, **options)
    slope = np.zeros_like(start)
    for place in np.ndindex(start.shape):
        step = np.zeros_like(start)
        step[place] = 1e-6
        slope[place] = (loss(start + step) - loss(start - step)) / 2e-6
    np.testing.assert_allclose(start - moved, slope, atol=1e-7)


# Secure sums


def pairs(clients, seed=0):
    seeds = rng(seed).integers(2**62, size=(clients, clients))
    return np.triu(seeds, 1) + np.triu(seeds, 1).T


@given(st.integers(2, 6), st.integers(0, 1_000))
def test_masks_cancel_exactly_and_hide(clients, seed):
    seeds = pairs(clients, seed)
    values = privacy.to_ring(rng(seed).normal(scale=1e3, size=(clients, 7)))
    masks = np.array([privacy.mask(client, seeds, 7) for client in range(clients)])
    assert not masks.sum(axis=0).any()
    assert not (values + masks == values).any()
    np.testing.assert_array_equal((values + masks).sum(axis=0), values.sum(axis=0))


def test_a_dropout_breaks_the_sum_and_its_pairs_mend_it():
    seeds, missing = pairs(5), [1, 3]
    values = rng().normal(size=(5, 4))
    sent = [privacy.to_ring(v) + privacy.mask(k, seeds, 4) for k, v in enumerate(values)]
    total = np.sum([sent[k] for k in (0, 2, 4)], axis=0, dtype=np.uint64)
    expected = values[[0, 2, 4]].sum(axis=0)
    assert np.abs(privacy.from_ring(total) - expected).min() > 1e3
    mended = privacy.from_ring(privacy.unmasked(total, missing, seeds))
    np.testing.assert_allclose(mended, expected, atol=3 / 2**24)


def test_the_ring_keeps_signs():
    values = np.array([-1.5, 0.0, 2.25, -(2.0**30)])
    np.testing.assert_array_equal(privacy.from_ring(privacy.to_ring(values)), values)


# Errors


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: privacy.attack([], [1.0]), "`members`"),
        (lambda: privacy.attack([np.nan], [1.0]), "finite"),
        (lambda: privacy.attack([1.0], [1.0], fpr=2), "`fpr`"),
        (lambda: privacy.bound(0.1, -1), "`epsilon`"),
        (lambda: privacy.randomised([0, 3], 3, 1.0, rng=rng()), "`answers`"),
        (lambda: privacy.randomised([0], 1, 1.0, rng=rng()), "`n`"),
        (lambda: privacy.randomised([0], 2, 0.0, rng=rng()), "`epsilon`"),
        (lambda: privacy.shares([0.5], 2, 1.0), "`reports`"),
        (lambda: privacy.clipped_sum(np.ones((1, 1)), np.ones((1, 1)), clip=0), "`clip`"),
        (lambda: privacy.clipped_sum(np.ones((1, 1)), np.ones((1, 1)), clip=np.inf, noise=1), "`c"),
        (lambda: privacy.epsilon(0, delta=1e-5), "`noise`"),
        (lambda: privacy.epsilon(1, delta=1e-5, accountant="new"), "`accountant`"),
        (lambda: privacy.mask(0, [[0, 1], [2, 0]], 3), "`seeds`"),
        (lambda: privacy.to_ring([1e30]), "`values`"),
    ],
)
def test_errors_say_what_was_wrong(call, name):
    with pytest.raises(ValueError, match=name):
        call()
