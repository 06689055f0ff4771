"""How good a fine-tuned model is on its target: the metric that each benchmark data set reports."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MultilabelPrecisionRecallCurve,
)
from torchmetrics.detection import MeanAveragePrecision
from torchmetrics.functional.classification import binary_precision_recall_curve
from torchmetrics.regression import R2Score
from torchmetrics.utilities import dim_zero_cat


def sampling_error(metric: str, value: float, targets: np.ndarray, groups: np.ndarray | None = None) -> float:
    """Standard deviation of a value of a metric that comes from which images were drawn; targets: of the split, N.
    groups, N: of images that are alike (letters of one typeface), counted as one each, as if all were right or wrong.

    accuracy: binomial, sqrt(p (1 - p) / N), p as if two images more had been right and two more wrong (Agresti and
    Coull 1998): else the luckiest value on few images looks the most exact. mean_per_class_accuracy: sqrt(sum over c of
    p (1 - p) / N_c) / C, as if p was that of each class. r2: 2 R (1 - R^2) / sqrt(N), of a squared correlation. Average
    precisions have no such formula: as accuracies of the N images, too small where there are few objects. p (1 - p)
    counts as .02 at least.
    """
    if groups is not None:
        return sampling_error(metric, value, targets) * math.sqrt(len(groups) / len(np.unique(groups)))
    likely = (value * len(targets) + 2) / (len(targets) + 4)
    spread = max(likely * (1 - likely), 0.02)
    if metric == "r2":
        return math.sqrt(max(4 * value * (1 - value) ** 2, 0.02) / len(targets))
    if metric == "mean_per_class_accuracy":
        counts = np.unique(targets, return_counts=True)[1]
        return math.sqrt(spread * (1 / counts).sum()) / len(counts)
    return math.sqrt(spread / len(targets))


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

    def __init__(self, labels: int) -> None:
        super().__init__(labels, validate_args=False)  # the checks refuse a single label

    def compute(self) -> Tensor:  # type: ignore[override]  # one number instead of the curves
        probabilities, targets = dim_zero_cat(self.preds), dim_zero_cat(self.target)
        levels = torch.arange(11, device=targets.device) / 10
        values = []
        for label in targets.any(0).nonzero().flatten().tolist():
            precision, recall, _ = binary_precision_recall_curve(probabilities[:, label], targets[:, label])
            # The curve ends in a made-up point (precision 1, recall 0), which would give every label 1 at r = 0.
            reached = recall[None, :-1] >= levels[:, None]
            values.append(torch.where(reached, precision[None, :-1], 0.0).amax(1).mean())
        return torch.stack(values).mean()


class BoxAveragePrecision(MeanAveragePrecision):
    """COCO's average precision of found boxes as a dict: `metric` (0..1) and, beside it, `map50` and `map`.

    map50: mean over classes at an overlap of 0.5; map: mean over overlaps 0.5, 0.55, ... 0.95 too. At most 100 boxes
    an image count. `metric` is the one named by `main`. Classes that do not occur on the split are left out; -1 of
    COCO's own code (no object at all) becomes 0.
    """

    def __init__(self, main: str) -> None:
        super().__init__(backend="faster_coco_eval")
        self.main = main

    def compute(self) -> dict[str, Tensor]:
        values = super().compute()
        beside = {"map50": values["map_50"].clamp(min=0), "map": values["map"].clamp(min=0)}
        return {"metric": beside[self.main], **beside}


# name -> metric for this many classes, labels or target columns; of all of them the largest value is the best
METRICS: Mapping[str, Callable[[int], Metric]] = {
    "accuracy": lambda classes: MulticlassAccuracy(classes, average="micro"),
    "mean_per_class_accuracy": MeanPerClassAccuracy,
    "map11": ElevenPointMAP,
    "r2": lambda _: R2Score(),
    "map50": lambda _: BoxAveragePrecision("map50"),
    "map": lambda _: BoxAveragePrecision("map"),
}
