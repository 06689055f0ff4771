"""How much a score hangs on which images were scored: the same scorer on random subsets of the images.

Subsets of m of the n images are drawn without replacement: a bootstrap holds images twice, and a score that looks for
neighbours or counts dimensions takes a duplicate for a find. The spread over such subsets, times sqrt(m / (n - m)), is
that of the score over draws of n images (Politis, Romano and Wolf, 'Subsampling', 1999, with the correction for a
finite population); with halves the factor is 1. The level of the scores of subsets is left out: fewer images
move every score a little.

m is half the images, and at most 1000 or 10 a class, so that the cost does not grow with the data set.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from modelrank.scorers.contract import facts_of, prepare, subset
from modelrank.types import FeatureSet, Score

FEWER = 20  # subsets, for scorers that must be run on each: enough for a standard deviation within 16 %


@dataclass(frozen=True)
class Subscores:
    """Scores of the subsets, in the order of drawing; deviations from their mean are to be scaled by `factor`."""

    scores: list[Score]
    factor: float


def cheap(scorer: Callable[..., Score]) -> bool:
    """Whether many subsets cost little beside the score itself."""
    return facts_of(scorer).on_subsets is not None


def subscores(scorer: Callable[..., Score], data: FeatureSet, *, resamples: int = 200, seed: int = 0) -> Subscores:
    """The scorer on `resamples` subsets, or on `FEWER` of them where it has no cheap way (DISCO has).

    The subsets depend on the numbers of images and classes and on `seed` alone: they are the same for every model of a
    hub, so that scores of two models may be compared subset by subset. Raises what the scorer raises on a subset.
    """
    if resamples < 2:
        raise ValueError(f"resamples must be at least 2, got {resamples}")
    n, facts = len(data.features), facts_of(scorer)
    classes = len(data.targets.unique()) if data.task in ("classification", "detection") else 1
    size = max(1, min(n // 2, max(1000, 10 * classes)))
    random = np.random.default_rng(seed)
    rows = [torch.from_numpy(np.sort(random.choice(n, size, replace=False))) for _ in range(resamples)]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # said of the whole already
        if facts.on_subsets is None:
            scores = [scorer(subset(data, some)) for some in rows[:FEWER]]
        else:
            settings: dict[str, Any] = scorer.keywords if isinstance(scorer, functools.partial) else {}
            scores = facts.on_subsets(prepare(data, facts, "stability"), rows, **settings)
    return Subscores(scores, math.sqrt(size / (n - size)))
