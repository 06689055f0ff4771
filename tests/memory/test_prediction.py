import numpy as np
import pytest

from modelrank.memory.belief import Belief
from modelrank.memory.prediction import certainty, predicted, ties

WIDE = Belief(np.array([-2.0, 0.0, 2.0]), np.zeros((3, 1)), np.ones(3), 0.5, 0.3, np.log(0.4), 0.5)


@pytest.mark.parametrize(("metric", "lowest"), [("accuracy", 0.0), ("map50", 0.0), ("r2", -np.inf)])
def test_intervals_end_where_the_metric_does(metric, lowest):
    found = predicted(WIDE.given(), ["a", "b", "c"], metric=metric)
    numbers = found[["expected", "low", "high"]]
    assert numbers.ge(lowest).all(axis=None)
    assert numbers.le(1.0).all(axis=None)
    assert (numbers.low.min() < 0) == (metric == "r2")
    assert (found.low <= found.expected).all()
    assert (found.expected <= found.high).all()
    assert list(found.model) == ["c", "b", "a"]


def test_what_is_cut_keeps_its_order():
    easy = Belief(np.array([0.5, 2.0, 1.0]), np.zeros((3, 1)), np.ones(3), 0.99, 0.1, np.log(0.05), 0.5)
    found = predicted(easy.given(), ["a", "b", "c"], metric="accuracy")
    assert found.expected.tolist() == [1.0, 1.0, 1.0]
    assert found.model.tolist() == ["b", "c", "a"]
    assert found["mean"].is_monotonic_decreasing
    assert found["mean"].is_unique


def test_a_model_that_cannot_be_had_is_no_rival():
    posterior, names = WIDE.given(), ["a", "b", "c"]
    found = predicted(posterior, names, metric="accuracy", among=["a", "b"])
    assert list(found.model) == ["b", "a"]
    assert found.chance_best.sum() == pytest.approx(1)
    assert ties(posterior, "b", names) == ["c"]
    assert ties(posterior, "b", names, among=["a", "b"]) == []
    without = certainty(posterior, "b", names, 0.01, among=["a", "b"])
    assert without > certainty(posterior, "b", names, 0.01) + 0.3
