"""Data sets in the files that torchvision.datasets reads: the user's own, or torchvision's usual download."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torchvision.datasets
from filelock import FileLock

from modelrank.data.copies import Contents, Places
from modelrank.data.images import ImageSplit
from modelrank.keys import key
from modelrank.packages import impatient, writable
from modelrank.types import MissingAsset, ModelRankError


class _Images:
    """The images of a torchvision data set, without its targets."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index][0]


@dataclass(frozen=True)
class TorchvisionCopy:
    """One of torchvision's data set classes, which know the files' format and check their MD5 where they have one.

    dataset:  name of the class in torchvision.datasets, or a class of `benchmarks`.
    contains: a path inside the folder that tells that the copy is there (torchvision's own layout).
    splits:   split -> keyword arguments of the class, for example {train: {train: true}, test: {train: false}}.
    targets:  the attribute that lists the targets, so that no image is opened to know them.
    classes:  the attribute that lists the class names.
    download: whether to try torchvision's download, once, with `timeout` seconds of silence.
    needs:    what else must lie there, in words for the user who puts it there.
    """

    dataset: str | Callable[..., Any]
    contains: str
    splits: Mapping[str, Mapping[str, Any]]
    targets: str = "targets"
    classes: str = "classes"
    download: bool = True
    timeout: float = 5.0
    needs: str = ""
    user_files: bool = True

    def present(self, places: Places) -> Path | None:
        path = places.own / self.contains
        return path if path.exists() else None

    def origin(self, places: Places) -> str | None:
        return f"torchvision's download of {self._name}" if self.download else None

    def wanted(self, places: Places) -> str:
        return (
            f"put torchvision's {self._name} files into {places.own} (so that {self.contains} is there{self.needs}), "
            "or give another place: dataset.root=PATH"
        )

    def fetch(self, places: Places) -> None:
        """Downloaded beside its place and moved there when complete."""
        with writable(places.own):
            places.own.mkdir(parents=True, exist_ok=True)
        with FileLock(places.own / ".download.lock"):
            if self.present(places):
                return
            with tempfile.TemporaryDirectory(dir=places.own, prefix=".download-") as scratch:
                try:
                    with impatient(self.timeout):
                        for split in self.splits:
                            self._dataset(scratch, split, download=True)
                except (OSError, RuntimeError) as error:  # URLError is an OSError; MD5 mismatch a RuntimeError
                    raise MissingAsset(f"{self.origin(places)} did not work: {error}") from error
                for path in Path(scratch).iterdir():
                    if (places.own / path.name).is_dir():  # the rest of a copy that was not complete
                        shutil.rmtree(places.own / path.name)
                    os.replace(path, places.own / path.name)

    def read(self, places: Places) -> Contents:
        splits, classes = {}, ()
        for name in self.splits:
            try:
                dataset = self._dataset(places.own, name, download=False)
            except (OSError, RuntimeError, ValueError, KeyError) as error:
                raise ModelRankError(f"{places.own}: not torchvision's {self._name} files ({error})") from error
            classes = tuple(getattr(dataset, self.classes))
            targets = np.asarray(getattr(dataset, self.targets))
            targets = targets.astype(np.int64) if targets.ndim == 1 else targets
            splits[name] = ImageSplit(_Images(dataset), targets, [f"{name}/{i}" for i in range(len(targets))])
        return Contents(
            splits, classes, f"torchvision's {self._name} files in {places.own}", self._identity(places.own)
        )

    def _dataset(self, root: str | Path, split: str, download: bool) -> Any:
        return self._class(str(root), download=download, **self.splits[split])

    @property
    def _class(self) -> Callable[..., Any]:
        return getattr(torchvision.datasets, self.dataset) if isinstance(self.dataset, str) else self.dataset

    @property
    def _name(self) -> str:
        return getattr(self._class, "func", self._class).__name__

    def _rule(self) -> dict[str, dict[str, Any]]:
        return {split: dict(arguments) for split, arguments in self.splits.items()}

    def _identity(self, root: Path) -> str:
        """SHA-256 of the class, the split rule and paths, sizes and times of the files below the first part of
        `contains`. The ids count images within a split, so without the rule two draws would look the same."""
        top = root / Path(self.contains).parts[0]
        stats = [(path, path.stat()) for path in sorted(top.rglob("*") if top.is_dir() else [top]) if path.is_file()]
        listing = [[str(path.relative_to(root)), stat.st_size, stat.st_mtime_ns] for path, stat in stats]
        return key([self._class, self._rule(), listing])
