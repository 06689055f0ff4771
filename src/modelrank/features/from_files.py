"""Features that the user saved, of any modality: one file a model, in place of networks that look at images."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from modelrank.data.target import Target
from modelrank.types import Availability, FeatureSet, ModelRankError

log = logging.getLogger(__name__)

SUFFIXES = (".npy", ".npz", ".safetensors")


@dataclass(frozen=True)
class SavedFeatures:
    """A model known by its embeddings in `path`: an N x D array, or `features` and, where there are, `ids` (N) and
    `logits` (N x S) of an .npz or .safetensors file."""

    name: str
    path: Path
    licence: ClassVar[str] = "your own"

    def availability(self, cache: Path) -> Availability:
        return Availability("features", self.name, "present" if self.path.is_file() else "missing", str(self.path))

    def identity(self, *, seed: int = 0) -> dict[str, Any]:
        """The content of the file."""
        with self.path.open("rb") as file:
            return {"features": hashlib.file_digest(file, "sha256").hexdigest()}

    def features(self, target: Target) -> FeatureSet:
        """Rows in the order of the targets: matched by id where both have ids, else by place.

        ModelRankError naming the file where rows and targets do not fit.
        """
        arrays = self._arrays("features", "ids", "logits")
        ids = _texts(arrays)
        n = len(arrays["features"])
        for name in {"ids", "logits"} & set(arrays):
            if len(arrays[name]) != n:
                raise ModelRankError(f"{self.path} has {n} rows of features, but {len(arrays[name])} of {name}")
        if ids and target.ids:
            order = self._order(ids, target.ids)
        elif n != len(target.targets):
            raise ModelRankError(
                f"{self.path} has {n} rows, but {target.source} has {len(target.targets)} targets; give ids with "
                "both, or as many rows"
            )
        else:
            order = np.arange(n)
        logits = torch.from_numpy(arrays["logits"][order]) if "logits" in arrays else None
        features, targets = torch.from_numpy(arrays["features"][order]), torch.from_numpy(target.targets)
        return FeatureSet(features, targets, target.task, logits=logits)

    def ids(self) -> list[str]:
        """Of its rows; empty where the file has none. Features are not read."""
        return [] if self.path.suffix == ".npy" else _texts(self._arrays("ids"))

    def _order(self, ids: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
        place = {one: row for row, one in enumerate(ids)}
        if len(place) < len(ids):
            raise ModelRankError(f"{self.path}: ids are there twice")
        if missing := [one for one in wanted if one not in place]:
            raise ModelRankError(
                f"{self.path} lacks {len(missing)} of the {len(wanted)} samples that have targets, first {missing[0]!r}"
            )
        return np.array([place[one] for one in wanted])

    def _arrays(self, *names: str) -> dict[str, np.ndarray]:
        """Those of these names that it has; ModelRankError where it has no features. Others are not read."""
        try:
            if self.path.suffix == ".safetensors":
                with safe_open(self.path, "pt") as tensors:
                    held = list(tensors.keys())
                    read = {name: tensors.get_tensor(name) for name in held if name in names}
                    # NumPy has no bfloat16
                    found = {n: (x.float() if x.dtype == torch.bfloat16 else x).numpy() for n, x in read.items()}
            else:
                with self.path.open("rb") as file:
                    loaded = np.load(file, allow_pickle=False)
                    loaded = {"features": loaded} if isinstance(loaded, np.ndarray) else loaded
                    held = list(loaded)
                    found = {name: loaded[name] for name in held if name in names}
            if "ids" in found and found["ids"].dtype.kind == "S":  # HDF5's text, for one
                found["ids"] = np.char.decode(found["ids"], "utf-8")
        except (OSError, ValueError, TypeError, EOFError, BadZipFile, SafetensorError) as error:
            reason = str(error)
            if "allow_pickle" in reason:  # NumPy's advice is to run the file's code: withheld
                reason = "it holds Python objects, which are not read; save numbers, and ids as text (ids.astype(str))"
            raise ModelRankError(f"cannot read the features {self.path}: {reason}") from error
        if "features" not in held:
            raise ModelRankError(f"{self.path} has {', '.join(held) or 'nothing'}, but no array named features")
        for name in {"features", "logits"} & set(found):
            own = found[name].dtype
            if found[name].ndim != 2 or own.kind not in "fiu":
                raise ModelRankError(
                    f"{self.path}: {name} must be a matrix of numbers, not {found[name].shape} of {own}"
                )
            found[name] = found[name].astype(own.newbyteorder("=") if own.kind == "f" else np.float32, copy=False)
        return found


def refuse_orders(models: Iterable[SavedFeatures], target: Target) -> None:
    """ModelRankError where the targets have no ids, so that rows are matched by their place, and ids of two models say
    that this cannot be right for both. Where one has ids, it is said."""
    known: dict[Path, list[str]] = {}
    for model in () if target.ids else models:
        with suppress(ModelRankError):  # what cannot be read is said where its features are
            if ids := model.ids():
                known[model.path] = ids
    if not known:
        return
    first = next(iter(known))
    if others := [path for path in known if known[path] != known[first]]:
        raise ModelRankError(
            f"ids in {first} and {others[0]} are not the same in the same order, and {target.source} has none to match "
            "them by; give a .csv of targets with the column id (dataset.id_column)"
        )
    log.warning("%s has ids, %s has none: rows are matched by their place, not by ids", first, target.source)


def _texts(arrays: Mapping[str, np.ndarray]) -> list[str]:
    return [str(one) for one in arrays.get("ids", ())]


def hub(folder: str) -> dict[str, SavedFeatures]:
    """A model for each file of features in the folder, by the file's name without suffix."""
    path = Path(str(folder)).expanduser()
    if not path.is_dir():
        raise ModelRankError(f"hub.folder={folder}: there is no such folder")
    files = [file for file in sorted(path.glob("[!.]*")) if file.suffix in SUFFIXES and file.stem != "targets"]
    if not files:
        raise ModelRankError(f"hub.folder={folder}: no file of features there ({', '.join(SUFFIXES)})")
    if len({file.stem for file in files}) < len(files):
        raise ModelRankError(f"hub.folder={folder}: two files of one name, {', '.join(file.name for file in files)}")
    return {file.stem: SavedFeatures(file.stem, file) for file in files}
