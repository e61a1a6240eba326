"""Ranking: closed forms, all orders one by one, scikit-learn, and what others have published."""

from itertools import permutations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats
from sklearn.metrics import average_precision_score, ndcg_score

from recsys_evo.collect import datasets
from recsys_evo.evaluate.forecasts import auc
from recsys_evo.evaluate.ranking import TIES, average, measures, sampled, top
from recsys_evo.prepare.splits import leave_last_out

from ..collect.sources.official import folder, official

NAMES = ["HR", "NDCG", "MAP", "MRR", "recall", "precision"]


def table(dense):
    return sparse.csr_array(np.asarray(dense, bool))


def pairs(users, items, shape):
    """The matrix that is True at (users[k], items[k])."""
    return sparse.csr_array((np.ones(len(users), bool), (users, items)), shape=shape)


def one_each(items, n_items):
    """The matrix in which user k has item items[k] and nothing else."""
    return pairs(np.arange(len(items)), items, (len(items), n_items))


def by_hand(hits, n_relevant, k):
    """All measures of one ranking, from `hits`, bool a rank, by a loop."""
    found = dict.fromkeys(NAMES, 0.0)
    n_hits = 0
    for rank, hit in enumerate(hits[:k], 1):
        if hit:
            n_hits += 1
            found["NDCG"] += 1 / np.log2(rank + 1)
            found["MAP"] += n_hits / rank / min(k, n_relevant)
            found["MRR"] = found["MRR"] or 1 / rank
    found["HR"] = float(n_hits > 0)
    found["recall"], found["precision"] = n_hits / n_relevant, n_hits / k
    found["NDCG"] /= sum(1 / np.log2(r + 1) for r in range(1, min(k, n_relevant) + 1))
    return found


def orders(scores, relevant, ranked, ties):
    """The hits of every order of the ranked items that the rule calls right, by trying all."""
    for order in permutations(ranked):
        keys = {
            "mean": [-scores[i] for i in order],
            "id": [(-scores[i], i) for i in order],
            "worst": [(-scores[i], relevant[i]) for i in order],
            "best": [(-scores[i], not relevant[i]) for i in order],
        }[ties]
        if keys == sorted(keys):
            yield [relevant[i] for i in order]


cases = st.integers(2, 6).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 3), min_size=n, max_size=n),
        st.lists(st.sampled_from(["relevant", "seen", "asked", "not asked"]), min_size=n,
                 max_size=n).filter(lambda parts: "relevant" in parts),
        st.integers(1, n),
        st.sampled_from(TIES),
        st.booleans(),
    )
)  # fmt: skip


@settings(max_examples=300)
@given(cases)
def test_a_rule_for_ties_is_a_mean_over_the_orders_that_it_allows(case):
    scores, parts, k, ties, sampling = case
    scores, parts = np.array(scores, np.float32), np.array(parts)
    relevant, seen, asked = (parts == part for part in ("relevant", "seen", "asked"))
    if sampling:
        ranked = np.flatnonzero(relevant | asked)
        candidates = np.flatnonzero(asked)[None]
    else:
        ranked = np.flatnonzero(~seen)
        candidates = None
    options = {"seen": table([seen]), "candidates": candidates, "ties": ties}
    found = measures(scores[None], table([relevant]), k=k, **options)
    assert list(found) == NAMES
    every = [by_hand(h, relevant.sum(), k) for h in orders(scores, relevant, ranked, ties)]
    for name in NAMES:
        expected = np.mean([one[name] for one in every])
        assert found[name] == pytest.approx([expected]), name


@pytest.mark.parametrize("levels", [3, 10**9])
@pytest.mark.parametrize("k", [1, 10, 40])
def test_ndcg_is_that_of_scikit_learn(rng, levels, k):
    scores = rng.integers(levels, size=(300, 40)).astype(float)  # more users than a block
    relevant = rng.random((300, 40)) < 0.2
    relevant[:, 7] = True
    found = measures(scores, table(relevant), k=k)["NDCG"]
    known = [ndcg_score(y[None], s[None], k=k) for y, s in zip(relevant, scores)]
    np.testing.assert_allclose(found, known)


def test_map_over_all_ranks_is_that_of_scikit_learn(rng):
    scores, relevant = rng.random((30, 40)), rng.random((30, 40)) < 0.2
    relevant[:, 7] = True
    found = measures(scores, table(relevant), k=40)["MAP"]
    known = [average_precision_score(y, s) for y, s in zip(relevant, scores)]
    np.testing.assert_allclose(found, known)


def test_scores_that_know_nothing_get_what_chance_gives():
    """All scores the same: a random order, in expectation. One and several relevant items."""
    relevant = np.zeros((2, 100), bool)
    relevant[0, 50] = relevant[1, :7] = True
    found = measures(np.zeros((2, 100)), table(relevant), k=10)
    gain = 1 / np.log2(np.arange(2, 12))
    assert found["HR"] == pytest.approx([0.1, 1 - comb(93, 10) / comb(100, 10)])
    assert found["NDCG"] == pytest.approx([gain.sum() / 100, 0.07 * gain.sum() / gain[:7].sum()])
    assert found["recall"] == pytest.approx([0.1, 0.1])
    assert found["precision"] == pytest.approx([0.01, 0.07])
    assert found["MRR"][0] == pytest.approx((1 / np.arange(1, 11)).sum() / 100)
    first = [comb(100 - r, 6) / comb(100, 7) for r in range(1, 11)]  # the first of seven is at r
    assert found["MRR"][1] == pytest.approx(first @ (1 / np.arange(1, 11)))
    rules = {ties: measures(np.zeros((2, 100)), table(relevant), ties=ties) for ties in TIES}
    assert rules["best"]["HR"].tolist() == rules["best"]["NDCG"].tolist() == [1, 1]
    assert rules["worst"]["HR"].tolist() == [0, 0]
    assert rules["id"]["HR"].tolist() == [0, 1]


def test_sampled_ranking_of_random_scores(rng):
    """Of 1 + 99 items, random scores put the one among ten in a tenth of the cases."""
    relevant = one_each(rng.integers(500, size=4000), 500)
    candidates = sampled(relevant, None, 99, rng=rng)
    found = measures(rng.random((4000, 500)), relevant, candidates=candidates)
    assert found["HR"].mean() == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / 4000))
    ideal = (1 / np.arange(1, 11)).sum() / 100
    assert found["MRR"].mean() == pytest.approx(ideal, abs=0.01)
    full = measures(rng.random((4000, 500)), relevant)["HR"].mean()
    assert full == pytest.approx(0.02, abs=4 * np.sqrt(0.02 / 4000))


def test_with_one_relevant_item_hr_is_recall_and_map_is_mrr(rng):
    scores = rng.integers(5, size=(50, 20))
    relevant = one_each(rng.integers(20, size=50), 20)
    for ties in TIES:
        found = measures(scores, relevant, k=5, ties=ties)
        np.testing.assert_allclose(found["HR"], found["recall"])
        np.testing.assert_allclose(found["MAP"], found["MRR"])
        np.testing.assert_allclose(found["precision"], found["HR"] / 5)


def test_users_without_a_relevant_item_have_no_measure(rng):
    relevant = rng.random((600, 20)) < 0.05
    found = measures(rng.random((600, 20)), table(relevant), k=5)
    for values in found.values():
        np.testing.assert_array_equal(np.isnan(values), ~relevant.any(axis=1))
    empty = measures(rng.random((3, 20)), table(np.zeros((3, 20))), k=5)
    assert np.isnan(empty["HR"]).all()


def test_a_false_that_is_stored_is_no_mark(rng):
    scores = rng.random((3, 3))
    stored = sparse.csr_array(np.ones((3, 3), bool))
    stored.data[:] = [False, True, False] * 3
    for name, values in measures(scores, table(stored.toarray()), k=2).items():
        np.testing.assert_array_equal(measures(scores, stored, k=2)[name], values)
    others = table(~stored.toarray())
    assert measures(scores, others, k=2, seen=stored)["HR"].tolist() == [1, 1, 1]


def test_what_is_not_recommended_is_never_found():
    """-inf from the model: past any k, under every rule."""
    scores = np.array([[1, -np.inf, -np.inf, -np.inf]])
    relevant = table([[False, True, True, True]])
    for ties in TIES:
        assert measures(scores, relevant, k=4, ties=ties)["HR"] == [0]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "float16"])
def test_scores_are_not_changed_and_may_come_from_a_function(rng, dtype):
    scores = rng.permuted(np.arange(600 * 30).reshape(600, 30) % 2000, axis=1).astype(dtype)
    before = scores.copy()
    relevant = one_each(rng.integers(30, size=600), 30)
    seen = table((rng.random((600, 30)) < 0.3) & ~relevant.toarray())
    plain = measures(scores, relevant, k=5, seen=seen)
    handed = measures(lambda users: scores[users], relevant, k=5, seen=seen)
    fixed = scores[:1]
    every = measures(lambda users: np.broadcast_to(fixed, (len(users), 30)), relevant, seen=seen)
    again = measures(np.repeat(fixed, 600, axis=0), relevant, seen=seen)
    for name in NAMES:
        np.testing.assert_array_equal(plain[name], handed[name])
        np.testing.assert_array_equal(every[name], again[name])
    top(scores, 3, seen=seen)
    np.testing.assert_array_equal(scores, before)


# The best k


@given(st.integers(1, 12), st.sampled_from([1, 3, 1000]), st.integers(0, 2**32 - 1))
def test_top_is_a_stable_sort(k, levels, seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(levels, size=(20, 12)).astype(float)
    seen = rng.random((20, 12)) < 0.3
    found = top(scores, k, seen=table(seen))
    assert found.dtype == np.int32
    for row, values, known in zip(found, scores, seen):
        order = [i for i in np.argsort(-values, kind="stable") if not known[i]]
        assert row.tolist() == (order + [-1] * 12)[:k]


def test_what_top_recommends_is_what_is_measured(rng):
    scores = rng.integers(20, size=(300, 50))
    relevant = one_each(rng.integers(50, size=300), 50)
    seen = table((rng.random((300, 50)) < 0.3) & ~relevant.toarray())
    hit = (top(scores, 5, seen=seen) == relevant.indices[:, None]).any(axis=1)
    found = measures(scores, relevant, k=5, seen=seen, ties="id")["HR"]
    np.testing.assert_array_equal(found, hit)


# Candidates


@pytest.mark.parametrize("weighted", [False, True])
def test_candidates_are_new_and_all_different(rng, weighted):
    relevant, seen = rng.random((2, 300, 60)) < 0.2
    seen &= ~relevant
    weights = np.r_[0, np.arange(1, 60)] if weighted else None
    found = sampled(table(relevant), table(seen), 15, weights=weights, rng=rng)
    assert found.shape == (300, 15)
    assert found.dtype == np.int32
    drawn = np.zeros((300, 60), int)
    np.add.at(drawn, (np.arange(300)[:, None], found), 1)
    assert drawn.max() == 1
    assert not (drawn.astype(bool) & (relevant | seen)).any()
    if weighted:
        assert not drawn[:, 0].any()


@pytest.mark.parametrize("weights", [None, [1, 2, 3, 4, 7]])
def test_candidates_are_drawn_one_after_the_other(rng, weights):
    """Item 0 is relevant: the chance of each pair of the others, in closed form."""
    n = 20_000
    found = sampled(one_each(np.zeros(n, int), 5), None, 2, weights=weights, rng=rng)
    w = np.array([0, 1, 1, 1, 1] if weights is None else [0, *weights[1:]]) / 1
    w /= w.sum()
    two = [(i, j) for i in range(1, 5) for j in range(i + 1, 5)]
    chance = [w[i] * w[j] / (1 - w[i]) + w[j] * w[i] / (1 - w[j]) for i, j in two]
    found.sort(axis=1)
    count = [(found == pair).all(axis=1).sum() for pair in two]
    assert stats.chisquare(count, n * np.array(chance)).pvalue > 1e-4


# Certainty


def test_an_average_leaves_out_users_without_a_measure(rng):
    values = np.r_[rng.random(500), np.nan]
    point, low, high = average(values, rng=rng)
    half = 1.96 * values[:-1].std() / np.sqrt(500)
    assert point == pytest.approx(np.nanmean(values))
    assert [low, high] == pytest.approx([point - half, point + half], abs=0.2 * half)


def test_an_average_difference_is_taken_user_by_user(rng):
    """A rival that is worse by .01 for everybody: no doubt, however different the users are."""
    values = np.r_[rng.random(500), np.nan]
    assert average(values, against=values - 0.01, rng=rng) == pytest.approx([0.01] * 3)


# What others have published


def test_popularity_on_beauty_with_and_without_the_leak():
    """S3-Rec publishes .0152 and .0068, in which the held-out items are counted.

    Without them HR@10 is .0141 if a rank is 1 plus the number of higher scores, and less under any
    other rule for ties; with them the rule makes no difference to four digits.
    """
    log = official("amazon-beauty-s3rec")
    past, last = leave_last_out(log)
    shape = (log.n_users, log.n_items)
    seen, relevant = (
        pairs(part.events["user"], part.events["item"], shape) for part in (past, last)
    )

    def popularity(counted, ties):
        scores = np.bincount(counted.events["item"], minlength=log.n_items).astype("float32")
        found = measures(
            lambda users: np.broadcast_to(scores, (len(users), log.n_items)),
            relevant,
            seen=seen,
            ties=ties,
        )
        return found["HR"].mean(), found["NDCG"].mean()

    for ties in ("best", "worst"):
        assert popularity(log, ties) == pytest.approx((0.0152, 0.0068), abs=5e-5)
    assert popularity(past, "best")[0] == pytest.approx(0.0141, abs=5e-5)
    assert popularity(past, "worst")[0] < 0.0131


def test_factorisation_on_movielens_as_cornac_publishes_it():
    """Cornac 3.0.1, README: MF on `RatioSplit(test_size=0.2, rating_threshold=4, seed=123)`.

    Users and items are numbered as they come up in the training part; what is asked for are films
    rated 4 or more, among those that the user has not rated 4 or more in training.
    """
    # The rows of u.data in their order, which a log has within a user's second only.
    file = datasets.card("movielens-100k").find(folder()) / "u.data"
    ratings = np.loadtxt(file, dtype=int)[:, :3]
    order = np.random.RandomState(123).permutation(len(ratings))
    user, item = ({}, {})
    train = ratings[order[:80_000]]
    for u, i, _ in train:
        user.setdefault(u, len(user))
        item.setdefault(i, len(item))
    test = [(u, i, r) for u, i, r in ratings[order[80_000:]] if u in user and i in item]

    def columns(rows):
        u, i, r = zip(*((user[u], item[i], r) for u, i, r in rows))
        return np.array(u), np.array(i), np.array(r, np.float32)

    shape = (len(user), len(item))
    scores = factorise(*columns(train), shape)
    seen, relevant = (pairs(u[r >= 4], i[r >= 4], shape) for u, i, r in map(columns, (train, test)))
    found = measures(scores, relevant, seen=seen)
    published = {"NDCG": 0.0761, "precision": 0.0675, "recall": 0.0463}
    for name, value in published.items():
        assert np.nanmean(found[name]) == pytest.approx(value, abs=1e-4), name
    every = measures(scores, relevant, seen=seen, k=len(item))
    assert np.nanmean(every["MAP"]) == pytest.approx(0.0548, abs=1e-4)
    areas = [
        auc(asked[~known], row[~known])
        for asked, known, row in zip(relevant.toarray(), seen.toarray(), scores)
        if asked.any()
    ]
    assert np.mean(areas) == pytest.approx(0.7445, abs=1e-4)


def factorise(user, item, rating, shape, *, factors=10, epochs=25, rate=0.01, shrink=0.02):
    """The scores of Cornac's MF(k=10, max_iter=25, seed=123): biased factors by plain SGD.

    It takes the ratings one by one. Those that share neither user nor item with one between them
    may be taken at once, which makes no difference but to the time.
    """
    turn, free = np.empty(len(user), int), [np.zeros(n, int) for n in shape]
    for j, (u, i) in enumerate(zip(user, item)):
        turn[j] = free[0][u] = free[1][i] = max(free[0][u], free[1][i]) + 1
    order = np.argsort(turn, kind="stable")
    turns = np.split(order, np.flatnonzero(np.diff(turn[order])) + 1)
    rows = [(user[t], item[t], rating[t]) for t in turns]
    rng = np.random.RandomState(123)
    p, q = (rng.normal(0, 0.01, (n, factors)).astype(np.float32) for n in shape)
    a, b = (np.zeros(n, np.float32) for n in shape)
    mean, rate, shrink = np.float32(rating.mean()), np.float32(rate), np.float32(shrink)
    for _ in range(epochs):
        for u, i, r in rows:
            error = r - mean - a[u] - b[i] - (p[u] * q[i]).sum(axis=1)
            to_p = error[:, None] * q[i] - shrink * p[u]
            to_q = error[:, None] * p[u] - shrink * q[i]
            p[u] += rate * to_p
            q[i] += rate * to_q
            a[u] += rate * (error - shrink * a[u])
            b[i] += rate * (error - shrink * b[i])
    return mean + a[:, None] + b + p @ q.T


# What will not do

EYE = table(np.eye(3))
ZEROS = np.zeros((3, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: measures(ZEROS, EYE, k=2, ties="none"), r"`ties` must be one of \['mean'.*'none'"),
        (lambda: measures(ZEROS, EYE, k=4), "`k` must be an integer from 1 to .*3. Received: k=4"),
        (lambda: measures(ZEROS, EYE, k=0), "`k` must be .*k=0"),
        (lambda: measures(ZEROS, EYE, k=2.0), "`k` must be .*k=2.0"),
        (lambda: measures(ZEROS, EYE, k=True), "`k` must be .*k=True"),
        (lambda: measures(ZEROS[:2], EYE, k=2), r"`scores` must be \(3, 3\).*\(2, 3\)"),
        (lambda: measures(lambda users: ZEROS[:2], EYE, k=2), r"`scores` must be \(3, 3\).*\(2, "),
        (lambda: measures(ZEROS + np.nan, EYE, k=2), "`scores` must be numbers.*nan"),
        (lambda: measures(ZEROS, EYE, k=2, seen=EYE), "`seen` must not hold relevant.*3 in both"),
        (lambda: measures(ZEROS, EYE, k=2, seen=EYE[:2]), r"`seen` must be \(3, 3\).*\(2, 3\)"),
        (
            lambda: measures(ZEROS, EYE, k=2, candidates=np.zeros((2, 1), int)),
            r"`candidates` must be \(3, 1\).*\(2, 1\)",
        ),
        (
            lambda: measures(ZEROS, EYE, k=2, candidates=[[0], [-1], [2]]),
            "`candidates` must be codes from 0 to 2. Received: -1 to 2",
        ),
        (lambda: top(ZEROS[0], 1), r"`scores` must be \(users, items\).*\(3,\)"),
        (lambda: top(ZEROS + np.nan, 1), "`scores` must be numbers"),
        (lambda: top(ZEROS, 4), "`k` must be .*k=4"),
        (
            lambda: sampled(EYE, None, 3, rng=np.random.default_rng()),
            "`n` must leave .*n=3; user 0 has 2",
        ),
        (
            lambda: sampled(EYE, None, 2, weights=[0, 1, 1], rng=np.random.default_rng()),
            "`n` must leave .*n=2; user 1 has 1",
        ),
        (
            lambda: sampled(EYE, None, 1, weights=[1, -1, 1], rng=np.random.default_rng()),
            "`weights` must be 3 finite numbers.*-1",
        ),
        (
            lambda: sampled(EYE, None, 1, weights=[1, 1], rng=np.random.default_rng()),
            r"`weights` must be 3 finite.*\(2,\)",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
