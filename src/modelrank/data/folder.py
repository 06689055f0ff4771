"""The user's own images: one folder a class (torchvision's ImageFolder layout), with or without a split."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelrank.data.copies import Contents, Places
from modelrank.data.files import (
    THUMBNAILS,
    LeftOut,
    beside_classes,
    checked,
    folders,
    identity,
    images_below,
    pictures,
)
from modelrank.data.images import ImageSplit
from modelrank.data.pixels import shown
from modelrank.types import MissingAsset, ModelRankError

SPLITS = ("train", "val", "test")
# What exports call them, apart from case, digits, and words like set: Training, val2017, test_images.
NAMES = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation"), "test"),
}
OPTION = "dataset.copies.folder.splits"


@dataclass(frozen=True)
class FolderCopy:
    """ROOT/CLASS/*.jpg, or ROOT/{train,val,test}/CLASS/*.jpg where `train` must be there and val or test may be.

    splits: folder of each split, where they are called otherwise than Train, training, valid, val2017 and the like;
            {} says that all folders are classes, whatever they are called. None = by their names.

    Classes are the sub-folders of train, sorted by name; images may lie deeper inside them, links are followed. Hidden
    files and files that are no images are left out, and what is left out is counted in the notes of the contents. A
    layout that can be read in two ways is refused. See `files` for what counts as an image and how each is checked.
    """

    splits: Mapping[str, str] | None = None
    user_files: bool = True

    def present(self, places: Places) -> Path | None:
        return places.own if places.own.is_dir() and folders(places.own) else None

    def origin(self, places: Places) -> None:
        return None

    def wanted(self, places: Places) -> str:
        if places.own.is_dir() and (flat := _direct(places.own)):
            return (
                f"{len(flat)} image(s) in {shown(places.own)} are in the folder of no class; give each class one there"
            )
        return f"put one folder of images per class into {places.own}, or give another place: dataset.root=PATH"

    def fetch(self, places: Places) -> None:
        raise MissingAsset(self.wanted(places))

    def read(self, places: Places) -> Contents:
        root, left_out = places.own, LeftOut()
        parts = self._parts(root, left_out)
        for place in dict.fromkeys((root, *parts.values())):
            beside_classes(place, left_out)
        classes = tuple(_by_class(parts["train"]))
        if not classes:
            raise ModelRankError(
                f"{shown(root)}: no class folders; put the images of each class into a folder of its own"
            )
        files = {name: _class_files(part, classes, left_out) for name, part in parts.items()}
        found = checked([path for listed in files.values() for path, _ in listed], places)
        splits = {}
        for name, listed in files.items():
            good = [(path, label) for path, label in listed if path in found]
            labels = np.array([label for _, label in good], np.int64)
            if gone := {label for _, label in listed} - set(labels.tolist()):
                raise ModelRankError(
                    f"{shown(root)}: no readable image of {[shown(Path(classes[c])) for c in sorted(gone)]} in {name}"
                )
            paths = [path for path, _ in good]
            splits[name] = ImageSplit(
                paths, labels, [shown(path, root) for path in paths], pictures=pictures(paths, found)
            )
        nested = [path for path in found if path.parent.parent not in parts.values()]
        deeper = [
            f"{len(nested)} images lie deeper in the folder of their class, for example {shown(path, root)}"
            for path in nested[:1]
        ]
        return Contents(
            splits,
            tuple(shown(Path(name)) for name in classes),
            f"the user's own folder {shown(root)}",
            identity(found, root, [shown(path, root) for path in parts.values()]),
            (*left_out.notes(root), *deeper),
        )

    def _parts(self, root: Path, left_out: LeftOut) -> dict[str, Path]:
        """split -> folder that holds the class folders."""
        if self.splits:
            named = isinstance(self.splits, Mapping) and "train" in self.splits and set(self.splits) <= set(SPLITS)
            if not named:
                raise ModelRankError(
                    f"{OPTION}={self.splits}: give {{train: FOLDER}}, and perhaps val and test, or {{}}"
                )
            given = {name: root / str(folder) for name, folder in self.splits.items()}
            if absent := [shown(path) for path in given.values() if not path.is_dir()]:
                raise ModelRankError(f"{OPTION}: there is no folder {absent[0]}")
            return given
        top = folders(root)
        left_out.add("images that are in the folder of no class", *_direct(root))
        if self.splits is not None:
            return {"train": root}
        named = {path: split for path in top if (split := _split(path.name)) and folders(path)}
        if not named:
            _refuse_unclear(root, top)
            return {"train": root}
        others = [path for path in top if path not in named and images_below(path, LeftOut())]
        parts = {split: path for path, split in named.items()}
        if others or len(parts) < len(named) or "train" not in parts:
            fault = (
                f" and also {[shown(path, root) for path in others]}"
                if others
                else ", two of them for one split"
                if len(parts) < len(named)
                else ", and no folder for train"
            )
            raise ModelRankError(
                f"{shown(root)} has {', '.join(f'{shown(path, root)}/' for path in named)}{fault}: name its splits "
                f"train, val and test, or name them with {OPTION}='{{train: FOLDER, test: FOLDER}}', or with "
                f"{OPTION}={{}} if all of them are classes"
            )
        left_out.add("folders without images", *(path for path in top if path not in named))
        left_out.add("images that are in the folder of no class", *(each for part in named for each in _direct(part)))
        return {name: parts[name] for name in SPLITS if name in parts}


def _split(name: str) -> str | None:
    """The split that a folder of this name holds, if it is called like one."""
    words = re.sub(r"(set|data|images?|folder|[\d\W_]+)", "", name.casefold())
    return NAMES.get(words)


def _direct(folder: Path) -> list[Path]:
    """Images that lie in the folder itself."""
    return images_below(folder, LeftOut(), deep=False)


def _refuse_unclear(root: Path, top: list[Path]) -> None:
    """Class folders that look like splits, or like one folder too many."""
    inner = [{path.name for path in folders(each)} for each in top]
    names, common = [shown(path, root) for path in top], set.intersection(*inner) if inner else set()
    if len(top) == 1 and inner[0]:
        raise ModelRankError(
            f"{shown(root)} holds one folder, {names[0]}; if the classes are in it, give dataset.root={shown(top[0])}"
        )
    if small := [name for name, path in zip(names, top, strict=True) if path.name.casefold() in THUMBNAILS]:
        raise ModelRankError(
            f"{shown(root)}: {small[0]} may hold small copies of the other images, or be a class; move it away, or say "
            f"with {OPTION}={{}} that all folders are classes"
        )
    if len(top) > 1 and all(_split(path.name) for path in top):
        raise ModelRankError(
            f"{shown(root)}: {names} look like splits but hold no class folders; put the images of each class into a "
            f"folder of its own, or say with {OPTION}={{}} that these are the classes"
        )
    if len(common) > 1 and not any(_direct(path) for path in top):
        raise ModelRankError(
            f"{shown(root)}: the folders {names[:5]} all hold {sorted(common)[:5]}. If the outer ones are splits, name "
            f"them with {OPTION}='{{train: FOLDER, test: FOLDER}}'; if the inner ones are, put them above the classes; "
            f"if the outer ones are the classes, say so with {OPTION}={{}}"
        )


def _by_class(part: Path) -> dict[str, Path]:
    """Class -> its folder. Systems store accents as one letter or as two (NFC, NFD); here it is one."""
    found: dict[str, Path] = {}
    for path in folders(part):
        name = unicodedata.normalize("NFC", path.name)
        if name in found:
            raise ModelRankError(
                f"{shown(part)} has two folders of the name {shown(Path(name))}, whose accents are stored in two ways; "
                "put their images into one, or rename one"
            )
        found[name] = path
    return found


def _class_files(part: Path, classes: tuple[str, ...], left_out: LeftOut) -> list[tuple[Path, int]]:
    """(path, class) of every image, by class and path; every class folder that is there must hold an image."""
    there = _by_class(part)
    if unknown := [shown(path, part) for name, path in there.items() if name not in classes]:
        known = [shown(Path(name)) for name in classes]
        raise ModelRankError(f"{shown(part)}: the classes {unknown} are not among those of train, {known}")
    listed = []
    for label, name in enumerate(classes):
        if name not in there:
            continue  # a val or test split may lack a rare class
        found = images_below(there[name], left_out)
        if not found:
            raise ModelRankError(f"{shown(there[name])}: a class folder without images; add some or remove the folder")
        listed += [(path, label) for path in found]
    return listed
