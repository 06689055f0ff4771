"""Fine-tuning of detectors: the backbones of a hub under one head, or torchvision detectors with a new class layer."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from modelrank.data import boxes
from modelrank.data.images import ImageData, Transform, in_memory
from modelrank.hub.detector import NewHead, detector, found, losses
from modelrank.hub.preprocessing import Preprocessing
from modelrank.keys import declared
from modelrank.truth import found_boxes
from modelrank.truth.finetune import FineTuning
from modelrank.truth.grid import Point
from modelrank.truth.metrics import METRICS
from modelrank.truth.tasks import TransferTask


@dataclass(frozen=True, kw_only=True)
class DetectorFineTuning(FineTuning):
    """A protocol for detection; what it adds to `FineTuning` (where `smallest_crop` is not used: see `crop`).

    Images are squares of `image_size`, resized without keeping their proportions, so that boxes in shares stay theirs.

    head:     given to networks that are no detectors.
    crop:     whether training images are cut as for SSD, see `data.boxes.training`.
    freeze_batch_norm: keep its statistics as they are, for batches too small to have some of their own.
    """

    tasks: ClassVar[Collection[str]] = ("detection",)

    head: NewHead
    crop: bool
    freeze_batch_norm: bool

    def numbers(self) -> dict[str, object]:
        return {**super().numbers(), "head": declared(type(self.head), vars(self.head))}

    def decoded(self, data: ImageData, preprocessing: Preprocessing) -> ImageData:
        """Decoded once; at full size, since boxes count pixels of the image."""
        return in_memory(data)

    def _transforms(self, preprocessing: Preprocessing, data: ImageData) -> tuple[Transform, Transform]:
        size = (preprocessing.size, preprocessing.size)
        rule = {
            "mean": preprocessing.mean,
            "std": preprocessing.std,
            "interpolation": preprocessing.interpolation,
        }
        return boxes.training(size, crop=self.crop, mirror=data.mirror, **rule), boxes.evaluation(size, **rule)

    def _task(self, source: nn.Module, data: ImageData, point: Point, size: int) -> TransferTask:
        network, new = detector(
            copy.deepcopy(source),
            len(data.classes),
            self.head,
            size,
        )
        return Detection(
            network,
            METRICS[data.metric](len(data.classes)),
            new=new,
            size=size,
            freeze_batch_norm=self.freeze_batch_norm,
            **self._optimisation(point),
        )


class Detection(TransferTask):
    """Batches are (B images of one size, B targets {'boxes', 'labels'}, index B); the loss is the detector's own.

    size: side of the images in pixels.
    freeze_batch_norm: of the layers that the network came with.
    boxes_found: what this process found on each image of the last pass: index -> {'boxes', 'scores', 'labels'}.
    """

    def __init__(
        self,
        network: nn.Module,
        metric: Metric,
        *,
        new: list[nn.Parameter],
        size: int,
        freeze_batch_norm: bool,
        **settings: Any,
    ) -> None:
        super().__init__(network, metric, **settings)
        self.size = size
        self.new, self.freeze_batch_norm = {id(parameter) for parameter in new}, freeze_batch_norm
        self.boxes_found: dict[int, dict[str, Tensor]] = {}

    def head_parameters(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.network.parameters() if id(parameter) in self.new]

    def train(self, mode: bool = True) -> Detection:
        super().train(mode)
        if mode and self.freeze_batch_norm:
            for layer in self.network.modules():
                if isinstance(layer, nn.BatchNorm2d) and not {id(p) for p in layer.parameters()} & self.new:
                    layer.eval()
        return self

    def batch_loss(self, batch: Any) -> Tensor:
        images, targets, _ = batch
        return losses(self.network, self._stacked(images), targets)

    def validation_step(self, batch: Any, batch_index: int) -> None:
        images, targets, index = batch
        results = found(self.network, self._stacked(images))
        self.metric.update(results, targets)
        for number, result in zip(index.tolist(), results, strict=True):
            self.boxes_found[number] = {name: value.cpu() for name, value in result.items()}

    def values(self) -> dict[str, Tensor]:
        return dict(self.metric.compute())

    def after_test(self, data: ImageData, folder: Path) -> None:
        if self.trainer.is_global_zero:
            found_boxes.keep(self.boxes_found, data, self.size, folder)

    def _stacked(self, images: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(images)).contiguous(memory_format=torch.channels_last)
