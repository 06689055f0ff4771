"""Learning curves of all trainings behind the measured accuracies: curves.csv beside each table of accuracies.

One row a stretch of training (what was dropped at a rung included); `step`, `trained_seconds` and `value` are lists
with spaces between, so that a training is one line. `batch`: images that a step sees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modelrank.csv_file import read_csv
from modelrank.root import resolve
from modelrank.truth.ledger import IDS, NAMES, ROW, add

TABLE = "curves.csv"
POINT = ("lr", "weight_decay", "step")  # of one measurement: a stretch repeats those of the one before


def append(table: Path, row: Mapping[str, Any], trainings: Sequence[Mapping[str, Any]]) -> None:
    """Add the trainings behind one measurement, `row` of `table`, to curves.csv beside it; replaces earlier ones."""
    cell = {key: row[key] for key in (*NAMES, *ROW)}
    if trainings:  # a linear probe has none
        add(table.with_name(TABLE), [cell | _compact(training) for training in trainings])


def read(path: Path) -> pd.DataFrame:
    """One row a point: those of the table, with `step` (int), `trained_seconds` and `value` on val (floats), and
    `images` seen by then (float; NaN where the table, of an earlier version, does not say)."""
    lists = ["step", "trained_seconds", "value"]
    rows = read_csv(path, text=(*lists, *NAMES, *IDS))
    rows = rows.assign(**{name: rows[name].fillna("").str.split() for name in lists}).explode(lists)
    rows = rows.dropna(subset=["step"])
    rows = rows.astype({"step": int, "trained_seconds": float, "value": float}).reset_index(drop=True)
    return rows.assign(images=rows["step"] * rows["batch"] if "batch" in rows else np.nan)


def beside(tables: Sequence[str | Path]) -> pd.DataFrame:
    """`read` of the learning curves beside these tables of accuracies; of one training in several the last."""
    paths = [path for path in (resolve(table).with_name(TABLE) for table in tables) if path.exists()]
    found = [read(path) for path in paths]
    none = pd.DataFrame(columns=[*NAMES, *ROW, *POINT, "value"]).astype({"seed": int})
    return pd.concat(found).drop_duplicates([*ROW, *POINT], keep="last") if found else none


def _compact(training: Mapping[str, Any]) -> dict[str, Any]:
    steps, seconds, values = zip(*training["curve"], strict=True) if training["curve"] else ((), (), ())
    return {
        "lr": training["lr"],
        "weight_decay": training["wd"],
        "until": training["until"],
        "failed": training["failed"],
        "seconds": round(training["seconds"], 1),
        "batch": training.get("batch", ""),
        "step": " ".join(map(str, steps)),
        "trained_seconds": " ".join(f"{value:.4g}" for value in seconds),
        "value": " ".join(f"{value:.4g}" for value in values),
    }
