"""`stage=rank`: score the hub, compare every scorer with the measured order, and report."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig, OmegaConf

from modelrank import build
from modelrank.data.images import ImageData
from modelrank.data.samples import samples as some_of_each
from modelrank.hub.model import PretrainedModel
from modelrank.memory.prediction import certainty, predicted, ties
from modelrank.provenance import command, commit, versions
from modelrank.ranking.agreement import POINTS, agreement, ceiling, common_models, null_level
from modelrank.report import page, terminal
from modelrank.report.content import Report, Scene
from modelrank.stages.believed import believed
from modelrank.stages.check import opened
from modelrank.stages.rows import finish, raise_for_failed, run_facts
from modelrank.stages.score import ScoredHub, score_hub
from modelrank.tracking import Tracker
from modelrank.truth import found_boxes
from modelrank.truth.ledger import Asked
from modelrank.types import Boxes, NotMeasured, Ranking, Truth

log = logging.getLogger(__name__)

NOTHING = Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32))


def rank(cfg: DictConfig, tracker: Tracker, *, samples: int = 4) -> pd.DataFrame:
    """Write scores.csv, ranking.csv (with truth), figures and report.html; print the tables; return ranking rows.

    samples: how many small pictures of each class the page shows; 0: none.

    A scorer or model that failed has a row with its reason; it is raised only after everything else is written.
    """
    models, images = opened(cfg)
    asked = Asked.of(models.values(), images, build.protocol(cfg))
    truth, untrue = _truth(cfg, asked)  # before the work: a table that cannot be read is said at once
    hub = score_hub(
        cfg, models, images, truth.mean_rank_elsewhere if truth else {}, keep=partial(finish, cfg, tracker, "scores")
    )
    finish(cfg, tracker, "scores", hub.rows)
    prediction, expectation = _prediction(cfg, models, images, asked, hub)
    if prediction is not None:
        finish(cfg, tracker, "prediction", prediction)
    rows = _agreements(cfg, hub, truth, prediction) if truth else []
    ranking = pd.DataFrame(rows)
    if truth:
        finish(cfg, tracker, "ranking", ranking)
        tracker.metrics({f"tau_w/{row['scorer']}": row["tau_w"] for row in rows if math.isfinite(row["tau_w"])})
    context = _context(cfg, hub, models.values(), images) | expectation | {"untrue": untrue}
    context["scenes"] = _scenes(cfg, images, asked, hub, truth)
    if images.scored:  # saved features have no images
        context |= {"samples": some_of_each(images, each=samples), "classes": len(images.classes)}
    report = _report(hub, ranking, truth, context, prediction)
    terminal.show(report)
    written = page.write(report, Path(cfg.paths.run))
    for figure in sorted((written.parent / "figures").glob("*.png")):
        tracker.figure(figure.stem, figure)
    tracker.page("report", written)
    raise_for_failed(hub.rows, "scores")
    return ranking


def _truth(cfg: DictConfig, asked: Asked) -> tuple[Truth | None, str]:
    """The accuracies, or why there are none."""
    try:
        return build.truth(cfg)(asked), ""
    except NotMeasured as reason:  # a practitioner's own images: the ranking is what they came for
        log.info("%s; ranking without comparison", reason)
        return None, str(reason)


def _prediction(
    cfg: DictConfig, models: Mapping[str, PretrainedModel], images: ImageData, asked: Asked, hub: ScoredHub
) -> tuple[pd.DataFrame | None, dict[str, Any]]:
    """Accuracies to expect, from several scorers and what is remembered of other data sets, and what to say of them.

    Of the models that have a score: one that was dropped on the way (`top`) or could not be run is no candidate. None
    for one scorer: its own order is what was asked for. Nothing measured on these images has a say.
    """
    if len(cfg.scorers) < 2 or not hub.rankings:
        return None, {}
    belief, rests = believed(cfg, models, images, asked, hub)
    posterior, names = belief.given(), list(models)
    among = {name for ranking in hub.rankings.values() for name in ranking.scores}
    prediction = predicted(posterior, names, metric=images.metric, among=among, seed=cfg.seed)
    first = str(prediction.model[0])
    return prediction, {
        "ties": ties(posterior, first, names, among=among, seed=cfg.seed),
        "certainty": certainty(posterior, first, names, cfg.point, among=among, seed=cfg.seed),
        "point": cfg.point,
        "rests": rests,
    }


def _agreements(cfg: DictConfig, hub: ScoredHub, truth: Truth, prediction: pd.DataFrame | None) -> list[dict[str, Any]]:
    """The rows of ranking.csv. `chance`: what random scores of as many models exceed in 5 % of cases; the columns
    `*_common` are over `common_models`, the only basis of comparisons.
    """
    common = common_models({name: ranking.scores for name, ranking in hub.rankings.items()}, truth.accuracy)
    values = {
        scorer: {model: score.value for model, score in ranking.scores.items()}
        for scorer, ranking in hub.rankings.items()
    }
    if prediction is not None:
        values = {"prediction": dict(zip(prediction.model, prediction["mean"], strict=True))} | values
    return [_agreement(cfg, hub, scorer, own, truth, common) for scorer, own in values.items()]


def _agreement(
    cfg: DictConfig, hub: ScoredHub, scorer: str, values: Mapping[str, float], truth: Truth, common: list[str]
) -> dict[str, Any]:
    rows = hub.rows[hub.rows.scorer == scorer]
    measures = agreement(values, truth.accuracy, seed=cfg.seed)
    shared = {model: values[model] for model in common if model in values}
    compared = agreement(shared, truth.accuracy, seed=cfg.seed) if len(shared) == len(common) else {}
    warned = rows.warning[rows.warning != ""]
    notes = [
        measures["note"],
        f"{len(warned)} of {len(rows)} with the warning: {warned.iloc[0]}" if len(warned) else "",
    ]
    measures["note"] = "; ".join(filter(None, notes))
    return (
        run_facts(cfg)
        | {"scorer": scorer, "protocol": truth.protocol}
        | measures
        | {"chance": null_level(int(measures["n_models"]))}
        | {f"{name}_common": compared.get(name, math.nan) for name in POINTS}
        | {"models_common": " ".join(common) if compared else ""}
        | {"truth_seeds": truth.seeds(), "truth_seeds_tau_w": ceiling(truth)}
        | {"seconds": rows.seconds.sum(min_count=1), "truth": truth.source}  # none of the prediction
    )


def _report(
    hub: ScoredHub,
    ranking: pd.DataFrame,
    truth: Truth | None,
    context: Mapping[str, Any],
    prediction: pd.DataFrame | None,
) -> Report:
    main = hub.main
    parts: Mapping[str, Mapping[str, Any]] = {m: s.parts for m, s in main.scores.items()} if main else {}
    return Report(hub.rows, ranking, parts, truth, context, main.scorer if main else "", prediction)


def _context(cfg: DictConfig, hub: ScoredHub, models: Collection[PretrainedModel], images: ImageData) -> dict[str, Any]:
    return {
        "scored": list(images.scored),
        "n": len(images.scored_targets()),
        "metric": images.metric,
        "unit": "samples" if not images.scored else "boxes" if images.task == "detection" else "images",
        "source": f"{images.source}; {images.split_rule}",
        "notes": images.notes,
        "licences": {images.name: images.licence} | {model.name: model.licence for model in models},
        "versions": versions(),
        "config": OmegaConf.to_yaml(cfg, resolve=True),
        "command": command(),
        "commit": commit(),
        "seconds": hub.rows.seconds.sum(),
        "level": cfg.stability.level if cfg.stability else None,
        "first_is_best": hub.first_is_best.get(hub.main.scorer) if hub.main else None,
    }


def _scenes(cfg: DictConfig, images: ImageData, asked: Asked, hub: ScoredHub, truth: Truth | None) -> list[Scene]:
    """Test images with what some models found, see `_shown`."""
    main = hub.main
    if images.task != "detection" or truth is None or main is None or "paths" not in cfg.truth:
        return []
    found = found_boxes.found(list(cfg.truth.paths), asked, images.classes)
    titles = {model: title for model, title in _shown(main, truth).items() if model in found}
    if not titles:
        return []
    test = images.splits["test"]
    pictures = []
    for index, name in enumerate(test.ids[: found_boxes.IMAGES]):
        image, marked = test[index]
        own = {f"{model} ({title})": found[model].get(name, NOTHING) for model, title in titles.items()}
        pictures.append(Scene(name, np.asarray(image), marked, own, images.classes))
    return pictures


def _shown(main: Ranking, truth: Truth) -> dict[str, str]:
    """The model ranked first, and the best and the worst of all that were measured, with or without a score: model ->
    which of these it is."""
    measured = sorted(truth.accuracy, key=truth.accuracy.__getitem__)
    best, worst, count = measured[-1], measured[0], len(measured)
    ends = [(best, f"best of {count} measured"), (worst, f"worst of {count} measured")]
    shown = {main.best: f"ranked first by {main.scorer}"}
    for model, title in ends if count > 1 else [(best, "the only one measured")]:
        shown[model] = f"{shown[model]}, {title}" if model in shown else title
    return shown
