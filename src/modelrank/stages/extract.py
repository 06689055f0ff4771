"""`stage=extract`: hub x data set -> features, one model after the other, so that one hub fits in memory."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from modelrank import build, stopping
from modelrank.data.images import ImageData
from modelrank.data.target import Target
from modelrank.features.extract import extract as extract_features
from modelrank.features.extract import kept
from modelrank.features.from_files import SavedFeatures
from modelrank.features.store import FeatureStore
from modelrank.hub.model import PretrainedModel
from modelrank.keys import key
from modelrank.progress import QUIET, spoken
from modelrank.stages.check import opened, with_pixels
from modelrank.stages.rows import finish, raise_for_failed, rows_of, run_facts
from modelrank.tracking import Tracker
from modelrank.types import FeatureSet, ModelRankError

log = logging.getLogger(__name__)


def extract(cfg: DictConfig, tracker: Tracker) -> pd.DataFrame:
    """Fill the feature store; features.csv has one row a model: n, d, logits, status, reason.

    Raises at the very end when a model has no features.
    """
    with rows_of(cfg, tracker, "features") as rows:
        for model, features in feature_sets(cfg, *opened(cfg)):
            row = run_facts(cfg) | {"model": model.name}
            if isinstance(features, FeatureSet):
                n, d = features.features.shape
                row |= {"n": n, "d": d, "logits": features.logits is not None, "features_by": features.made_by}
                row |= {"status": "ok", "reason": ""}
            else:
                row |= {"status": "failed", "reason": str(features)}
            rows.append(row)
    table = finish(cfg, tracker, "features", pd.DataFrame(rows))
    raise_for_failed(table, "extractions")
    return table


def feature_sets(
    cfg: DictConfig, models: Mapping[str, PretrainedModel], data: ImageData
) -> Iterator[tuple[PretrainedModel, FeatureSet | Exception]]:
    """Each model of the hub with its features on the scored images, or with the error that kept it from having them."""
    if isinstance(data, Target) or any(isinstance(model, SavedFeatures) for model in models.values()):
        yield from _saved(models, data)
        return
    log.info("images: %s; scored: %s", data.source, " + ".join(data.scored))
    general = None
    if cfg.get("general"):
        general = with_pixels(cfg, models, build.general_dataset(cfg).load(Path(cfg.paths.cache)))
    passes: list[float] = []  # seconds of those that were not in the store
    for number, model in enumerate(models.values(), 1):
        began = time.monotonic()
        try:
            features = features_of(cfg, model, data)
            if general:  # features of general-domain images, that PED rescales by
                beside = features_of(cfg, model, general)
                features = replace(features, general=beside.features, key=key([features.key, beside.key]))
        except Exception as error:  # one bad model must not stop the others; it gets a row with the reason
            stopping.again()
            log.error("%s: no features: %s", model.name, error, exc_info=not isinstance(error, ModelRankError))
            features = error
        else:
            passes += [took for took in [time.monotonic() - began] if took > QUIET]
            if passes and (left := len(models) - number):
                longest = spoken(left * sum(passes) / len(passes))
                log.info("features of %d of %d models; the others take about %s at most", number, len(models), longest)
        yield model, features


def _saved(models: Mapping[str, Any], data: Any) -> Iterator[tuple[Any, FeatureSet | Exception]]:
    """Features that the user saved, by the targets that belong to them."""
    if not isinstance(data, Target) or not all(isinstance(model, SavedFeatures) for model in models.values()):
        raise ModelRankError("saved features go with saved targets: hub=files with dataset=targets, neither without")
    for model in models.values():
        try:
            features = model.features(data)
        except Exception as error:  # one bad file must not stop the others
            stopping.again()
            log.warning("%s: no features (%s)", model.name, error)
            features = error
        yield model, features


def features_of(cfg: DictConfig, model: PretrainedModel, data: ImageData) -> FeatureSet:
    """Of one model on the scored images, from the store or by one pass."""
    cache = Path(cfg.paths.cache)
    return extract_features(
        model,
        data,
        store=FeatureStore(cache / "features"),
        cache=cache,
        trainer=build.trainer(cfg),
        scored=data.scored,
        image_size=cfg.hub.image_size,
        **cfg.extraction,
    )


def unread(cfg: DictConfig, models: Mapping[str, PretrainedModel], data: ImageData) -> list[str]:
    """The models whose features on the scored images are not in the store yet."""
    store = FeatureStore(Path(cfg.paths.cache) / "features")
    what = {name: cfg.extraction[name] for name in ("dtype", "precision", "boxes")}
    return [
        name
        for name, model in models.items()
        if not kept(model, data, store=store, scored=data.scored, image_size=cfg.hub.image_size, **what)
    ]
