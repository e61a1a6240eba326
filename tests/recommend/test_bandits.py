"""The posterior against slow and foreign ones, and what each bandit makes of it."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import BayesianRidge, Ridge

from recsys_evo.collect.events import Log
from recsys_evo.collect.world import World
from recsys_evo.models.baselines import ALS
from recsys_evo.recommend.bandits import LinearBandit, LinUCB, Thompson, item_vectors
from recsys_evo.recommend.loop import evolve
from recsys_evo.recommend.policies import Random

from .slates import log_of_slates, random_slates

USERS, ITEMS, D = 12, 15, 3
X = np.column_stack([np.ones(ITEMS), np.random.default_rng(5).standard_normal((ITEMS, D - 1))])


def vectors(log):
    return X


def a_log(rng):
    """Users differ by their taste for the vectors, and items by something else as well."""
    shown = rng.integers(ITEMS - 1, size=(USERS, 8, 5))  # the last item is never shown
    taste, effect = rng.normal(0, 0.2, (USERS, D)), rng.normal(0, 0.15, ITEMS)
    chance = 0.4 + taste @ X.T + effect
    clicked = rng.random(shown.shape) < np.take_along_axis(
        chance, shown.reshape(USERS, -1), axis=1
    ).reshape(shown.shape)
    shown, clicked = shown[: USERS - 1], clicked[: USERS - 1]
    log = log_of_slates(shown, clicked, category=np.zeros(ITEMS, "int16"))
    users = pd.DataFrame({"id": np.arange(USERS)})  # the last one was never there
    return Log(log.events, log.items, users)


@pytest.fixture
def log(rng):
    return a_log(rng)


@pytest.fixture
def bandit(log):
    bandit = LinearBandit(vectors=vectors)
    bandit.learn(log)
    return bandit


def slots_of(log):
    """User, item and click of each slot, by a loop over the rows."""
    slots = {}
    for row in log.events.itertuples():
        place = (row.slate, row.position)
        if row.action == "impression":
            slots[place] = [row.user, row.item, 0]
    for row in log.events.itertuples():
        if row.action == "click":
            slots[row.slate, row.position][2] = 1
    return np.array(list(slots.values())).T


def leftovers(bandit, log):
    """The design of the slots, and the clicks less what each step explains: m, then δ."""
    user, item, click = slots_of(log)
    everyone = Ridge(alpha=1, fit_intercept=False, solver="cholesky").fit(X[item], click).coef_
    first = click - X[item] @ everyone
    return user, item, first, first - bandit.effect[item], everyone


def with_half(design, rest):
    """The slot that is off by one half and that no effect can explain."""
    return np.vstack([design, np.zeros(design.shape[1])]), np.append(rest, 0.5)


def one_hot(codes, n):
    return np.eye(n)[codes]


def by_user(user, item):
    """The design of all users' θ at once: a block a slot (slots, users × d)."""
    return (one_hot(user, USERS)[:, :, None] * X[item][:, None]).reshape(len(user), -1)


class TestPosterior:
    def test_is_three_ridge_regressions_one_after_the_other(self, bandit, log):
        user, item, first, second, everyone = leftovers(bandit, log)
        expected = np.zeros(ITEMS)
        for code in range(ITEMS):
            rest = first[item == code]
            expected[code] = rest.sum() / (len(rest) + bandit.kappa)
        np.testing.assert_allclose(bandit.effect, expected, atol=1e-10)
        for code in range(USERS):
            mine, theta = user == code, np.zeros(D)
            if mine.any():
                ridge = Ridge(alpha=bandit.lam, fit_intercept=False, solver="cholesky")
                theta = ridge.fit(X[item[mine]], second[mine]).coef_
            np.testing.assert_allclose(bandit.mean[code], everyone + theta, atol=1e-9)

    def test_doubt_is_the_inverse_of_what_was_seen(self, bandit, log):
        user, item, _, second, everyone = leftovers(bandit, log)
        theta = bandit.mean - everyone
        n = len(user) + 1
        off = ((second - (theta[user] * X[item]).sum(axis=1)) ** 2).sum() + 0.25
        variance = (off + bandit.lam * (theta**2).sum()) / n
        for code in range(USERS):
            mine = X[item[user == code]]
            expected = variance * np.linalg.inv(mine.T @ mine + bandit.lam * np.eye(D))
            np.testing.assert_allclose(bandit.root[code] @ bandit.root[code].T, expected, atol=1e-9)
        off = (second**2).sum() + 0.25 + bandit.kappa * (bandit.effect**2).sum()
        shown = np.bincount(item, minlength=ITEMS)
        np.testing.assert_allclose(bandit.doubt**2, off / n / (shown + bandit.kappa), atol=1e-10)

    def test_what_was_never_shown_has_the_prior(self, bandit):
        assert bandit.effect[-1] == 0
        assert bandit.doubt[-1] > bandit.doubt[:-1].max()
        prior = bandit.root[-1] @ bandit.root[-1].T
        np.testing.assert_allclose(prior, prior[0, 0] * np.eye(D), atol=1e-12)
        for root in bandit.root[:-1]:
            assert np.linalg.eigvalsh(prior - root @ root.T).min() > 0

    def test_precisions_are_those_of_scikit_learns_bayesian_ridge(self, bandit, log):
        user, item, first, second, _ = leftovers(bandit, log)
        for design, rest, found in (
            (one_hot(item, ITEMS), first, bandit.kappa),
            (by_user(user, item), second, bandit.lam),
        ):
            flat = dict.fromkeys(("alpha_1", "alpha_2", "lambda_1", "lambda_2"), 0)
            ridge = BayesianRidge(fit_intercept=False, tol=1e-10, max_iter=10_000, **flat)
            ridge.fit(*with_half(design, rest))
            assert found == pytest.approx(ridge.lambda_ / ridge.alpha_, rel=1e-3)

    def test_precisions_make_the_log_likeliest(self, bandit, log):
        user, item, first, second, _ = leftovers(bandit, log)
        for design, rest, found in (
            (one_hot(item, ITEMS), first, bandit.kappa),
            (by_user(user, item), second, bandit.lam),
        ):
            design, rest = with_half(design, rest)

            def likelihood(precision, design=design, rest=rest):
                shape = np.eye(len(rest)) + design @ design.T / precision
                variance = rest @ np.linalg.solve(shape, rest) / len(rest)
                return stats.multivariate_normal(cov=variance * shape).logpdf(rest)

            here = likelihood(found)
            assert 1 < found < 1e4
            assert all(here > likelihood(found * factor) for factor in (0.5, 0.9, 1.1, 2))

    def test_users_alike_are_all_like_everybody(self, rng):
        shown = rng.integers(ITEMS, size=(60, 8, 5))
        log = log_of_slates(shown, rng.random(shown.shape) < 0.3, category=np.zeros(ITEMS, "int16"))
        bandit = LinearBandit(vectors=vectors)
        bandit.learn(log)
        np.testing.assert_allclose(bandit.mean, np.tile(bandit.mean[0], (60, 1)), atol=0.02)

    def test_rows_without_a_slate_or_a_known_user_are_ignored(self, bandit, log):
        noise = log.events.iloc[:200].copy()
        noise.loc[:99, "user"] = -1
        noise.loc[100:, "slate"] = -1
        other = noise.iloc[:50].assign(action="purchase", user=3)
        events = pd.concat([log.events, noise, other], ignore_index=True)
        noisy = LinearBandit(vectors=vectors)
        noisy.learn(Log(events, log.items, log.users))
        np.testing.assert_allclose(noisy.mean, bandit.mean)
        np.testing.assert_allclose(noisy.doubt, bandit.doubt)

    @pytest.mark.parametrize("clicks", [0, 1])
    def test_nobody_or_everybody_clicks(self, clicks):
        shown = np.tile(np.arange(ITEMS), (4, 2, 1))
        log = log_of_slates(shown, np.full(shown.shape, clicks, bool))
        bandit = LinUCB(vectors=vectors)
        bandit.learn(log)
        mean, doubt = bandit.score(np.arange(4))
        np.testing.assert_allclose(mean, clicks, atol=0.02)
        assert (doubt > 0).all()

    def test_it_forgets_the_log_before(self, bandit, log, rng):
        again = LinearBandit(vectors=vectors)
        again.learn(random_slates(rng, items=ITEMS))
        again.learn(log)
        np.testing.assert_array_equal(again.mean, bandit.mean)
        np.testing.assert_array_equal(again.root, bandit.root)

    def test_what_will_not_do(self, log):
        unseen = log.where((log.events["action"] == "click").to_numpy())
        with pytest.raises(ValueError, match="`log` must hold impressions that have a slate"):
            LinUCB(vectors=vectors).learn(unseen)
        for wrong in (X[1:], X[:, 0], np.where(X > 1.1, np.nan, X)):
            with pytest.raises(
                ValueError, match=r"`vectors` must return finite numbers, \(15, d\)"
            ):
                LinUCB(vectors=lambda log, wrong=wrong: wrong).learn(log)
        with pytest.raises(ValueError, match=r"`alpha` must be a number from 0 to inf.*alpha=-1"):
            LinUCB(alpha=-1)
        with pytest.raises(ValueError, match="`models` must be a positive integer"):
            Thompson(models=0)
        with pytest.raises(ValueError, match="`every` must be a positive integer"):
            Thompson(every=0)


class TestLinUCB:
    def test_score_is_the_mean_and_its_doubt(self, log):
        policy = LinUCB(vectors=vectors)
        policy.learn(log)
        users = np.array([7, USERS - 1, 2])
        mean, doubt = policy.score(users)
        for row, user in enumerate(users):
            covariance = policy.root[user] @ policy.root[user].T
            for item in range(ITEMS):
                expected = X[item] @ policy.mean[user] + policy.effect[item]
                assert mean[row, item] == pytest.approx(expected, abs=1e-5)
                variance = X[item] @ covariance @ X[item] + policy.doubt[item] ** 2
                assert doubt[row, item] == pytest.approx(np.sqrt(variance), rel=1e-4)

    @pytest.mark.parametrize("alpha", [0, 0.7, 3])
    def test_shows_the_highest(self, log, rng, alpha):
        policy, users = LinUCB(alpha=alpha, vectors=vectors), np.arange(USERS)
        items, propensities = policy.slates(users, log, 4, rng=rng)
        mean, doubt = policy.score(users)
        np.testing.assert_array_equal(items, np.argsort(-(mean + alpha * doubt), axis=1)[:, :4])
        assert (propensities == 1).all()

    def test_explores_what_was_never_shown(self, rng):
        """Items without likeness: 7 was never shown to anybody, 3 but once to user 0."""
        shown = np.tile(np.arange(7), (6, 5, 1))
        shown[0, 1:, 3] = 2
        liking = rng.random((6, 1, 7)) * [0.2, 0.2, 0.2, 0.5, 1, 1, 1]
        log = log_of_slates(shown, rng.random(shown.shape) < liking, category=np.zeros(8, "int16"))
        users = np.arange(6)

        def first(alpha):
            policy = LinUCB(alpha=alpha, vectors=lambda log: np.eye(8))
            return policy.slates(users, log, 8, rng=rng)[0], policy.score(users)[1]

        curious, doubt = first(30)
        assert (curious[:, 0] == 7).all()
        assert (first(0)[0][:, -1] == 7).all()  # nothing speaks for it
        assert doubt[0, 3] > doubt[1:, 3].max()


class TestThompson:
    def test_models_are_drawn_from_the_posterior(self, log, rng):
        policy = Thompson(models=8_000, vectors=vectors)
        policy.slates(np.arange(2), log, 2, rng=rng)
        weights = np.array([model[0][3] for model in policy.ensemble])
        effects = np.array([model[1] for model in policy.ensemble])
        covariance = policy.root[3] @ policy.root[3].T
        error = 4.5 * np.sqrt(np.diag(covariance) / 8_000)
        assert (np.abs(weights.mean(axis=0) - policy.mean[3]) < error).all()
        np.testing.assert_allclose(np.cov(weights.T), covariance, atol=0.08 * covariance.max())
        error = 4.5 * policy.doubt / np.sqrt(8_000)
        assert (np.abs(effects.mean(axis=0) - policy.effect) < error).all()
        np.testing.assert_allclose(effects.std(axis=0), policy.doubt, rtol=0.05)

    def test_users_differ_by_their_own_draws(self, log, rng):
        policy = Thompson(models=2_000, vectors=vectors)
        policy.slates(np.arange(2), log, 2, rng=rng)
        one, other = (np.array([model[0][user] for model in policy.ensemble]) for user in (3, 4))
        between = np.corrcoef(one.T, other.T)[:D, D:]
        assert np.abs(between).max() < 4.5 / np.sqrt(2_000)

    def test_chance_to_be_first_is_the_chance_to_be_best(self, rng):
        """Of two items, by the normal law of the difference of their scores."""
        log = random_slates(rng, items=2, users=5, days=12)
        policy, users = Thompson(models=8_000, vectors=lambda log: np.eye(2)), np.arange(5)
        policy.slates(users, log, 2, rng=rng)
        found = policy.chance(users, np.zeros((5, 2), int))
        apart = np.array([1.0, -1.0])
        for user in users:
            mean = apart @ (policy.mean[user] + policy.effect)
            variance = ((apart @ policy.root[user]) ** 2).sum() + (policy.doubt**2).sum()
            expected = stats.norm.cdf(mean / np.sqrt(variance))
            assert found[user, 0] == pytest.approx(expected, abs=4.5 * 0.5 / np.sqrt(8_000))
            assert found[user].sum() == pytest.approx(1)

    def test_a_propensity_is_a_share_of_the_models(self, log, rng):
        policy, users = Thompson(models=4, vectors=vectors), np.arange(USERS)
        items, propensities = policy.slates(users, log, 3, rng=rng)
        slates = policy.best(users, 3)
        for model, (weights, effect) in enumerate(policy.ensemble):
            scores = weights @ X.T.astype(np.float32) + effect
            np.testing.assert_array_equal(slates[model], np.argsort(-scores, axis=1)[:, :3])
        for user in users:
            mine = [slate.tolist() for slate in slates[:, user]]
            assert items[user].tolist() in mine  # a whole slate, not slots of several
            for place in range(3):
                share = np.mean([slate[place] == items[user, place] for slate in mine])
                assert propensities[user, place] == share

    def test_models_stay_until_the_next_training(self, log, rng):
        policy, users = Thompson(every=2, vectors=vectors), np.arange(USERS)
        kept = []
        for _ in range(4):
            policy.slates(users, log, 3, rng=rng)
            kept.append(policy.ensemble[0][1].copy())
        np.testing.assert_array_equal(kept[0], kept[1])
        np.testing.assert_array_equal(kept[2], kept[3])
        assert not np.array_equal(kept[1], kept[2])


@pytest.mark.parametrize("policy", [LinUCB(), Thompson()], ids=["LinUCB", "Thompson"])
def test_the_loop_earns_more_than_chance(policy):
    def clicks(policy):
        lived = evolve(World(), policy, users=200, rounds=5, rng=np.random.default_rng(0))
        return lived.clicked[:, lived.start :][lived.came[:, lived.start :]].mean()

    assert clicks(policy) > 1.3 * clicks(Random())


class TestItemVectors:
    def test_factors_drawn_to_the_category(self, rng):
        category = np.repeat([0, 1, 2], 5).astype("int16")
        log = random_slates(rng, users=30, items=13, category=category)  # items 13, 14: untouched
        found = item_vectors(log, factors=4)
        ranker = ALS(factors=4, iterations=5).fit(log)
        expected = np.zeros((15, 4))
        for item in range(15):
            mine, n = category == category[item], ranker.popularity
            shared = (n[mine, None] * ranker.items[mine]).sum(axis=0) / n[mine].sum()
            expected[item] = (n[item] * ranker.items[item] + 5 * shared) / (n[item] + 5)
        assert found.shape == (15, 5)
        assert (found[:, 0] == 1).all()
        np.testing.assert_allclose(found[:, 1:] / found[0, 1], expected / expected[0, 0], rtol=1e-4)
        assert (found[:, 1:] ** 2).mean() == pytest.approx(1)
        np.testing.assert_allclose(found[13], found[14])

    def test_logs_without_categories(self, rng):
        log = random_slates(rng, users=30, price=np.ones(12))
        assert "category" not in log.items
        found = item_vectors(log, factors=2)
        assert found.shape == (12, 3)
        alike = random_slates(np.random.default_rng(0), users=30, category=np.zeros(12, "int16"))
        np.testing.assert_allclose(found, item_vectors(alike, factors=2))
