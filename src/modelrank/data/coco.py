"""The user's own images with annotations in COCO's format (Lin et al. 2014; cocodataset.org, 'Data format')."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelrank.data.annotated import Annotated, around, contents, finite
from modelrank.data.boxes import from_corner_and_size
from modelrank.data.copies import Contents, Places
from modelrank.data.files import inside
from modelrank.data.folder import SPLITS
from modelrank.types import MissingAsset, ModelRankError


@dataclass(frozen=True)
class CocoCopy:
    """ROOT/annotations/instances_{train,val,test}*.json with the images in ROOT/NAME, ROOT/images/NAME, ROOT/images,
    ROOT or beside the file, where NAME is what follows 'instances_' (train2017).

    annotations: split -> file below ROOT, where the names are others; null = by the names. `train` must be there.

    Classes are the categories in the order of their ids, which may have gaps, without the root that Roboflow's exports
    begin with: a first category, or one named as the others' supercategory, that marks nothing. An object without a
    box has that of its polygons. Rules for boxes: see `annotated`.
    """

    annotations: Mapping[str, str] | None = None
    user_files: bool = True

    def present(self, places: Places) -> Path | None:
        return self._files(places.own).get("train")

    def origin(self, places: Places) -> None:
        return None

    def wanted(self, places: Places) -> str:
        given = (self.annotations or {}).get("train", "annotations/instances_train*.json")
        return f"put {given} and its images into {places.own}, or give another place: dataset.root=PATH"

    def fetch(self, places: Places) -> None:
        raise MissingAsset(self.wanted(places))

    def read(self, places: Places) -> Contents:
        documents = {split: (path, _document(path)) for split, path in self._files(places.own).items()}
        categories = {split: _categories(document["categories"], path) for split, (path, document) in documents.items()}
        classes, roots = _without_roots(documents)
        for split, found in categories.items():
            if found != categories["train"]:
                raise ModelRankError(f"{documents[split][0]}: its categories are not those of the train annotations")
        splits = {
            split: _images(document, path, places.own, {number: k for k, number in enumerate(classes)})
            for split, (path, document) in documents.items()
        }
        notes = [f"left out: the category {name!r}, which marks nothing and holds the others" for name in roots]
        settings = [self.annotations, list(classes.items())]
        return contents(splits, list(classes.values()), places, kind="COCO", settings=settings, notes=notes)

    def _files(self, root: Path) -> dict[str, Path]:
        if self.annotations is not None:
            if "train" not in self.annotations or not set(self.annotations) <= set(SPLITS):
                raise ModelRankError(f"annotations={dict(self.annotations)}: give train, and perhaps val and test")
            files = {split: root / path for split, path in self.annotations.items()}
            return files if files["train"].is_file() else {}
        files = {}
        for split in SPLITS:
            several = sorted((root / "annotations").glob(f"instances_{split}*.json"))
            if len(several) > 1:
                raise ModelRankError(
                    f"{root / 'annotations'}: {[path.name for path in several]} are all for {split}; choose with "
                    f"dataset.copies.coco.annotations='{{{split}: annotations/{several[0].name}, ...}}'"
                )
            if several:
                files[split] = several[0]
        return files


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:  # the last one of lists in lists in lists
        raise ModelRankError(f"{path} cannot be read as JSON: {error}") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(document, dict) or not isinstance(document.get(key), list):
            raise ModelRankError(f"{path} has no list {key!r}: it is not a COCO file of instances")
        if not all(isinstance(entry, dict) for entry in document[key]):
            raise ModelRankError(f"{path}: an entry of {key!r} is not an object")
    return document


def _categories(entries: list[dict[str, Any]], path: Path) -> dict[int, tuple[str, str]]:
    """{id: (name, supercategory)} in the order of the ids."""
    found: dict[int, tuple[str, str]] = {}
    for entry in entries:
        number, name = entry.get("id"), entry.get("name")
        if not isinstance(number, int) or not isinstance(name, str):
            raise ModelRankError(f"{path}: a category lacks its integer 'id' or its 'name': {str(entry)[:200]}")
        if number in found:
            raise ModelRankError(f"{path}: the category id {number}, {name!r}, occurs twice")
        found[number] = name, str(entry.get("supercategory", ""))
    return dict(sorted(found.items()))


def _without_roots(documents: Mapping[str, tuple[Path, dict[str, Any]]]) -> tuple[dict[int, str], list[str]]:
    """The classes, {id: name}, and the names of the categories that only hold them."""
    path, document = documents["train"]
    categories = _categories(document["categories"], path)
    marked = {one.get("category_id") for _, each in documents.values() for one in each["annotations"] if _hashable(one)}
    first = next(iter(categories), None)
    above = {supercategory for number, (_, supercategory) in categories.items() if number in marked}
    roots = [
        number
        for number, (name, _) in categories.items()
        if number not in marked and len(categories) > 1 and (number == first == 0 or name in above)
    ]
    classes = {number: name for number, (name, _) in categories.items() if number not in roots}
    names = list(classes.values())
    if twice := [name for name in names if names.count(name) > 1]:
        numbers = [number for number, name in classes.items() if name == twice[0]]
        raise ModelRankError(
            f"{path}: the categories {numbers} are all called {twice[0]!r}; rename them, or give their objects one "
            "id and remove the others"
        )
    return classes, [categories[number][0] for number in roots]


def _hashable(annotation: dict[str, Any]) -> bool:
    return isinstance(annotation.get("category_id"), int)


def _images(document: dict[str, Any], path: Path, root: Path, positions: Mapping[int, int]) -> list[Annotated]:
    images: dict[Any, dict[str, Any]] = {}
    for entry in document["images"]:
        if not isinstance(entry.get("id"), int | str) or not isinstance(entry.get("file_name"), str):
            raise ModelRankError(f"{path}: an image lacks its 'id' or 'file_name': {str(entry)[:200]}")
        if entry["id"] in images:
            raise ModelRankError(f"{path}: the image id {entry['id']} occurs twice")
        images[entry["id"]] = entry
    names = [entry["file_name"] for entry in images.values()]
    if len(set(names)) < len(names):
        raise ModelRankError(f"{path}: the file {max(names, key=names.count)} occurs under two image ids")
    objects: dict[Any, list[tuple[list[float], int]]] = {number: [] for number in images}
    crowds = dict.fromkeys(images, 0)
    for entry in document["annotations"]:
        what = f"{path}: annotation {entry.get('id')}"
        image = entry.get("image_id")
        if not isinstance(image, int | str) or image not in images:
            raise ModelRankError(f"{what} is of the image id {image}, which is not listed")
        if entry.get("iscrowd") not in (None, 0, "0"):
            crowds[image] += 1
            continue
        category = entry.get("category_id")
        if not isinstance(category, int) or category not in positions:
            raise ModelRankError(f"{what}: the category id {category} is not listed")
        objects[image].append((_box(entry, what), positions[category]))
    folder = _folder(root, path, names)
    return [
        Annotated(
            inside(folder, entry["file_name"], path),
            path,
            from_corner_and_size(np.array([box for box, _ in objects[number]]).reshape(-1, 4)),
            [label for _, label in objects[number]],
            _size(entry, path),
            crowds[number],
        )
        for number, entry in images.items()
    ]


def _box(annotation: dict[str, Any], what: str) -> list[float]:
    """(left, top, width, height): the box, or what its polygons cover."""
    polygons = annotation.get("segmentation")
    if annotation.get("bbox") or not isinstance(polygons, list) or not polygons:
        if "bbox" not in annotation:
            raise ModelRankError(f"{what} has no 'bbox'")
        return finite(annotation["bbox"], 4, f"{what}: bbox")
    several = np.array([around(polygon, f"{what}: segmentation") for polygon in polygons])
    left, top, right, bottom = *several[:, :2].min(0).tolist(), *several[:, 2:].max(0).tolist()
    return [left, top, right - left, bottom - top]


def _folder(root: Path, path: Path, names: list[str]) -> Path:
    """The first of the usual places that holds the first image; where none does, the last, for the error message."""
    name = path.stem.removeprefix("instances_")
    places = [root / name, root / "images" / name, root, path.parent, root / "images"]
    return next((place for place in places if names and inside(place, names[0], path).is_file()), places[-1])


def _size(entry: dict[str, Any], path: Path) -> tuple[int, int] | None:
    if not entry.get("width") or not entry.get("height"):
        return None
    width, height = finite([entry["width"], entry["height"]], 2, f"{path}: size of {entry['file_name']}")
    return int(width), int(height)
