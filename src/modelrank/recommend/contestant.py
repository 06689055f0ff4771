"""One model in a race: its trainings at several learning rates, each continued while it is among the best."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelrank.truth.arm import Arm
from modelrank.truth.grid import Mode, Point, Result, close, explored

Found = Mapping[int, Result]  # position of the learning rate -> {'value': on val} or {'failed': reason}


@dataclass(frozen=True)
class Rules:
    """How a model is looked at.

    rungs:  steps after which trainings are compared, ascending; the last is the end of the schedule.
    widths: at most so many learning rates are trained up to each rung but the first, where they are explored from
            `start`; margin: beyond the second rung only those so close to the best on val.
    """

    rungs: Sequence[int]
    widths: Sequence[int]
    start: float
    margin: float
    points: Sequence[Point]
    mode: Mode

    def steps(self, rung: int, found: Found | None) -> int:
        """Training steps to `rung` from the one before, whose results are `found`; four rates are usual at first."""
        if rung == 0:
            return min(4, len(self.points)) * self.rungs[0]
        rates = self.widths[rung] if found is None else len(self.kept(rung - 1, found))
        return rates * (self.rungs[rung] - self.rungs[rung - 1])

    def kept(self, rung: int, found: Found) -> list[int]:
        """The learning rates that go on from `rung`, the best first; all that is left at the last."""
        margin = self.margin if rung else math.inf  # a tenth of the steps favours rates that are too large for the rest
        return close(found, self.widths[min(rung + 1, len(self.widths) - 1)], margin, self.mode)


def advance(rules: Rules, rung: int, before: Found | None, make: Callable[[Point], Arm]) -> dict[int, dict[str, Any]]:
    """Train up to `rung`; `before`: the results of the rung before. What was trained before is read from its folder.

    The checkpoints of what does not go on are given back. Rates that diverge say so; the others go on.
    """
    arms: dict[int, Arm] = {}

    def look(index: int) -> dict[str, Any]:
        arms[index] = make(rules.points[index])
        found = arms[index].advance(rules.rungs[rung])
        return {"failed": found["failed"]} if "failed" in found else {"value": found["curve"][-1][2]}

    if before is None:
        place = {id(point): index for index, point in enumerate(rules.points)}
        found = explored(rules.points, lambda point: look(place[id(point)]), rules.start, rules.mode)
    else:
        found = {index: look(index) for index in rules.kept(rung - 1, before)}
    going_on = rules.kept(rung, found)
    for index, arm in arms.items():
        if index not in going_on:
            arm.clear()
    return {index: dict(result) for index, result in found.items()}


def best(rules: Rules, found: Found) -> tuple[int, float] | None:
    """Position of the best learning rate and its value on val; None where all failed."""
    first = close(found, 1, 0.0, rules.mode)
    return (first[0], float(found[first[0]]["value"])) if first else None
