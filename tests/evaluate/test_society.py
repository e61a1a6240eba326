"""Society: closed forms, slow loops, and chance laws by simulation."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.special import expit

from recsys_evo.evaluate.society import (
    coverage,
    distance,
    diversity,
    gini,
    likeness,
    newcomers,
    overlap,
    retention,
    tally,
    welfare,
)

# Slates of few items, so that pairs meet, with items that stand twice and slots that are empty.
slates = arrays(
    np.int16, array_shapes(min_dims=3, max_dims=3, max_side=5), elements=st.integers(-1, 6)
)


def near(expected, values):
    """Whether the mean of independent `values` is `expected`, but for chance."""
    error = np.std(values) / np.sqrt(np.size(values))
    return np.mean(values) == pytest.approx(expected, abs=4 * error)


@given(slates)
def test_tally_counts_codes_as_a_loop_does(codes):
    expected = [[sum(c == code for c in row.ravel()) for code in range(7)] for row in codes]
    assert tally(codes, 7).tolist() == expected


def test_tally_has_room_for_more_cells_than_a_small_code_can_number():
    codes = np.full((300, 2), 200, np.int16)
    assert tally(codes, 201).sum(axis=0)[200] == 600


# Of the items


def test_gini_of_the_cases_that_need_no_arithmetic():
    assert gini([3, 3, 3, 3]) == pytest.approx(0)
    assert gini([0, 5, 0, 0]) == pytest.approx(3 / 4)
    assert gini([[3, 3, 3, 3], [0, 0, 0, 1]]) == pytest.approx([0, 3 / 4])
    assert gini([2, 2, 2, 2, 0, 0, 0, 0]) == pytest.approx(1 / 2)  # a half gets all


@given(st.lists(st.integers(0, 20), min_size=1, max_size=12).filter(any))
def test_gini_is_the_mean_difference_of_two_items_over_twice_the_mean(counts):
    differences = [abs(a - b) for a in counts for b in counts]
    assert gini(counts) == pytest.approx(np.mean(differences) / (2 * np.mean(counts)))


@pytest.mark.parametrize("shape", [1.5, 3.0])
def test_gini_of_a_pareto_law(shape):
    n = 1_000_000  # its quantiles, evenly spaced: no luck
    counts = ((np.arange(n) + 0.5) / n) ** (-1 / shape)
    assert gini(counts) == pytest.approx(1 / (2 * shape - 1), abs=0.01)


def test_gini_of_a_lottery_is_what_the_docstring_says(rng):
    found = gini(rng.poisson(40, (200, 2000)))
    assert found == pytest.approx(np.full(200, 1 / np.sqrt(np.pi * 40)), rel=0.1)
    assert found.mean() == pytest.approx(1 / np.sqrt(np.pi * 40), rel=0.01)


def test_coverage_is_a_share_of_the_whole_catalogue():
    assert coverage([0, 1, 2, 5]) == 3 / 4
    assert coverage([[0, 1, 2, 5], [0, 0, 0, 9]], at_least=2).tolist() == [2 / 4, 1 / 4]


def test_newcomers_get_one_where_chance_shows_and_nothing_where_they_are_left_out(rng):
    born, days = rng.integers(-60, 40, 100), np.arange(20, 40)
    items = np.full((400, 20, 10), -1, np.int16)
    for day, number in enumerate(days):
        items[:, day] = rng.choice(np.flatnonzero(born <= number), (400, 10))
    assert near(1, newcomers(items, born, days))
    old = np.full((5, 20, 10), np.argmin(born))
    assert newcomers(old, born, days).tolist() == [0] * 20


def test_newcomers_in_a_case_by_hand():
    """On day 5 five of six are born, and two of them new; day 6 shows nothing."""
    born = [-9, 0, 1, 4, 5, 7]
    items = np.array([[[4, 0], [-1, -1], [5, 5]], [[2, 3], [-1, -1], [5, -1]]])
    found = newcomers(items, born, [5, 6, 7], young=2)
    np.testing.assert_allclose(found, [(2 / 4) / (2 / 5), np.nan, 1 / (1 / 6)])
    none_new = newcomers(items[:, :1], [-9, 0, 1, 1, 1, 7], [5], young=2)
    assert np.isnan(none_new).all()


# Between users


@given(slates)
def test_overlap_is_a_mean_over_pairs_of_users(items):
    for day, found in enumerate(overlap(items)):
        came = [row[row >= 0].tolist() for row in items[:, day] if (row >= 0).any()]
        met = []
        for one, other in combinations(came, 2):
            met.append(np.mean([item in other for item in one]))
            met.append(np.mean([item in one for item in other]))
        assert found == pytest.approx(np.mean(met) if met else np.nan, nan_ok=True)


@given(st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_overlap_of_full_slates_without_repeats_is_the_share_in_common(n_users, seed):
    rng = np.random.default_rng(seed)
    items = np.array([rng.permutation(7)[:3] for _ in range(n_users)])[:, None]
    common = [len(set(a) & set(b)) / 3 for a, b in combinations(items[:, 0].tolist(), 2)]
    assert overlap(items) == pytest.approx([np.mean(common)])


def test_overlap_of_the_cases_that_need_no_arithmetic():
    assert overlap(np.zeros((5, 2, 3), int)).tolist() == [1, 1]  # the same item thrice
    assert overlap(np.tile([4, 9, 2], (6, 1, 1))).tolist() == [1]
    assert overlap(np.arange(12).reshape(4, 1, 3)).tolist() == [0]
    assert np.isnan(overlap([[[1, 2], [-1, -1]], [[-1, -1], [-1, -1]]])).all()


def test_overlap_by_chance(rng):
    items = rng.permuted(np.tile(np.arange(50), (300, 40, 1)), axis=2)[:, :, :10]
    assert near(10 / 50, overlap(items))


# Of each user


def test_diversity_of_the_cases_that_need_no_arithmetic():
    counts = [[4, 0, 0], [1, 1, 1], [2, 2, 0], [1, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(diversity(counts), [0, 1, 4 / 6, np.nan, np.nan])


@given(st.lists(st.integers(0, 3), min_size=2, max_size=9))
def test_diversity_is_a_share_of_the_pairs_of_clicks(clicks):
    expected = np.mean([a != b for a, b in combinations(clicks, 2)])
    assert diversity([np.bincount(clicks, minlength=4)]) == pytest.approx([expected])


@pytest.mark.parametrize("clicks", [2, 5, 40])
def test_diversity_is_unbiased_for_few_clicks(rng, clicks):
    chance = np.array([0.4, 0.3, 0.1, 0.1, 0.05, 0.05, 0])
    found = diversity(rng.multinomial(clicks, chance, 20_000))
    assert near(1 - chance @ chance, found)


def test_equal_choice_among_m_has_m_effective_categories(rng):
    found = diversity(rng.multinomial(6, np.full(8, 1 / 8), 50_000))
    assert 1 / (1 - found.mean()) == pytest.approx(8, rel=0.02)


def test_distance_is_that_of_the_parts_that_matter_to_a_choice():
    core = np.array([[0.0, 0, 0, 0], [5, 5, 1, 1]])
    now = core + np.array([[1, -1, 1, -1], [0, 0, 0, 4]])
    np.testing.assert_allclose(distance(now, core), [1, np.sqrt(3)])
    lifted = now + np.array([[100], [-7]])  # all of a user's categories alike
    np.testing.assert_allclose(distance(lifted, core), [1, np.sqrt(3)])
    by_day = np.stack([core, now], axis=1)
    found = distance(by_day, np.repeat(core[:, None], 2, axis=1))
    np.testing.assert_allclose(found, [[0, 1], [0, np.sqrt(3)]])


def test_retention_is_of_those_who_came_at_first():
    came = np.array([list(row) for row in ("x..x..", "xx....", "...xxx", "..x..x")]) == "x"
    expected = [[1, 1], [1, 0], [np.nan, np.nan], [1, 1]]
    np.testing.assert_array_equal(retention(came, window=3), expected)
    expected = [[1, 1, 0], [1, 0, 0], [np.nan] * 3, [np.nan] * 3]
    np.testing.assert_array_equal(retention(came, window=2), expected)


def test_retention_where_each_day_is_the_last_with_the_same_chance(rng):
    """Users come every day until they leave: the chance to be there after w weeks is q^(7w)."""
    last = rng.geometric(0.02, 20_000)
    curve = np.nanmean(retention(np.arange(28) < last[:, None]), axis=0)
    assert curve == pytest.approx(0.98 ** np.array([0, 7, 14, 21]), abs=0.015)


def test_the_derivative_of_welfare_is_the_chance_of_a_click(rng):
    utility, attention = rng.normal(0, 3, (4, 3, 5)), (1 + np.arange(5)) ** -0.2
    for slot in range(5):
        step = 1e-5 * (np.arange(5) == slot)
        slope = (welfare(utility + step, attention) - welfare(utility - step, attention)) / 2e-5
        np.testing.assert_allclose(slope, attention[slot] * expit(utility[:, :, slot]), atol=1e-8)


def test_welfare_is_what_a_user_gains_by_a_choice_between_an_item_and_none(rng):
    """Worth has Gumbel parts of the moment; the better of the two, less what none is worth."""
    none, item = rng.gumbel(size=(2, 400_000))
    utility = 0.7
    gain = np.maximum(item + utility, none) - none
    assert near(welfare([[[utility]]], [1])[0, 0], gain)


def test_welfare_of_what_nobody_wants_and_of_who_does_not_come_is_nothing():
    utility = np.array([[[0, 0], [np.nan, np.nan], [-np.inf, -np.inf], [0, np.nan]]], np.float32)
    found = welfare(utility, [1, 0.5])
    np.testing.assert_allclose(found, [[1.5 * np.log(2), 0, 0, np.log(2)]], rtol=1e-6)
    assert welfare([[[800.0, -800.0]]], [1, 1]).tolist() == [[800]]


# Arguments


SHOWN = np.zeros((2, 3, 4), int)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tally([[0.0]], 1), "`codes` must be integers.*float64"),
        (lambda: tally([[0, 3]], 3), "`codes` must be codes less than 3.*3"),
        (lambda: gini([0, 0]), "`counts` must hold an exposure"),
        (lambda: gini([[1, 2], [0, 0]]), "`counts` must hold an exposure"),
        (lambda: gini([1, -1]), "`counts` must be an array of finite.*-1"),
        (lambda: coverage([1, np.nan]), "`counts` must be an array of finite"),
        (lambda: coverage([1, np.inf]), "`counts` must be an array of finite"),
        (lambda: coverage(3), r"`counts` must be an array.*\(\)"),
        (lambda: newcomers(SHOWN[0], [0], [0]), r"`items` must be .*3 dimensions.*\(3, 4\)"),
        (lambda: newcomers(SHOWN, [[0]], [0, 1, 2]), r"`born` must be .*1 dimensions.*\(1, 1\)"),
        (lambda: newcomers(SHOWN, [0], [0, 1]), "`days` must number the 3 days.*2"),
        (lambda: newcomers(SHOWN, [1], [0, 1, 2]), "`items` must .*item 0 on day 0, born on day 1"),
        (lambda: newcomers(SHOWN + 1, [0], [0, 1, 2]), "`items` must be codes less than 1.*1"),
        (lambda: overlap(SHOWN[0]), r"`items` must be .*3 dimensions.*\(3, 4\)"),
        (lambda: overlap(SHOWN + 0.5), "`items` must be integers.*float64"),
        (lambda: diversity([[1.5, 1]]), "`counts` must be whole.*1.5"),
        (lambda: distance(SHOWN, SHOWN[:1]), r"`now` and `core` must.*\(2, 3, 4\) and \(1, 3, 4\)"),
        (lambda: retention(SHOWN[0] == 0, window=3), "`window` must divide .* 4. .*window=3"),
        (lambda: retention(SHOWN[0] == 0, window=0), "`window` must divide .*window=0"),
        (lambda: retention(SHOWN == 0), r"`came` must be bool \(users, days\).*\(2, 3, 4\)"),
        (lambda: retention(SHOWN[0]), "`came` must be bool.*int64"),
        (lambda: welfare(SHOWN[0], [1] * 4), r"`utility` must be.*\(3, 4\) and \(4,\)"),
        (lambda: welfare(SHOWN, [1] * 3), r"`utility` must be.*\(2, 3, 4\) and \(3,\)"),
        (lambda: welfare(SHOWN, [1, 1, 1, 1.5]), "`attention` must lie .*1.0 to 1.5"),
        (lambda: welfare(SHOWN, [1, 1, 1, -0.5]), "`attention` must lie .*-0.5 to 1"),
        (lambda: welfare(SHOWN, [1, 1, 1, np.nan]), "`attention` must lie .*nan"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_likeness_is_the_mean_correlation_of_pairs():
    appeals = np.random.default_rng(0).normal(size=(7, 5)) + np.arange(5)
    together = np.corrcoef(appeals)[np.triu_indices(7, 1)].mean()
    assert likeness(appeals) == pytest.approx(together)
    assert likeness(appeals[:1] * [[2], [3]] + [[1], [5]]) == pytest.approx(1)
