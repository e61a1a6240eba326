"""The contract of all re-rankers, each against a slow loop, and what its ends are."""

import numpy as np
import pandas as pd
import pytest

from recsys_evo.collect.events import Log
from recsys_evo.evaluate.ranking import top
from recsys_evo.models.baselines import Popularity
from recsys_evo.recommend.policies import Greedy
from recsys_evo.recommend.rerank import MMR, Calibrated, PopularityCorrected, Rerank, Rested

from .slates import FIRST, log_of_slates, random_slates

USERS, ITEMS, N = 9, 24, 6
CATEGORY = (np.arange(ITEMS) % 5).astype("int16")
RED = np.arange(ITEMS) % 4 == 0
EVERY = {
    "variety": MMR,
    "calibrated": Calibrated,
    "long tail": PopularityCorrected,
    "rested": Rested,
}
COLUMNS = ["category", "red"]


@pytest.fixture
def log(rng):
    """Users 0 to 8 are shown and click; an unknown user and a return are in the way."""
    log = random_slates(rng, items=ITEMS, spread=3, category=CATEGORY, red=RED)
    more = pd.DataFrame(
        {
            "user": [-1] * 40 + [0] * 40,
            "item": [3] * 80,
            "time": FIRST.astype("M8[s]"),
            "action": ["click"] * 40 + ["return"] * 40,
        }
    )
    kept = ["user", "item", "time", "action", "slate", "position"]
    events = pd.concat([log.events[kept], more.assign(slate=-1, position=-1)], ignore_index=True)
    return Log(events, log.items, pd.DataFrame({"id": np.arange(USERS + 1)}))


@pytest.fixture
def scores(rng):
    """Some are not on offer."""
    scores = rng.standard_normal((USERS + 1, ITEMS)).astype(np.float32)
    scores[:, [2, 17]] = -np.inf
    return scores


def greedy(scores, weight, candidates, aim):
    """One user's slate by a loop; `aim` (item, slate) says what else counts."""
    kept = sorted(np.flatnonzero(scores > -np.inf), key=lambda i: -scores[i])[:candidates]
    values = np.array([scores[i] for i in kept], float)
    z = dict(zip(kept, (values - values.mean()) / values.std()))
    slate = []
    for _ in range(N):
        left = [i for i in kept if i not in slate]
        slate.append(max(left, key=lambda i: weight * z[i] + (1 - weight) * aim(i, slate)))
    return slate


@pytest.fixture(params=EVERY)
def name(request):
    return request.param


class TestContract:
    def best(self, name, log, scores, users=None, n=N, **more):
        rerank = EVERY[name](**more)
        rerank.learn(log)
        users = np.arange(USERS + 1) if users is None else users
        return rerank.best(users, scores[users], n)

    def test_different_items_of_the_best_on_offer(self, name, log, scores):
        found = self.best(name, log, scores, weight=0.2, candidates=8)
        assert found.dtype == np.int32
        assert found.shape == (USERS + 1, N)
        best = top(scores, 8)
        for row, allowed in zip(found, best):
            assert len(set(row)) == N
            assert set(row) <= set(allowed)

    def test_weight_one_is_the_ranking(self, name, log, scores):
        found = self.best(name, log, scores, weight=1)
        np.testing.assert_array_equal(found, top(scores, N))

    def test_other_weights_are_not(self, name, log, scores):
        for weight in (0, 0.3):
            assert (self.best(name, log, scores, weight=weight) != top(scores, N)).any()

    def test_the_scale_of_the_scores_does_not_matter(self, name, log, scores):
        found = self.best(name, log, scores, weight=0.5)
        moved = 7 + 100 * scores.astype(float)
        np.testing.assert_array_equal(self.best(name, log, moved, weight=0.5), found)

    def test_users_come_in_the_order_asked(self, name, log, scores):
        found = self.best(name, log, scores, weight=0.4)
        users = np.array([6, 0, 6, USERS])
        np.testing.assert_array_equal(self.best(name, log, scores, users, weight=0.4), found[users])
        assert self.best(name, log, scores, np.arange(0)).shape == (0, N)

    def test_equal_scores_leave_the_other_aim(self, name, log):
        flat = np.zeros((USERS + 1, ITEMS))
        np.testing.assert_array_equal(
            self.best(name, log, flat, weight=0.5), self.best(name, log, flat, weight=0)
        )

    def test_fewer_candidates_than_asked(self, name, log, scores):
        scores[4, 8:] = -np.inf  # user 4 has seven left
        found = self.best(name, log, scores, n=7, weight=0.5)
        assert set(found[4]) == set(range(8)) - {2}

    def test_scores_stay_as_they_are(self, name, log, scores):
        before = scores.copy()
        self.best(name, log, scores)
        np.testing.assert_array_equal(scores, before)

    def test_a_policy_takes_it(self, name, log, rng):
        policy = Greedy(Popularity(), rerank=EVERY[name](weight=0.3))
        items, propensities = policy.slates(np.arange(USERS), log, N, rng=rng)
        popularity = np.tile(Popularity().fit(log).popularity, (USERS, 1))
        expected = self.best(name, log, popularity, np.arange(USERS), weight=0.3)
        np.testing.assert_array_equal(items, expected)
        assert (propensities == 1).all()

    def test_what_will_not_do(self, name, log, scores):
        with pytest.raises(
            ValueError, match=r"`n` must be at most .* candidates, 5\. Received: n=6"
        ):
            self.best(name, log, scores, candidates=5)
        scores[3, 4:] = -np.inf
        with pytest.raises(
            ValueError, match=r"`n` must be at most .* candidates, 3\. Received: n=6"
        ):
            self.best(name, log, scores)
        with pytest.raises(
            ValueError, match=r"`weight` must be a number from 0 to 1\..*weight=1\.01"
        ):
            EVERY[name](weight=1.01)
        with pytest.raises(ValueError, match="`candidates` must be a positive integer"):
            EVERY[name](candidates=0)


@pytest.mark.parametrize("kind", [Calibrated, Rested])
def test_logs_without_categories(kind, rng):
    with pytest.raises(ValueError, match=r"`log\.items` must have a column 'category'"):
        kind().learn(random_slates(rng, price=np.ones(12)))


def test_a_subclass_must_learn_and_aim():
    rerank = Rerank(weight=0.5)
    with pytest.raises(NotImplementedError):
        rerank.learn(None)
    with pytest.raises(NotImplementedError):
        rerank.best(np.arange(1), np.ones((1, 3)), 2)


class TestMMR:
    @pytest.mark.parametrize("weight", [0.0, 0.35, 0.8])
    def test_is_a_loop(self, log, scores, weight):
        rerank = MMR(weight=weight, candidates=15, columns=COLUMNS)
        rerank.learn(log)
        found = rerank.best(np.arange(USERS + 1), scores, N)
        have = [{("c", c)} | ({"red"} if red else set()) for c, red in zip(CATEGORY, RED)]

        def like(i, j):
            return len(have[i] & have[j]) / np.sqrt(len(have[i]) * len(have[j]))

        def aim(i, slate):
            return -max((like(i, j) for j in slate), default=0)

        for row, mine in zip(found, scores):
            np.testing.assert_array_equal(row, greedy(mine, weight, 15, aim))

    def test_weight_zero_is_all_the_variety_there_is(self, log, scores):
        rerank = MMR(weight=0, columns=["category"])
        rerank.learn(log)
        found = rerank.best(np.arange(USERS + 1), scores, N)
        np.testing.assert_array_equal(found[:, 0], scores.argmax(axis=1))
        for row, mine in zip(found, scores):
            assert set(CATEGORY[row[:5]]) == set(range(5))
            for item in row[:5]:  # of each category the best
                assert mine[item] == mine[np.isin(CATEGORY, CATEGORY[item])].max()


class TestCalibrated:
    def test_by_hand(self):
        """Three touches of category 0 and one of category 1: a slate of four has 3 to 1.

        After one of each, 2/3 to 1/3 is nearer to 3/4 to 1/4 than the other way round.
        """
        shown = np.array([[[0, 1, 2, 3]]])
        category = np.array([0, 0, 0, 1, 0, 1, 0, 1], "int16")
        rerank = Calibrated(weight=0)
        rerank.learn(log_of_slates(shown, np.ones(shown.shape, bool), category=category))
        scores = np.array([[0, 1, 2, 3, 4, 5, 6, 7.0]])
        np.testing.assert_array_equal(rerank.best(np.arange(1), scores, 4), [[6, 7, 4, 2]])
        found = rerank._aim(np.arange(1), np.array([[6, 7]]), np.array([[4]]))
        # Of one of each, by hand: KL((3/4, 1/4) ‖ 0.99 (1/2, 1/2) + 0.01 (3/4, 1/4)).
        expected = 0.75 * np.log(0.75 / 0.5025) + 0.25 * np.log(0.25 / 0.4975)
        assert found[0, 1] == pytest.approx(-expected)

    @pytest.mark.parametrize("weight", [0.0, 0.1, 0.5])
    def test_is_a_loop(self, log, scores, weight):
        rerank = Calibrated(weight=weight, candidates=15)
        rerank.learn(log)
        found = rerank.best(np.arange(USERS + 1), scores, N)
        touches = np.zeros((USERS + 1, 5))
        for row in log.events.itertuples():
            if row.action == "click" and row.user >= 0:
                touches[row.user, row.category] += 1
        everyone = touches.sum(axis=0) / touches.sum()
        for user in range(USERS + 1):
            wanted = (touches[user] + everyone) / (touches[user].sum() + 1)

            def aim(i, slate, wanted=wanted):
                share = np.bincount(CATEGORY[[*slate, i]], minlength=5) / (len(slate) + 1)
                return -(wanted * np.log(wanted / (0.99 * share + 0.01 * wanted))).sum()

            np.testing.assert_array_equal(found[user], greedy(scores[user], weight, 15, aim))

    def test_a_user_without_a_touch_is_taken_for_everybody(self, log):
        rerank = Calibrated()
        rerank.learn(log)
        assert not (log.events["user"] == USERS).any()
        known = log.where((log.events["action"] == "click") & (log.events["user"] >= 0))
        expected = np.bincount(known.events["category"], minlength=5) / len(known)
        np.testing.assert_allclose(rerank.shares[USERS], expected)


class TestPopularityCorrected:
    @pytest.mark.parametrize("weight", [0.0, 0.6])
    def test_is_a_loop(self, log, scores, weight):
        rerank = PopularityCorrected(weight=weight, candidates=15)
        rerank.learn(log)
        found = rerank.best(np.arange(USERS + 1), scores, N)
        touches = log.events.loc[log.events["action"] == "click", "item"].value_counts()
        assert touches[3] > 40  # of unknown users as well

        def aim(i, slate):
            return -np.log(1 + touches.get(i, 0))

        for row, mine in zip(found, scores):
            np.testing.assert_array_equal(row, greedy(mine, weight, 15, aim))


class TestRested:
    @pytest.mark.parametrize("weight", [0.0, 0.6])
    def test_is_a_loop(self, log, scores, weight):
        rerank = Rested(weight=weight, candidates=15, half_life=1.5)
        rerank.learn(log)
        found = rerank.best(np.arange(USERS + 1), scores, N)
        tired = np.zeros((USERS + 1, 5))
        for row in log.events.itertuples():
            if row.action == "click" and row.user >= 0:
                days = (pd.Timestamp(log.end) - row.time) / pd.Timedelta("1D")
                tired[row.user, row.category] += 2 ** (-days / 1.5)
        for user in range(USERS + 1):

            def aim(i, slate, tired=tired[user]):
                return -tired[CATEGORY[i]]

            np.testing.assert_array_equal(found[user], greedy(scores[user], weight, 15, aim))

    def test_a_half_life_is_not_zero(self):
        with pytest.raises(ValueError, match=r"`half_life` must be a number from 0\.01"):
            Rested(half_life=0)
