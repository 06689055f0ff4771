import json

import pytest

from modelrank.truth.grid import Racing, every, race, remembered
from modelrank.types import ModelRankError

RATES = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
POINTS = [{"lr": rate, "wd": 0.0} for rate in RATES]


def trained(values, log=None):
    def advance(point, until=30):
        if log is not None:
            log.append((point["lr"], until))
        value = values[RATES.index(point["lr"])]
        return {"failed": "the loss became nan in step 3"} if value is None else {"value": value}

    return advance


def test_the_best_of_all_points_and_the_first_of_equals():
    assert every(POINTS, trained([0.1, 0.5, 0.5, 0.2, 0.0]), "max") == (POINTS[1], 0.5)
    assert every(POINTS, trained([0.1, 0.5, 0.5, 0.2, 0.0]), "min") == (POINTS[4], 0.0)


def test_failed_points_are_passed_over_with_their_reason():
    assert every(POINTS, trained([None, float("nan"), 0.5, 0.2, None]), "max")[0] == POINTS[2]
    with pytest.raises(ModelRankError, match=r"every grid point \(lr1e-05_wd0: the loss became nan.*no number"):
        every(POINTS[:2], trained([None, float("nan"), 0, 0, 0]), "max")


def test_where_all_rates_break_a_network_smaller_ones_are_tried_until_one_is_as_good_as_before_the_first_step():
    racing, values = Racing(start=1e-2, rung=10, finalists=1, margin=0.05), [0.46, 0.44, 0.14, 0.15, 0.13]
    log: list = []
    assert race(POINTS, trained(values), racing, 30, "max")[0] == POINTS[3]  # the best of three broken ones
    assert race(POINTS, trained(values, log), racing, 30, "max", floor=0.48)[0] == POINTS[0]
    assert {rate for rate, _ in log} == set(RATES)
    assert race(POINTS, trained(values), racing, 30, "max", floor=0.19)[0] == POINTS[3]  # within the margin
    assert race(POINTS, trained([1 - value for value in values]), racing, 30, "min", floor=0.52)[0] == POINTS[0]


def test_what_is_remembered_is_not_computed_again(tmp_path):
    assert remembered(tmp_path / "a.json", lambda: {"value": 1, "seconds": 3.0}) == {"value": 1, "seconds": 3.0}
    assert remembered(tmp_path / "a.json", lambda: pytest.fail("again"))["value"] == 1
    assert json.loads((tmp_path / "a.json").read_text()).items() >= {"value": 1, "seconds": 3.0}.items()
    assert remembered(tmp_path / "b.json", dict)["seconds"] >= 0


@pytest.mark.parametrize("damage", [
    lambda text: text[: len(text) // 2], lambda text: "", lambda text: "[]", lambda text: text.replace("0.5", "0.9"),
])  # fmt: skip
def test_what_is_cut_off_or_edited_is_computed_again(tmp_path, damage, caplog):
    path = tmp_path / "row.json"
    remembered(path, lambda: {"value": 0.5, "curve": [[1, 2.5, float("nan")]]})
    path.write_text(damage(path.read_text()))
    assert remembered(path, lambda: {"value": 0.5})["value"] == 0.5
    assert "row.json is not what was written: it is computed again" in caplog.text
    assert remembered(path, lambda: pytest.fail("again"))["value"] == 0.5


def test_what_an_earlier_version_kept_is_believed(tmp_path):
    (tmp_path / "row.json").write_text('{"value": 0.5, "seconds": 1.0}')
    assert remembered(tmp_path / "row.json", lambda: pytest.fail("again")) == {"value": 0.5, "seconds": 1.0}


@pytest.mark.parametrize(
    ("values", "start", "chosen", "untried"),
    [
        ([0.1, 0.2, 0.9, 0.3, 0.1], 1e-3, 1e-3, {1e-5, 1e-1}),
        ([0.1, 0.8, 0.6, 0.3, 0.1], 1e-2, 1e-4, {1e-1} - {1e-1}),
        ([0.1, 0.2, 0.4, 0.6, 0.8], 1e-4, 1e-1, set()),
        ([0.7, 0.5, None, None, None], 1e-2, 1e-5, set()),
    ],
)
def test_the_race_walks_to_where_the_best_lies_inside(values, start, chosen, untried):
    log = []
    racing = Racing(start=start, rung=10, finalists=1, margin=0.0)
    point, value = race(POINTS, trained(values, log), racing, 30, "max")
    assert (point["lr"], value) == (chosen, values[RATES.index(chosen)])
    assert untried.isdisjoint(rate for rate, _ in log)
    assert [entry for entry in log if entry[1] == 30] == [(chosen, 30)]


def test_only_those_close_to_the_best_go_on():
    log = []
    values = [0.1, 0.60, 0.61, 0.55, 0.1]
    race(POINTS, trained(values, log), Racing(start=1e-3, rung=10, finalists=3, margin=0.02), 30, "max")
    assert {rate for rate, until in log if until == 30} == {1e-4, 1e-3}


def test_the_end_of_the_grid_is_said_and_all_failing_too(caplog):
    racing = Racing(start=1e-3, rung=10, finalists=1, margin=0.0)
    race(POINTS, trained([0.1, 0.2, 0.3, 0.4, 0.5]), racing, 30, "max")
    assert "0.1 lies at the edge of the grid" in caplog.text
    with pytest.raises(ModelRankError, match="every grid point"):
        race(POINTS, trained([None] * 5), racing, 30, "max")
