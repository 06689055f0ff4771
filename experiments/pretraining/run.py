"""One pre-training run, kept in a folder named after its content: what was finished is not done again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from experiments.pretraining.curve import Curve, Snapshots, save_weights
from experiments.pretraining.objectives import Objective
from experiments.pretraining.task import Pretraining
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor, nn
from torchvision.transforms.v2 import CenterCrop, Compose, InterpolationMode, Resize

from modelrank.data.images import ImageData
from modelrank.hub.penultimate import feature_dimension
from modelrank.hub.preprocessing import Preprocessing
from modelrank.keys import digest, key
from modelrank.trainers import SILENT, StepProgress, quiet
from modelrank.types import ModelRankError


@dataclass(frozen=True)
class Recipe:
    """How an encoder is pre-trained on the train split of `data`; the k-NN probe of its curve sees the val split.

    encoder:   makes the untrained network, images to B x D.
    objective: makes an Objective from (encoder, dimension, classes).
    snapshots: numbers of steps after which the weights are kept.
    every:     steps between the rows of the curve; checkpoint_every: between checkpoints.
    """

    name: str
    encoder: Callable[[], nn.Module]
    objective: Callable[..., Objective]
    data: ImageData
    preprocessing: Preprocessing
    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    bfloat16: bool
    snapshots: Sequence[int]
    every: int
    checkpoint_every: int
    seed: int

    def __post_init__(self) -> None:
        if len(self.data.splits["train"]) < self.batch_size:
            raise ModelRankError(
                f"stage.batch_size={self.batch_size}: {self.data.name} has only {len(self.data.splits['train'])} "
                "images to pre-train on"
            )
        if self.data.task != "classification":
            raise ModelRankError(f"{self.data.name} is a {self.data.task} set; pre-training takes classification sets")

    def key(self) -> str:
        """16 hex digits that change whenever something does that decides the weights."""
        operational = {"name", "every", "checkpoint_every"}
        content = {name: value for name, value in vars(self).items() if name not in operational}
        return key(content | {"data": self.data.fingerprint, "snapshots": sorted(self.snapshots)})[:16]

    def run(self, folder: Path, trainer: Callable[..., pl.Trainer]) -> dict[str, Any]:
        """Train, or go on where an earlier process stopped; `folder` then holds NAME.safetensors, NAME.csv (curve) and
        NAME_stepNNNN.safetensors. Returns the last row of the curve, the first k-NN accuracy, and the hashes.

        Cost: steps x batch_size x views images forward and backward. ModelRankError when the loss is no number.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with isolate_rng(), quiet():
            torch.manual_seed(self.seed)
            encoder = self.encoder()
            dimension = feature_dimension(encoder, size=self.preprocessing.size)
            task = self._task(encoder, dimension)
            curve = Curve(folder / f"{self.name}.csv", *self._tensors("val"), every=self.every)
            saving = ModelCheckpoint(
                folder, "last", every_n_train_steps=self.checkpoint_every, enable_version_counter=False
            )
            progress = StepProgress(self.name, self.batch_size)
            fitting = trainer(
                max_steps=self.steps,
                max_epochs=-1,
                callbacks=[curve, Snapshots(folder, self.name, self.snapshots), saving, progress],
                **(SILENT | {"enable_checkpointing": True}),
            )
            last = folder / "last.ckpt"
            fitting.fit(task, ckpt_path=last if last.exists() else None, weights_only=True)
        save_weights(task.encoder, folder / f"{self.name}.safetensors")
        return {
            "dimension": dimension,
            "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
            **curve.rows[-1],
            "knn_untrained": curve.rows[0]["knn"],
            "sha256": {path.name: digest(path) for path in sorted(folder.glob("*.safetensors"))},
        }

    def _task(self, encoder: nn.Module, dimension: int) -> Pretraining:
        return Pretraining(
            encoder,
            self.objective(encoder=encoder, dimension=dimension, classes=len(self.data.classes)),
            *self._tensors("train"),
            mean=self.preprocessing.mean,
            std=self.preprocessing.std,
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            bfloat16=self.bfloat16,
            seed=self.seed,
        )

    def _tensors(self, split: str) -> tuple[Tensor, Tensor]:
        """Images N x 3 x size x size uint8 and labels N int64 of a split."""
        images, size = self.data.splits[split], self.preprocessing.size
        shrink = Compose([Resize(size, InterpolationMode(self.preprocessing.interpolation)), CenterCrop(size)])
        pixels = np.stack([np.asarray(shrink(images[i][0])) for i in range(len(images))])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(images.targets).long()
