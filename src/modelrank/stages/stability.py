"""Intervals of the scores of a hub, and the chance of the model ranked first: `stability` in the config."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from omegaconf import DictConfig

from modelrank.ranking.stability import Stability, stability
from modelrank.scorers.stability import Subscores, cheap, subscores
from modelrank.types import FeatureSet, Ranking, Score, ScorerNotApplicable

log = logging.getLogger(__name__)


def draw(
    cfg: DictConfig, model: str, scorer: Callable[..., Score], features: FeatureSet, *, main: bool
) -> dict[str, Subscores]:
    """{model: scores of subsets of its images}, for the main scorer (it orders the models) and for those that have
    them for little; nothing for the others, for which twenty runs on halves would cost more than the rest of the run.
    """
    if cfg.stability is None or not (main or cheap(scorer)):
        return {}
    try:
        drawn = subscores(scorer, features, resamples=cfg.stability.resamples, seed=cfg.stability.seed)
    except (ScorerNotApplicable, ValueError) as reason:  # half of the images can be too few where all are enough
        log.info("%s: no interval of the score (%s)", model, reason)
        return {}
    return {model: drawn}


def judge(cfg: DictConfig, scorer: Any, ranking: Ranking, draws: Mapping[str, Subscores]) -> Stability:
    """Over the models that have draws; a value that depends on the whole hub is formed anew on each subset."""
    combine = scorer.func.facts.combine or (lambda scores: {model: score.value for model, score in scores.items()})
    subsets = zip(*(drawn.scores for drawn in draws.values()), strict=True)
    values = [combine(dict(zip(draws, scores, strict=True))) for scores in subsets]
    return stability(
        {model: ranking.scores[model].value for model in draws},
        {model: [value[model] for value in values] for model in draws},
        factor=next(iter(draws.values())).factor,
        level=cfg.stability.level,
    )
