"""Fine-tuning of classifiers, one label or many per image."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional

from modelrank.truth.task import TransferTask


class Classification(TransferTask):
    """Targets: B integers. Cross-entropy."""

    def batch_loss(self, batch: Any) -> Tensor:
        images, targets, _ = batch
        return functional.cross_entropy(self(images), targets)


class MultiLabel(TransferTask):
    """Targets: B x C of 0 / 1. Binary cross-entropy, mean over labels."""

    def batch_loss(self, batch: Any) -> Tensor:
        images, targets, _ = batch
        return functional.binary_cross_entropy_with_logits(self(images), targets)

    def update_metric(self, outputs: Tensor, targets: Tensor) -> None:
        # As probabilities: torchmetrics would apply the sigmoid only to batches that hold a value outside 0..1.
        self.metric.update(outputs.sigmoid(), targets.long())
