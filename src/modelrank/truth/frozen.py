"""Ground truth by a linear model on frozen features: strength chosen on val, fitted again on train + val, test once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

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

        def read(*names: str) -> list[tuple[Tensor, Tensor]]:
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

        (x_train, y_train), (x_val, y_val) = read("train", "val")
        [(x_test, y_test)] = read("test")
        outputs = len(data.classes) if data.task != "regression" else y_train.reshape(len(y_train), -1).shape[1]
        loss = LOSSES[data.task]

        def value(weights: Tensor, features: Tensor, targets: Tensor) -> float:
            metric = METRICS[data.metric](outputs)
            prediction = features @ weights[:-1] + weights[-1]
            metric.update(
                prediction.sigmoid() if data.task == "multilabel" else prediction,
                targets if data.task == "regression" else targets.long(),
            )
            return float(metric.compute())

        def fit(features: Tensor, targets: Tensor, strength: float, start: Tensor | None = None) -> Tensor:
            return fit_linear(
                features, targets, outputs, loss, strength=strength, iterations=self.iterations, start=start
            )

        weights: Tensor | None = None

        def on_val(point: Point) -> dict[str, float]:
            nonlocal weights  # from strong to weak, each problem starts at the solution of the last: far fewer steps
            weights = fit(x_train, y_train, point["strength"], weights)
            return {"value": value(weights, x_val, y_val)}

        points = [{"strength": float(strength)} for strength in sorted(self.strengths, reverse=True)]
        best, val = every(points, lambda p: remembered(folder / f"{label(p)}.json", lambda: on_val(p)), "max")
        features, targets = (x_train, y_train)
        if self.refit:
            features, targets = torch.cat([x_train, x_val]), torch.cat([y_train, y_val])
        final = remembered(
            folder / "final.json",
            lambda: {"value": value(fit(features, targets, best["strength"]), x_test, y_test)},
        )
        return Outcome(
            accuracy=final["value"],
            val_accuracy=val,
            learning_rate=None,
            weight_decay=best["strength"],
            seconds=time.process_time() - begin,
            n_train=len(features),
            image_size=model.preprocessing.at(self.image_size).size,
            precision="32-true",
        )


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
