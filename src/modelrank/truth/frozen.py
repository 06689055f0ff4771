"""Ground truth by a linear model on frozen features: strength chosen on val, fitted again on train + val, test once."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from modelrank.data.images import ImageData
from modelrank.features.extract import extract
from modelrank.features.store import FeatureStore
from modelrank.hub.model import PretrainedModel
from modelrank.truth.grid import Point, every, label, remembered
from modelrank.truth.metrics import METRICS
from modelrank.truth.protocol import MakeTrainer, Outcome, check_task

Rows = tuple[Tensor, Tensor]  # features N x D in float64, targets

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "classification": functional.cross_entropy,
    "multilabel": functional.binary_cross_entropy_with_logits,
    "regression": functional.mse_loss,
}


@dataclass(frozen=True)
class LinearProbe:
    """A linear protocol; its YAML in conf/protocol says each value and why.

    strengths:  of the L2 penalty, see `fit_linear`.
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
        """Measure. One pass over all images, then len(strengths) + 1 convex problems; `seed` is of a random network."""
        begin = time.process_time()
        check_task(self.name, data, tuple(LOSSES))
        problem = _Problem(data, self.iterations)
        read = functools.partial(self._read, model, data, trainer=trainer, cache=cache, seed=seed)
        train, val = read("train", "val")
        [test] = read("test")
        rotated = functools.cache(lambda: Rotated.of(train[0]))
        weights: Tensor | None = None

        def on_val(point: Point) -> dict[str, float]:
            nonlocal weights  # from strong to weak, each problem starts at the solution of the last: fewer steps
            weights = problem.fit(rotated(), train[1], point["strength"], weights)
            return {"value": problem.value(weights, val)}

        points = self.points()
        best, value = every(points, lambda p: remembered(folder / f"{label(p)}.json", lambda: on_val(p)), "max")
        features, targets = map(torch.cat, zip(train, val, strict=True)) if self.refit else train

        def on_test() -> dict[str, float]:
            return {"value": problem.value(problem.fit(Rotated.of(features), targets, best["strength"]), test)}

        final = remembered(folder / "final.json", on_test)
        return Outcome(
            accuracy=final["value"],
            val_accuracy=value,
            learning_rate=None,
            weight_decay=best["strength"],
            seconds=time.process_time() - begin,
            n_train=len(features),
            image_size=model.preprocessing.at(self.image_size).size,
            precision="32-true",
        )

    def head(self, model: PretrainedModel, data: ImageData, *, trainer: MakeTrainer, cache: Path, seed: int) -> Tensor:
        """(D + 1) x outputs weights in float64, the last row the intercept, fitted on train with the strength that is
        best on val. Cost: one pass over train and val (none where their features are kept), len(strengths) problems."""
        check_task(self.name, data, tuple(LOSSES))
        problem = _Problem(data, self.iterations)
        train, val = self._read(model, data, "train", "val", trainer=trainer, cache=cache, seed=seed)
        rotated, tried = Rotated.of(train[0]), list[tuple[float, Tensor]]()
        for point in self.points():
            weights = problem.fit(rotated, train[1], point["strength"], tried[-1][1] if tried else None)
            tried.append((problem.value(weights, val), weights))
        return max(tried, key=lambda one: one[0])[1]

    def points(self) -> list[Point]:
        """From strong to weak."""
        return [{"strength": float(strength)} for strength in sorted(self.strengths, reverse=True)]

    def _read(
        self, model: PretrainedModel, data: ImageData, *names: str, trainer: MakeTrainer, cache: Path, seed: int
    ) -> list[Rows]:
        """Features and targets of these splits."""
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
        return list(zip(found.features.double().split(sizes), targets.split(sizes), strict=True))


class _Problem:
    """What is fitted and by what it is judged, of one data set."""

    def __init__(self, data: ImageData, iterations: int) -> None:
        self.data, self.iterations = data, iterations
        targets = data.splits["train"].targets
        self.outputs = len(data.classes) if data.task != "regression" else int(np.prod(targets.shape[1:]))

    def fit(self, rows: Rotated, targets: Tensor, strength: float, start: Tensor | None = None) -> Tensor:
        loss = LOSSES[self.data.task]
        return fit_linear(rows, targets, self.outputs, loss, strength=strength, iterations=self.iterations, start=start)

    def value(self, weights: Tensor, rows: Rows) -> float:
        features, targets = rows
        metric = METRICS[self.data.metric](self.outputs)
        prediction = features @ weights[:-1] + weights[-1]
        metric.update(
            prediction.sigmoid() if self.data.task == "multilabel" else prediction,
            targets if self.data.task == "regression" else targets.long(),
        )
        return float(metric.compute())


@dataclass(frozen=True)
class Rotated:
    """N x D features in the basis of their principal components, a column of ones at the end.

    A rotation changes neither the penalty nor the fit, but along these axes the curvature of the loss is known and
    nearly diagonal, and L-BFGS needs half the steps or fewer. Cost: N D min(N, D), once for all strengths.
    """

    scores: Tensor  # N x (r + 1), r = min(N, D)
    basis: Tensor  # D x r
    mean: Tensor  # D

    @staticmethod
    def of(features: Tensor) -> Rotated:
        mean = features.mean(0)
        centred = features - mean
        if len(centred) < centred.shape[1]:
            basis = torch.linalg.svd(centred, full_matrices=False).Vh.T
        else:
            basis = torch.linalg.eigh(centred.T @ centred).eigenvectors
        scores = centred @ basis
        return Rotated(torch.cat([scores, scores.new_ones(len(scores), 1)], 1), basis, mean)

    def inside(self, weights: Tensor) -> Tensor:
        """(D + 1) x outputs weights as (r + 1) x outputs in this basis."""
        return torch.cat([self.basis.T @ weights[:-1], weights[-1:] + self.mean @ weights[:-1]])

    def outside(self, weights: Tensor) -> Tensor:
        """The way back."""
        plain = self.basis @ weights[:-1]
        return torch.cat([plain, weights[-1:] - self.mean @ plain])


def fit_linear(
    rows: Rotated,
    targets: Tensor,
    outputs: int,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    strength: float,
    iterations: int = 200,
    start: Tensor | None = None,
) -> Tensor:
    """(D + 1) x outputs weights, the last row the intercept, of the minimum of

        N * mean loss + strength / 2 * |W|^2    (the intercept is free; scikit-learn's C is 1 / strength)

    by L-BFGS with a strong Wolfe line search, in the dtype of the features. Cost: O(N D outputs) an iteration.
    """
    x, penalty = rows.scores, strength / len(rows.scores)
    curvature = x.square().mean(0)[:, None] / outputs + penalty  # of the loss, about
    curvature[-1] -= penalty
    scale = curvature.sqrt()
    begin = x.new_zeros(x.shape[1], outputs) if start is None else rows.inside(start)
    scaled = (begin * scale).requires_grad_(True)
    solver = torch.optim.LBFGS(
        [scaled], max_iter=iterations, tolerance_grad=1e-6, tolerance_change=1e-7, line_search_fn="strong_wolfe"
    )

    def objective() -> Tensor:
        solver.zero_grad()
        weights = scaled / scale
        value = loss(x @ weights, targets) + penalty / 2 * weights[:-1].square().sum()
        value.backward()
        return value

    solver.step(objective)
    return rows.outside((scaled / scale).detach())
