"""Weights in files that the user has: a state dict, alone or inside a training checkpoint."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from modelrank.hub.architectures import resnet50_trunk
from modelrank.hub.model import PretrainedModel
from modelrank.hub.preprocessing import Preprocessing
from modelrank.hub.state_dicts import RULES, read_checkpoint
from modelrank.hub.weights import check_fit, check_floating, renamed
from modelrank.keys import digest
from modelrank.settings import texts
from modelrank.types import Availability, MissingAsset, ModelRankError

log = logging.getLogger(__name__)

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".tar", ".bin")


@dataclass(frozen=True)
class CheckpointFile:
    """One file of tensors, see `read_checkpoint`, which takes `key`.

    source: where the file can be had, for the message when it is not there; downloads are left to the user.
    prefix: of the names that belong to the network; it is cut off, and names without it are left out (a second
            encoder, a queue). "" = as the names are, or where they do not fit, the only prefix with which they do.
    drop:   beginnings of the names (after the prefix) of heads that the architecture does not have.
    rename: regular expressions and replacements, applied one after the other.
    """

    path: str
    source: str = ""
    key: str = ""
    prefix: str = ""
    drop: Sequence[str] = ()
    rename: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "drop", texts(self.drop))

    def availability(self, cache: Path, name: str) -> Availability:
        if self._path.is_file():
            return Availability("weights", name, "present", str(self._path))
        return Availability("weights", name, "missing", f"put the file at {self._path}{self._from}")

    def load_into(self, model: nn.Module, cache: Path) -> None:
        """Put the file's tensors into `model`, all of them and nothing else.

        MissingAsset when there is no file, ModelRankError when it cannot be read or does not fit. A file may lack the
        counters of batch normalisation, which nothing uses.
        """
        state = model.state_dict()
        found = self._named(read_checkpoint(self._present(), self.key), list(state))
        counters = {name: value for name, value in state.items() if name.endswith("num_batches_tracked")}
        found = counters | found
        wanted = {name: value.shape for name, value in state.items()}
        try:
            check_fit({name: value.shape for name, value in found.items()}, wanted, where=str(self._path))
        except ModelRankError as error:
            raise ModelRankError(
                f"{error}. Give the network that was trained, with its number of classes (hub=checkpoints: "
                "hub.architecture), the prefix of its names (hub.prefix), or the beginnings of names in the file that "
                "it does not have (hub.drop); for a file without a head a network without one (timm.create_model with "
                "num_classes=0, modelrank.hub.architectures.resnet50_trunk)"
            ) from None
        check_floating(found, state, where=str(self._path))
        state.update(found)  # keeps the versions of the modules, which some check
        model.load_state_dict(state)

    def identity(self) -> dict[str, Any]:
        """JSON-able: the file's content and what is done to it. MissingAsset when there is no file."""
        rules = {"prefix": self.prefix, "drop": list(self.drop), "rename": [list(rule) for rule in self.rename.items()]}
        return {"sha256": digest(self._present()), "key": self.key, "reading": RULES, **rules}

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

    def _named(self, tensors: Mapping[str, Tensor], wanted: Sequence[str]) -> dict[str, Tensor]:
        prefix = self.prefix or ("" if self.rename else self._prefix(tensors, wanted))
        found = {
            name.removeprefix(prefix): value
            for name, value in tensors.items()
            if name.startswith(prefix) and not name.removeprefix(prefix).startswith(tuple(self.drop))
        }
        if not found:
            raise ModelRankError(
                f"{self._path}: no name begins with {prefix!r}; it holds {', '.join(list(tensors)[:4])}, ..."
            )
        return renamed(found, self.rename, str(self._path))

    def _prefix(self, names: Mapping[str, Tensor], wanted: Sequence[str]) -> str:
        """What a wrapper (DDP, torch.compile, a LightningModule) put before every name that the network wants."""
        needed = [name for name in wanted if not name.endswith("num_batches_tracked")]
        candidates = [name.removesuffix(needed[0]) for name in names if name.endswith(needed[0])]
        fitting = [prefix for prefix in candidates if all(prefix + name in names for name in needed)]
        if "" in fitting or not fitting:
            return ""
        if len(fitting) > 1:
            raise ModelRankError(f"{self._path} holds several such networks; choose: hub.prefix={' or '.join(fitting)}")
        log.info("%s: the names of the network begin with %r, which is cut off", self._path, fitting[0])
        return fitting[0]


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
    key: str = "",
) -> dict[str, PretrainedModel]:
    """Snapshots of one training run as a hub (`hub=checkpoints`): a folder of files for one architecture.

    Their names are those of the files without suffix (with it where two would share one), ordered by the numbers in
    them (epoch_2 before epoch_10). Hidden files, folders and files of other suffixes are left out, and it is said.
    """
    root = Path(str(folder)).expanduser() if folder else None
    if root is None or not root.is_dir():
        raise ModelRankError(f"hub.folder={folder}: give the folder that holds the run's checkpoints")
    everything = sorted(root.iterdir())
    paths = [path for path in everything if path.suffix.lower() in SUFFIXES and path.is_file() and path.name[0] != "."]
    if not paths:
        raise ModelRankError(f"hub.folder={folder} holds no checkpoint ({', '.join(SUFFIXES)})")
    if others := [_shown(path.name) for path in everything if path not in paths]:
        log.info(
            "%s: %d of %d entries are no checkpoints: %s", root, len(others), len(everything), ", ".join(others[:5])
        )
    twice = Counter(map(_stem, paths))
    files = {_stem(path) if twice[_stem(path)] == 1 else _shown(path.name): path for path in paths}
    order = sorted(
        files, key=lambda name: [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
    )
    return {
        name: PretrainedModel(
            name=name,
            architecture=architecture,
            weights=CheckpointFile(str(files[name]), key=key, prefix=prefix, drop=drop),
            family="snapshot",
            pretraining=f"{root.name}, {_shown(files[name].name)}",
            licence="your own",
            preprocessing=preprocessing,
        )
        for name in order
    }


def _stem(path: Path) -> str:
    """The name without what says that it is a checkpoint: 'best-val_loss=1.91.ckpt' and 'best.pth.tar' lose no more."""
    name = _shown(path.name)
    for suffix in (".tar", *SUFFIXES):
        name = name[: -len(suffix)] or name if name.lower().endswith(suffix) else name
    return name


def _shown(name: str) -> str:
    """A file's name as text that can be printed and saved: bytes that are no UTF-8 appear as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
