"""The user's own images with annotations in YOLO's format (Ultralytics, 'Object detection datasets')."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from modelrank.data.annotated import Annotated, around, contents, finite, lines
from modelrank.data.boxes import from_normalised, normalised
from modelrank.data.copies import Contents, Places
from modelrank.data.files import LeftOut, images_below
from modelrank.data.folder import SPLITS
from modelrank.types import MissingAsset, ModelRankError


@dataclass(frozen=True)
class YoloCopy:
    """ROOT/data.yaml with `names` and, for train and perhaps val and test, a folder of images, a text file that lists
    images, or a list of such. The labels of .../images/.../X.jpg are in .../labels/.../X.txt, without a folder `images`
    beside X.jpg; a line an object: class, then centre x, centre y, width, height as shares of the image, or the corners
    x, y, x, y, ... of a polygon, whose box is taken. No such file means no object.

    Paths are looked for below ROOT/`path`, below ROOT, those of a list also beside it, and (Roboflow's
    `../train/images`, darknet's `data/train.txt`) below ROOT without their first part. Rules for boxes: `annotated`.
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
        left_out = LeftOut()
        listed = {split: _listed(facts, split, path, left_out) for split in SPLITS if facts.get(split)}
        if "train" not in listed:
            raise ModelRankError(f"{path} names no folder of train images: 'train: images/train'")
        splits = {split: [_image(each, path, len(classes)) for each in images] for split, images in listed.items()}
        return contents(splits, classes, places, kind="YOLO", settings=classes, notes=left_out.notes(places.own))


def _facts(path: Path) -> dict[str, Any]:
    try:
        facts = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
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
    # Only plain names are made text: aliases of lists of aliases ('billion laughs') would unfold to gigabytes.
    if not isinstance(names, list) or not names or not all(isinstance(name, str | int | float) for name in names):
        raise ModelRankError(f"{path}: 'names' must list the classes")
    found = [str(name) for name in names]
    if twice := [name for name in found if found.count(name) > 1]:
        raise ModelRankError(f"{path}: 'names' has {twice[0]!r} twice; rename one of them")
    return found


def _listed(facts: dict[str, Any], split: str, path: Path, left_out: LeftOut) -> list[Path]:
    """The images of a split, by path within each place that is named for it."""
    given = facts[split] if isinstance(facts[split], list) else [facts[split]]
    if not all(isinstance(name, str) for name in given):
        raise ModelRankError(f"{path}: {split}: give a folder, a text file that lists images, or a list of such")
    base = facts.get("path")
    roots = [*([path.parent / base] if isinstance(base, str) else []), path.parent]
    images: list[Path] = []
    for name in given:
        place = _place(name, roots, path.parent, path)
        if place is None:
            raise ModelRankError(f"{path}: {name!r} of the {split} images is not there ({roots[0] / name})")
        found = images_below(place, left_out) if place.is_dir() else _of_list(place, roots, path.parent)
        if not found:
            raise ModelRankError(f"{place}: no images")
        images += found
    return list(dict.fromkeys(images))


def _of_list(file: Path, roots: list[Path], home: Path) -> list[Path]:
    images = []
    for number, line in enumerate(lines(file), 1):
        if name := line.strip():
            found = _place(name, [file.parent, *roots], home, file)
            if found is None or not found.is_file():
                raise ModelRankError(f"{file}, line {number}: the image {name} is not there")
            images.append(found)
    return images


def _place(name: str, roots: list[Path], home: Path, source: Path) -> Path | None:
    """The file or folder of this name, as it is or without its first part, below one of the roots, and below `home`."""
    given = Path(name.replace("\\", "/"))
    spellings = [given, Path(*given.parts[1:])] if len(given.parts) > 1 else [given]
    places = [Path(os.path.normpath(root / spelling)) for spelling in spellings for root in roots]
    there = [place for place in places if place.exists()]
    within = [place for place in there if place.is_relative_to(os.path.normpath(home))]
    if there and not within:
        raise ModelRankError(f"{source} names {name!r}, outside {home}; give a dataset.root that all of it lies below")
    return next(iter(within), None)


def _image(image: Path, names: Path, classes: int) -> Annotated:
    """`names` is the file that the classes come from; it stands for the label file where there is none."""
    parts = list(image.parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    path = Path(*parts).with_suffix(".txt")
    if not path.is_file():
        return Annotated(image, names, np.empty((0, 4)), [])
    boxes, labels = [], []
    for number, line in enumerate(lines(path), 1):
        if words := line.split():
            what = f"{path}, line {number}"
            polygon = len(words) >= 7 and len(words) % 2 == 1
            label, *numbers = finite(words, len(words) if polygon else 5, what)
            if label not in range(classes):
                raise ModelRankError(f"{what}: class {words[0]}, but {names} has 0 to {classes - 1}")
            boxes.append(normalised(np.array([around(numbers, what)]), (1, 1))[0] if polygon else numbers)
            labels.append(int(label))
    return Annotated(image, path, partial(from_normalised, np.array(boxes).reshape(-1, 4)), labels)
