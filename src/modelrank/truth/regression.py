"""Fine-tuning of regressors."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional

from modelrank.truth.task import TransferTask


class Regression(TransferTask):
    """Targets: B x K floating, of the order of 1. Mean squared error."""

    def batch_loss(self, batch: Any) -> Tensor:
        images, targets, _ = batch
        outputs = self(images)
        return functional.mse_loss(outputs, targets.reshape(outputs.shape))

    def update_metric(self, outputs: Tensor, targets: Tensor) -> None:
        self.metric.update(outputs, targets.reshape(outputs.shape))
