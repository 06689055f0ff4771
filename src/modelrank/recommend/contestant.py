"""One model in a race: its trainings at several learning rates, each continued while it is among the best."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelrank.keys import declared
from modelrank.truth.arm import Arm
from modelrank.truth.grid import Mode, Point, Result, close, explored, lowered, nearest

Found = Mapping[int, Result]  # position of the learning rate -> {'value': on val} or {'failed': reason}


@dataclass(frozen=True)
class Rules:
    """How a model is looked at.

    rungs:  steps after which trainings are compared, ascending; the last is the end of the schedule. The first may be
            0: the head that the protocol starts from, before any training.
    widths: at most so many learning rates go on to each rung; at the first one that trains, those about `start`. At the
            last rung but one others are tried too, from their beginning, as long as the best lies at the edge of those
            that were (earlier the rates that change least look best, or those that are too large for the rest).
    margin: to the last rung only those so close to the best on val.
    floor:  whether at the last rung but one smaller rates are tried as long as none comes within `margin` of the head
            alone: large ones may all break a network. (Earlier nearly every training is below its head.)
    """

    rungs: Sequence[int]
    widths: Sequence[int]
    start: float
    margin: float
    points: Sequence[Point]
    mode: Mode
    floor: bool = False

    def numbers(self) -> dict[str, Any]:
        """What decides a race; without a floor, as before there was one."""
        return {key: value for key, value in declared(type(self), vars(self)).items() if key != "floor" or value}

    @property
    def opening(self) -> int:
        """The first rung that trains."""
        return 1 if self.rungs[0] == 0 else 0

    @property
    def exploring(self) -> int:
        """The rung at which further learning rates are tried."""
        return max(self.opening, len(self.rungs) - 2)

    def steps(self, rung: int, before: Found | None) -> int:
        """Training steps to `rung` from the one before, whose results are `before` (None: not known yet); most
        explore one rate more than went on."""
        if rung < self.opening:
            return 0
        rates = self.widths[rung] if before is None else len(self.going_on(rung, before))
        further = self.rungs[rung] if rung == self.exploring else 0
        return rates * (self.rungs[rung] - (self.rungs[rung - 1] if rung else 0)) + further

    def going_on(self, rung: int, before: Found | None) -> list[int]:
        """The learning rates that are trained up to `rung`, by the results of the rung before; the best first."""
        if rung <= self.opening:
            return nearest(self.points, self.start, self.widths[rung])
        return self._close(rung, before or {})

    def kept(self, rung: int, found: Found) -> list[int]:
        """Those whose checkpoints are worth keeping after `rung`."""
        return self._close(min(rung + 1, len(self.rungs) - 1), found)

    def _close(self, rung: int, found: Found) -> list[int]:
        margin = self.margin if rung == len(self.rungs) - 1 else math.inf
        return close(found, self.widths[rung], margin, self.mode)


def advance(rules: Rules, rung: int, before: Found | None, make: Callable[..., Arm]) -> dict[int, dict[str, Any]]:
    """Train up to `rung`; `before`: the results of the rung before. What was trained before is read from its folder.
    make: of a point, and `place` of it.

    The checkpoints of what does not go on are given back. Rates that diverge say so; the others go on, and where all
    did so at the first rung that trains, smaller ones are tried.
    """
    arms: dict[int, Arm] = {}
    position = {id(point): index for index, point in enumerate(rules.points)}

    def look(point: Point) -> dict[str, Any]:
        arm = arms[position[id(point)]] = make(point, **place(rules, rung))
        found = arm.advance(rules.rungs[rung])
        return {"failed": found["failed"]} if "failed" in found else {"value": found["curve"][-1][2]}

    rates = rules.going_on(rung, before)
    if rung == rules.exploring:
        found = explored(rules.points, look, rates, rules.mode, ties="middle", floor=_floor(rules, make))
    elif rung == rules.opening:
        found = lowered(rules.points, look, rates, rules.mode)
    else:
        found = {index: look(rules.points[index]) for index in rates}
    kept = rules.kept(rung, found)
    for index, arm in arms.items():
        if index not in kept:
            arm.clear()
    return {index: dict(result) for index, result in found.items()}


def _floor(rules: Rules, make: Callable[..., Arm]) -> float | None:
    """What a training must come to: the head alone, less the margin; it was looked at before, and is read."""
    if not (rules.floor and rules.opening):
        return None
    (head,) = rules.going_on(0, None)[:1]
    value = make(rules.points[head], **place(rules, 0)).advance(0)["curve"][-1][2]
    return value - (rules.margin if rules.mode == "max" else -rules.margin)


def place(rules: Rules, rung: int) -> dict[str, str]:
    """Of its folder: the head alone has one of its own, where no training overwrites it."""
    return {"name": "head"} if rung < rules.opening else {}


def best(rules: Rules, found: Found) -> tuple[int, float] | None:
    """Position of the best learning rate and its value on val; None where all failed."""
    first = close(found, 1, 0.0, rules.mode)
    return (first[0], float(found[first[0]]["value"])) if first else None
