import json

import pytest

from modelrank.truth.grid import Diverged, search
from modelrank.types import ModelRankError

POINTS = [{"lr": 0.1, "wd": 0.0}, {"lr": 0.01, "wd": 0.0}, {"lr": 0.001, "wd": 0.0}]


def test_goes_on_after_an_interruption(tmp_path):
    seen = []

    def evaluate(point):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(point["lr"])
        return point["lr"]

    with pytest.raises(KeyboardInterrupt):
        search(POINTS, evaluate, tmp_path, "max")
    assert seen == [0.1, 0.01]
    again = []

    def rest(point):
        again.append(point["lr"])
        return point["lr"]

    best, value, seconds = search(POINTS, rest, tmp_path, "max")
    assert again == [0.001]
    assert (best, value) == (POINTS[0], 0.1)
    assert seconds > 0
    assert search(POINTS, rest, tmp_path, "min")[:2] == (POINTS[2], 0.001)


def test_diverged_points_are_passed_over_with_their_reason(tmp_path):
    def evaluate(point):
        if point["lr"] == 0.1:
            raise Diverged("the loss became nan in step 3")
        return float("nan") if point["lr"] == 0.01 else 0.5

    best, _, _ = search(POINTS, evaluate, tmp_path, "max")
    assert best == POINTS[2]
    kept = json.loads((tmp_path / "lr0.1_wd0.json").read_text())
    assert kept["failed"] == "the loss became nan in step 3"


def test_all_points_failed(tmp_path):
    def evaluate(point):
        raise Diverged("the loss became nan in step 1")

    with pytest.raises(ModelRankError, match=r"every grid point \(lr0.1_wd0: the loss became nan.*smaller learning"):
        search(POINTS, evaluate, tmp_path, "max")


def test_the_first_of_equals_wins(tmp_path):
    assert search(POINTS, lambda point: 0.5, tmp_path, "max")[0] == POINTS[0]
