"""A small labelled data set and five "models" of it, whose order everyone can see before any scorer does."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from modelrank.ranking import order
from modelrank.scorers.contract import facts_of
from modelrank.types import FeatureSet, Ranking, Score, ScorerNotApplicable, Task

SAMPLES, CLASSES, DIMENSIONS, WIDE = 300, 4, 24, 400
SOURCES = 6  # classes of the source head
MODELS = {
    "separable": "class means 4 apart, spread 1",
    "noisy": "class means 1.5 apart",
    "random": "no class means at all",
    "noisy x 10": "`noisy`, every number times 10: the same information",
    "random, wide": f"`random` in {WIDE} dimensions, more than there are samples",
}


def feature_sets(task: Task) -> Mapping[str, FeatureSet]:
    """The five models for one task: 300 samples, 4 classes (regression: 2 columns), one seed for everything."""
    rng = np.random.default_rng(0)
    labels = np.arange(SAMPLES) % CLASSES
    means = np.eye(CLASSES, DIMENSIONS) / 2**0.5  # 1 apart
    noise = rng.normal(size=(SAMPLES, DIMENSIONS))
    noisy = 1.5 * means[labels] + noise
    features = {
        "separable": 4 * means[labels] + noise,
        "noisy": noisy,
        "random": rng.normal(size=(SAMPLES, DIMENSIONS)),
        "noisy x 10": 10 * noisy,
        "random, wide": rng.normal(size=(SAMPLES, WIDE)),
    }
    columns = means[labels] @ rng.normal(size=(DIMENSIONS, 2)) + 0.1 * rng.normal(size=(SAMPLES, 2))
    targets = labels if task == "classification" else columns
    made = {}
    for place, (model, x) in enumerate(features.items()):
        head = rng.normal(size=(x.shape[1], SOURCES)) / x.shape[1] ** 0.5
        made[model] = FeatureSet(
            torch.from_numpy(x),
            torch.from_numpy(targets),
            task,
            logits=torch.from_numpy(x @ head),
            general=torch.from_numpy(rng.normal(size=(200, x.shape[1])) * x.std()),
            # what no feature says: given, so that the reference rows have something to read
            facts={"parameters": 1e6 * (place + 1), "imagenet_accuracy": 0.7, "mean_rank_elsewhere": float(place + 1)},
        )
    return made


def ranking(scorer_id: str, scorer) -> Ranking:
    """The scorer's values of the five models, those that only a hub has included; reasons where there are none.

    Of the classes, or of the numbers where it has no value for classes alone.
    """
    facts = facts_of(scorer)
    scores, failed = _scored(scorer, "classification")
    if not scores:
        scores, failed = _scored(scorer, "regression")
    return order.rank(scorer_id, scores, combine=facts.combine, failed=failed)


def _scored(scorer, task: Task) -> tuple[dict[str, Score], dict[str, str]]:
    scores: dict[str, Score] = {}
    failed: dict[str, str] = {}
    for model, data in feature_sets(task).items():
        try:
            scores[model] = scorer(data)
        except ScorerNotApplicable as reason:
            failed[model] = str(reason)
    return scores, failed
