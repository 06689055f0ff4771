"""Pre-training as a Lightning module: what happens in a step depends on the seed and the step's number alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from experiments.pretraining.objectives import Objective
from torch import Tensor, nn
from torch.utils.data import DataLoader

from modelrank.types import ModelRankError


class Pretraining(pl.LightningModule):
    """An encoder, an objective, and the source images, which live on the device as one uint8 tensor.

    images: N x 3 x H x W uint8; labels: N int64. mean, std: of the channels scaled to 0..1.
    learning_rate: of AdamW after a linear rise in the first tenth of the steps; then a cosine to 0.
    bfloat16: whether the encoder computes in it; losses and heads are always float32.

    A resumed run is the uninterrupted one: the choice of images and the views of step s come from a generator that is
    seeded with (seed, s), and everything else is in Lightning's checkpoint. The loader gives nothing but a count.
    """

    images: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        objective: Objective,
        images: Tensor,
        labels: Tensor,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        steps: int,
        batch_size: int,
        learning_rate: float,
        weight_decay: float,
        bfloat16: bool,
        seed: int,
    ) -> None:
        super().__init__()
        # Lightning trains each module in the mode it finds it in; torch declares no `to` with a memory format alone.
        self.encoder = encoder.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.objective = objective.train()
        self.steps, self.batch_size, self.seed, self.reduced = steps, batch_size, seed, bfloat16
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.register_buffer("images", images, persistent=False)
        self.register_buffer("labels", labels, persistent=False)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def embed(self, encoder: nn.Module, images: Tensor) -> Tensor:
        """Views B x 3 x H x W in 0..1 to features B x D, float32."""
        normalised = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.reduced):
            return encoder(normalised).float()

    def rows(self, step: int) -> Tensor:
        """Which images step `step` sees: every epoch is a new order of all images, its last, incomplete batch left
        out."""
        per_epoch = max(len(self.images) // self.batch_size, 1)
        epoch, position = divmod(step, per_epoch)
        order = torch.randperm(len(self.images), generator=_generator(self.seed, epoch, 0))
        return order[position * self.batch_size : (position + 1) * self.batch_size].to(self.device)

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        rows = self.rows(self.global_step)
        images = self.images[rows].float() / 255
        generator = _generator(self.seed, self.global_step, 1, self.device)
        views = [self.objective.augmentation(images, generator) for _ in range(self.objective.views)]
        loss = self.objective.loss(self.encoder, views, self.labels[rows], self.embed)
        if not loss.isfinite():
            raise ModelRankError(
                f"the loss became {loss.item()} in step {self.global_step + 1}; lower stage.learning_rate"
            )
        return loss

    def optimizer_step(self, *arguments: Any, **keywords: Any) -> None:
        super().optimizer_step(*arguments, **keywords)
        self.objective.after_step(self.encoder)  # here: `on_train_batch_end` comes after the checkpoint is written

    def train_dataloader(self) -> DataLoader:
        return DataLoader(range(self.steps), batch_size=None)  # type: ignore[arg-type]  takes any sequence

    def configure_optimizers(self) -> Any:
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=self.learning_rate, weight_decay=self.weight_decay)
        rise = max(self.steps // 10, 1)

        def factor(step: int) -> float:
            if step < rise:
                return (step + 1) / rise
            return 0.5 * (1 + math.cos(math.pi * min((step - rise) / max(self.steps - rise, 1), 1)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _generator(seed: int, number: int, purpose: int, device: torch.device | str = "cpu") -> torch.Generator:
    state = int(np.random.SeedSequence([seed, number, purpose]).generate_state(1)[0])
    return torch.Generator(device).manual_seed(state)
