"""`stage=score`: every scorer on every model's features, one flat row each."""

from __future__ import annotations

import itertools
import json
import logging
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from modelrank import build, stopping
from modelrank.data.images import ImageData
from modelrank.hub.model import PretrainedModel
from modelrank.progress import Progress
from modelrank.ranking.order import rank
from modelrank.ranking.stability import Stability, stability
from modelrank.scorers.contract import facts_of
from modelrank.scorers.subsets import Subscores, subscores, too_dear
from modelrank.stages.check import opened
from modelrank.stages.extract import feature_sets
from modelrank.stages.rows import finish, raise_for_failed, run_facts
from modelrank.stages.score_store import Scored, ScoreStore
from modelrank.tracking import Tracker
from modelrank.types import FeatureSet, ModelRankError, Ranking, Score, ScorerNotApplicable

log = logging.getLogger(__name__)

# Of the images, on which models are dropped before they see all of them. What is left sees them anew, so larger shares
# cost more than they save.
SHARES = (1 / 16, 1 / 8)


@dataclass(frozen=True)
class ScoredHub:
    """rows: scores.csv; rankings: by scorer, those that have a value for at least one model;
    first_is_best: by scorer, the chance that the model ranked first is best by score, where that was looked at;
    relative: scorers whose values are scaled over the hub, so that in another hub they would be others."""

    rows: pd.DataFrame
    rankings: Mapping[str, Ranking]
    first_is_best: Mapping[str, float]
    relative: frozenset[str] = frozenset()

    @property
    def main(self) -> Ranking | None:
        """By the first scorer that has a value: it orders the models of the report."""
        return next(iter(self.rankings.values()), None)


def score(cfg: DictConfig, tracker: Tracker) -> pd.DataFrame:
    """Write scores.csv; raises at the very end when a row failed."""
    rows = finish(
        cfg, tracker, "scores", score_hub(cfg, *opened(cfg), keep=partial(finish, cfg, tracker, "scores")).rows
    )
    raise_for_failed(rows, "scores")
    return rows


def score_hub(
    cfg: DictConfig,
    models: Mapping[str, PretrainedModel],
    images: ImageData,
    mean_rank_elsewhere: Mapping[str, float] = MappingProxyType({}),
    keep: Callable[[pd.DataFrame], object] = lambda rows: None,
) -> ScoredHub:
    """Extract (or read) the features of each model in turn and score them; a failure is a row, not the end.

    keep: given the rows that are there when the work is stopped (Ctrl-C, SIGTERM).
    """
    models, dropped = shortlist(cfg, models, images)
    scorers = build.scorers(cfg)
    outcomes: dict[str, dict[str, Score | Exception]] = {name: {} for name in scorers}
    draws: dict[str, dict[str, Subscores]] = {name: {} for name in scorers}
    store = ScoreStore(Path(cfg.paths.cache) / "scores")
    rows: list[dict[str, Any]] = []
    bar = Progress("scoring", len(models) * len(scorers), "scores")
    stopped: BaseException | None = None
    try:
        for model, features in feature_sets(cfg, models, images):
            if isinstance(features, FeatureSet):
                features = _with_facts(features, model.name, mean_rank_elsewhere)
            for name, scorer in scorers.items():
                found = _scored(cfg, store, model.name, scorer, features, main=name == next(iter(scorers)))
                outcomes[name][model.name] = found.outcome
                row = run_facts(cfg) | {"model": model.name, "scorer": name} | _columns(found.outcome, features)
                row |= {"warning": found.warning, "interval_reason": ""}
                if isinstance(found.subscores, Subscores):
                    draws[name][model.name] = found.subscores
                else:
                    row["interval_reason"] = found.subscores
                rows.append(row)
                bar.update()
    except (KeyboardInterrupt, SystemExit) as stop:  # Lightning makes the second of the first
        stopped = stop
    bar.close()
    for name, model in itertools.product(scorers, dropped):
        reason = ScorerNotApplicable(dropped[model])
        outcomes[name][model] = reason
        row = run_facts(cfg) | {"model": model, "scorer": name}
        rows.append(row | _columns(reason, reason) | {"warning": "", "interval_reason": ""})
    rankings = {name: _ranking(name, scorers[name], outcomes[name]) for name in scorers if _scores(outcomes[name])}
    stable = {name: _judged(cfg, scorers[name], rankings[name], draws[name]) for name in scorers if draws[name]}
    for row in rows:
        row["score"] = rankings[row["scorer"]].scores[row["model"]].value if row["status"] == "ok" else None
        interval = stable[row["scorer"]].interval(row["model"]) if row["scorer"] in stable else (None, None)
        row["score_low"], row["score_high"] = interval
        row["protocol"] = cfg.protocol.name
    table = pd.DataFrame(rows)
    if stopped:
        if rows:
            keep(table)
        raise stopped
    relative = frozenset(
        name
        for name, ranking in rankings.items()
        if any(score.value != ranking.scores[model].value for model, score in _scores(outcomes[name]).items())
    )
    # Where some model has no draws, the chance is that of the first of the others.
    first_is_best = {
        name: s.first_is_best for name, s in stable.items() if draws[name].keys() == rankings[name].scores.keys()
    }
    return ScoredHub(table, rankings, first_is_best, relative)


def shortlist(
    cfg: DictConfig, models: Mapping[str, PretrainedModel], images: ImageData
) -> tuple[Mapping[str, PretrainedModel], Mapping[str, str]]:
    """The models that can be among the first `cfg.top` by the main scorer, and why each of the others cannot.

    All are scored on a sixteenth of the images, then what is left on an eighth of them. A model is dropped
    when its interval lies below those of `top` others. One that fails is kept: its error belongs to the whole.
    """
    if cfg.top is None:
        return models, {}
    if not isinstance(cfg.top, int) or cfg.top < 1:
        raise ModelRankError(f"top={cfg.top}: give how many models may be left, 1 or more, or null (all)")
    if cfg.stability is None or not isinstance(images, ImageData) or images.task == "detection":
        raise ModelRankError(
            f"top={cfg.top} drops models by the intervals of their scores on a sample of the images: it needs "
            "`stability`, and is not for detection or saved features (hub=files); take it out"
        )
    left, dropped = dict(models), {}
    main = next(iter(cfg.scorers))
    rough = OmegaConf.merge(cfg, {"top": None})
    assert isinstance(rough, DictConfig)
    rough.scorers = {main: cfg.scorers[main]}
    for share in SHARES:
        if len(left) <= cfg.top:
            break
        rows = score_hub(rough, left, images.sampled(share)).rows.dropna(subset=["score_low"])
        lowest, highest = (dict(zip(rows.model, rows[side], strict=True)) for side in ("score_low", "score_high"))
        bar = sorted(lowest.values())[-cfg.top] if len(lowest) >= cfg.top else -math.inf
        for name in [name for name, value in highest.items() if value < bar]:
            dropped[name] = (
                f"not among the first {cfg.top}: on {share:g} of the images {main} is at most {highest[name]:.4g}, "
                f"and {cfg.top} models have at least {bar:.4g}"
            )
        left = {name: model for name, model in left.items() if name not in dropped}
        log.info("%d of %d models are left after %g of the images", len(left), len(models), share)
    return left, dropped


def _scored(
    cfg: DictConfig,
    store: ScoreStore,
    model: str,
    scorer: Any,
    features: FeatureSet | Exception,
    *,
    main: bool,
) -> Scored:
    """From the store where this scorer has seen these features; a scorer of the user's own is always computed."""
    if isinstance(features, Exception):
        return Scored(features, "", "")

    def compute() -> Scored:
        with warnings.catch_warnings(record=True) as said:
            warnings.filterwarnings("always", category=UserWarning)
            outcome = _outcome(scorer, features)
        drawn = _drawn(cfg, model, scorer, features, main=main) if isinstance(outcome, Score) else ""
        return Scored(outcome, "; ".join(str(one.message) for one in said), drawn)

    if not features.key or not scorer.func.__module__.startswith("modelrank.scorers."):
        return compute()
    facts = {name: value for name, value in features.facts.items() if name in facts_of(scorer).needs}
    content = {"features": features.key, "task": features.task, "facts": facts, "scorer": scorer}
    draws = None if cfg.stability is None else {"resamples": cfg.stability.resamples, "seed": cfg.stability.seed}
    content |= {"main": main, "stability": draws}
    return store.remembered(content, compute)


def _drawn(
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
    except Exception as reason:  # half of the images can be too few where all are enough
        stopping.again()
        log.info("%s: no interval of the score (%s)", model, reason)
        return f"on half of the images: {reason}"


def _judged(cfg: DictConfig, scorer: Any, ranking: Ranking, draws: Mapping[str, Subscores]) -> Stability:
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


def _scores(outcomes: Mapping[str, Score | Exception]) -> dict[str, Score]:
    return {model: outcome for model, outcome in outcomes.items() if isinstance(outcome, Score)}


def _ranking(name: str, scorer: Any, outcomes: Mapping[str, Score | Exception]) -> Ranking:
    reasons = {model: str(outcome) for model, outcome in outcomes.items() if isinstance(outcome, Exception)}
    combine = scorer.func.facts.combine  # conf/scorer binds hyper-parameters, so every scorer is a partial
    return rank(name, _scores(outcomes), combine=combine, failed=reasons)


def _with_facts(features: FeatureSet, model: str, elsewhere: Mapping[str, float]) -> FeatureSet:
    known = {"mean_rank_elsewhere": elsewhere[model]} if model in elsewhere else {}
    return replace(features, facts={**features.facts, **known})


def _outcome(scorer: Callable[[FeatureSet], Score], features: FeatureSet) -> Score | Exception:
    try:
        return scorer(features)
    except ScorerNotApplicable as reason:
        return reason
    except Exception as error:  # one bad scorer must not stop the others
        stopping.again()
        log.warning("%s", error, exc_info=not isinstance(error, ValueError))
        return error


def _columns(outcome: Score | Exception, features: FeatureSet | Exception) -> dict[str, Any]:
    shape: dict[str, Any] = {}
    if isinstance(features, FeatureSet):
        shape = {"n": len(features.features), "d": features.features.shape[1], "features_by": features.made_by}
        shape["extraction_seconds"] = features.seconds
        if features.kind == "classes":
            shape["classes"] = len(features.targets.unique())
    if isinstance(outcome, Score):
        numbers = {name: round(part, 6) for name, part in outcome.parts.items() if isinstance(part, float)}
        parts = json.dumps(numbers) if numbers else ""
        return shape | {"seconds": outcome.seconds, "status": "ok", "reason": "", "parts": parts}
    status = "not_applicable" if isinstance(outcome, ScorerNotApplicable) else "failed"
    return shape | {"seconds": None, "status": status, "reason": str(outcome)}
