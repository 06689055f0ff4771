"""What the readers of detection folders (COCO, VOC, YOLO) have in common: the rules for images and boxes.

- Every annotated image must be there, and in one split only; ModelRankError names it. Unreadable ones: `on_unreadable`.
- Images without objects are kept: background for training, no row for the scorers.
- Boxes are clipped to their image. Those wholly outside it, or with a side under 1 pixel, are dropped, and counted in
  a warning. Numbers that are not finite, and unknown classes, are refused with the name of the file.
- An image with an EXIF note to turn it is refused where the annotations do not state its size: some tools count boxes
  on the turned image, some on the stored one.
- Crowds of COCO and 'difficult' objects of VOC are left out everywhere, also when mAP is measured: a detector that
  finds one is charged with a false alarm (the benchmarks' own evaluations look away), all models alike.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelrank.data.boxes import cleaned, object_array
from modelrank.data.copies import Contents, Places
from modelrank.data.folder import usable
from modelrank.data.images import ImageSplit, image_size, orientation
from modelrank.keys import key
from modelrank.types import ModelRankError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Annotated:
    """One image as an annotation file has it.

    source:  that file, for messages.
    corners: n x 4 numbers (left, top, right, bottom) in pixels, as they are in the file, or a function of the image's
             (width, height) that gives them.
    labels:  n positions in the classes.
    size:    (width, height) that the file states, or None.
    left_out: how many objects were left out by rule.
    """

    image: Path
    source: Path
    corners: np.ndarray | Callable[[tuple[int, int]], np.ndarray]
    labels: Sequence[int]
    size: tuple[int, int] | None = None
    left_out: int = 0


def contents(
    splits: Mapping[str, Sequence[Annotated]],
    classes: Sequence[str],
    places: Places,
    *,
    kind: str,
    settings: Any = None,
) -> Contents:
    """The data set of a folder, by the rules above; `settings` of the reader are part of its identity.

    Decodes every image once, to find unreadable ones, as `FolderCopy` does; the verdict is remembered in the cache.
    """
    root, seen = places.own, {}
    for name, listed in splits.items():
        for each in listed:
            if not each.image.is_file():
                raise ModelRankError(f"{each.source} lists the image {each.image}, which is not there")
            if (other := seen.setdefault(each.image, name)) != name:
                raise ModelRankError(f"{each.image} is in the splits {other!r} and {name!r}; it must be in one only")
    annotations = {each.source for listed in splits.values() for each in listed}
    stats = [(path, path.stat()) for path in [*seen, *sorted(annotations)]]
    listing = [[_relative(path, root), stat.st_size, stat.st_mtime_ns] for path, stat in stats]
    identity = key([kind, settings, listing])
    good = usable(list(seen), places, identity)
    counts: Counter[str] = Counter()
    made = {}
    for name, listed in splits.items():
        images = [each for each in listed if each.image in good]
        targets = []
        for each in images:
            boxes, dropped = _boxes(each)
            targets.append(boxes)
            counts += dropped
        paths = [each.image for each in images]
        made[name] = ImageSplit(paths, object_array(targets), [_relative(path, root) for path in paths])
    _tell(counts, root)
    return Contents(made, tuple(classes), f"the user's own {kind} folder {root}", identity)


def lines(path: Path) -> list[str]:
    """The lines of a text file; ModelRankError names one that cannot be read."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelRankError(f"{path} cannot be read as text: {error}") from error


def finite(values: Any, count: int, what: str) -> list[float]:
    """`values` as `count` finite numbers; ModelRankError begins with `what`."""
    try:
        numbers = [] if isinstance(values, str) else [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise ModelRankError(f"{what}: {values!r} are not {count} numbers") from error
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ModelRankError(f"{what}: {values!r} are not {count} finite numbers")
    return numbers


def _boxes(each: Annotated) -> tuple[Any, Counter[str]]:
    size = image_size(each.image)
    if each.size is None and (turned := orientation(each.image)) != 1:
        raise ModelRankError(
            f"{each.image} holds an EXIF note to turn it (orientation {turned}), and {each.source} does not say for "
            "which width and height its boxes are; save the image upright, without the note"
        )
    if each.size is not None and each.size != size:
        raise ModelRankError(
            f"{each.source} says that {each.image.name} has {each.size[0]} x {each.size[1]} pixels, but it has "
            f"{size[0]} x {size[1]}; its boxes would be wrong"
        )
    corners = each.corners(size) if callable(each.corners) else each.corners
    boxes, dropped = cleaned(corners, np.asarray(each.labels, np.int64), size)
    return boxes, dropped + Counter({"by rule": each.left_out})


def _tell(counts: Counter[str], root: Path) -> None:
    kinds = {"wholly outside their image": counts["outside"], "with a side under 1 pixel": counts["degenerate"]}
    if words := [f"{number} {kind}" for kind, number in kinds.items() if number]:
        log.warning("%s: dropped boxes: %s", root, ", ".join(words))
    if counts["by rule"]:
        log.info("%s: %d crowds or difficult objects are left out", root, counts["by rule"])


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
