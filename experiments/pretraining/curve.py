"""What is kept of a pre-training run besides its weights: a curve, and snapshots of the weights on the way."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from experiments.pretraining.task import Pretraining
from safetensors.torch import save_file
from torch import Tensor, nn

from modelrank.scorers.knn import knn
from modelrank.types import FeatureSet

NEIGHBOURS = 5


class Curve(pl.Callback):
    """step, mean loss since the last row, learning rate, k-NN accuracy of the features, CPU seconds: `path`, a CSV.

    every: steps between rows. The k-NN probe (leave one out, 5 neighbours) is on `images`, which training never saw.
    The rows travel in Lightning's checkpoint, so the curve of a resumed run has neither gap nor overlap.
    """

    def __init__(self, path: Path, images: Tensor, labels: Tensor, every: int) -> None:
        self.path, self.images, self.labels, self.every = path, images, labels, every
        self.rows: list[dict[str, float]] = []
        self.losses: list[float] = []
        self.seconds = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "losses": self.losses, "seconds": self._spent()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self.losses, self.seconds = state_dict["rows"], state_dict["losses"], state_dict["seconds"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = time.process_time()
        if not self.rows:
            self._add(trainer, pl_module, 0)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses.append(float(outputs["loss"]))
        if trainer.global_step % self.every == 0 or trainer.global_step == trainer.max_steps:
            self._add(trainer, pl_module, trainer.global_step)

    def _add(self, trainer: pl.Trainer, module: pl.LightningModule, step: int) -> None:
        assert isinstance(module, Pretraining)
        loss = sum(self.losses) / len(self.losses) if self.losses else float("nan")
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        accuracy = neighbour_accuracy(module, self.images, self.labels)
        row = {"step": step, "loss": round(loss, 5), "lr": round(rate, 7), "knn": round(accuracy, 4)}
        self.rows.append(row | {"cpu_seconds": round(self._spent(), 1)})
        self.losses = []
        pd.DataFrame(self.rows).to_csv(self.path, index=False, lineterminator="\n")

    def _spent(self) -> float:
        return self.seconds + time.process_time() - self.started


class Snapshots(pl.Callback):
    """The encoder's weights after the given numbers of steps (0 = before the first) as NAME_stepNNNN.safetensors."""

    def __init__(self, folder: Path, name: str, steps: Sequence[int]) -> None:
        self.folder, self.name, self.steps = folder, name, frozenset(steps)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._keep(trainer.global_step, pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._keep(trainer.global_step, pl_module)

    def _keep(self, step: int, module: pl.LightningModule) -> None:
        if step in self.steps:
            assert isinstance(module, Pretraining)
            save_weights(module.encoder, self.folder / f"{self.name}_step{step:04d}.safetensors")


@torch.no_grad()
def neighbour_accuracy(module: Pretraining, images: Tensor, labels: Tensor) -> float:
    """Leave-one-out k-NN accuracy of the encoder's features of uint8 images, a fraction; batch statistics stay."""
    encoder = module.encoder.eval()
    parts = [module.embed(encoder, part.to(module.device).float() / 255).cpu() for part in images.split(256)]
    encoder.train()
    return knn(FeatureSet(torch.cat(parts), labels), k=NEIGHBOURS).value


def save_weights(encoder: nn.Module, path: Path) -> None:
    """The encoder's state in float16, half the size, without batch normalisation's counters, which nothing uses."""
    state = {name: value for name, value in encoder.state_dict().items() if not name.endswith("num_batches_tracked")}
    save_file({name: value.to("cpu", torch.float16).contiguous() for name, value in state.items()}, path)
