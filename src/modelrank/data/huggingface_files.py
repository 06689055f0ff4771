"""Image data sets as Hugging Face's `datasets` keeps them: of its hub, or a folder of its own formats."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelrank.data.copies import Contents, Places
from modelrank.data.folder import NAMES
from modelrank.data.images import ImageSplit
from modelrank.data.pixels import RULES, as_rgb, opened
from modelrank.data.spec import DatasetSpec
from modelrank.keys import digest
from modelrank.packages import impatient
from modelrank.types import MissingAsset, ModelRankError


def dataset(
    path: str,
    revision: str | None = None,
    subset: str | None = None,
    image: str | None = None,
    label: str | None = None,
    **spec: Any,
) -> DatasetSpec:
    """The data set of conf/dataset/huggingface.yaml; `spec` are the other arguments of `DatasetSpec`."""
    return DatasetSpec(copies={"huggingface": HuggingFaceCopy(path, revision, subset, image, label)}, **spec)


@dataclass(frozen=True)
class HuggingFaceCopy:
    """path: OWNER/NAME of the hub, a folder that `save_to_disk` wrote, or one that `load_dataset` reads (parquet, ...).

    revision: a commit or tag of the hub; subset: its configuration; image, label: columns, where they are not plain.
    """

    path: str
    revision: str | None = None
    subset: str | None = None
    image: str | None = None
    label: str | None = None
    user_files: bool = True

    def present(self, places: Places) -> Path | None:
        folder = Path(self.path).expanduser()
        return folder if folder.is_dir() else None

    def origin(self, places: Places) -> str:
        return f"{self.path} on the Hugging Face hub ({self.revision or 'its newest revision'})"

    def wanted(self, places: Places) -> str:
        return f"give dataset.path=FOLDER, written by save_to_disk or holding parquet files ({self.path} is none)"

    def fetch(self, places: Places) -> None:
        self._splits()

    def read(self, places: Places) -> Contents:
        found = self._splits()
        named: dict[str, Any] = {}
        for name, split in found.items():
            if (means := NAMES.get(name.casefold(), "")) and means in named:
                raise ModelRankError(f"{self.path} has several splits that mean {means}, {name} among them; keep one")
            named[means] = split
        if "train" not in named:
            raise ModelRankError(f"{self.path} has no split train, but {', '.join(found)}")
        image, label = self._columns(named["train"])
        classes = _classes(named["train"], label)
        splits, notes, content = {}, [], hashlib.sha256(f"{RULES} {classes}".encode())
        for name in ("train", "val", "test"):
            if name not in named:
                continue
            labels = _labels(self.path, named[name], label, classes)
            known = np.flatnonzero(labels >= 0)
            if len(known) < len(labels):
                notes.append(f"{len(labels) - len(known)} {name} images without a label are left out")
            if not len(known):
                continue
            rows = named[name].select(known) if len(known) < len(labels) else named[name]
            images = _Images(rows, image, f"{self.path}, {name}")
            files = list(images.digests())
            titles = [f"{name}/{i}" for i in known]
            splits[name] = ImageSplit(images, labels[known], titles, pictures=np.array(files))
            content.update(f"{name} {len(known)}".encode())
            content.update(b"".join(files))
        if left_out := [name for name in found if not NAMES.get(name.casefold())]:
            notes.append(f"splits that are left out: {', '.join(left_out)}")
        source = f"{self.path}, read by Hugging Face datasets"
        return Contents(splits, classes, source, content.hexdigest(), tuple(notes))

    def _splits(self) -> Mapping[str, Any]:
        try:
            import datasets
        except ImportError as error:
            raise ModelRankError("dataset=huggingface needs datasets: pip install 'modelrank[huggingface]'") from error
        folder = Path(self.path).expanduser()
        datasets.disable_progress_bars()
        try:
            with impatient():
                if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
                    found: Any = datasets.load_from_disk(str(folder))
                else:
                    place = str(folder) if folder.is_dir() else self.path
                    found = datasets.load_dataset(place, self.subset, revision=self.revision)
        except Exception as error:  # each file format and the network have their own
            raise MissingAsset(f"datasets cannot read {self.path}: {' '.join(str(error).split())[:300]}") from error
        return found if isinstance(found, dict) else {"train": found}

    def _columns(self, rows: Any) -> tuple[str, str]:
        """Those of the image and of the label: as given, else the only one of its kind."""
        import datasets

        def only(what: str, given: str | None, kind: type) -> str:
            fitting = [name for name, feature in rows.features.items() if isinstance(feature, kind)]
            if given is None and len(fitting) == 1:
                return fitting[0]
            if given is None or given not in rows.features:
                columns = ", ".join(rows.features)
                raise ModelRankError(
                    f"{self.path}: dataset.{what}={given or 'null'}; name one of its columns, {columns}"
                )
            return given

        return only("image", self.image, datasets.Image), only("label", self.label, datasets.ClassLabel)


def _classes(rows: Any, label: str) -> tuple[str, ...]:
    names = getattr(rows.features[label], "names", None)
    if names:
        return tuple(names)
    values = [value for value in rows[label] if value is not None]
    if values and isinstance(values[0], list | dict):
        raise ModelRankError(f"dataset.label={label}: the column holds lists, and one class an image is wanted")
    return tuple(map(str, sorted(set(values))))


def _labels(path: str, rows: Any, label: str, classes: tuple[str, ...]) -> np.ndarray:
    """N positions in `classes`, -1 where there is no label."""
    if hasattr(rows.features[label], "names"):
        return np.array([-1 if value is None else value for value in rows[label]], np.int64)
    place: dict[str | None, int] = {name: position for position, name in enumerate(classes)} | {None: -1}
    values = [None if value is None else str(value) for value in rows[label]]
    if unknown := sorted(map(str, set(values) - place.keys())):
        raise ModelRankError(f"{path}: the classes {unknown[:5]} are not among those of train, {list(classes)[:20]}")
    return np.array([place[value] for value in values], np.int64)


class _Images:
    """The images of a split, decoded when they are asked for."""

    def __init__(self, rows: Any, image: str, where: str) -> None:
        import datasets

        rows = rows.select_columns([image]).cast_column(image, datasets.Image(decode=False))
        self.rows, self.image, self.where = rows, image, where

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        content, path = self._stored(self.rows[index], index)
        if content is None:
            return as_rgb(path)
        with opened(io.BytesIO(content), f"{self.where}, image {index}") as file:
            return as_rgb(file)

    def digests(self) -> Any:
        """SHA-256 of the file behind each image, wherever it lies."""
        for index, row in enumerate(self.rows):
            content, path = self._stored(row, index)
            yield hashlib.sha256(content).digest() if content is not None else bytes.fromhex(digest(Path(path)))

    def _stored(self, row: Any, index: int) -> tuple[bytes | None, str]:
        """The image file, or where it lies."""
        if (stored := row[self.image]) is None:
            raise ModelRankError(f"{self.where}, image {index} is missing; take the row out")
        return stored["bytes"], stored["path"]
