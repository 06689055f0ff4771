"""A grid search that survives being stopped: every finished point lies on disk as a small JSON file."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from modelrank.types import ModelRankError

Point = Mapping[str, float]


class Diverged(Exception):
    """Training at one grid point broke down; the other points go on."""


def remembered(path: Path, compute: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """The JSON object in `path`; computed, timed (`seconds`) and written by renaming if it is not there yet."""
    if path.exists():
        return json.loads(path.read_text())
    begin = time.perf_counter()
    result = dict(compute())
    result.setdefault("seconds", time.perf_counter() - begin)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(result))
    temporary.replace(path)
    return result


def search(
    points: Sequence[Point], evaluate: Callable[[Point], float], folder: Path, mode: Literal["min", "max"]
) -> tuple[Point, float, float]:
    """Best point, its value on val, and the seconds of all points together. The first of equals wins.

    A point that raises Diverged, or whose value is no number, is kept with its reason and passed over;
    ModelRankError when no point is left.
    """

    def attempt(point: Point) -> dict[str, Any]:
        try:
            value = evaluate(point)
        except Diverged as error:
            return {"point": dict(point), "failed": str(error)}
        if value != value:
            return {"point": dict(point), "failed": "the metric on val is no number"}
        return {"point": dict(point), "value": value}

    results = [remembered(folder / f"{label(point)}.json", lambda p=point: attempt(p)) for point in points]
    alive = [result for result in results if "failed" not in result]
    if not alive:
        reasons = "; ".join(f"{label(result['point'])}: {result['failed']}" for result in results)
        raise ModelRankError(f"training failed at every grid point ({reasons}); add smaller learning rates")
    sign = 1 if mode == "max" else -1
    best = max(alive, key=lambda result: sign * result["value"])  # max keeps the first of equals
    return best["point"], best["value"], sum(result["seconds"] for result in results)


def label(point: Point) -> str:
    """A file name and a title for the progress bar: lr0.01_wd0.0001."""
    return "_".join(f"{key}{value:.6g}" for key, value in point.items())
