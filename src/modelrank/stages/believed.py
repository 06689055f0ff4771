"""What is believed of the hub before anything is trained here: from memory, scores and facts."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig

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


def believed(
    cfg: DictConfig, models: Mapping[str, PretrainedModel], data: ImageData, asked: Asked, hub: ScoredHub
) -> tuple[Belief, str]:
    """The belief and, in words, what it rests on. The scores are added to the user's table, for other data sets.

    Scorers that look at no features (size, published accuracy, the order elsewhere) have no say: the largest first is a
    trap, and the order elsewhere is memory.
    """
    scorers = {name: one for name, one in build.scorers(cfg).items() if "features" in facts_of(one).needs}
    scored = hub.rows["model"] if len(hub.rows) else ()
    of_scored = replace(asked, models={name: asked.models[name] for name in scored})
    ids = scorer_ids(scorers, models, data, of_scored, hub.relative, cfg.hub.image_size)
    scores = pd.DataFrame(
        {name: {m: s.value for m, s in hub.rankings[name].scores.items()} for name in scorers if name in hub.rankings},
        index=list(models),
        dtype=float,
    )
    remember(
        Path(cfg.paths.cache) / "truth" / "scores.csv",
        [
            {"dataset": data.name, "model": model, "scorer": scorer, "model_id": asked.models[model]}
            | {"data_id": asked.data_id, "scorer_id": ids[model][scorer], "score": score.value}
            for scorer in scorers
            if scorer in hub.rankings
            for model, score in hub.rankings[scorer].scores.items()
        ],
    )
    memory = build.memory(cfg)(asked, data.metric, ids)
    belief = believe(
        memory.accuracy,
        scores=scores,
        scores_elsewhere=memory.scores,
        facts=known_facts(models),
        level=float(scores.linear_probe.mean()) if data.task == "classification" and "linear_probe" in scores else None,
    )
    sets = len({title.split(" by ")[0] for title in memory.accuracy})
    rests = f"{len(scores.columns)} scorers" if len(scores.columns) else "facts of the models"
    return belief, rests + (f" and the accuracies on {sets} other data set{'s' * (sets > 1)}" if sets else " alone")


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
    scorers: Mapping[str, Any],
    models: Mapping[str, PretrainedModel],
    data: ImageData,
    asked: Asked,
    relative: Collection[str],
    image_size: int | None,
) -> dict[str, dict[str, str]]:
    """model -> scorer -> what its value is of: the settings, how the images were seen and, where the values of the
    `relative` ones are scaled over the hub, the hub. image_size: pixels; None: each model's own."""
    hub = sorted(asked.models.values())
    return {
        name: {
            scorer: short(
                {"scorer": one, "by": _seen(model, data, image_size)} | ({"hub": hub} if scorer in relative else {})
            )
            for scorer, one in scorers.items()
        }
        for name, model in models.items()
    }


def _seen(model: PretrainedModel, data: ImageData, image_size: int | None) -> dict[str, object]:
    """How the scorers saw the images: which of them, and how large."""
    size = model.preprocessing.at(image_size).size if isinstance(model, PretrainedModel) else 0
    how: dict[str, object] = {"scored": list(data.scored), "size": size}
    if isinstance(data, ImageData) and data.drawn_from is not None:
        how["images"] = len(data.scored_targets())
    return how
