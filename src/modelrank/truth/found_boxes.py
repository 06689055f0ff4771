"""What a fine-tuned detector finds in a few test images: kept beside its measurement, for a figure of the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from modelrank.csv_file import read_text
from modelrank.data.images import ImageData
from modelrank.root import resolve
from modelrank.truth.ledger import NAMES, ROW, Asked, add
from modelrank.types import Boxes

IMAGES = 6  # the first of the test split
BOXES = 10  # of an image at most, those with the highest scores
DOUBTFUL = 1 / 3  # boxes with less than this share of the highest score of the image are left out
FILE = "found.json"  # in the folder of a measurement
TABLE = "found.csv"  # beside a table of measured accuracies
CORNERS = ["left", "top", "right", "bottom"]
COLUMNS = ["image", "class", "score", *CORNERS]


def keep(found: Mapping[int, Mapping[str, Tensor]], data: ImageData, size: int, folder: Path) -> None:
    """Write folder/found.json: a list of {image, class, score, left, top, right, bottom}, in pixels of the image.

    found: index in the test split -> `boxes` n x 4 in pixels of a square of `size`, `scores`, `labels`; not every
    image where several processes share the work.
    """
    test, rows = data.splits["test"], []
    for index in sorted(found)[:IMAGES]:
        own = found[index]
        best = own["scores"].argsort(descending=True)[:BOXES]
        best = best[own["scores"][best] >= DOUBTFUL * own["scores"][best[:1]]]
        corners = own["boxes"][best].double().numpy() * np.tile(test.size(index), 2) / size
        for score, label, box in zip(own["scores"][best], own["labels"][best], corners, strict=True):
            place = dict(zip(CORNERS, np.round(box, 1).tolist(), strict=True))
            rows.append({"image": test.ids[index], "class": data.classes[int(label)], "score": round(float(score), 4)})
            rows[-1] |= place
    (folder / FILE).write_text(json.dumps(rows))


def kept(folder: Path) -> list[dict[str, object]] | None:
    """What `keep` wrote; None where nothing was kept (no detection)."""
    path = folder / FILE
    return json.loads(path.read_text()) if path.exists() else None


def append(table: Path, row: Mapping[str, object], boxes: Sequence[Mapping[str, object]] | None) -> None:
    """Add the boxes of one measurement, `row` of measured.csv, to found.csv beside `table`; replaces earlier ones.

    Where nothing was found one row without a box says so, else the boxes of an earlier measurement would stay.
    """
    if boxes is not None:
        cell = {key: row[key] for key in (*NAMES, *ROW)}
        add(table.with_name(TABLE), [{**cell, **box} for box in boxes or [dict.fromkeys(COLUMNS)]])


def found(tables: Sequence[str | Path], asked: Asked, classes: Sequence[str]) -> dict[str, dict[str, Boxes]]:
    """model -> image id -> what was found there, of the lowest seed, by exactly what is asked for.

    tables: of measured accuracies; later ones win.
    """
    paths = [path for path in (resolve(table).with_name(TABLE) for table in tables) if path.exists()]
    chosen: dict[str, dict[str, Boxes]] = {}
    for path in paths:
        rows = read_text(path)  # a class may be named 1, NA or None
        rows = rows.reindex(columns=list(dict.fromkeys([*rows, *ROW])), fill_value="")  # of an earlier version: no ids
        rows["seed"] = rows.seed.astype(int)
        rows = rows.loc[(rows.data_id == asked.data_id) & (rows.protocol_id == asked.protocol_id)]
        for model, identity in asked.models.items():
            if len(own := rows.loc[rows.model_id == identity]):
                first = own.query("seed == seed.min() and image != ''")
                chosen[model] = {str(image): _boxes(part, classes) for image, part in first.groupby("image")}
    return chosen


def _boxes(rows: pd.DataFrame, classes: Sequence[str]) -> Boxes:
    labels = np.array([classes.index(name) for name in rows["class"]], np.int64)
    return Boxes(rows[CORNERS].astype(np.float32).to_numpy(), labels, rows["score"].astype(np.float32).to_numpy())
