"""How good a fine-tuned model is on its target: the metric that each benchmark data set reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MultilabelPrecisionRecallCurve,
)
from torchmetrics.regression import R2Score


class MeanPerClassAccuracy(MulticlassConfusionMatrix):
    """Mean over the classes that occur in the targets of the share of their images that is classified right.

    Not torchmetrics' macro accuracy: that one counts a class that is predicted but never occurs as 0 % right.
    """

    def compute(self) -> Tensor:
        counts = super().compute().double()
        images = counts.sum(1)
        return (counts.diagonal()[images > 0] / images[images > 0]).mean()


class ElevenPointMAP(MultilabelPrecisionRecallCurve):
    """Mean over labels of the VOC 2007 average precision: mean over recall r = 0, .1, ..., 1 of max precision at >= r.

    A label without a positive image is left out. Source: Everingham et al., IJCV 2010, section 4.2.
    """

    def compute(self) -> Tensor:
        precisions, recalls, _ = super().compute()
        values = []
        for precision, recall in zip(precisions, recalls, strict=True):
            # The curve ends in a made-up point (precision 1, recall 0), which would give every label 1 at r = 0.
            precision, recall = precision[:-1], recall[:-1]
            if recall.isnan().any() or not recall.any():  # no positive image
                continue
            levels = torch.arange(11, device=recall.device) / 10
            reached = recall[None, :] >= levels[:, None]
            values.append(torch.where(reached, precision[None, :], 0.0).amax(1).mean())
        return torch.stack(values).mean()


# name -> (metric, the largest-is-best of which is monitored), for this many classes, labels or target columns
METRICS: Mapping[str, Callable[[int], Metric]] = {
    "accuracy": lambda classes: MulticlassAccuracy(classes, average="micro"),
    "mean_per_class_accuracy": MeanPerClassAccuracy,
    "map11": ElevenPointMAP,
    "r2": lambda _: R2Score(),
}
