"""The user's own images with annotations in PASCAL VOC's format, and VOC2007 itself (Everingham et al. 2010)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from modelrank.data.annotated import Annotated, around, contents, finite, lines
from modelrank.data.boxes import from_counted_pixels
from modelrank.data.copies import Contents, ImageCopy, Places
from modelrank.data.files import inside
from modelrank.data.folder import SPLITS
from modelrank.data.pixels import SUFFIXES
from modelrank.types import MissingAsset, ModelRankError

CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class VocCopy:
    """ROOT/FOLDER/{Annotations/ID.xml, JPEGImages/ID.jpg, ImageSets/Main/{train,val,test}.txt}.

    Without val.txt or test.txt that split is cut from train; without train.txt, train is trainval.txt, or else all of
    Annotations that no other list names.

    folder:   below ROOT; VOCdevkit/VOC2007 in torchvision's layout.
    classes:  the names, in the order of the labels; None = those found in the train annotations, sorted.
    download: another copy whose `fetch` brings the files into the same place; None = only the user can.

    Corners are the first and last pixel of an object, counted from 1. Rules for boxes: see `annotated`.
    """

    folder: str = "."
    classes: Sequence[str] | None = None
    download: ImageCopy | None = None
    user_files: bool = True

    def present(self, places: Places) -> Path | None:
        root = places.own / self.folder
        return root if (root / "Annotations").is_dir() and (root / "JPEGImages").is_dir() else None

    def origin(self, places: Places) -> str | None:
        return self.download.origin(places) if self.download else None

    def wanted(self, places: Places) -> str:
        root = places.own / self.folder
        return (
            f"put Annotations/, JPEGImages/ and ImageSets/Main/ into {root}, or give another place: dataset.root=PATH"
        )

    def fetch(self, places: Places) -> None:
        if self.download is None:
            raise MissingAsset(self.wanted(places))
        self.download.fetch(places)

    def read(self, places: Places) -> Contents:
        root = places.own / self.folder
        found = {split: [_Read(root, name) for name in names] for split, names in _lists(root).items()}
        classes = list(self.classes or sorted({name for each in found["train"] for name in each.names}))
        splits = {split: [each.annotated(classes) for each in listed] for split, listed in found.items()}
        return contents(splits, classes, places, kind="VOC", settings=[self.folder, classes])


def _lists(root: Path) -> dict[str, list[str]]:
    """split -> names of its images, see `_name`."""
    lists = {}
    for name in (*SPLITS, "trainval"):
        path = root / "ImageSets" / "Main" / f"{name}.txt"
        if path.is_file():
            lists[name] = [_name(line.strip(), root, path) for line in lines(path) if line.strip()]
            if not lists[name]:
                raise ModelRankError(f"{path} names no image; fill it, or remove it to have {name} chosen without it")
            if len(set(lists[name])) < len(lists[name]):
                raise ModelRankError(f"{path}: {max(lists[name], key=lists[name].count)} is listed twice")
    trainval = lists.pop("trainval", None)
    if "train" not in lists:
        given = {name for listed in lists.values() for name in listed}
        everything = trainval or sorted(path.stem for path in (root / "Annotations").glob("*.xml"))
        lists["train"] = [name for name in everything if name not in given]
    return lists


def _name(line: str, root: Path, source: Path) -> str:
    """The image that a line of a list names: the line as it is, spaces included; else without an image's suffix, or
    without a last word (the lists of one class add 1, 0 or -1)."""
    candidates = [line, str(Path(line).with_suffix("")), *line.rsplit(maxsplit=1)[:1]]
    known = (name for name in candidates if inside(root / "Annotations", f"{name}.xml", source).is_file())
    return next(known, line)


class _Read:
    """The annotation file of one image."""

    def __init__(self, root: Path, name: str) -> None:
        self.path = root / "Annotations" / f"{name}.xml"
        self.images, self.name = root / "JPEGImages", name
        tree = _parsed(self.path)
        self.objects, self.difficult = [], 0
        for thing in tree.iter("object"):
            if (thing.findtext("difficult") or "").strip().lower() not in ("", "0", "false", "unspecified"):
                self.difficult += 1
                continue
            kind = (thing.findtext("name") or "").strip()
            corners, polygon = thing.find("bndbox"), thing.find("polygon")
            if not kind or (corners is None and polygon is None):
                raise ModelRankError(f"{self.path}: an object lacks its {'name' if not kind else 'bndbox'}")
            if corners is not None:
                numbers = finite([corners.findtext(key) for key in CORNERS], 4, f"{self.path}: bndbox of a {kind}")
            else:  # x1, y1, x2, y2, ...
                numbers = around([one.text for one in polygon or ()], f"{self.path}: polygon of a {kind}")
            self.objects.append((kind, numbers))
        self.names = [kind for kind, _ in self.objects]
        stated = [(tree.findtext(f"size/{key}") or "0").strip() for key in ("width", "height")]
        width, height = (int(number) for number in finite(stated, 2, f"{self.path}: size"))
        self.size = (width, height) if width and height else None  # tools that do not know it write 0

    def annotated(self, classes: Sequence[str]) -> Annotated:
        if unknown := set(self.names) - set(classes):
            raise ModelRankError(f"{self.path}: unknown class {sorted(unknown)[0]!r}; known are {list(classes)}")
        corners = from_counted_pixels(np.array([box for _, box in self.objects]).reshape(-1, 4))
        labels = [classes.index(kind) for kind in self.names]
        return Annotated(self._image(), self.path, corners, labels, self.size, self.difficult)

    def _image(self) -> Path:
        suffixes = sorted(SUFFIXES, key=lambda suffix: suffix != ".jpg")
        candidates = [self.images / f"{self.name}{one}" for suffix in suffixes for one in (suffix, suffix.upper())]
        return next((path for path in candidates if path.is_file()), candidates[0])


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuses a document type, the only place where XML declares entities, so a small file cannot unfold to gigabytes
    ('billion laughs') nor name other files; annotations have none. Called before anything is expanded."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ElementTree.ParseError("it declares a document type, which annotations do not need")


def _parsed(path: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(path, ElementTree.XMLParser(target=_NoDoctype())).getroot()
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise ModelRankError(f"{path} cannot be read as a VOC annotation: {error}") from error
