"""Ground truth by a linear model on frozen features: strength chosen on val, fitted again on train + val, test once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
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
        read = partial(self._read, model, data, trainer=trainer, cache=cache, seed=seed)
        train, val = read("train", "val")
        [test] = read("test")
        weights: Tensor | None = None

        def on_val(point: Point) -> dict[str, float]:
            nonlocal weights  # from strong to weak, each problem starts at the solution of the last: far fewer steps
            weights = problem.fit(train, point["strength"], weights)
            return {"value": problem.value(weights, val)}

        points = self.points()
        best, value = every(points, lambda p: remembered(folder / f"{label(p)}.json", lambda: on_val(p)), "max")
        rows = _joined(train, val) if self.refit else train
        final = remembered(
            folder / "final.json",
            lambda: {"value": problem.value(problem.fit(rows, best["strength"]), test)},
        )
        return Outcome(
            accuracy=final["value"],
            val_accuracy=value,
            learning_rate=None,
            weight_decay=best["strength"],
            seconds=time.process_time() - begin,
            n_train=len(rows[0]),
            image_size=model.preprocessing.at(self.image_size).size,
            precision="32-true",
        )

    def head(self, model: PretrainedModel, data: ImageData, *, trainer: MakeTrainer, cache: Path, seed: int) -> Tensor:
        """(D + 1) x outputs weights in float64, the last row the intercept, fitted on train with the strength that is
        best on val. Cost: one pass over train and val (none where their features are kept), len(strengths) problems."""
        check_task(self.name, data, tuple(LOSSES))
        problem = _Problem(data, self.iterations)
        train, val = self._read(model, data, "train", "val", trainer=trainer, cache=cache, seed=seed)
        tried: list[tuple[float, Tensor]] = []
        for point in self.points():
            weights = problem.fit(train, point["strength"], tried[-1][1] if tried else None)
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

    def fit(self, rows: Rows, strength: float, start: Tensor | None = None) -> Tensor:
        loss = LOSSES[self.data.task]
        return fit_linear(*rows, self.outputs, loss, strength=strength, iterations=self.iterations, start=start)

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


def fit_linear(
    features: Tensor,
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

    by L-BFGS with a strong Wolfe line search, in the dtype of `features`. Cost: O(N D outputs) an iteration.
    """
    weights = features.new_zeros(features.shape[1] + 1, outputs) if start is None else start.clone()
    weights.requires_grad_(True)
    solver = torch.optim.LBFGS(
        [weights], max_iter=iterations, tolerance_grad=1e-6, tolerance_change=1e-10, line_search_fn="strong_wolfe"
    )

    def objective() -> Tensor:
        solver.zero_grad()
        value = loss(features @ weights[:-1] + weights[-1], targets)
        value = value + strength / (2 * len(features)) * weights[:-1].square().sum()
        value.backward()
        return value

    solver.step(objective)
    return weights.detach()
