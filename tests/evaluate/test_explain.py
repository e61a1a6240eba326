"""Explanations against closed forms."""

import numpy as np
import pytest

from recsys_evo.evaluate.explain import (
    chance,
    deletion,
    integrated_gradients,
    occlusion,
    pointing,
)
from recsys_evo.evaluate.forecasts import auc


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def some_images(rng, users=4):
    return rng.poisson(1.0, (users, 5, 6, 2)).astype(float)


class TestIntegratedGradients:
    def test_a_linear_answer_is_weight_times_input_after_one_step(self, rng):
        images, weight = some_images(rng), rng.normal(size=(5, 6, 2))
        base = rng.normal(size=(5, 6, 2))

        def gradient(x):
            return np.broadcast_to(weight, x.shape)

        found = integrated_gradients(gradient, images, base, steps=1)
        np.testing.assert_allclose(found, weight * (images - base), atol=1e-12)

    @pytest.mark.parametrize("steps", [1, 2, 7])
    def test_a_quadratic_answer_is_exact_with_any_steps(self, rng, steps):
        """f = x'Ax, A symmetric: the mean gradient from b to x is A(x + b)."""
        images = rng.normal(size=(4, 6))
        base = rng.normal(size=6)
        matrix = rng.normal(size=(6, 6))
        matrix += matrix.T
        found = integrated_gradients(lambda x: 2 * x @ matrix, images, base, steps=steps)
        np.testing.assert_allclose(found, (images - base) * ((images + base) @ matrix), atol=1e-12)

    def test_completeness_and_its_error_falls_with_the_square_of_the_steps(self, rng):
        images = rng.normal(size=(5, 8))
        weight = rng.normal(size=8) / 2

        def answer(x):
            return 1 / (1 + np.exp(-x @ weight))

        def gradient(x):
            chance = answer(x)
            return (chance * (1 - chance))[:, None] * weight

        def error(steps):
            found = integrated_gradients(gradient, images, 1.0, steps=steps)
            return abs(found.sum(1) - answer(images) + answer(np.ones((1, 8)))).max()

        assert error(64) < 1e-4
        assert error(16) / error(64) == pytest.approx(16, rel=0.1)

    def test_inputs_that_are_alike_get_alike_and_dummies_nothing(self, rng):
        """The answer (x0 + x1)² ignores x2; 0 and 1 trade places."""
        images = np.repeat(rng.normal(size=(3, 1)), 3, axis=1)

        def gradient(x):
            slope = 2 * (x[:, :1] + x[:, 1:2])
            return np.concatenate([slope, slope, 0 * slope], axis=1)

        found = integrated_gradients(gradient, images)
        np.testing.assert_allclose(found[:, 0], found[:, 1])
        assert (found[:, 2] == 0).all()
        np.testing.assert_allclose(found.sum(1), 4 * images[:, 0] ** 2)

    def test_float32_goes_in_as_float32(self):
        seen = []
        integrated_gradients(
            lambda x: seen.append(x.dtype) or x, np.ones((1, 2), np.float32), steps=1
        )
        assert seen == [np.float32]

    def test_says_what_will_not_do(self):
        with pytest.raises(ValueError, match=r"`gradient` .*\(2, 3\).*\(2,\)"):
            integrated_gradients(lambda x: x.sum(1), np.ones((2, 3)))
        with pytest.raises(ValueError, match=r"`steps` .*steps=0"):
            integrated_gradients(lambda x: x, np.ones((2, 3)), steps=0)


class TestOcclusion:
    def test_an_additive_answer_loses_what_the_block_adds(self, rng):
        images, weight = some_images(rng), rng.normal(size=(4, 5, 6, 2))
        base = rng.normal(size=(5, 6, 2))
        blocks = rng.integers(-1, 4, (4, 5, 6))

        def predict(x, users):
            return (weight[users] * x).sum((1, 2, 3))

        found = occlusion(predict, images, blocks, baseline=base, size=3)
        parts = (weight * (images - base)).sum(3)
        expected = [[part[own == k].sum() for k in range(4)] for part, own in zip(parts, blocks)]
        np.testing.assert_allclose(found, expected, atol=1e-12)

    def test_an_or_shows_nothing_while_either_cell_is_enough(self):
        """max(x0, x1): hiding one of two equal cells changes nothing, hiding both all."""
        images = np.ones((1, 3))

        def predict(x, users):
            return x[:, :2].max(1)

        assert occlusion(predict, images, np.array([[0, 1, 2]])).tolist() == [[0, 0, 0]]
        assert occlusion(predict, images, np.array([[0, 0, 1]])).tolist() == [[1, 0]]

    def test_users_of_fewer_blocks_have_zeros(self):
        found = occlusion(lambda x, users: x.sum(1), np.ones((2, 2)), np.array([[0, 1], [-1, 0]]))
        assert found.tolist() == [[1, 1], [1, 0]]

    def test_no_block_at_all(self):
        found = occlusion(lambda x, u: x.sum(1), np.ones((2, 2)), np.full((2, 2), -1))
        assert found.shape == (2, 0)

    def test_says_what_will_not_do(self):
        with pytest.raises(ValueError, match=r"`blocks` .*float64"):
            occlusion(lambda x, u: x, np.ones((2, 3)), np.ones((2, 3)))
        with pytest.raises(ValueError, match=r"`blocks` .*\(3, 2\)"):
            occlusion(lambda x, u: x, np.ones((2, 3)), np.ones((3, 2), int))


class TestDeletion:
    def test_takes_the_highest_first_and_spares_what_must_stay(self):
        images = np.array([[[1.0, 10.0], [5, 7], [100, 1000]]])
        score = np.array([[3.0, 4, -np.inf]])
        left = deletion(lambda x, u: x.sum((1, 2)), images, score, [0, 1, 2, 9])
        assert left.tolist() == [[1123, 1111, 1100, 1100]]

    def test_says_what_score_will_not_do(self):
        with pytest.raises(ValueError, match=r"`score` .*\(2, 4\)"):
            deletion(lambda x, u: x.sum((1, 2)), np.ones((2, 3, 2)), np.ones((2, 4)), [1])

    def test_of_an_additive_answer_the_right_order_falls_fastest(self, rng):
        images, weight = rng.random((3, 12)), rng.random((3, 12))

        def predict(x, users):
            return (x * weight[users]).sum(1)

        counts = np.arange(13)
        best = deletion(predict, images, images * weight, counts)
        parts = -np.sort(-images * weight, axis=1)
        expected = parts.sum(1)[:, None] - np.cumsum(np.pad(parts, ((0, 0), (1, 0))), 1)
        np.testing.assert_allclose(best, expected, atol=1e-12)
        for _ in range(5):
            other = deletion(predict, images, rng.random((3, 12)), counts)
            assert (other >= best - 1e-12).all()


class TestPointing:
    among = np.array([[1, 1, 1, 1, 0]], bool)
    cause = np.array([[1, 0, 0, 1, 1]], bool)

    def test_a_small_case_by_hand(self):
        found = pointing(np.array([[4.0, 3, -9, 1, 99]]), self.cause, self.among)
        assert found.auc[0] == 3 / 4  # of 2 × 2 pairs only (1, 3) is wrong
        assert found.share[0] == 5 / 8
        assert found.top[0] == 1

    def test_ties_are_counted_as_what_they_are(self):
        found = pointing(np.array([[2.0, 2, 2, 1, 99]]), self.cause, self.among)
        assert found.top[0] == pytest.approx(1 / 3)
        assert found.auc[0] == (2 * 0.5) / 4

    def test_nothing_said_is_worth_chance(self):
        for nothing in (0.0, -1.0):
            found = pointing(np.full((1, 5), nothing), self.cause, self.among)
            assert [float(f[0]) for f in found] == [0.5, 0.5, 0.5]

    def test_truth_itself_is_perfect(self, rng):
        among = rng.random((20, 4, 5)) < 0.7
        cause = among & (rng.random((20, 4, 5)) < 0.3)
        cause[:, 0, :2], among[:, 0, :2] = [True, False], True
        for figure in pointing(cause, cause, among):
            assert (figure == 1).all()

    def test_the_auc_is_that_of_forecasts(self, rng):
        among = rng.random((20, 12)) < 0.8
        cause = rng.random((20, 12)) < 0.4
        cause[:, :2], among[:, :2] = [True, False], True
        score = rng.integers(-2, 3, (20, 12)).astype(float)
        expected = [auc(c[a], s[a]) for c, s, a in zip(cause, score, among)]
        np.testing.assert_allclose(pointing(score, cause, among).auc, expected)

    def test_random_attributions_have_the_floor_as_their_mean(self, rng):
        n = 20_000
        cause = np.tile([1, 1, 0, 0, 0, 0, 0], (n, 1)).astype(bool)
        among = np.tile([1, 1, 1, 1, 1, 0, 0], (n, 1)).astype(bool)
        found = pointing(rng.gamma(0.7, size=(n, 7)), cause, among)
        for name, floor in chance(cause[:1], among[:1])._asdict().items():
            values = getattr(found, name)
            error = values.std() / np.sqrt(n)
            assert abs(values.mean() - floor[0]) < 4 * error, name
        assert chance(cause[:1], among[:1]).share[0] == 2 / 5

    def test_says_what_will_not_do(self):
        ok = np.ones((1, 5))
        with pytest.raises(ValueError, match=r"`cause` .*0 of 4 for user 0"):
            pointing(ok, np.zeros((1, 5), bool), self.among)
        with pytest.raises(ValueError, match=r"`cause` .*4 of 4 for user 0"):
            pointing(ok, self.among, self.among)
        with pytest.raises(ValueError, match=r"`attribution` .*\(1, 4\)"):
            pointing(ok[:, :4], self.cause, self.among)
        with pytest.raises(ValueError, match=r"`attribution` .*finite"):
            pointing(ok * np.nan, self.cause, self.among)
