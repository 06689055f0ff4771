"""The user's own images: one folder a class (torchvision's ImageFolder layout), with or without a split."""

from __future__ import annotations

import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS
from tqdm import tqdm

from modelrank.data.copies import Contents, Places
from modelrank.data.images import ImageSplit
from modelrank.keys import key
from modelrank.types import MissingAsset, ModelRankError

log = logging.getLogger(__name__)
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class FolderCopy:
    """ROOT/CLASS/*.jpg, or ROOT/{train,val,test}/CLASS/*.jpg where `train` must be there and val or test may be.

    Classes are the sub-folders of train, sorted by name; images may lie deeper inside them. Files without an image's
    suffix and hidden folders are ignored. Every image is decoded once to find unreadable ones; the verdict is kept in
    the cache for as long as no path, size or modification time changes (these are the identity of the content).
    """

    user_files: bool = True

    def present(self, places: Places) -> Path | None:
        return places.own if places.own.is_dir() and _folders(places.own) else None

    def origin(self, places: Places) -> None:
        return None

    def wanted(self, places: Places) -> str:
        return f"put one folder of images per class into {places.own}, or give another place: dataset.root=PATH"

    def fetch(self, places: Places) -> None:
        raise MissingAsset(self.wanted(places))

    def read(self, places: Places) -> Contents:
        root = places.own
        top = _folders(root)
        parts = (
            {root / name: name for name in SPLITS if root / name in top} if root / "train" in top else {root: "train"}
        )
        if root / "train" in top and (others := [path.name for path in top if path not in parts]):
            raise ModelRankError(f"{root} has train/ and also {others}: name its splits train, val and test")
        classes = tuple(path.name for path in _folders(next(part for part, name in parts.items() if name == "train")))
        if not classes:
            raise ModelRankError(f"{root}: no class folders; put the images of each class into a folder of its own")
        files = {name: _class_files(part, classes) for part, name in parts.items()}
        stats = [(path, path.stat()) for split in files.values() for path, _ in split]
        listing = [[str(path.relative_to(root)), stat.st_size, stat.st_mtime_ns] for path, stat in stats]
        identity = key(listing)
        readable = usable([path for path, _ in stats], places, identity)
        splits = {}
        for name, listed in files.items():
            good = [(path, label) for path, label in listed if path in readable]
            labels = np.array([label for _, label in good], np.int64)
            if gone := {label for _, label in listed} - set(labels.tolist()):
                raise ModelRankError(f"{root}: no readable image of {[classes[c] for c in sorted(gone)]} in {name}")
            splits[name] = ImageSplit(
                [path for path, _ in good], labels, [str(path.relative_to(root)) for path, _ in good]
            )
        return Contents(splits, classes, f"the user's own folder {root}", identity)


def _folders(root: Path) -> list[Path]:
    """Sub-folders of `root` by name; hidden ones (and archivers' `__MACOSX`) are no classes."""
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith((".", "__")))


def _class_files(part: Path, classes: tuple[str, ...]) -> list[tuple[Path, int]]:
    """(path, class) of every image, by class and path; every class folder that is there must hold an image."""
    if unknown := [path.name for path in _folders(part) if path.name not in classes]:
        raise ModelRankError(f"{part}: the classes {unknown} are not among those of train, {list(classes)}")
    listed = []
    for label, name in enumerate(classes):
        if not (part / name).is_dir():
            continue  # a val or test split may lack a rare class
        found = sorted(
            path for path in (part / name).rglob("*") if path.suffix.lower() in IMG_EXTENSIONS and path.is_file()
        )
        if not found:
            raise ModelRankError(f"{part / name}: a class folder without images; add some or remove the folder")
        listed += [(path, label) for path in found]
    return listed


def usable(paths: list[Path], places: Places, identity: str) -> set[Path]:
    """The image files that can be decoded; the others are refused, or left out with a warning, as `places` says.

    The verdict is kept in the cache under `identity`, that of the paths, sizes and times of the files.
    """
    bad = {Path(path) for path in _unreadable(paths, places.store, identity)}
    if bad:
        names = ", ".join(str(path) for path in sorted(bad)[:10]) + (", ..." if len(bad) > 10 else "")
        if places.on_unreadable == "refuse":
            raise ModelRankError(
                f"{len(bad)} unreadable image(s): {names}; mend or remove them, or leave them out with "
                "dataset.on_unreadable=skip"
            )
        log.warning("left out %d unreadable image(s): %s", len(bad), names)
    return set(paths) - bad


def _unreadable(paths: list[Path], store: Path, identity: str) -> list[str]:
    """Paths of the files that PIL cannot decode to the end, remembered by the identity of the listing."""
    verdict = store / f"unreadable-{identity[:16]}.json"
    if verdict.is_file():
        return json.loads(verdict.read_text())
    with ThreadPoolExecutor() as pool:  # PIL decodes without holding the interpreter's lock
        readable = list(tqdm(pool.map(_decodes, paths), "check images", len(paths), unit=" image", delay=1))
    bad = [str(path) for path, fine in zip(paths, readable, strict=True) if not fine]
    store.mkdir(parents=True, exist_ok=True)
    scratch = verdict.with_suffix(f".{os.getpid()}.tmp")
    scratch.write_text(json.dumps(bad))
    scratch.replace(verdict)
    return bad


def _decodes(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            image.draft("RGB", (64, 64))  # JPEG: reads the whole file, but at a fraction of the arithmetic
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
    return True
