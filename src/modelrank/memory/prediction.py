"""What is believed of a hub, in units of accuracy: a row a model, and how sure the first of them is."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from modelrank.memory.belief import Posterior, chance_nothing_better

LEVEL = 0.8  # of the intervals
TIED = 0.1  # chance of being at least as good as the pick
COUNT = 4000  # draws of all models together


def predicted(
    posterior: Posterior, models: Sequence[str], *, metric: str, among: Collection[str] | None = None, seed: int = 0
) -> pd.DataFrame:
    """Columns model, expected, low, high (the central 80 % interval of its accuracy), chance_best, mean. expected, low
    and high are cut where the metric ends: at 1, and but for R^2 at 0; mean is what is expected before that, and orders
    the models.

    among: the models that can be had; None: all. The best expected comes first. Cost: COUNT draws of the N models
    together.
    """
    had = _numbers(models, among)
    low, high = posterior.interval(LEVEL)
    drawn = posterior.samples(COUNT, np.random.default_rng(seed))[:, had]
    best = np.bincount(drawn.argmax(1), minlength=len(had)) / len(drawn)
    accuracies = {"expected": posterior.mean[had], "low": low[had], "high": high[had]}
    facts = {"chance_best": best, "mean": posterior.mean[had]}
    table = pd.DataFrame({"model": [models[number] for number in had], **accuracies, **facts})
    table = table.sort_values("mean", ascending=False, kind="stable", ignore_index=True)
    return table.assign(**table[list(accuracies)].clip(*limits(metric)))


def limits(metric: str) -> tuple[float, float]:
    """Where the metric ends."""
    return -math.inf if metric == "r2" else 0.0, 1.0


def ties(
    posterior: Posterior, pick: str, models: Sequence[str], *, among: Collection[str] | None = None, seed: int = 0
) -> list[str]:
    """Those `among` the models that are at least as good as the pick with a chance of TIED or more."""
    drawn = posterior.samples(COUNT, np.random.default_rng(seed))
    better = (drawn >= drawn[:, [list(models).index(pick)]]).mean(0)
    return [models[n] for n in _numbers(models, among) if models[n] != pick and better[n] >= TIED]


def certainty(
    posterior: Posterior,
    pick: str,
    models: Sequence[str],
    point: float,
    *,
    among: Collection[str] | None = None,
    seed: int = 0,
) -> float:
    """The chance that none `among` the models is better than the pick by more than `point`."""
    drawn = posterior.samples(COUNT, np.random.default_rng(seed))
    return chance_nothing_better(drawn[:, _numbers(models, among)], drawn[:, list(models).index(pick)], point)


def _numbers(models: Sequence[str], among: Collection[str] | None) -> list[int]:
    return [number for number, name in enumerate(models) if among is None or name in among]
