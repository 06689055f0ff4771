import math

import numpy as np
import pytest
from scipy import stats

from modelrank.ranking.compare import Winners, average_ranks, compare, critical_difference, winners


def over(*values):
    return {f"d{i}": v for i, v in enumerate(values)}


def test_compare_is_wilcoxon_on_the_shared_data_sets():
    a, b = np.random.default_rng(0).normal(size=(2, 9))
    a += 0.5
    got = compare(over(*a) | {"only_a": 5.0, "nan": 1.0}, over(*b) | {"only_b": 5.0, "nan": math.nan})
    assert got.datasets == 9
    assert got.difference == pytest.approx((a - b).mean())
    assert got.p_value == pytest.approx(stats.wilcoxon(a, b).pvalue)
    assert (got.wins, got.losses) == ((a > b).sum(), (a < b).sum())


def test_probability_is_that_of_the_resampled_mean():
    # differences 2, -1, -1: the resampled sum is > 0 iff a 2 is drawn twice (it is 0 with one 2): 7/27 + 12/27 / 2
    got = compare(over(2, 0, 0), over(0, 1, 1), resamples=50_000)
    assert got.probability == pytest.approx(13 / 27, abs=0.01)


def test_swapping_the_scorers_swaps_the_answer():
    a, b = over(0.7, 0.5, 0.9, 0.4), over(0.6, 0.5, 0.3, 0.5)
    ab, ba = compare(a, b), compare(b, a)
    assert (ab.wins, ab.draws, ab.losses) == (ba.losses, ba.draws, ba.wins) == (2, 1, 1)
    assert ab.p_value == pytest.approx(ba.p_value)
    assert ab.probability == pytest.approx(1 - ba.probability, abs=1e-9)


def test_equal_scorers_are_even():
    got = compare(over(1, 2, 3), over(1, 2, 3))
    assert (got.difference, got.p_value, got.probability, got.draws) == (0, 1, 0.5, 3)


def test_too_few_data_sets_give_no_test():
    got = compare(over(1, 2), over(0, 0))
    assert got.difference == 1.5
    assert math.isnan(got.p_value)
    assert math.isnan(got.probability)
    assert math.isnan(compare({}, over(1)).difference)


def test_average_ranks_best_first_equals_share_and_gaps_are_left_out():
    got = average_ranks(
        {
            "a": {"x": 0.1, "y": 0.5, "z": 0.9},
            "b": {"x": 0.3, "y": 0.5, "z": math.nan},
            "c": {"x": 0.2, "y": 0.1, "z": 0.5},
        }
    )
    assert list(got.items()) == [("b", 1.25), ("a", 2.25), ("c", 2.5)]
    assert all(math.isnan(v) for v in average_ranks({"a": {"x": 1}, "b": {"y": 1}}).values())


def test_critical_difference_is_demsars_table():
    # Demsar 2006, table 5a: q_0.05 = 1.960, 2.343, 2.728 for 2, 3, 5 classifiers; the wine example: 4 on 14 sets, 1.25
    for k, q in ((2, 1.960), (3, 2.343), (5, 2.728)):
        assert critical_difference(k, 10) == pytest.approx(q * math.sqrt(k * (k + 1) / 60), abs=1e-3)


def test_winners_counts_the_models_that_are_first_somewhere():
    assert winners({"x": "a", "y": "b", "z": "b"}) == Winners(datasets=3, models=2, commonest="b", times=2)
    assert winners({}) == Winners(0, 0, "", 0)
