"""`stage=check`: what of the composed run is here, can be fetched, or is missing. Fetches nothing."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from modelrank import build
from modelrank.report import terminal
from modelrank.tracking import Tracker
from modelrank.types import Availability, MissingAsset


def check(cfg: DictConfig, tracker: Tracker) -> pd.DataFrame:
    """Print and write assets.csv: kind, name, state (present | fetchable | missing), where."""
    rows = pd.DataFrame([vars(asset) for asset in assets(cfg)])
    rows.to_csv(Path(cfg.paths.run) / "assets.csv", index=False)
    terminal.rows(rows, f"{cfg.hub.name} on {cfg.dataset.name}: {rows.state.value_counts().to_dict()}")
    return rows


def require(cfg: DictConfig) -> None:
    """Raise one `MissingAsset` that names everything missing, before any work starts."""
    missing = [asset for asset in assets(cfg) if asset.state == "missing"]
    if missing:
        lines = "; ".join(f"the {asset.kind} of {asset.name} ({asset.where})" for asset in missing)
        raise MissingAsset(f"missing: {lines}. `python run.py stage=check` lists every asset.")


def assets(cfg: DictConfig) -> list[Availability]:
    """Availability of the data set's images and of every model's weights."""
    cache = Path(cfg.paths.cache)
    return [
        build.dataset(cfg).availability(cache),
        *(model.availability(cache) for model in build.models(cfg).values()),
    ]
