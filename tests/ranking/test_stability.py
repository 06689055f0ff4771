import numpy as np
import pytest
from scipy import stats

from modelrank.ranking.stability import stability


def test_interval_is_the_normal_one_around_the_value():
    draws = np.random.default_rng(0).normal(3.0, 0.2, 1000)
    found = stability({"a": 5.0}, {"a": draws}, factor=0.5, level=0.9)
    half = 0.5 * draws.std(ddof=1) * stats.norm.ppf(0.95)
    assert (found.low["a"], found.high["a"]) == pytest.approx((5 - half, 5 + half))
    assert found.first_is_best == 1


def test_what_moves_all_models_together_cancels():
    rng = np.random.default_rng(0)
    weather = rng.normal(0, 1, 500)
    paired = {"a": weather + rng.normal(0, 0.01, 500), "b": weather + rng.normal(0, 0.01, 500)}
    alone = {"a": weather, "b": rng.normal(0, 1, 500)}
    values = {"b": 0.0, "a": 0.1}
    assert stability(values, paired).first_is_best == 1
    assert 0.45 < stability(values, alone).first_is_best < 0.65


def test_equal_models_share_the_chance():
    draws = dict(zip("abc", np.random.default_rng(0).normal(size=(3, 3000)), strict=True))
    assert stability(dict.fromkeys("abc", 1.0), draws).first_is_best == pytest.approx(1 / 3, abs=0.03)


def test_bad_draws_are_refused():
    with pytest.raises(ValueError, match="same number of draws"):
        stability({"a": 1.0, "b": 2.0}, {"a": [1.0, 2.0], "b": [1.0]})
    with pytest.raises(ValueError, match="same number of draws"):
        stability({"a": 1.0, "b": 2.0}, {"a": [1.0, 2.0]})
    with pytest.raises(ValueError, match="level"):
        stability({"a": 1.0}, {"a": [1.0, 2.0]}, level=95)
