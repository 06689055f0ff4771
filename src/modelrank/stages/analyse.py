"""`stage=analyse`: the spectral components of the features before and after fine-tuning, model by model."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from modelrank import build, stopping
from modelrank.data.images import ImageData
from modelrank.features.change import change, groups_of, resampled, spectrum
from modelrank.hub.model import PretrainedModel
from modelrank.report import analysis, terminal
from modelrank.scorers.disco import disco
from modelrank.stages.check import opened
from modelrank.stages.extract import feature_sets, features_of
from modelrank.stages.rows import finish, raise_for_failed, run_facts
from modelrank.tracking import Tracker
from modelrank.truth.finetune import FineTuning
from modelrank.truth.grid import Point
from modelrank.truth.ledger import protocol_id
from modelrank.truth.measure import cell_folder, give_back, measure, record
from modelrank.truth.tuned import chosen_point, tuned
from modelrank.types import FeatureSet, ModelRankError

log = logging.getLogger(__name__)


def analyse(
    cfg: DictConfig, tracker: Tracker, *, components: int, groups: int, control_seed: int | None
) -> pd.DataFrame:
    """Write analysis.csv (a row for each group of each model) and analysis.png, and print the changes.

    Each model is fine-tuned on train at the grid point that the protocol chose on val (from the measured tables, else
    measured now); the features are those of the scored images in eval mode, before and after, matched image by image.
    Columns: `change` and its companions of `features.change`; `change_between_seeds` the same between two fine-tuned
    networks; `ratio` and `task` (S_ratio^g, S_ncc^g or S_lr^g of DISCO) before and after.
    """
    protocol = build.protocol(cfg)
    if not isinstance(protocol, FineTuning):
        raise ModelRankError(f"protocol={protocol.name} trains no layer of the network; analyse needs fine-tuning")
    if control_seed == cfg.seed:
        raise ModelRankError(f"stage.control_seed={control_seed} is the run's own seed; give another or null")
    rows: list[dict[str, Any]] = []
    models, data = opened(cfg, networks=True)
    for model, before in feature_sets(cfg, models, data):
        facts = run_facts(cfg) | {"model": model.name, "protocol": protocol.name}
        try:
            if isinstance(before, Exception):
                raise before
            if before.task == "detection":
                raise ModelRankError("analyse compares features image by image, so it has no detection")
            point = _point(cfg, model, data, protocol)
            seeds = [cfg.seed] if control_seed is None else [cfg.seed, control_seed]
            after = [
                features_of(cfg, tuned(model, data, protocol, point, trainer=build.trainer(cfg), seed=seed), data)
                for seed in seeds
            ]
            facts |= {"protocol_id": protocol_id(protocol), **point}
            rows += [facts | row for row in compared(before, after, components=components, groups=groups)]
        except Exception as error:  # one bad model must not stop the others
            stopping.again()
            log.error("%s: not analysed: %s", model.name, error, exc_info=not isinstance(error, ModelRankError))
            rows.append(facts | {"status": "failed", "reason": str(error)})
    table = finish(cfg, tracker, "analysis", pd.DataFrame(rows))
    done = table.query("status == 'ok'")
    if len(done):
        path = Path(cfg.paths.run) / "analysis.png"
        analysis.spectral_change(done).savefig(path, dpi=120, facecolor="white")
        tracker.figure("analysis", path)
        _show(cfg, tracker, done)
    raise_for_failed(table, "analyses")
    return table


def compared(
    before: FeatureSet, after: list[FeatureSet], *, components: int, groups: int
) -> list[dict[str, float | int | str]]:
    """The rows of one model: after[0] is compared with `before`, after[1], where there is one, with after[0]."""
    n, d = before.features.shape
    # one cut for every column: over the components that have spread in all of them
    kept = min(components, *(spectrum(data.features).scores.shape[1] for data in (before, *after)))
    settings = {"components": kept, "groups": groups}
    changed = change(before.features, after[0].features, **settings)
    chance = [math.nan] * groups
    if len(after) > 1:
        chance = change(after[0].features, after[1].features, **settings).own
    floor = resampled(before.features, **settings)
    old, new = (disco(data, solver="exact", **settings).parts for data in (before, after[0]))
    return [
        {
            "n": n,
            "d": d,
            "group": i + 1,
            "components": f"{g.start + 1}-{g.stop}",
            "change": changed.own[i],
            "change_fixed": changed.fixed[i],
            "change_between_seeds": chance[i],
            "change_resampled": floor[i],
            "unrelated": changed.unrelated[i],
            "ratio_before": float(np.asarray(old["ratio"])[i]),
            "ratio_after": float(np.asarray(new["ratio"])[i]),
            "task_before": float(np.asarray(old["task"])[i]),
            "task_after": float(np.asarray(new["task"])[i]),
            "status": "ok",
            "reason": "",
        }
        for i, g in enumerate(groups_of(kept, groups))
    ]


def _point(cfg: DictConfig, model: PretrainedModel, data: ImageData, protocol: FineTuning) -> Point:
    cache = Path(cfg.paths.cache)
    known = chosen_point(cfg.truth.get("paths", []), model, data, protocol, seed=cfg.seed)
    if known is not None:
        return known
    row = measure(model, data, protocol, trainer=build.trainer(cfg), cache=cache, seed=cfg.seed)
    folder = cell_folder(model, data, protocol, cache=cache, seed=cfg.seed)
    record(row, folder, table=cache / "truth" / "measured.csv")
    give_back(folder)
    return {"lr": row["lr"], "wd": row["weight_decay"]}


def _show(cfg: DictConfig, tracker: Tracker, rows: pd.DataFrame) -> None:
    quantities = {
        "C_F": rows.change,
        "C_F, old directions": rows.change_fixed,
        "C_F, two seeds": rows.change_between_seeds,
        "C_F, no change": rows.change_resampled,
        "ratio, gain": rows.ratio_after - rows.ratio_before,
        "task score, gain": rows.task_after - rows.task_before,
    }
    lines = []
    for model, own in rows.groupby("model", sort=False):
        for name, values in quantities.items():
            picked = values.loc[own.index]
            if len(picked.dropna()):
                lines.append(
                    {"model": model, "": name} | dict(zip(own.group.astype(str), picked.round(3), strict=True))
                )
    terminal.rows(pd.DataFrame(lines), f"{cfg.dataset.name} by {cfg.protocol.name}: groups, leading first")
    least = rows.loc[rows.groupby("model", sort=False).change.idxmin()].set_index("model").group
    log.info("group that changes least: %s", ", ".join(f"{model} {group}" for model, group in least.items()))
    tracker.metrics({f"least_changed_group/{model}": float(group) for model, group in least.items()})
