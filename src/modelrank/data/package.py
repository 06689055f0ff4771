"""Images carried by a registry package: converted once into files that are read fast, then read from there."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from filelock import FileLock

from modelrank import packages
from modelrank.data.copies import Contents, Places
from modelrank.data.images import ImageSplit
from modelrank.data.readers import Parts

log = logging.getLogger(__name__)
LAYOUT = 1  # of the converted files; a new number makes old conversions unseen


@dataclass(frozen=True)
class PackageCopy:
    """The images in one pinned package file. `read_parts` (see `readers`) turns the archive into arrays or files.

    The converted copy is cache/datasets/NAME/.converted-HASH: `index.json`, and for each split targets, groups and
    either one memory-mapped array of pixels or numbered image files. HASH is the identity: the package's SHA-256, the
    reader and its parameters.
    """

    package: packages.PackageFile
    read_parts: Callable[[Path], Parts]
    user_files: bool = False

    def present(self, places: Places) -> Path | None:
        if (self._converted(places) / "index.json").is_file():
            return self._converted(places)
        return packages.cached(self.package, places.cache)

    def origin(self, places: Places) -> str | None:
        known = packages.availability(self.package, places.cache, "images", self.package.package)
        return known.where if known.state == "fetchable" else None

    def wanted(self, places: Places) -> str:
        return f"put the {self._label()} at {places.cache / 'packages' / self.package.file}"

    def fetch(self, places: Places) -> None:
        packages.fetch(self.package, places.cache)

    def read(self, places: Places) -> Contents:
        folder = self._converted(places)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            if folder.exists():
                try:
                    return self._load(folder)
                except (OSError, ValueError, KeyError) as error:
                    log.warning("%s is damaged (%s): converting the package again", folder, error)
                    shutil.rmtree(folder)
            self._convert(packages.fetch(self.package, places.cache), folder)
            return self._load(folder)

    def identity(self) -> str:
        reader = self.read_parts if isinstance(self.read_parts, partial) else partial(self.read_parts)
        name = f"{reader.func.__module__}.{reader.func.__qualname__}"
        facts = [LAYOUT, self.package.sha256, name, reader.keywords]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _label(self) -> str:
        return f"{self.package.registry} package {self.package.package} {self.package.version}"

    def _converted(self, places: Places) -> Path:
        return places.store / f".converted-{self.identity()[:16]}"

    def _convert(self, archive: Path, folder: Path) -> None:
        parts = self.read_parts(archive)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".converting-") as name:
            scratch = Path(name) / "new"
            scratch.mkdir()
            index = {"classes": parts.classes, "splits": {}}
            for split, part in parts.splits.items():
                np.save(scratch / f"{split}.targets.npy", part.targets)
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
            os.replace(scratch, folder)

    def _load(self, folder: Path) -> Contents:
        index = json.loads((folder / "index.json").read_text())
        splits = {}
        for split, entry in index["splits"].items():
            groups = folder / f"{split}.groups.npy"
            files = [folder / path for path in entry["files"]]
            splits[split] = ImageSplit(
                files or np.load(folder / f"{split}.npy", mmap_mode="r"),
                np.load(folder / f"{split}.targets.npy"),
                entry["ids"],
                groups=np.load(groups) if groups.exists() else None,
            )
        return Contents(splits, tuple(index["classes"]), f"registry package ({self._label()})", self.identity())
