"""Weights that this project trained itself and ships beside its code, in experiments/pretrained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from modelrank.hub.model import PretrainedModel
from modelrank.hub.preprocessing import Preprocessing
from modelrank.hub.weights import check_fit
from modelrank.keys import digest
from modelrank.root import ROOT
from modelrank.types import Availability, MissingAsset, ModelRankError

FOLDER = ROOT / "experiments" / "pretrained"


@dataclass(frozen=True)
class ShippedWeights:
    """experiments/pretrained/NAME.safetensors, made by `stage=pretrain`; its bytes are pinned.

    The tensors may be float16; they become what the architecture has. Counters of batch normalisation may be absent.
    """

    name: str
    sha256: str

    def availability(self, cache: Path, name: str) -> Availability:
        if self._path.is_file():
            return Availability("weights", name, "present", str(self._path))
        return Availability("weights", name, "missing", self._way_out)

    def load_into(self, model: nn.Module, cache: Path) -> None:
        """Put the file's tensors into `model`, all of them and nothing else.

        MissingAsset when there is no file, ModelRankError when it is not the pinned one or does not fit.
        """
        if not self._path.is_file():
            raise MissingAsset(f"no weights of {self.name}: {self._way_out}")
        if (found := digest(self._path)) != self.sha256:
            raise ModelRankError(
                f"{self._path} is not the file that conf pins (sha256 {found[:12]}, not {self.sha256[:12]}); "
                "git checkout or a new installation brings the shipped one back; for your own weights: hub=checkpoints"
            )
        try:
            tensors = load_file(self._path)
        except SafetensorError as error:
            raise ModelRankError(f"{self._path} is no safetensors file: {error}") from error
        state = model.state_dict()
        counters = {name: value for name, value in state.items() if name.endswith("num_batches_tracked")}
        tensors = counters | tensors
        check_fit(
            {name: value.shape for name, value in tensors.items()},
            {name: value.shape for name, value in state.items()},
            where=str(self._path),
        )
        model.load_state_dict(tensors)

    def identity(self) -> dict[str, Any]:
        return {"sha256": self.sha256}

    @property
    def _path(self) -> Path:
        return FOLDER / f"{self.name}.safetensors"

    @property
    def _way_out(self) -> str:
        return f"they are shipped as {self._path}, which is gone; git checkout or a new installation brings it back"


def encoder(
    name: str,
    architecture: Callable[[], nn.Module],
    sha256: str | None,
    pretraining: str,
    preprocessing: Preprocessing,
    family: str,
) -> PretrainedModel:
    """A shipped encoder, NAME being that of its file; sha256 = None: the untrained control."""
    return PretrainedModel(
        name=name,
        architecture=architecture,
        weights=ShippedWeights(name, sha256) if sha256 else None,
        family=family,
        pretraining=pretraining,
        licence="MIT (this project); see conf/dataset for the images",
        preprocessing=preprocessing,
    )


def snapshots(
    weights: Mapping[str, str],
    architecture: Callable[[], nn.Module],
    pretraining: str,
    preprocessing: Preprocessing,
    family: str,
) -> dict[str, PretrainedModel]:
    """A hub of shipped files of one training run; weights: name -> sha256, in the order of training."""
    return {
        name: encoder(name, architecture, sha256, pretraining, preprocessing, family)
        for name, sha256 in weights.items()
    }
