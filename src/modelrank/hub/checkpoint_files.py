"""Weights in files that the user has: a state dict, alone or inside a training checkpoint."""

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from modelrank.hub.architectures import resnet50_trunk
from modelrank.hub.model import PretrainedModel
from modelrank.hub.preprocessing import Preprocessing
from modelrank.hub.weights import check_fit
from modelrank.keys import digest
from modelrank.types import Availability, MissingAsset, ModelRankError

CONTAINERS = ("state_dict", "model", "resnet")  # keys under which training scripts keep the network
SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".tar", ".bin")


@dataclass(frozen=True)
class CheckpointFile:
    """One file of tensors: *.safetensors, or anything that `torch.load(weights_only=True)` reads.

    source: where the file can be had, for the message when it is not there; downloads are left to the user.
    prefix: of the names that belong to the network; it is cut off, and names without it are left out (a second
            encoder, a queue).
    drop:   beginnings of the names (after the prefix) of heads that the architecture does not have.
    rename: regular expressions and replacements, applied one after the other.
    """

    path: str
    source: str = ""
    prefix: str = ""
    drop: Sequence[str] = ()
    rename: Mapping[str, str] = field(default_factory=dict)

    def availability(self, cache: Path, name: str) -> Availability:
        if self._path.is_file():
            return Availability("weights", name, "present", str(self._path))
        return Availability("weights", name, "missing", f"put the file at {self._path}{self._from}")

    def load_into(self, model: nn.Module, cache: Path) -> None:
        """Put the file's tensors into `model`, all of them and nothing else.

        MissingAsset when there is no file, ModelRankError when it cannot be read or does not fit. A file may lack the
        counters of batch normalisation, which nothing uses.
        """
        found = self._named(read_checkpoint(self._present()))
        state = model.state_dict()
        counters = {name: value for name, value in state.items() if name.endswith("num_batches_tracked")}
        found = counters | found
        wanted = {name: value.shape for name, value in state.items()}
        check_fit({name: value.shape for name, value in found.items()}, wanted, where=str(self._path))
        state.update(found)  # keeps the versions of the modules, which some check
        model.load_state_dict(state)

    def identity(self) -> dict[str, Any]:
        """JSON-able: the file's content and what is done to it. MissingAsset when there is no file."""
        rules = {"prefix": self.prefix, "drop": list(self.drop), "rename": [list(rule) for rule in self.rename.items()]}
        return {"sha256": digest(self._present()), **rules}

    @property
    def _path(self) -> Path:
        return Path(self.path).expanduser()

    @property
    def _from(self) -> str:
        return f" (from {self.source})" if self.source else ""

    def _present(self) -> Path:
        if not self._path.is_file():
            raise MissingAsset(f"no weights at {self._path}: put the file there{self._from}")
        return self._path

    def _named(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = {
            name.removeprefix(self.prefix): value
            for name, value in tensors.items()
            if name.startswith(self.prefix) and not name.removeprefix(self.prefix).startswith(tuple(self.drop))
        }
        if not found:
            raise ModelRankError(
                f"{self._path}: no name begins with {self.prefix!r}; it holds {', '.join(list(tensors)[:4])}, ..."
            )
        for pattern, new in self.rename.items():
            found = {re.sub(pattern, new, name): value for name, value in found.items()}
        return found


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The named tensors of a file, taken out of their container ('state_dict', 'model' or 'resnet') if there is one.

    Runs no code from the file. The one class allowed beyond torch's own is `argparse.Namespace`, the options that
    training scripts like to save; it holds plain values.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, KeyError) as error:
        raise ModelRankError(  # torch's own advice is to run the file's code: withheld
            f"{path} is damaged or holds more than tensors, which is not read; save its state dict alone and use that"
        ) from error
    if isinstance(content, Mapping):
        content = next((content[key] for key in CONTAINERS if isinstance(content.get(key), Mapping)), content)
        if content and all(isinstance(value, Tensor) for value in content.values()):
            return content if isinstance(content, dict) else dict(content)  # as it is: it may carry module versions
    keys = (
        f"its keys are {', '.join(map(str, list(content)[:6]))}" if isinstance(content, Mapping) else "it has no keys"
    )
    raise ModelRankError(
        f"{path} holds no mapping of names to tensors, neither itself nor under {', '.join(CONTAINERS)} ({keys})"
    )


def resnet50_checkpoint(
    name: str, file: str, pretraining: str, licence: str, preprocessing: Preprocessing, **rules: Any
) -> PretrainedModel:
    """A ResNet-50 without head from one file: the models of conf/model/self_supervised. rules: of `CheckpointFile`."""
    return PretrainedModel(
        name=name,
        architecture=resnet50_trunk,
        weights=CheckpointFile(file, **rules),
        family="ResNet",
        pretraining=pretraining,
        licence=licence,
        preprocessing=preprocessing,
    )


def snapshots(
    folder: str | None,
    architecture: Callable[[], nn.Module],
    preprocessing: Preprocessing,
    prefix: str = "",
    drop: Sequence[str] = (),
) -> dict[str, PretrainedModel]:
    """Snapshots of one training run as a hub (`hub=checkpoints`): a folder of files for one architecture.

    Their names are those of the files without suffix, ordered by the numbers in them (epoch_2 before epoch_10).
    """
    root = Path(folder).expanduser() if folder else None
    if root is None or not root.is_dir():
        raise ModelRankError(f"hub.folder={folder}: give the folder that holds the run's checkpoints")
    files = {path.name.split(".")[0]: path for path in root.iterdir() if path.suffix in SUFFIXES}
    if not files:
        raise ModelRankError(f"hub.folder={folder} holds no checkpoint ({', '.join(SUFFIXES)})")
    order = sorted(
        files, key=lambda name: [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
    )
    return {
        name: PretrainedModel(
            name=name,
            architecture=architecture,
            weights=CheckpointFile(str(files[name]), prefix=prefix, drop=drop),
            family="snapshot",
            pretraining=f"{root.name}, {files[name].name}",
            licence="your own",
            preprocessing=preprocessing,
        )
        for name in order
    }
