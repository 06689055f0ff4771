"""Fine-tuning tasks: one network, one loss, one metric, one optimiser with a cosine that ends at 0."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import Metric

if TYPE_CHECKING:
    from modelrank.data.images import ImageData


class TransferTask(pl.LightningModule, ABC):
    """A network being fine-tuned on batches (images B x 3 x H x W, targets, index B).

    monitor, mode: the value that hyper-parameters are selected by on the val split, and its better direction; they
    belong to the task, so that no protocol and no config can select by something else.
    diverged: why training was given up (a loss that is no number), or None.
    done: steps of an earlier stretch of the same training, see `restore`; trained_before: their seconds.
    curve: [step, seconds of training, value on val] so far.
    seen: images of the last test.

    Images and weights are held channels-last: on CPUs 1.1 to 1.6 times as fast for every network tried.
    """

    monitor: ClassVar[str] = "metric"
    mode: ClassVar[Literal["min", "max"]] = "max"

    def __init__(
        self,
        network: nn.Module,
        metric: Metric,
        *,
        optimizer: Callable[..., torch.optim.Optimizer],
        learning_rate: float,
        weight_decay: float,
        head_learning_rate: float,
        steps: int,
    ) -> None:
        """network: backbone and `head`, see `modelrank.hub.penultimate.replace_head`.

        weight_decay is the optimiser's own; protocols that give wd / lr have divided already.
        head_learning_rate: of the new head; learning_rate is of the other layers.
        """
        super().__init__()
        # Lightning trains each module in the mode it finds, and hubs hand out networks in eval mode.
        self.network = network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  torch leaves it out
        self.metric = metric
        self.optimizer, self.learning_rate, self.weight_decay = optimizer, learning_rate, weight_decay
        self.head_learning_rate = head_learning_rate
        self.steps = steps
        self.diverged: str | None = None
        self.done, self.trained_before, self.seen = 0, 0.0, 0
        self.curve: list[list[float]] = []
        self.moments: dict[str, Any] | None = None

    def state(self, step: int, seconds: float) -> dict[str, Any]:
        """What `restore` needs to go on after `step` steps: tensors and plain values."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)  # there is one
        network, moments = self.network.state_dict(), optimizer.state_dict()["state"]
        return {"network": network, "moments": moments, "step": step, "seconds": seconds, "curve": self.curve}

    def start(self, weights: Tensor) -> None:
        """Begin with this head: (D + 1) x outputs, the last row the intercept."""
        weight, bias = self.head_parameters()
        with torch.no_grad():
            weight.copy_(weights[:-1].T)
            bias.copy_(weights[-1])

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.network.load_state_dict(state["network"])
        self.done, self.trained_before, self.curve = state["step"], state["seconds"], state["curve"]
        self.moments = state["moments"]

    def after_test(self, data: ImageData, folder: Path) -> None:
        """Keep what else is worth it in the folder of the measurement."""

    @abstractmethod
    def batch_loss(self, batch: Any) -> Tensor:
        """Mean loss of a batch, a scalar."""

    def values(self) -> dict[str, Tensor]:
        """What was measured on a split: `monitor`, and whatever is worth keeping beside it."""
        return {self.monitor: self.metric.compute()}

    def head_parameters(self) -> list[nn.Parameter]:
        """Those of the new head."""
        return list(self.network.get_submodule("head").parameters())

    def update_metric(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch to the metric."""
        self.metric.update(outputs, targets)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images.contiguous(memory_format=torch.channels_last)).float()

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        loss = self.batch_loss(batch)
        # All ranks stop together; an exception would take the processes of the next grid point down as well.
        if not self.trainer.strategy.reduce_boolean_decision(bool(loss.isfinite()), all=True):
            self.diverged = f"the loss became {loss.item()} in step {self.done + self.global_step + 1}"
            self.trainer.should_stop = True
        return loss

    def validation_step(self, batch: Any, batch_index: int) -> None:
        images, targets, _ = batch
        self.update_metric(self(images), targets)

    def on_validation_epoch_end(self) -> None:
        # torchmetrics has put the ranks' images together already; their mean, which Lightning asks for, changes nothing
        self.log_dict({name: value.float() for name, value in self.values().items()}, sync_dist=True)
        self.metric.reset()

    def test_step(self, batch: Any, batch_index: int) -> None:
        self.validation_step(batch, batch_index)
        self.seen += len(batch[2])

    def on_test_epoch_start(self) -> None:
        self.seen = 0

    def on_test_epoch_end(self) -> None:
        self.on_validation_epoch_end()
        seen = torch.tensor(float(self.seen), device=self.device)
        self.seen = int(self.trainer.strategy.reduce(seen, reduce_op="sum"))

    def configure_optimizers(self) -> Any:
        head = self.head_parameters()
        new = {id(parameter) for parameter in head}
        groups = [
            {"params": [parameter for parameter in self.network.parameters() if id(parameter) not in new]},
            {"params": head, "lr": self.head_learning_rate},
        ]
        optimizer = self.optimizer(groups, lr=self.learning_rate, weight_decay=self.weight_decay)
        if self.moments is not None:  # those of the schedule are worked out anew from the number of the step
            optimizer.load_state_dict({"state": self.moments, "param_groups": optimizer.state_dict()["param_groups"]})
        cosine = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * min((self.done + step) / self.steps, 1)))
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}


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


class Regression(TransferTask):
    """Targets: B x K floating, of the order of 1. Mean squared error."""

    def batch_loss(self, batch: Any) -> Tensor:
        images, targets, _ = batch
        outputs = self(images)
        return functional.mse_loss(outputs, targets.reshape(outputs.shape))

    def update_metric(self, outputs: Tensor, targets: Tensor) -> None:
        self.metric.update(outputs, targets.reshape(outputs.shape))
