"""How much a score hangs on which images were scored: the same scorer on random subsets of the images.

Subsets of m of the n images are drawn without replacement: a bootstrap holds images twice, and a score that looks for
neighbours or counts dimensions takes a duplicate for a find. The spread over such subsets, times sqrt(m / (n - m)), is
that of the score over draws of n images (Politis, Romano and Wolf, 'Subsampling', 1999, with the correction for a
finite population); with halves the factor is 1. The level of the scores of subsets is left out: fewer images
move every score a little.

m is half the images, and at most 1000 or 10 a class, so that the cost does not grow with the data set.

A scorer whose value is carried by the strong components (see `OnSubsets` in scorers/contract.py) is run on the scores
of the 128 strongest principal components of all images, found once (DISCO reads the same), beside the offset that
centring took away. What is left out is how weaker components and the turning of the components themselves move the
score.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from modelrank.scorers.contract import ScorerFacts, facts_of, prepare, subset
from modelrank.scorers.linalg import CHUNK_ELEMENTS, chunks, column_mean, image_count, image_of, shared
from modelrank.scorers.pca import pca
from modelrank.types import FeatureSet, Score

FEWER = 12  # subsets, for scorers that must be run on each: enough for a standard deviation within 21 %
COMPONENTS = 128


@dataclass(frozen=True)
class Subscores:
    """Scores of the subsets, in the order of drawing; deviations from their mean are to be scaled by `factor`."""

    scores: list[Score]
    factor: float


def too_dear(scorer: Callable[..., Score]) -> str:
    """Why a scorer is not run on subsets unless it is asked for by name; empty where it is."""
    facts = facts_of(scorer)
    if not facts.needs & {"features", "targets", "logits"}:
        return "looks at no image"
    return "" if facts.on_subsets else f"each of {FEWER} subsets would be a full run of the scorer"


def subscores(scorer: Callable[..., Score], data: FeatureSet, *, resamples: int = 200, seed: int = 0) -> Subscores:
    """The scorer on `resamples` subsets, or on `FEWER` of them where each is a run of the scorer (not for DISCO).

    The subsets depend on the numbers of images and classes and on `seed` alone: they are the same for every model of a
    hub, so that scores of two models may be compared subset by subset. Raises what the scorer raises on a subset.
    """
    if resamples < 2:
        raise ValueError(f"resamples must be at least 2, got {resamples}")
    n, facts, image = image_count(data), facts_of(scorer), image_of(data).cpu()
    classes = len(data.targets.unique()) if data.kind == "classes" else 1
    size = max(1, min(n // 2, max(1000, 10 * classes)))
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(resamples):
        drawn = torch.zeros(n, dtype=torch.bool)
        drawn[random.choice(n, size, replace=False)] = True
        rows.append(drawn[image].nonzero()[:, 0])
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # said of the whole already
        if callable(facts.on_subsets):
            settings: dict[str, Any] = scorer.keywords if isinstance(scorer, functools.partial) else {}
            scores = facts.on_subsets(prepare(data, facts, "stability"), rows, **settings)
        else:
            scores = [scorer(part) for part in _parts(data, facts, rows[:FEWER], f"{resamples} {seed}")]
    return Subscores(scores, math.sqrt(size / (n - size)))


def _parts(data: FeatureSet, facts: ScorerFacts, rows: list[torch.Tensor], drawn: str) -> Iterator[FeatureSet]:
    """The subsets one after the other; scorers that look at the components share the memo of a subset."""
    features, memos = data.features, [{} for _ in rows]
    if facts.on_subsets == "components" and data.features.shape[1] > COMPONENTS + 1:
        data = prepare(data, facts, "stability")
        features = shared(data, "embedded", lambda: _embedded(data))
        memos = shared(data, f"memos of subsets {drawn}", lambda: memos)
    for some, memo in zip(rows, memos, strict=True):
        yield replace(subset(data, some, features=features[some]), memo=memo)


def _embedded(data: FeatureSet) -> torch.Tensor:
    """N x (components + 1) rows whose inner products are those of the features without their weak components.

    The mean m has the coordinates V^T m along the components V, from (X - m) m = U S V^T m, and what is left of it in a
    column of its own.
    """
    found, mean = pca(data, COMPONENTS, "randomised"), column_mean(data)
    sigma = found.singular_values
    parts = chunks(data.features, torch.float64, CHUNK_ELEMENTS)
    along = torch.cat([(rows - mean) @ mean for _, rows in parts])
    offset = torch.where(sigma > sigma[0] * 1e-6, found.scores.double().T @ along / sigma.square(), 0.0)
    rest = (mean.square().sum() - offset.square().sum()).clamp(min=0).sqrt()
    scores = found.scores + offset.to(found.scores.dtype)
    return torch.cat([scores, rest.to(scores.dtype).expand(len(scores), 1)], 1)
