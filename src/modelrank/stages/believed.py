"""What is believed of the hub before anything is trained here: from memory, scores and facts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig, OmegaConf

from modelrank import build
from modelrank.data.images import ImageData
from modelrank.hub.model import PretrainedModel
from modelrank.keys import short
from modelrank.memory.belief import Belief
from modelrank.memory.prior import believe
from modelrank.scorers.contract import facts_of
from modelrank.stages.score import ScoredHub
from modelrank.truth.ledger import Asked
from modelrank.truth.scored import remember
from modelrank.types import Score

TELL = 0.05  # of the width of a score's interval: what lies closer together is no difference
LOOKED = frozenset({"features", "logits"})  # a scorer that needs one of them has looked at the images


def believed(
    cfg: DictConfig, models: Mapping[str, PretrainedModel], data: ImageData, asked: Asked, hub: ScoredHub
) -> tuple[Belief, str]:
    """The belief and, in words, what it rests on. The scores are added to the user's table, for other data sets.

    Scorers that look at no image (size, published accuracy, the order elsewhere) have no say: the largest first is a
    trap, and the order elsewhere is memory.
    """
    scorers = {name: one for name, one in build.scorers(cfg).items() if LOOKED & facts_of(one).needs}
    ids = scorer_ids(cfg, scorers, models, data, asked, hub)
    images = len(data.scored_targets()) if isinstance(data, ImageData) else len(data.targets)
    scores = pd.DataFrame(
        {name: {m: s.value for m, s in hub.rankings[name].scores.items()} for name in scorers if name in hub.rankings},
        index=list(models),
        dtype=float,
    )
    remember(
        Path(cfg.paths.cache) / "truth" / "scores.csv",
        [
            {"dataset": data.name, "model": model, "scorer": scorer, "model_id": asked.models[model]}
            | {"data_id": asked.data_id, "scorer_id": ids[model][scorer], "images": images, "score": score.value}
            for scorer in scorers
            if scorer in hub.rankings
            for model, score in hub.rankings[scorer].scores.items()
        ],
    )
    memory = build.memory(cfg)(asked, data.metric, ids)
    belief = believe(
        memory.accuracy,
        scores=told_apart(scores, hub.rows),
        scores_elsewhere=memory.scores,
        facts=known_facts(models),
        level=probed_level(hub.rankings["linear_probe"].scores, data.metric)
        if data.task == "classification" and "linear_probe" in scores
        else None,
    )
    sets = len({title.split(" by ")[0] for title in memory.accuracy})
    rests = f"{len(scores.columns)} scorers" if len(scores.columns) else "facts of the models"
    return belief, rests + (f" and the accuracies on {sets} other data set{'s' * (sets > 1)}" if sets else " alone")


def probed_level(scores: Mapping[str, Score], metric: str) -> float:
    """Mean over the models of what a linear probe of each has, by the metric of the data set."""
    by_class = metric == "mean_per_class_accuracy"
    each = [float(np.mean(score.parts["recall"])) if by_class else score.value for score in scores.values()]
    return float(np.mean(each))


def told_apart(scores: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Scores (models x scorers) in which those of one scorer that cannot be told apart are the same: ranks alone count
    from here on, and copies of one network in several precisions differ by a rounding. rows: of scores.csv."""
    told = scores.copy()
    if len(rows):
        widths = (rows.score_high.astype(float) - rows.score_low.astype(float)).groupby(rows.scorer).median()
        for name in scores.columns.intersection(widths.dropna().index):
            own = pd.Series(scores[name]).dropna().sort_values()
            told[name] = own.groupby((own.diff() >= TELL * widths[name]).cumsum()).transform("mean")
    return told


def known_facts(models: Mapping[str, PretrainedModel]) -> pd.DataFrame | None:
    """What is known of the models without loading them, models x facts; None where they are saved features."""
    known = {
        name: {"family": model.family, "pretraining": model.pretraining}
        | {"imagenet_accuracy": math.nan if model.imagenet_accuracy is None else model.imagenet_accuracy}
        for name, model in models.items()
        if isinstance(model, PretrainedModel)
    }
    return pd.DataFrame.from_dict(known, orient="index") if known else None


def scorer_ids(
    cfg: DictConfig,
    scorers: Mapping[str, Any],
    models: Mapping[str, PretrainedModel],
    data: ImageData,
    asked: Asked,
    hub: ScoredHub,
) -> dict[str, dict[str, str]]:
    """model -> scorer -> what its value is of, whatever the images: the settings, how large the images were seen, and
    what else made the features; where values are scaled over the models that have one, these."""
    scaled = {name: sorted(asked.models[model] for model in hub.rankings[name].scores) for name in hub.relative}
    seen = {"general": cfg.general} if cfg.get("general") else {}
    seen |= {"boxes": cfg.extraction.boxes} if data.task == "detection" else {}
    seen = {name: OmegaConf.to_container(value, resolve=True) for name, value in seen.items()}
    ids: dict[str, dict[str, str]] = {}
    for name, model in models.items():
        size = model.preprocessing.at(cfg.hub.image_size).size if isinstance(model, PretrainedModel) else 0
        ids[name] = {
            scorer: short({"scorer": one, "size": size} | seen | ({"hub": scaled[scorer]} if scorer in scaled else {}))
            for scorer, one in scorers.items()
        }
    return ids
