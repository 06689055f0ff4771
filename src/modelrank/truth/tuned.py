"""A model of the hub after fine-tuning at one grid point, as a model whose features can be extracted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from modelrank.data.images import ImageData
from modelrank.hub.model import PretrainedModel
from modelrank.truth.finetune import FineTuning
from modelrank.truth.grid import Point
from modelrank.truth.ledger import data_id, model_id, protocol_id, rows
from modelrank.truth.measure import Alone, cell_folder
from modelrank.truth.protocol import MakeTrainer
from modelrank.types import NotMeasured


@dataclass(frozen=True, kw_only=True)
class TunedModel(PretrainedModel):
    """`source` after training on the train split of `data`; its penultimate features feed the new head.

    The network is trained when it is loaded, so not at all where its features are in the feature store.
    """

    source: PretrainedModel
    data: ImageData = field(repr=False)
    protocol: FineTuning
    point: Point
    trainer: MakeTrainer
    training_seed: int

    def load(self, cache: Path, *, seed: int = 0) -> nn.Module:
        """Train; a second process that wants the same waits. `seed` is of random weights, as for the source; batches
        and the head take `training_seed`."""
        folder = cell_folder(self.source, self.data, self.protocol, cache=cache, seed=self.training_seed) / "tuned"
        with Alone(folder, "is fine-tuning this model"):  # other features of the same network have other locks
            return self.protocol.trained(
                self.source,
                self.data,
                self.point,
                trainer=self.trainer,
                folder=folder,
                cache=cache,
                seed=self.training_seed,
                weights_seed=seed,
            )

    def identity(self, *, seed: int = 0) -> dict[str, Any]:
        """All that decides the weights: the source, the images, the protocol, the point and the seed."""
        return {
            "tuned": self.source.identity(seed=seed),
            "on": self.data.fingerprint,
            "mirror": self.data.mirror,
            "protocol": protocol_id(self.protocol),
            "point": dict(self.point),
            "seed": self.training_seed,
        }


def tuned(
    source: PretrainedModel, data: ImageData, protocol: FineTuning, point: Point, *, trainer: MakeTrainer, seed: int
) -> TunedModel:
    """The model after fine-tuning; nothing is trained yet."""
    return TunedModel(
        **vars(source),
        source=source,
        data=data,
        protocol=protocol,
        point=point,
        trainer=trainer,
        training_seed=seed,
    )


def chosen_point(
    paths: Sequence[str | Path], model: PretrainedModel, data: ImageData, protocol: FineTuning, *, seed: int
) -> Point | None:
    """The grid point that the protocol chose on val when this model was measured on these images; None if it was not.

    paths: tables of measured accuracies, as in conf/truth/measured.yaml.
    """
    try:
        known = rows(paths)
    except NotMeasured:
        return None
    wanted: Mapping[str, object] = {
        "model_id": model_id(model),
        "data_id": data_id(data),
        "protocol_id": protocol_id(protocol),
        "seed": seed,
    }
    for column, value in wanted.items():
        known = known.loc[known[column] == value]
    return None if known.empty else {"lr": float(known.iloc[-1]["lr"]), "wd": float(known.iloc[-1]["weight_decay"])}
