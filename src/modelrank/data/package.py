"""Images carried by a registry package: converted once into files that are read fast, then read from there."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from filelock import FileLock

from modelrank import packages
from modelrank.data.boxes import object_array
from modelrank.data.copies import Contents, Places
from modelrank.data.images import ImageSplit
from modelrank.data.readers import Parts
from modelrank.keys import digest, key, plain
from modelrank.types import Boxes

log = logging.getLogger(__name__)
LAYOUT = 1  # of the converted files; a new number makes old conversions unseen
CHECKSUMS = "checksums.json"


@dataclass(frozen=True)
class PackageCopy:
    """The images in pinned package files. `read_parts` (see `readers`) turns the archive into arrays or files.

    further: more package files that `read_parts` takes, by the names of its arguments.

    The converted copy is cache/datasets/NAME/.converted-HASH: `index.json`, and for each split targets, groups and
    either one memory-mapped array of pixels or numbered image files; `checksums.json` has the SHA-256 of each, and a
    copy that is not what was written is made again. HASH is the identity: the packages' SHA-256, the reader and its
    parameters.
    """

    package: packages.PackageFile
    read_parts: Callable[..., Parts]
    further: Mapping[str, packages.PackageFile] = field(default_factory=dict)
    user_files: bool = False

    def present(self, places: Places) -> Path | None:
        if (self._converted(places) / "index.json").is_file():
            return self._converted(places)
        found = [packages.cached(package, places.cache) for package in self._packages()]
        return found[0] if all(found) else None

    def origin(self, places: Places) -> str | None:
        known = [packages.availability(each, places.cache, "images", each.package) for each in self._packages()]
        if any(each.state == "missing" for each in known):
            return None
        return " and ".join(each.where for each in known if each.state == "fetchable") or None

    def wanted(self, places: Places) -> str:
        return " and ".join(
            f"put the {_label(each)} at {places.cache / 'packages' / each.file}" for each in self._packages()
        )

    def fetch(self, places: Places) -> None:
        for package in self._packages():
            packages.fetch(package, places.cache)

    def read(self, places: Places) -> Contents:
        folder = self._converted(places)
        if (contents := self._loaded(folder)) is not None:  # also from a cache that cannot be written to
            return contents
        with packages.writable(folder.parent):
            folder.parent.mkdir(parents=True, exist_ok=True)
        with packages.writable(folder.parent), FileLock(folder.with_name(f"{folder.name}.lock")):
            if (contents := self._loaded(folder)) is not None:  # another process converted it meanwhile
                return contents
            if folder.exists():
                shutil.rmtree(folder)
            others = {name: packages.fetch(package, places.cache) for name, package in self.further.items()}
            self._convert(self.read_parts(packages.fetch(self.package, places.cache), **others), folder)
            return self._load(folder)

    def identity(self) -> str:
        reader = plain(self.read_parts)
        facts = [LAYOUT, self.package.sha256, reader["function"], *reader["arguments"]]
        facts += [{name: package.sha256 for name, package in self.further.items()}] * bool(self.further)
        return key(facts)

    def _packages(self) -> list[packages.PackageFile]:
        return [self.package, *self.further.values()]

    def _converted(self, places: Places) -> Path:
        return places.store / f".converted-{self.identity()[:16]}"

    def _convert(self, parts: Parts, folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".converting-") as name:
            scratch = Path(name) / "new"
            scratch.mkdir()
            index = {"classes": parts.classes, "splits": {}}
            for split, part in parts.splits.items():
                _save_targets(scratch / f"{split}.targets", part.targets)
                if part.groups is not None:
                    np.save(scratch / f"{split}.groups.npy", part.groups)
                files = []
                if isinstance(part.images, np.ndarray):
                    np.save(scratch / f"{split}.npy", part.images)
                else:
                    files = [f"{split}/{i:06}.png" for i in range(len(part.images))]
                    (scratch / split).mkdir()
                    for path, content in zip(files, part.images, strict=True):
                        (scratch / path).write_bytes(content)
                index["splits"][split] = {"ids": list(part.ids), "files": files}
            (scratch / "index.json").write_text(json.dumps(index))
            (scratch / CHECKSUMS).write_text(json.dumps(_checksums(scratch)))
            os.replace(scratch, folder)

    def _loaded(self, folder: Path) -> Contents | None:
        """None where there is no copy, or with a warning where it is damaged."""
        try:
            return self._load(folder) if folder.exists() else None
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            log.warning("%s is damaged (%s): converting the package again", folder, error)
            return None

    def _load(self, folder: Path) -> Contents:
        _check(folder)
        index = json.loads((folder / "index.json").read_text())
        splits = {}
        for split, entry in index["splits"].items():
            groups = folder / f"{split}.groups.npy"
            files = [folder / path for path in entry["files"]]
            splits[split] = ImageSplit(
                files or np.load(folder / f"{split}.npy", mmap_mode="r"),
                _load_targets(folder / f"{split}.targets"),
                entry["ids"],
                groups=np.load(groups) if groups.exists() else None,
            )
        source = " and ".join(_label(package) for package in self._packages())
        return Contents(splits, tuple(index["classes"]), f"registry package ({source})", self.identity())


def _checksums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CHECKSUMS)
    with ThreadPoolExecutor() as pool:  # hashing does not hold the interpreter's lock
        return dict(zip([str(path.relative_to(folder)) for path in files], pool.map(digest, files), strict=True))


def _check(folder: Path) -> None:
    """ValueError where a file is not what was written. A copy made by a version that kept no checksums gets them."""
    found, known = _checksums(folder), folder / CHECKSUMS
    if not known.exists():
        with suppress(OSError):  # a cache that cannot be written to
            scratch = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
            scratch.write_text(json.dumps(found))
            scratch.replace(known)
        return
    written = json.loads(known.read_text())
    if wrong := sorted(name for name in {*written, *found} if written.get(name) != found.get(name)):
        raise ValueError(f"{wrong[0]} and {len(wrong) - 1} more files are not what was written")


def _label(package: packages.PackageFile) -> str:
    return f"{package.registry} package {package.package} {package.version}"


def _save_targets(stem: Path, targets: np.ndarray) -> None:
    """One array; of boxes three: all corners and labels one below the other, and how many each image has."""
    if targets.dtype != object:
        return np.save(stem.with_name(f"{stem.name}.npy"), targets)
    np.savez(
        stem.with_name(f"{stem.name}.npz"),
        corners=np.concatenate([boxes.corners for boxes in targets]),
        labels=np.concatenate([boxes.labels for boxes in targets]),
        counts=np.array([len(boxes.labels) for boxes in targets]),
    )


def _load_targets(stem: Path) -> np.ndarray:
    several = stem.with_name(f"{stem.name}.npz")
    if not several.exists():
        return np.load(stem.with_name(f"{stem.name}.npy"))
    with np.load(several) as arrays:
        ends = np.cumsum(arrays["counts"])[:-1]
        parts = zip(np.split(arrays["corners"], ends), np.split(arrays["labels"], ends), strict=True)
        return object_array([Boxes(corners, labels) for corners, labels in parts])
