"""`stage=finetune`: measure ground truth, one model after the other; rows go to the run and to the user's table."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from modelrank import build
from modelrank.report import terminal
from modelrank.stages.check import opened
from modelrank.stages.rows import finish, raise_for_failed
from modelrank.tracking import Tracker
from modelrank.truth.measure import cell_folder, measure, record
from modelrank.truth.published import resolve
from modelrank.types import NotMeasured

log = logging.getLogger(__name__)


def finetune(cfg: DictConfig, tracker: Tracker, *, table: str, anew: bool) -> pd.DataFrame:
    """Write truth.csv and add each finished row to `table`, its learning curves to curves.csv beside that.

    What was measured before (same content) is not measured again; with `anew` false nothing else is taken. A model that
    fails has a row with its reason; it is raised after the others are done.
    """
    models, data = opened(cfg)
    cache = Path(cfg.paths.cache)
    log.info("images: %s; %s", data.source, data.split_rule)
    rows: list[dict[str, Any]] = []
    protocol = build.protocol(cfg)
    for model in models.values():
        try:
            row = measure(model, data, protocol, trainer=build.trainer(cfg), cache=cache, seed=cfg.seed, anew=anew)
        except NotMeasured as reason:
            rows.append({"dataset": data.name, "model": model.name, "status": "not_measured", "reason": str(reason)})
            continue
        except Exception as error:  # one bad model must not stop the others
            log.exception("%s: not measured", model.name)
            rows.append({"dataset": data.name, "model": model.name, "status": "failed", "reason": str(error)})
            continue
        row = record(row, cell_folder(model, data, protocol, cache=cache, seed=cfg.seed), table=resolve(table))
        log.info("%s on %s: %s %.4f in %.0f s", model.name, data.name, data.metric, row["accuracy"], row["seconds"])
        rows.append(row | {"status": "ok", "reason": ""})
    measured = finish(cfg, tracker, "truth", pd.DataFrame(rows))
    tracker.metrics({f"accuracy/{row['model']}": row["accuracy"] for row in rows if row["status"] == "ok"})
    shown = ["model", "seed", "metric", "accuracy", "val_accuracy", "lr", "weight_decay", "seconds", "reason"]
    terminal.rows(measured.reindex(columns=shown), f"{data.name} by {cfg.protocol.name}")
    raise_for_failed(measured, "measurements")
    return measured
