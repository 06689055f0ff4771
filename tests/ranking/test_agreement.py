import time

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from modelrank.ranking.agreement import (
    MEASURES,
    agreement,
    ceiling,
    common_models,
    null_level,
    pearson,
    pr_top,
    regret_at,
    rel_at,
    tau_interval,
    weighted_tau,
)
from modelrank.types import Truth

# small integers make ties common; wide floats make them rare
values = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e6, 1e6, allow_subnormal=False))
pairs = st.lists(st.tuples(values, values), min_size=3, max_size=14)


def columns(pairs):
    x, y = np.array(pairs).T
    assume(len(np.unique(x)) > 1 and len(np.unique(y)) > 1)
    return x, y


def by_model(array):
    return {f"m{i}": float(v) for i, v in enumerate(array)}


@given(pairs)
def test_weighted_tau_is_scipys_ties_included(pairs):
    x, y = columns(pairs)
    assert weighted_tau(x, y) == pytest.approx(stats.weightedtau(x, y).statistic, abs=1e-12)


@given(pairs, st.integers(0, 1000))
def test_weighted_tau_of_a_resample_is_scipys_on_the_repeated_models(pairs, seed):
    x, y = columns(pairs)
    drawn = np.random.default_rng(seed).integers(len(x), size=(20, len(x)))
    counts = np.stack([np.bincount(row, minlength=len(x)) for row in drawn])
    got = weighted_tau(x, y, counts)
    for row, value in zip(drawn, got, strict=True):
        if len(np.unique(x[row])) > 1 and len(np.unique(y[row])) > 1:
            assert value == pytest.approx(stats.weightedtau(x[row], y[row]).statistic, abs=1e-12)
        else:
            assert np.isnan(value)


@given(pairs)
def test_rank_measures_depend_on_the_order_only(pairs):
    x, y = columns(pairs)
    before, after = agreement(by_model(x), by_model(y)), agreement(by_model(stats.rankdata(x) ** 3), by_model(y))
    for measure in set(MEASURES) - {"pearson"}:
        assert after[measure] == pytest.approx(before[measure], abs=1e-12, nan_ok=True)


@given(pairs)
def test_agreement_with_itself_is_perfect_and_with_its_reverse_is_the_opposite(pairs):
    x, _ = columns(pairs)
    same, reverse = agreement(by_model(x), by_model(x)), agreement(by_model(-x), by_model(x))
    for measure in ("tau_w", "tau", "pearson", "spearman"):
        assert same[measure] == pytest.approx(1)
        assert reverse[measure] == pytest.approx(-1)
    assert same["regret_at_1"] == 0
    assert same["pr_top1"] == 1


@given(pairs)
def test_correlations_are_scipys(pairs):
    x, y = columns(pairs)
    got = agreement(by_model(x), by_model(y))
    assert got["tau"] == pytest.approx(stats.kendalltau(x, y).statistic)
    assert got["spearman"] == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-9)


def test_pearson_is_scipys_and_survives_huge_scores():
    x, y = np.random.default_rng(0).normal(size=(2, 9))
    assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic)
    assert pearson(x * 1e300, y) == pytest.approx(pearson(x, y))


def test_which_model_is_found():
    scores, accuracy = [5.0, 4.0, 3.0, 2.0], [0.8, 0.7, 0.9, 0.6]
    assert [pr_top(scores, accuracy, k) for k in (1, 2, 9)] == [0, 1, 1]
    assert [rel_at(scores, accuracy, k) for k in (1, 2, 3)] == pytest.approx([0.8 / 0.9, 0.8 / 0.9, 1])
    assert [regret_at(scores, accuracy, k) for k in (1, 2, 3)] == pytest.approx([0.1, 0.1, 0])


def test_the_first_by_score_and_by_accuracy_are_named():
    accuracy = {"a": 0.7, "b": 0.9, "c": 0.8, "only_measured": 1.0}
    got = agreement({"c": 2, "b": 1, "a": 2, "only_scored": 9}, accuracy)
    assert (got["winner"], got["best"]) == ("a", "b")
    assert agreement(dict.fromkeys("abc", 1.0), accuracy)["winner"] == "", "all equal: nothing is first"


def test_a_tie_for_first_earns_no_credit_for_luck():
    for order in ([0, 1, 2], [1, 0, 2]):
        scores, accuracy = np.array([1.0, 1.0, 0.0]), np.array([0.9, 0.5, 0.6])[order]
        assert pr_top(scores, accuracy, 1) == 0
        assert regret_at(scores, accuracy, 1) == pytest.approx(0.4)


def test_rel_is_not_a_number_where_the_best_r2_is_negative():
    assert np.isnan(rel_at([1, 2, 3], [-0.1, -0.2, -0.3], 1))
    assert np.isnan(rel_at([1, 2, 3], [0.4, 0.2, -0.3], 1)), "a negative R^2 is no share of a positive one"
    assert rel_at([1, 2, 3], [0.4, 0.2, -0.3], 2) == 0.5


def test_only_models_with_both_count():
    got = agreement({"a": 1, "b": 2, "c": 3, "only_scored": 9}, {"a": 0.1, "b": 0.2, "c": 0.3, "only_measured": 0.9})
    assert got["n_models"] == 3
    assert got["tau_w"] == pytest.approx(1)
    assert got["note"] == ""


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_score_or_accuracy_that_is_not_finite_is_refused_by_name(bad):
    good = {"a": 1.0, "b": 2.0, "c": 3.0}
    with pytest.raises(ValueError, match="score of b"):
        agreement(good | {"b": bad}, good)
    with pytest.raises(ValueError, match="accuracy of c"):
        agreement(good, good | {"c": bad})


@pytest.mark.parametrize(
    ("scores", "truth", "reason"),
    [
        ({"a": 1, "b": 2}, {"a": 0.1, "b": 0.2}, "accuracy: 2;"),
        ({}, {"a": 0.1}, "accuracy: 0;"),
        ({"a": 1, "b": 1, "c": 1}, {"a": 0.1, "b": 0.2, "c": 0.3}, "same score"),
        ({"a": 1, "b": 2, "c": 3}, {"a": 0.2, "b": 0.2, "c": 0.2}, "same accuracy"),
    ],
)
def test_where_there_is_no_agreement_to_measure_the_note_says_why(scores, truth, reason):
    got = agreement(scores, truth)
    assert reason in got["note"]
    assert all(np.isnan(got[measure]) for measure in MEASURES)


def test_ties_are_marked():
    note = agreement({"a": 1, "b": 1, "c": 3}, {"a": 0.1, "b": 0.2, "c": 0.3})["note"]
    assert note == "1 of 3 scores repeat another (ties)"


def test_interval_is_seeded_and_holds_the_value_and_is_fast():
    x, y = np.random.default_rng(3).normal(size=(2, 12))
    y += x
    start = time.perf_counter()
    low, high = tau_interval(x, y)
    assert time.perf_counter() - start < 0.1
    assert low < weighted_tau(x, y) < high
    assert (low, high) == tau_interval(x, y) != tau_interval(x, y, seed=1)


def test_interval_is_the_percentiles_of_scipys_value_on_resampled_models():
    x, y = np.random.default_rng(4).normal(size=(2, 12))
    y += x
    rng = np.random.default_rng(9)
    direct = [stats.weightedtau(x[i], y[i]).statistic for i in (rng.integers(12, size=12) for _ in range(2000))]
    assert tau_interval(x, y, resamples=5000) == pytest.approx(tuple(np.quantile(direct, [0.025, 0.975])), abs=0.06)


def test_no_interval_where_most_resamples_are_degenerate():
    # one model has another score and one another accuracy: both are drawn in only (1 - 1/e)^2 = 40 % of resamples
    x, y = np.zeros(40), np.zeros(40)
    x[0] = y[1] = 1
    assert np.isnan(tau_interval(x, y)).all()


def test_null_level_is_what_random_scores_reach_in_one_case_of_twenty():
    rng = np.random.default_rng(0)
    random = [stats.weightedtau(rng.normal(size=11), np.arange(11)).statistic for _ in range(4000)]
    assert null_level(11) == pytest.approx(np.quantile(random, 0.95), abs=0.03)
    assert null_level(11) == pytest.approx(0.46, abs=0.015)
    assert null_level(12) == pytest.approx(0.44, abs=0.015)
    assert null_level(30) < null_level(12)
    assert np.isnan(null_level(2))


def test_ceiling_is_the_mean_over_pairs_of_seeds_on_shared_models():
    a, b, c = {"m": 0.1, "n": 0.2, "o": 0.3, "p": 0.4}, {"m": 0.2, "n": 0.1, "o": 0.3}, {"m": 0.1, "n": 0.2, "o": 0.3}
    expected = np.mean(
        [
            stats.weightedtau([0.1, 0.2, 0.3], [0.2, 0.1, 0.3]).statistic,
            1.0,
            stats.weightedtau([0.2, 0.1, 0.3], [0.1, 0.2, 0.3]).statistic,
        ]
    )
    truth = Truth("d", "p", "accuracy", c, {0: a, 1: b, 2: c}, "test")
    assert ceiling(truth) == pytest.approx(expected)
    assert np.isnan(ceiling(Truth("d", "p", "accuracy", c, {0: a}, "test")))


def test_scorers_are_compared_on_the_models_that_all_have():
    scores = {"a": "wxyz", "b": "wxy", "c": "xyz"}
    assert common_models(scores, "wxyz") == ["x", "y"]
    assert common_models(scores, "xyw") == ["x", "y"]
    assert common_models({"a": "wxyz", "few": "zw"}, "wxyz") == list("wxyz"), "half of them would leave too little"
    assert common_models({}, "wxyz") == []
