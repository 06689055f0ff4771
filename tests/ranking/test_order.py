import itertools

import pytest

from modelrank.ranking.order import rank
from modelrank.types import ModelRankError, Score


def test_models_come_best_first_and_ties_alphabetically_whatever_the_order_they_came_in():
    scores = {"b": Score(1.0), "c": Score(2.0), "a": Score(1.0)}
    for order in itertools.permutations(scores):
        ranking = rank("disco", {model: scores[model] for model in order})
        assert list(ranking.scores) == ["c", "a", "b"]
        assert ranking.best == "c"


def test_a_hub_level_value_orders_the_models_and_the_parts_stay():
    scores = {"a": Score(0.0, {"energy": 1.0}), "b": Score(0.0, {"energy": 3.0})}
    ranking = rank("etran", scores, combine=lambda s: {m: v.parts["energy"] / 3 for m, v in s.items()})
    assert list(ranking.scores) == ["b", "a"]
    assert ranking.scores["b"] == Score(1.0, {"energy": 3.0})


def test_failed_models_are_kept_with_their_reason():
    assert rank("leep", {"a": Score(1.0)}, failed={"b": "no source head"}).failed == {"b": "no source head"}


def test_nothing_to_rank_says_why():
    with pytest.raises(ModelRankError, match=r"leep.*\n  b: no source head"):
        rank("leep", {}, failed={"b": "no source head"})


def test_a_score_that_is_not_finite_is_refused_by_name():
    with pytest.raises(ValueError, match="gave nan for b"):
        rank("leep", {"a": Score(1.0), "b": Score(float("nan"))})
