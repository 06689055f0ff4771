"""Fine-tuning of classifiers, one label or many per image."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from modelrank.truth.task import TransferTask


class Classification(TransferTask):
    """Targets: B integers. Cross-entropy."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, targets)


class MultiLabel(TransferTask):
    """Targets: B x C of 0 / 1. Binary cross-entropy, mean over labels."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(outputs, targets)

    def update_metric(self, outputs: Tensor, targets: Tensor) -> None:
        # As probabilities: torchmetrics would apply the sigmoid only to batches that hold a value outside 0..1.
        self.metric.update(outputs.sigmoid(), targets.long())
