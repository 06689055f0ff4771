"""A few images of each class, to look at: what the scorers saw."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from modelrank.data.images import ImageData
from modelrank.types import Boxes, ModelRankError

log = logging.getLogger(__name__)


def samples(data: ImageData, *, each: int, classes: int = 12) -> dict[str, list[tuple[str, Image.Image]]]:
    """Heading -> (id, RGB image) of up to `each` scored images, evenly spaced over the splits.

    A heading is a class, for at most `classes` of them, evenly spaced; in detection and with several labels an image
    has it among others. In regression it is a range of the first target, from low to high.
    """
    if not each:
        return {}
    places = [(name, i) for name in data.scored for i in range(len(data.splits[name]))]
    targets = [target for name in data.scored for target in data.splits[name].targets]
    return {
        heading: [found for i in _spaced(rows, each) if (found := _opened(data, *places[i])) is not None]
        for heading, rows in _groups(data, targets, classes).items()
    }


def _groups(data: ImageData, targets: list[Any], classes: int) -> Mapping[str, np.ndarray]:
    if data.task == "regression":
        first = np.array([float(np.ravel(target)[0]) for target in targets])
        thirds = np.array_split(np.argsort(first, kind="stable"), 3)
        return {f"{first[rows[0]]:.3g} to {first[rows[-1]]:.3g}": np.sort(rows) for rows in thirds if len(rows)}
    rows_of: dict[int, list[int]] = {}
    for i, target in enumerate(targets):
        for label in _labels(target):
            rows_of.setdefault(int(label), []).append(i)
    return {data.classes[label]: np.array(rows_of[label]) for label in _spaced(np.array(sorted(rows_of)), classes)}


def _labels(target: Any) -> np.ndarray:
    if isinstance(target, Boxes):
        return np.unique(target.labels)
    return np.flatnonzero(target) if np.ndim(target) else np.array([target])


def _spaced(values: np.ndarray, count: int) -> list[int]:
    """`count` of the values, or all where there are fewer, the first among them."""
    return values[np.arange(min(count, len(values))) * len(values) // max(1, min(count, len(values)))].tolist()


def _opened(data: ImageData, split: str, index: int) -> tuple[str, Image.Image] | None:
    part = data.splits[split]
    try:
        return part.ids[index], part[index][0]
    except (OSError, ValueError, ModelRankError) as error:
        # the features are there: a picture to look at must not cost the report
        log.warning("%s cannot be shown in the report: %s", part.ids[index], error)
        return None
