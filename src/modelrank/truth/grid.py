"""Choosing a grid point on val: every point to its end, or a race in which only the promising ones get there."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from modelrank.keys import declared
from modelrank.packages import writable
from modelrank.types import ModelRankError

log = logging.getLogger(__name__)

Point = Mapping[str, float]
Mode = Literal["min", "max"]
Result = Mapping[str, Any]  # {'value': on val} or {'failed': reason}


@dataclass(frozen=True)
class Racing:
    """Training at every learning rate for a while, and only the best of them to the end (successive halving).

    start:     the rate that is tried first, with its two neighbours; while the best lies at the edge of those tried,
               the next one is tried too, so that the choice lies inside unless the grid itself ends there.
    rung:      steps after which the rates are compared on val, on a schedule that ends at the protocol's `steps`.
    finalists: how many at most go on from there to the end; `margin`: only those so close to the best on val.
    floor:     whether smaller rates are tried as long as none comes within `margin` of the head alone, before the first
               step (large ones may all break a network, and then the best of them is no place to look about).
    """

    start: float
    rung: int
    finalists: int
    margin: float
    floor: bool = False

    def numbers(self) -> dict[str, object]:
        """What decides the result; without a floor, as before there was one."""
        return {key: value for key, value in declared(type(self), vars(self)).items() if key != "floor" or value}


def every(points: Sequence[Point], advance: Callable[[Point], Result], mode: Mode) -> tuple[Point, float]:
    """The best point and its value, each point having been tried. The first of equals wins.

    A point that failed, or whose value is no number, is passed over; ModelRankError when no point is left.
    """
    results = [advance(point) for point in points]
    best = _best(results, mode)
    if best is None:
        reasons = "; ".join(
            f"{label(point)}: {_failure(result)}" for point, result in zip(points, results, strict=True)
        )
        raise ModelRankError(f"training failed at every grid point ({reasons}); add smaller learning rates")
    return points[best], results[best]["value"]


def race(
    points: Sequence[Point],
    advance: Callable[[Point, int], Result],
    racing: Racing,
    steps: int,
    mode: Mode,
    floor: float | None = None,
) -> tuple[Point, float]:
    """As `every`, with fewer steps: see `Racing`. points: from the smallest to the largest learning rate.

    advance: trains a point up to a step, going on from where it is. floor: the value before the first step.
    """
    if floor is not None:
        floor -= racing.margin if mode == "max" else -racing.margin
    found = explored(
        points, lambda point: advance(point, racing.rung), nearest(points, racing.start), mode, floor=floor
    )
    finalists = close(found, racing.finalists, racing.margin, mode)
    if not finalists:
        return every([points[index] for index in sorted(found)], lambda point: advance(point, racing.rung), mode)
    point, value = every([points[index] for index in finalists], lambda p: advance(p, steps), mode)
    if point is points[0] or point is points[-1]:
        log.warning("the chosen learning rate %g lies at the edge of the grid", point["lr"])
    return point, value


def explored(
    points: Sequence[Point],
    look: Callable[[Point], Result],
    first: Sequence[int],
    mode: Mode,
    *,
    ties: Literal["smallest", "middle"] = "smallest",
    floor: float | None = None,
) -> dict[int, Result]:
    """Results by position: of the learning rates at the positions `first`, of the best one's neighbours, and as long as
    the best of those tried lies at their edge, of the next one there.
    points: from the smallest to the largest learning rate.
    ties: which of several best ones is the best here. The smallest goes on to smaller rates until one is worse, the
          middle one stops where they cannot be told apart (easy images: every rate reaches the end of the metric).
    floor: as long as the best is worse than that, the next smaller rate is tried.
    """
    found: dict[int, Result] = {}

    def at(index: int) -> None:
        if 0 <= index < len(points) and index not in found:
            found[index] = look(points[index])

    for index in first:
        at(index)
    while True:
        tried = sorted(found)
        best = _bests([found[index] for index in tried], mode)
        chosen = 0 if ties == "smallest" else len(best) // 2
        # Where all broke down, smaller rates are left.
        middle = tried[best[chosen]] if _reaches(found, floor, mode) else min(tried)
        before = len(found)
        at(middle - 1)
        at(middle + 1)
        if len(found) == before:
            return found


def lowered(
    points: Sequence[Point],
    look: Callable[[Point], Result],
    first: Sequence[int],
    mode: Mode,
) -> dict[int, Result]:
    """Results by position: of the learning rates at the positions `first`, and of the next smaller one as long as all
    failed. points: from the smallest to the largest learning rate."""
    found = {index: look(points[index]) for index in first}
    while (smaller := min(found) - 1) >= 0 and not _reaches(found, None, mode):
        found[smaller] = look(points[smaller])
    return found


def nearest(points: Sequence[Point], rate: float, count: int = 1) -> list[int]:
    """The positions of the learning rate that is the nearest to `rate` and of those beside it in the grid, in turn."""
    middle = min(range(len(points)), key=lambda index: abs(points[index]["lr"] - rate))
    return sorted(range(len(points)), key=lambda index: abs(index - middle))[:count]


def close(found: Mapping[int, Result], most: int, margin: float, mode: Mode) -> list[int]:
    """The positions of the best results, at most so many and so close to the best; of equals the smaller rate first."""
    sign = 1 if mode == "max" else -1
    ranked = [index for index in sorted(found) if _failure(found[index]) is None]
    ranked.sort(key=lambda index: -sign * found[index]["value"])
    return [index for index in ranked[:most] if sign * (found[ranked[0]]["value"] - found[index]["value"]) <= margin]


def remembered(path: Path, compute: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """The JSON object in `path`; computed, timed (`seconds`, unless it says so itself) and written by renaming if it is
    not there yet, or not what was written (files of earlier versions have no checksum and are believed)."""
    if path.exists():
        known: Any = None
        with suppress(ValueError):  # no JSON
            known = json.loads(path.read_text())
        if isinstance(known, dict) and known and known.pop("checksum", None) in (None, _checksum(known)):
            return known
        log.warning("%s is not what was written: it is computed again", path)
    begin = time.perf_counter()
    result = dict(compute())
    result.setdefault("seconds", time.perf_counter() - begin)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with writable(path.parent):
        temporary.write_text(json.dumps(result | {"checksum": _checksum(result)}))
        temporary.replace(path)
    return result


def _checksum(result: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()


def label(point: Point) -> str:
    """A file name and a title for the progress bar: lr0.01_wd0.0001."""
    return "_".join(f"{key}{value:.6g}" for key, value in point.items())


def _failure(result: Result) -> str | None:
    if "failed" in result:
        return str(result["failed"])
    return "the metric on val is no number" if result["value"] != result["value"] else None


def _best(results: Sequence[Result], mode: Mode) -> int | None:
    return next(iter(_bests(results, mode)), None)


def _reaches(found: Mapping[int, Result], floor: float | None, mode: Mode) -> bool:
    """Whether one did not fail, and is not worse than that."""
    results = list(found.values())
    if (best := _best(results, mode)) is None:
        return False
    value = results[best]["value"]
    return floor is None or (value >= floor if mode == "max" else value <= floor)


def _bests(results: Sequence[Result], mode: Mode) -> list[int]:
    """Positions of all that are the best; none where all failed."""
    values = {index: result["value"] for index, result in enumerate(results) if _failure(result) is None}
    best = (max if mode == "max" else min)(values.values(), default=None)
    return [index for index, value in values.items() if value == best]
