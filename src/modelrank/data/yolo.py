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
from modelrank.data.pixels import shown
from modelrank.types import MissingAsset, ModelRankError


@dataclass(frozen=True)
class YoloCopy:
    """ROOT/data.yaml with `names` and, for train and perhaps val and test, a folder of images, a text file that lists
    images, or a list of such. The labels of .../images/.../X.jpg are in .../labels/.../X.txt, without a folder `images`
    beside X.jpg; a line an object: class, then centre x, centre y, width, height as shares of the image, or the corners
    x, y, x, y, ... of a polygon, whose box is taken. Where data.yaml has a `kpt_shape`, K points of D numbers follow a
    box and are not read. No such file means no object; the notes of the contents count these images.

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
        points = _points(facts.get("kpt_shape"), path)
        splits = {
            split: [_image(each, path, len(classes), points) for each in images] for split, images in listed.items()
        }
        notes = [*_without_labels(splits, path, places.own, left_out), *left_out.notes(places.own)]
        return contents(splits, classes, places, kind="YOLO", settings=[classes, points], notes=notes)


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


def _points(shape: Any, path: Path) -> int:
    """How many numbers of key points follow the box of an object."""
    if shape is None:
        return 0
    if not isinstance(shape, list) or len(shape) != 2 or not all(isinstance(n, int) and n > 0 for n in shape):
        raise ModelRankError(
            f"{path}: kpt_shape must be two whole numbers: how many points, and how many numbers for each"
        )
    return shape[0] * shape[1]


def _without_labels(splits: dict[str, list[Annotated]], names: Path, root: Path, left_out: LeftOut) -> list[str]:
    """A sentence on the images that have no file of labels; files of labels that have no image are left out."""
    read = [each for images in splits.values() for each in images]
    labels = {each.source for each in read} - {names}
    for folder in sorted({path.parent for path in labels}):
        texts = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".txt")
        left_out.add(
            "text files beside the labels that belong to no image", *(path for path in texts if path not in labels)
        )
    bare = [shown(each.image, root) for each in read if each.source == names]
    some = f"{', '.join(bare[:3])}{', ...' if len(bare) > 3 else ''}"
    return [f"{len(bare)} images have no file of labels and count as images without objects ({some})"] * bool(bare)


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


def _image(image: Path, names: Path, classes: int, points: int) -> Annotated:
    """`names` is the file that the classes come from; it stands for the label file where there is none."""
    parts = list(image.parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    candidates = [Path(*parts).with_suffix(suffix) for suffix in (".txt", ".TXT")]
    path = next((each for each in candidates if each.is_file()), None)
    if path is None:
        return Annotated(image, names, np.empty((0, 4)), [])
    boxes, labels = [], []
    for number, line in enumerate(lines(path), 1):
        if words := line.split():
            what = f"{path}, line {number}"
            polygon = not points and len(words) >= 7 and len(words) % 2 == 1
            label, *numbers = finite(words, len(words) if polygon else 5 + points, what)
            if label not in range(classes):
                raise ModelRankError(f"{what}: class {words[0]}, but {names} has 0 to {classes - 1}")
            boxes.append(normalised(np.array([around(numbers, what)]), (1, 1))[0] if polygon else numbers[:4])
            labels.append(int(label))
    return Annotated(image, path, partial(from_normalised, np.array(boxes).reshape(-1, 4)), labels)
