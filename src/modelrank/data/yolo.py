"""The user's own images with annotations in YOLO's format (Ultralytics, 'Object detection datasets')."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from torchvision.datasets.folder import IMG_EXTENSIONS

from modelrank.data.annotated import Annotated, contents, finite, lines
from modelrank.data.boxes import from_normalised
from modelrank.data.copies import Contents, Places
from modelrank.data.folder import SPLITS
from modelrank.types import MissingAsset, ModelRankError


@dataclass(frozen=True)
class YoloCopy:
    """ROOT/data.yaml with `names` and, for train and perhaps val and test, a folder .../images/...; the labels of
    .../images/.../X.jpg are in .../labels/.../X.txt, a line an object: class, centre x, centre y, width, height as
    shares of the image. No such file means no object.

    Folders are looked for below ROOT/`path`, below ROOT, and (Roboflow's `../train/images`) below ROOT without the
    leading `../`. Rules for boxes: see `annotated`.
    """

    file: str = "data.yaml"
    user_files: bool = True

    def present(self, places: Places) -> Path | None:
        path = places.own / self.file
        return path if path.is_file() else None

    def origin(self, places: Places) -> None:
        return None

    def wanted(self, places: Places) -> str:
        return f"put {self.file}, images/ and labels/ into {places.own}, or give another place: dataset.root=PATH"

    def fetch(self, places: Places) -> None:
        raise MissingAsset(self.wanted(places))

    def read(self, places: Places) -> Contents:
        path = places.own / self.file
        facts = _facts(path)
        classes = _names(facts.get("names"), path)
        folders = {split: _folder(facts, split, path) for split in SPLITS if facts.get(split)}
        if "train" not in folders:
            raise ModelRankError(f"{path} names no folder of train images: 'train: images/train'")
        splits = {split: [_image(each, path, len(classes)) for each in _listed(f)] for split, f in folders.items()}
        return contents(splits, classes, places, kind="YOLO", settings=classes)


def _facts(path: Path) -> dict[str, Any]:
    try:
        facts = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ModelRankError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(facts, dict):
        raise ModelRankError(f"{path} must have 'names' and 'train'")
    return facts


def _names(names: Any, path: Path) -> list[str]:
    """A list, or a mapping 0, 1, ... -> name."""
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            raise ModelRankError(f"{path}: the keys of 'names' are not 0, 1, 2, ...")
        names = [names[k] for k in range(len(names))]
    if not isinstance(names, list) or not names or len({str(name) for name in names}) < len(names):
        raise ModelRankError(f"{path}: 'names' must list the classes, each once")
    return [str(name) for name in names]


def _folder(facts: dict[str, Any], split: str, path: Path) -> Path:
    given = facts[split]
    if not isinstance(given, str):
        raise ModelRankError(f"{path}: {split}: {given!r} is not one folder")
    roots = [path.parent / str(facts.get("path") or "."), path.parent]
    places = [root / words for words in (given, given.removeprefix("../")) for root in roots]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise ModelRankError(f"{path}: the folder {given!r} of the {split} images is not there ({places[0]})")
    if "images" not in found.parts:
        raise ModelRankError(f"{path}: {found} has no part 'images', so its labels are not to be found")
    return found


def _listed(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMG_EXTENSIONS and path.is_file())
    if not found:
        raise ModelRankError(f"{folder}: no images")
    return found


def _image(image: Path, names: Path, classes: int) -> Annotated:
    """`names` is the file that the classes come from; it stands for the label file where there is none."""
    last = len(image.parts) - 1 - image.parts[::-1].index("images")
    path = Path(*image.parts[:last], "labels", *image.parts[last + 1 :]).with_suffix(".txt")
    if not path.is_file():
        return Annotated(image, names, np.empty((0, 4)), [])
    boxes, labels = [], []
    for number, line in enumerate(lines(path), 1):
        if words := line.split():
            label, *box = finite(words, 5, f"{path}, line {number}")
            if label not in range(classes):
                raise ModelRankError(f"{path}, line {number}: class {words[0]}, but {names} has 0 to {classes - 1}")
            boxes.append(box)
            labels.append(int(label))
    return Annotated(image, path, partial(from_normalised, np.array(boxes).reshape(-1, 4)), labels)
