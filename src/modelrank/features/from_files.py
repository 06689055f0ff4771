"""Features that the user saved, of any modality: one file a model, in place of networks that look at images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from modelrank.data.target import Target
from modelrank.types import Availability, FeatureSet, ModelRankError

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
        arrays = self._arrays()
        if "features" not in arrays:
            raise ModelRankError(f"{self.path} has {', '.join(arrays) or 'nothing'}, but no array named features")
        ids = [str(one) for one in arrays["ids"]] if "ids" in arrays else []
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

    def _order(self, ids: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
        place = {one: row for row, one in enumerate(ids)}
        if len(place) < len(ids):
            raise ModelRankError(f"{self.path}: ids are there twice")
        if missing := [one for one in wanted if one not in place]:
            raise ModelRankError(
                f"{self.path} lacks {len(missing)} of the {len(wanted)} samples that have targets, first {missing[0]!r}"
            )
        return np.array([place[one] for one in wanted])

    def _arrays(self) -> dict[str, np.ndarray]:
        try:
            if self.path.suffix == ".safetensors":
                found = {name: tensor.numpy() for name, tensor in load_file(self.path).items()}
            else:
                with self.path.open("rb") as file:
                    loaded = np.load(file, allow_pickle=False)
                    found = {"features": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
        except (OSError, ValueError, TypeError, EOFError, BadZipFile, SafetensorError) as error:
            raise ModelRankError(f"cannot read the features {self.path}: {error}") from error
        for name in {"features", "logits"} & set(found):
            if found[name].ndim != 2 or found[name].dtype.kind not in "fiu":
                raise ModelRankError(f"{self.path}: {name} must be a matrix of numbers, it is {found[name].shape}")
            own = found[name].dtype
            found[name] = found[name].astype(own.newbyteorder("=") if own.kind == "f" else np.float32, copy=False)
        return found


def hub(folder: str) -> dict[str, SavedFeatures]:
    """A model for each file of features in the folder, by the file's name without suffix."""
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise ModelRankError(f"hub.folder={folder}: there is no such folder")
    files = [file for file in sorted(path.glob("*")) if file.suffix in SUFFIXES and file.stem != "targets"]
    if not files:
        raise ModelRankError(f"hub.folder={folder}: no file of features there ({', '.join(SUFFIXES)})")
    if len({file.stem for file in files}) < len(files):
        raise ModelRankError(f"hub.folder={folder}: two files of one name, {', '.join(file.name for file in files)}")
    return {file.stem: SavedFeatures(file.stem, file) for file in files}
