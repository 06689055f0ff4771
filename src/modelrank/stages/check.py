"""`stage=check`: what of the composed run is here, can be fetched, or is missing. Fetches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from modelrank import build
from modelrank.data.decoded import PixelStore, Shrink
from modelrank.data.images import ImageData
from modelrank.data.spec import DatasetSpec
from modelrank.data.target import Target, TargetFile
from modelrank.features.from_files import SavedFeatures, refuse_orders
from modelrank.hub.model import PretrainedModel
from modelrank.provenance import program
from modelrank.report import terminal
from modelrank.tracking import Tracker
from modelrank.types import Availability, MissingAsset, ModelRankError


def check(cfg: DictConfig, tracker: Tracker) -> pd.DataFrame:
    """Print and write assets.csv: kind, name, state (present | fetchable | missing), where. ModelRankError where saved
    features and images meet."""
    models, spec = build.models(cfg), build.dataset(cfg)
    _refuse_mixed(models, spec)
    assets = _assets(models, spec, Path(cfg.paths.cache))
    rows = pd.DataFrame([vars(asset) for asset in assets])
    rows.to_csv(Path(cfg.paths.run) / "assets.csv", index=False)
    terminal.rows(rows, f"{cfg.hub.name} on {cfg.dataset.name}: {rows.state.value_counts().to_dict()}")
    return rows


def opened(cfg: DictConfig, *, networks: bool = False) -> tuple[dict[str, PretrainedModel], ImageData]:
    """The models of the hub and the data set; one `MissingAsset` names everything missing, before any work starts.

    ModelRankError where saved features and images meet, and, with `networks`, where the hub has saved features only.
    """
    models, spec, cache = build.models(cfg), build.dataset(cfg), Path(cfg.paths.cache)
    saved = _saved(models)
    if networks and saved:
        raise ModelRankError(
            f"stage={cfg.stage._target_.rpartition('.')[2]} trains networks on images, and hub={cfg.hub.name} holds "
            "features that were saved; rank them by stage=rank, accuracies of yours by truth=import truth.file=FILE"
        )
    _refuse_mixed(models, spec)
    missing = [asset for asset in _assets(models, spec, cache) if asset.state == "missing"]
    if missing:
        lines = "; ".join(f"the {asset.kind} of {asset.name} ({asset.where})" for asset in missing)
        raise MissingAsset(f"missing: {lines}. `{program()} stage=check` lists every asset.")
    data = spec.load(cache)
    if isinstance(data, Target):
        refuse_orders(saved, data)
    return models, with_pixels(cfg, models, data)


def _saved(models: Mapping[str, PretrainedModel]) -> list[SavedFeatures]:
    return [model for model in models.values() if isinstance(model, SavedFeatures)]


def _refuse_mixed(models: Mapping[str, PretrainedModel], spec: DatasetSpec) -> None:
    if len(_saved(models)) != (len(models) if isinstance(spec, TargetFile) else 0):
        raise ModelRankError("saved features go with saved targets: hub=files with dataset=targets, neither without")


def with_pixels(cfg: DictConfig, models: Mapping[str, Any], data: ImageData) -> ImageData:
    """The images, decoded once for all of these models: see `data.decoded`."""
    if not isinstance(data, ImageData) or not cfg.pixels_gb:
        return data
    at = [model.preprocessing.at(cfg.hub.image_size) for model in models.values() if hasattr(model, "preprocessing")]
    shrinks = [Shrink(one.resize, one.interpolation) for one in at]
    store = PixelStore(Path(cfg.paths.cache) / "pixels", int(cfg.pixels_gb * 1e9), shrinks)
    return replace(data, pixels=store)


def _assets(models: Mapping[str, PretrainedModel], spec: DatasetSpec, cache: Path) -> list[Availability]:
    return [spec.availability(cache), *(model.availability(cache) for model in models.values())]
