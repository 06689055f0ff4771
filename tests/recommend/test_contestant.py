import math
from dataclasses import replace
from typing import ClassVar

import pytest
from tests.recommend.worlds import Heads

from modelrank.recommend.contestant import advance, best


class Arm:
    """Of a learning rate, at which the value is the better the nearer it is to `best`; small ones look best early."""

    made: ClassVar[list] = []

    def __init__(self, point, best, name=""):
        self.point, self.best, self.name = point, best, name
        Arm.made.append(self)

    def advance(self, until):
        self.until = until
        away = abs(math.log10(self.point["lr"] / self.best))
        early = -math.log10(self.point["lr"]) / 10 if until < 80 else 0.0
        return {"curve": [[until, 1.0, 0.8 - 0.1 * away + early]]}

    def clear(self):
        self.until = None


@pytest.mark.parametrize("best", [1e-5, 1e-4, 1e-3])
def test_learning_rates_are_explored_at_the_rung_before_the_last(best):
    rules, found = Heads.rules, None
    for rung in range(4):
        Arm.made = []
        found = advance(rules, rung, found, lambda point, **place: Arm(point, best, **place))
        if rung == 0:
            assert [(arm.name, arm.until) for arm in Arm.made] == [("head", 0)]
        else:
            assert {arm.name for arm in Arm.made} == {""}
        if rung == 1:
            assert sorted(found) == [2, 3, 4]  # those about 3e-4 and no further
    assert rules.points[max(found, key=lambda index: found[index]["value"])]["lr"] == best


class Easy(Arm):
    """Every learning rate reaches the end of the metric."""

    def advance(self, until):
        return {"curve": [[until, 0.0, 1.0]]}


def test_where_every_learning_rate_is_as_good_as_the_others_no_further_one_is_tried():
    rules, found = Heads.rules, None
    for rung in range(3):
        found = advance(rules, rung, found, lambda point, **place: Easy(point, 1e-4, **place))
    assert sorted(found) == [2, 3, 4]  # those about 3e-4


class Fragile(Arm):
    """Any rate above 3e-5 breaks the network: its loss is no number, or its head knows nothing more."""

    diverges = True

    def advance(self, until):
        if until and self.point["lr"] > 3e-5:
            return {"failed": "diverged"} if self.diverges else {"curve": [[until, 1.0, 0.1 + 1e-2 * self.point["lr"]]]}
        return {"curve": [[until, 1.0, 0.7 + self.point["lr"] * bool(until)]]}


class Forgetful(Fragile):
    diverges = False


@pytest.mark.parametrize("kind", [Fragile, Forgetful])
def test_where_all_rates_break_a_network_smaller_ones_are_tried(kind):
    rules, found = replace(Heads.rules, floor=True), None
    for rung in range(4):
        found = advance(rules, rung, found, lambda point, **place: kind(point, 0.0, **place))
    position, value = best(rules, found)
    assert rules.points[position]["lr"] == 3e-5
    assert value > 0.7


def test_without_the_floor_a_network_that_forgot_its_head_is_taken_as_it_is():
    rules, found = Heads.rules, None
    for rung in range(4):
        found = advance(rules, rung, found, lambda point, **place: Forgetful(point, 0.0, **place))
    assert best(rules, found)[1] < 0.2
