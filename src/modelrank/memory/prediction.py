"""What is believed of a hub, in units of accuracy: a row a model, and how sure the first of them is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from modelrank.memory.belief import Posterior, chance_nothing_better

LEVEL = 0.8  # of the intervals
TIED = 0.1  # chance of being at least as good as the pick
COUNT = 4000  # draws of all models together


def predicted(posterior: Posterior, models: Sequence[str], *, metric: str, seed: int = 0) -> pd.DataFrame:
    """Columns model, expected, low, high (the central 80 % interval of its accuracy), chance_best; all cut where the
    metric ends: at 1, and but for R^2 at 0.

    The best expected comes first. Cost: COUNT draws of the N models together.
    """
    low, high = posterior.interval(LEVEL)
    drawn = posterior.samples(COUNT, np.random.default_rng(seed))
    best = np.bincount(drawn.argmax(1), minlength=len(models)) / len(drawn)
    accuracies = {"expected": posterior.mean, "low": low, "high": high}
    table = pd.DataFrame({"model": list(models), **accuracies, "chance_best": best})
    table = table.sort_values("expected", ascending=False, kind="stable", ignore_index=True)
    return table.assign(**table[list(accuracies)].clip(-np.inf if metric == "r2" else 0.0, 1.0))


def ties(posterior: Posterior, at: int, models: Sequence[str], *, seed: int = 0) -> list[str]:
    """The models that are at least as good as model number `at` with a chance of TIED or more."""
    drawn = posterior.samples(COUNT, np.random.default_rng(seed))
    better = (drawn >= drawn[:, [at]]).mean(0)
    return [name for index, name in enumerate(models) if index != at and better[index] >= TIED]


def certainty(posterior: Posterior, at: int, point: float, *, seed: int = 0) -> float:
    """The chance that no model is better than number `at` by more than `point`."""
    drawn = posterior.samples(COUNT, np.random.default_rng(seed))
    return chance_nothing_better(drawn, drawn[:, at], point)
