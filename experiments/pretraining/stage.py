"""`stage=pretrain`: one encoder by one objective on one data set -> weights, curve, snapshots, and a record of them."""

from __future__ import annotations

import datetime
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from experiments.pretraining.run import Recipe
from filelock import FileLock
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from modelrank import build
from modelrank.hub.preprocessing import Preprocessing
from modelrank.provenance import command, commit, versions
from modelrank.report import terminal
from modelrank.stages.rows import finish
from modelrank.tracking import Tracker
from modelrank.types import MissingAsset

log = logging.getLogger(__name__)


def pretrain(
    cfg: DictConfig,
    tracker: Tracker,
    *,
    name: str,
    output: str,
    preprocessing: Preprocessing,
    snapshots: Sequence[int],
    **settings: float,
) -> pd.DataFrame:
    """Write NAME.safetensors, NAME.csv (curve), NAME.json (record) and the snapshots to `output`; return the curve.

    settings: the other numbers of `Recipe`. The work is done in cache/pretrain/NAME-KEY, from where a stopped run goes
    on; a finished one is not done again.
    """
    spec, cache = build.dataset(cfg), Path(cfg.paths.cache)
    if (images := spec.availability(cache)).state == "missing":
        raise MissingAsset(f"missing: the images of {spec.name} ({images.where})")
    data = spec.load(cache)
    log.info("images: %s; %s", data.source, data.split_rule)
    recipe = Recipe(
        name=name,
        encoder=build.encoder(cfg),
        objective=build.objective(cfg),
        data=data,
        preprocessing=preprocessing,
        snapshots=tuple(snapshots),
        seed=cfg.seed,
        **settings,  # type: ignore[arg-type]  a config: Hydra has no types for it
    )
    folder = cache / "pretrain" / f"{name}-{recipe.key()}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        if not (folder / f"{name}.json").exists():
            found = recipe.run(folder, build.trainer(cfg))
            choices = HydraConfig.get().runtime.choices
            record = {
                "name": name,
                "command": command(),
                "commit": commit(),
                "seed": cfg.seed,
                "encoder": choices["encoder"],
                "objective": choices["objective"],
                "dataset": data.name,
                "images": len(data.splits["train"]),
                "images_of": data.split_rule,
                "batch_size": recipe.batch_size,
                "learning_rate": recipe.learning_rate,
                **found,
                "versions": versions(),
                "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            }
            (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    record = json.loads((folder / f"{name}.json").read_text())
    written = _copied(name, folder, Path(output).expanduser(), record["sha256"])
    curve = finish(cfg, tracker, "curve", pd.read_csv(folder / f"{name}.csv"))
    tracker.metrics({"knn": record["knn"], "knn_untrained": record["knn_untrained"]})
    terminal.rows(curve, f"{name}: {record['parameters']} parameters, {record['dimension']} features")
    log.info("weights, curve and record: %s", written)
    return curve


def _copied(name: str, folder: Path, output: Path, weights: Sequence[str]) -> Path:
    output.mkdir(parents=True, exist_ok=True)
    for file in (*weights, f"{name}.csv", f"{name}.json"):
        shutil.copyfile(folder / file, output / file)
    return output / f"{name}.safetensors"
