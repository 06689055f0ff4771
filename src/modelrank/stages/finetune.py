"""`stage=finetune`: measure ground truth, one model after the other; rows go to the run and to the user's table."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from modelrank import build, stopping
from modelrank.data.images import ImageData
from modelrank.hub.model import PretrainedModel
from modelrank.ranks import follows, of_first
from modelrank.recommend.winner import TASKS, save
from modelrank.report import terminal
from modelrank.root import resolve
from modelrank.stages.check import opened
from modelrank.stages.rows import finish, raise_for_failed, rows_of
from modelrank.tracking import Tracker
from modelrank.truth.finetune import FineTuning
from modelrank.truth.ledger import IDS
from modelrank.truth.measure import cell_folder, give_back, measure, record
from modelrank.types import ModelRankError, NotMeasured

log = logging.getLogger(__name__)


def finetune(cfg: DictConfig, tracker: Tracker, *, table: str, anew: bool) -> pd.DataFrame:
    """Write truth.csv and add each finished row to `table`, its learning curves to curves.csv beside that.

    What was measured before (same content) is not measured again; with `anew` false nothing else is taken. A model that
    fails has a row with its reason; it is raised after the others are done. keep=best leaves the network that is best
    on val in the run's folder `model`.
    """
    models, data = opened(cfg, networks=True)
    cache = Path(cfg.paths.cache)
    log.info("images: %s; %s", data.source, data.split_rule)
    protocol = build.protocol(cfg)
    keep = _kept(cfg, protocol, data.task)
    best, not_kept = -math.inf, {}
    with rows_of(cfg, tracker, "truth") as rows:
        for model in models.values():
            try:
                row = measure(model, data, protocol, trainer=build.trainer(cfg), cache=cache, seed=cfg.seed, anew=anew)
            except NotMeasured as reason:
                rows.append(
                    {"dataset": data.name, "model": model.name, "status": "not_measured", "reason": str(reason)}
                )
                continue
            except Exception as error:  # one bad model must not stop the others
                stopping.again()
                log.error("%s: not measured: %s", model.name, error, exc_info=not isinstance(error, ModelRankError))
                rows.append({"dataset": data.name, "model": model.name, "status": "failed", "reason": str(error)})
                continue
            tracker.curves("val", _curves(model.name, row.get("trainings", ())))
            folder = cell_folder(model, data, protocol, cache=cache, seed=cfg.seed)
            row = record(row, folder, table=resolve(table))
            log.info("%s on %s: %s %.4f in %.0f s", model.name, data.name, data.metric, row["accuracy"], row["seconds"])
            rows.append(row | {"status": "ok", "reason": ""})
            if keep and row["val_accuracy"] > best:
                try:
                    _keep(cfg, keep, model, data, row)
                    best = row["val_accuracy"]
                except Exception as error:  # it is measured all the same
                    stopping.again()
                    log.error("%s: %s", model.name, error, exc_info=not isinstance(error, ModelRankError))
                    not_kept[model.name] = str(error)
            best = of_first(best)  # all have read the network by then
            give_back(folder)
    measured = finish(cfg, tracker, "truth", pd.DataFrame(rows))
    tracker.metrics({f"accuracy/{row['model']}": row["accuracy"] for row in rows if row["status"] == "ok"})
    shown = ["model", "seed", "metric", "accuracy", "val_accuracy", "lr", "weight_decay", "seconds", "reason"]
    terminal.rows(measured.reindex(columns=shown), f"{data.name} by {cfg.protocol.name}")
    raise_for_failed(measured, "measurements")
    if not_kept:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in not_kept.items())
        raise ModelRankError(f"measured, but the network could not be kept ({reasons})")
    return measured


def _curves(model: str, trainings: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Value on val by step, a line for each training; one that went on after a rung has the steps before it too."""
    points = [
        {"line": f"{model} lr {one['lr']:g} wd {one['wd']:g}", "step": step, "value": value}
        for one in trainings
        for step, _, value in one["curve"]
    ]
    return pd.DataFrame(points, columns=["line", "step", "value"]).drop_duplicates(["line", "step"], keep="last")


def _kept(cfg: DictConfig, protocol: object, task: str) -> FineTuning | None:
    """The protocol, where a network of it is to be kept; ModelRankError where that cannot be."""
    if cfg.get("keep") is None:
        return None
    if cfg.keep != "best":
        raise ModelRankError(f"keep={cfg.keep}: give keep=best, or nothing")
    if not isinstance(protocol, FineTuning):
        raise ModelRankError(f"keep=best: protocol={cfg.protocol.name} trains no network; give one that does")
    if task not in TASKS:
        raise ModelRankError(f"keep=best: a network for {task} cannot be kept; these can: {', '.join(TASKS)}")
    return protocol


def _keep(cfg: DictConfig, protocol: FineTuning, model: PretrainedModel, data: ImageData, row: dict[str, Any]) -> None:
    """In the run's folder `model`. Under DDP all ranks read the network, which may be to be trained once more, and the
    first one writes."""
    cache = Path(cfg.paths.cache)
    network = protocol.measured(
        model,
        data,
        {"lr": row["lr"], "wd": row["weight_decay"]},
        trainer=build.trainer(cfg),
        folder=cell_folder(model, data, protocol, cache=cache, seed=cfg.seed),
        cache=cache,
        seed=cfg.seed,
    )
    if follows(cfg):
        return
    columns = ("metric", "lr", "seed", "protocol", "dataset", *IDS, "command", "commit", "versions")
    facts = {"val": row["val_accuracy"], "test": row["accuracy"]} | {name: row[name] for name in columns}
    preprocessing = model.preprocessing.at(protocol.image_size)
    where = Path(cfg.paths.run) / "model"
    save(where, network, model, data, preprocessing, facts)
    log.info("%s, fine-tuned, with all it needs: %s (modelrank.load)", model.name, where)
