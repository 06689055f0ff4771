"""Intervals of the scores of a hub, and the chance of the model ranked first: `stability` in the config."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from omegaconf import DictConfig

from modelrank.ranking.stability import Stability, stability
from modelrank.scorers.contract import facts_of
from modelrank.scorers.stability import Subscores, subscores, too_dear
from modelrank.types import FeatureSet, Ranking, Score, ScorerNotApplicable

log = logging.getLogger(__name__)


def draw(
    cfg: DictConfig, model: str, scorer: Callable[..., Score], features: FeatureSet, *, main: bool
) -> Subscores | str:
    """Scores of subsets of the images, for the main scorer (it orders the models) and for those that have them for
    little; for the others the reason why not, which goes into scores.csv.
    """
    if cfg.stability is None:
        return "stability=null"
    reason = too_dear(scorer)
    if reason and (not main or not facts_of(scorer).needs & {"features", "targets", "logits"}):
        return reason
    try:
        return subscores(scorer, features, resamples=cfg.stability.resamples, seed=cfg.stability.seed)
    except (ScorerNotApplicable, ValueError) as reason:  # half of the images can be too few where all are enough
        log.info("%s: no interval of the score (%s)", model, reason)
        return f"on half of the images: {reason}"


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
