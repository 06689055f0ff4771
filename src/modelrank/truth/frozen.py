"""Ground truth by a linear model on frozen features: strength chosen on val, fitted again on train + val, test once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from modelrank.data.images import ImageData
from modelrank.features.extract import extract
from modelrank.features.store import FeatureStore
from modelrank.hub.model import PretrainedModel
from modelrank.linear import binary_cross_entropy, cross_entropy, fit, square
from modelrank.settings import check_number, numbers
from modelrank.truth.grid import Point, every, label, remembered
from modelrank.truth.metrics import METRICS
from modelrank.truth.protocol import MakeTrainer, Outcome, check_task

Rows = tuple[Tensor, Tensor]  # features N x D in float64, targets

TASKS = ("classification", "multilabel", "regression")
TOLERANCE = 1e-8  # of the loss per sample


@dataclass(frozen=True)
class LinearProbe:
    """A linear protocol; its YAML in conf/protocol says each value and why.

    strengths:  of the L2 penalty, see `Fits.fit`.
    image_size: side in pixels that every model sees; None = each model's own.
    refit:      whether the model of the chosen strength is fitted once more on train + val.
    """

    name: str
    strengths: Sequence[float]
    image_size: int | None
    batch_size: int
    workers: int
    iterations: int = 200
    refit: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "strengths", numbers("protocol.strengths", self.strengths, least=0))
        check_number("protocol.image_size", self.image_size, least=1, whole=True, null=True)
        for name, least in (("batch_size", 1), ("workers", 0), ("iterations", 1)):
            check_number(f"protocol.{name}", getattr(self, name), least=least, whole=True)

    def numbers(self) -> dict[str, object]:
        """What decides the result, for the protocol's hash."""
        return {
            "strengths": [float(strength) for strength in self.strengths],
            "image_size": self.image_size,
            "iterations": self.iterations,
            **({} if self.refit else {"refit": False}),
        }

    def __call__(
        self, model: PretrainedModel, data: ImageData, *, trainer: MakeTrainer, folder: Path, cache: Path, seed: int
    ) -> Outcome:
        """Measure. One pass over all images, then len(strengths) + 1 convex problems; `seed` is of a random network.

        The seconds are those of both; of the pass by the clock when it was made, also where its features were kept."""
        check_task(self.name, data, TASKS)
        problem = _Problem(data)
        read = partial(self._read, model, data, trainer=trainer, cache=cache, seed=seed)
        (train, val), of_train_val = read("train", "val")
        (test,), of_test = read("test")
        begin = time.process_time()
        fits, weights = problem.fits(train), None

        def on_val(point: Point) -> dict[str, float]:
            nonlocal weights  # from strong to weak, each problem starts at the solution of the last: far fewer steps
            weights = fits.fit(point["strength"], iterations=self.iterations, start=weights)
            return {"value": problem.value(weights, val)}

        points = self.points()
        best, value = every(points, lambda p: remembered(folder / f"{label(p)}.json", lambda: on_val(p)), "max")
        rows = _joined(train, val) if self.refit else train
        final = remembered(
            folder / "final.json",
            lambda: {
                "value": problem.value(problem.fits(rows).fit(best["strength"], iterations=self.iterations), test)
            },
        )
        return Outcome(
            accuracy=final["value"],
            val_accuracy=value,
            learning_rate=None,
            weight_decay=best["strength"],
            seconds=of_train_val + of_test + time.process_time() - begin,
            n_train=len(rows[0]),
            image_size=model.preprocessing.at(self.image_size).size,
            precision="32-true",
        )

    def head(self, model: PretrainedModel, data: ImageData, *, trainer: MakeTrainer, cache: Path, seed: int) -> Tensor:
        """(D + 1) x outputs weights in float64, the last row the intercept, fitted on train with the strength that is
        best on val. Cost: one pass over train and val (none where their features are kept), len(strengths) problems."""
        check_task(self.name, data, TASKS)
        problem = _Problem(data)
        (train, val), _ = self._read(model, data, "train", "val", trainer=trainer, cache=cache, seed=seed)
        fits, tried = problem.fits(train), list[tuple[float, Tensor]]()
        for point in self.points():
            start = tried[-1][1] if tried else None
            weights = fits.fit(point["strength"], iterations=self.iterations, start=start)
            tried.append((problem.value(weights, val), weights))
        return max(tried, key=lambda one: one[0])[1]

    def points(self) -> list[Point]:
        """From strong to weak."""
        return [{"strength": float(strength)} for strength in sorted(self.strengths, reverse=True)]

    def _read(
        self, model: PretrainedModel, data: ImageData, *names: str, trainer: MakeTrainer, cache: Path, seed: int
    ) -> tuple[list[Rows], float]:
        """Features and targets of these splits; the seconds of the pass that made them, now or earlier."""
        found = extract(
            model,
            data,
            store=FeatureStore(cache / "features"),
            cache=cache,
            trainer=trainer,
            scored=names,
            image_size=self.image_size,
            batch_size=self.batch_size,
            workers=self.workers,
            seed=seed,
        )
        sizes = [len(data.splits[name]) for name in names]
        targets = found.targets if data.task == "classification" else found.targets.double()
        return list(zip(found.features.double().split(sizes), targets.split(sizes), strict=True)), found.seconds


class _Problem:
    """What is fitted and by what it is judged, of one data set."""

    def __init__(self, data: ImageData) -> None:
        self.data = data
        targets = data.splits["train"].targets
        self.outputs = len(data.classes) if data.task != "regression" else int(np.prod(targets.shape[1:]))

    def fits(self, rows: Rows) -> Fits:
        return Fits(*rows, self.outputs, self.data.task)

    def value(self, weights: Tensor, rows: Rows) -> float:
        features, targets = rows
        metric = METRICS[self.data.metric](self.outputs)
        prediction = features @ weights[:-1] + weights[-1]
        metric.update(
            prediction.sigmoid() if self.data.task == "multilabel" else prediction,
            targets if self.data.task == "regression" else targets.long(),
        )
        return float(metric.compute())


def _joined(first: Rows, second: Rows) -> Rows:
    return torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]])


class Fits:
    """Linear models of these rows, by the strength of their penalty.

    features N x D, targets N labels (classification) or N x outputs in the dtype of the features. Cost: N D min(N, D).
    """

    def __init__(self, features: Float[Tensor, "N D"], targets: Tensor, outputs: int, task: str) -> None:
        self.targets, self.outputs = targets, outputs
        self.mean = features.mean(0)
        centred = features - self.mean
        variance, self.axes = _principal_axes(centred)
        ones = features.new_ones(len(features), 1)
        self.rows = torch.cat([centred @ self.axes, ones], 1)
        if task == "classification":
            self.loss, bend, self.scale = cross_entropy, 1 / outputs, 1.0
        elif task == "multilabel":
            self.loss, bend, self.scale = binary_cross_entropy, 0.25, 1 / outputs
        else:
            self.loss, bend, self.scale = square, 1.0, 2 / outputs
        self.curvature = self.scale * bend * torch.cat([variance, ones[0]])[:, None, None]

    def fit(
        self, strength: float, *, iterations: int = 200, start: Float[Tensor, "D+1 outputs"] | None = None
    ) -> Float[Tensor, "D+1 outputs"]:
        """Weights, the last row the intercept, of the minimum of

            N * mean loss + strength / 2 * |W|^2    (the intercept is free; scikit-learn's C is 1 / strength)

        classification: cross-entropy; multilabel: binary cross-entropy, regression: squared error, both averaged over
        the outputs. By L-BFGS along the principal axes (see `linear.fit`) in the dtype of the features.
        Cost: 4 N D outputs a step.
        """
        n = len(self.rows)
        penalty = torch.full_like(self.curvature, strength / n)
        penalty[-1] = 0
        if start is None:
            begin = self.rows.new_zeros(len(penalty), self.outputs)
        else:
            begin = torch.cat([self.axes.T @ start[:-1], start[-1:] + self.mean @ start[:-1]])
        turned = fit(
            self.rows,
            self.targets,
            self.loss,
            parts=[(slice(None), self.rows.new_full((1,), self.scale / n))],
            penalty=penalty,
            curvature=self.curvature,
            start=begin[:, None],
            iterations=iterations,
            tolerance=TOLERANCE,
        )[:, 0]
        weights = self.axes @ turned[:-1]
        return torch.cat([weights, turned[-1:] - self.mean @ weights])


def _principal_axes(centred: Float[Tensor, "N D"]) -> tuple[Float[Tensor, " k"], Float[Tensor, "D k"]]:
    """Variances along the min(N, D) principal axes, and these. The minimum lies in their span: the penalty keeps
    weights out of directions that no row has."""
    n, d = centred.shape
    if n < d:
        _, sigma, axes = torch.linalg.svd(centred, full_matrices=False)
        return sigma.square() / n, axes.T
    values, axes = torch.linalg.eigh(centred.T @ centred / n)
    return values.clamp(min=0), axes
