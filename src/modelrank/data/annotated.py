"""What the readers of detection folders (COCO, VOC, YOLO) have in common: the rules for images and boxes.

- Every annotated image must be there, and in one split only; ModelRankError names it. Unreadable ones: `on_unreadable`.
- Images without objects are kept: background for training, no row for the scorers.
- Boxes are clipped to their image. Those wholly outside it, or with a side under 1 pixel, are dropped, and counted in
  a warning. Where a quarter of ten or more boxes reach far beyond their image, or are turned round, the numbers are of
  another format, and the data set is refused. Numbers that are not finite, and unknown classes, are refused with the
  name of the file.
- Images are turned upright by their EXIF note. Some tools count boxes on the turned image, some on the stored one; the
  size that the annotations state tells which, and boxes on the stored one are turned too. Where no size is stated, or
  it is the same either way (upside down, mirrored, square), an image with boxes is refused.
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

from modelrank.data.boxes import cleaned, misplaced, object_array, turned_upright
from modelrank.data.copies import Contents, Places
from modelrank.data.files import LeftOut, checked, identity, images_below, pictures
from modelrank.data.images import ImageSplit
from modelrank.data.pixels import image_size, opened, orientation, shown, stored_size
from modelrank.keys import digest
from modelrank.types import ModelRankError

log = logging.getLogger(__name__)

NUMBERS = {  # of a box, by format
    "COCO": "left, top, width, height in pixels",
    "VOC": "xmin, ymin, xmax, ymax in pixels",
    "YOLO": "centre x, centre y, width, height as shares of the image",
}


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
    notes: Sequence[str] = (),
) -> Contents:
    """The data set of a folder, by the rules above; `settings` of the reader are part of its identity.

    Decodes every image once, to find unreadable ones, as `FolderCopy` does; the verdict is remembered in the cache.
    """
    root, seen = places.own, {}
    for name, listed in splits.items():
        for each in listed:
            if not each.image.is_file():
                raise ModelRankError(
                    f"{each.source} lists the image {each.image}, which is not there; put it there, or take it out of "
                    "the annotations"
                )
            if (other := seen.setdefault(each.image, name)) != name:
                raise ModelRankError(f"{each.image} is in the splits {other!r} and {name!r}; it must be in one only")
    left_out = LeftOut()
    for folder in sorted({image.parent for image in seen}):
        others = [path for path in images_below(folder, LeftOut(), deep=False) if path not in seen]
        left_out.add("images that are not listed", *others)
    found = checked(list(seen), places)
    annotations = sorted({each.source for listed in splits.values() for each in listed})
    counts: Counter[str] = Counter()
    made, strange = {}, []
    for name, listed in splits.items():
        images = [each for each in listed if each.image in found]
        targets = []
        for each in images:
            corners, size = _corners(each)
            boxes, dropped = cleaned(corners, np.asarray(each.labels, np.int64), size)
            targets.append(boxes)
            counts += dropped + Counter({"by rule": each.left_out, "in all": len(corners)})
            strange += [(each, size)] * int(misplaced(corners, size).sum())
        paths = [each.image for each in images]
        titles = [shown(path, root) for path in paths]
        made[name] = ImageSplit(paths, object_array(targets), titles, pictures=pictures(paths, found))
    if counts["in all"] >= 10 and len(strange) * 4 >= counts["in all"]:
        first, size = strange[0]
        raise ModelRankError(
            f"{first.source}: {len(strange)} of all {counts['in all']} boxes reach far beyond their image or are "
            f"turned round (the first on {first.image.name}, {size[0]} x {size[1]} pixels); {kind} boxes are "
            f"{NUMBERS[kind]}, and these seem to be other numbers. Write them so, or name their format: "
            "dataset=coco_folder, voc_folder or yolo_folder"
        )
    return Contents(
        made,
        tuple(classes),
        f"the user's own {kind} folder {shown(root)}",
        identity(found, root, kind, settings, [[shown(path, root), digest(path)] for path in annotations]),
        (*notes, *left_out.notes(root), *_dropped(counts)),
    )


def lines(path: Path) -> list[str]:
    """The lines of a text file, with or without Windows' byte-order mark; ModelRankError names one that is no text."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelRankError(f"{path} cannot be read as text: {error}") from error


def around(points: Sequence[Any], what: str) -> list[float]:
    """(left, top, right, bottom) of a polygon x, y, x, y, ...; ModelRankError begins with `what`."""
    numbers = np.array(finite(points, len(points), what))
    if len(numbers) < 6 or len(numbers) % 2:
        raise ModelRankError(f"{what}: {len(numbers)} numbers are no polygon")
    x, y = numbers[::2], numbers[1::2]
    return [float(x.min()), float(y.min()), float(x.max()), float(y.max())]


def finite(values: Any, count: int, what: str) -> list[float]:
    """`values` as `count` finite numbers; ModelRankError begins with `what`."""
    try:
        numbers = [] if isinstance(values, str) else [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise ModelRankError(f"{what}: {values!r} are not {count} numbers") from error
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ModelRankError(f"{what}: {values!r} are not {count} finite numbers")
    return numbers


def _corners(each: Annotated) -> tuple[np.ndarray, tuple[int, int]]:
    """The corners on the upright image, as they are in the file, and its (width, height)."""
    size = image_size(each.image)
    with opened(each.image) as image:
        stored, turned = stored_size(image), orientation(image)
    corners = each.corners(size) if callable(each.corners) else each.corners
    if turned != 1 and len(corners) and (each.size is None or stored == size):
        raise ModelRankError(
            f"{each.image} holds an EXIF note to turn it (orientation {turned}), and {each.source} does not tell "
            "whether its boxes are of the image as it is stored or as it is shown; save the image upright, without "
            "the note"
        )
    if turned != 1 and each.size == stored:
        corners = turned_upright(corners, stored, turned)
    elif each.size is not None and each.size != size:
        raise ModelRankError(
            f"{each.source} says that {each.image.name} has {each.size[0]} x {each.size[1]} pixels, but it has "
            f"{size[0]} x {size[1]}; its boxes would be wrong"
        )
    return corners, size


def _dropped(counts: Counter[str]) -> list[str]:
    kinds = {
        "boxes wholly outside their image": counts["outside"],
        "boxes with a side under 1 pixel": counts["degenerate"],
        "crowds or difficult objects": counts["by rule"],
    }
    return [f"left out: {number} {kind}" for kind, number in kinds.items() if number]
