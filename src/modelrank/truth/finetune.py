"""Ground truth by fine-tuning all layers: trained on train, chosen on val, test measured once."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from modelrank.data.decoded import Shrink
from modelrank.data.images import ImageData, Transform, in_memory
from modelrank.data.module import ImageDataModule
from modelrank.features.extract import PRECISIONS
from modelrank.hub.model import PretrainedModel, has_depthwise
from modelrank.hub.penultimate import replace_head
from modelrank.hub.preprocessing import Preprocessing
from modelrank.keys import declared
from modelrank.settings import check_number, numbers
from modelrank.truth.arm import Arm
from modelrank.truth.frozen import LinearProbe
from modelrank.truth.grid import Point, Racing, every, label, race
from modelrank.truth.metrics import METRICS
from modelrank.truth.protocol import MakeTrainer, Outcome, Training, check_task
from modelrank.truth.tasks import Classification, MultiLabel, Regression, TransferTask
from modelrank.types import ModelRankError

TASKS: dict[str, type[TransferTask]] = {
    "classification": Classification,
    "multilabel": MultiLabel,
    "regression": Regression,
}


# Shares of the steps after which val is measured: dense up to a third, where a race decides. A look at 500 images costs
# as much as five steps of 32.
CURVE = (1 / 24, 1 / 12, 1 / 8, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 5 / 6, 1.0)


@dataclass(frozen=True)
class FineTuning:
    """A fine-tuning protocol; its YAML in conf/protocol says each value and why.

    weight_decays:   L2 strengths; the optimiser is given weight_decay / learning_rate.
    image_size:      side in pixels that every model sees; None = each model's own.
    smallest_crop:   share of the image that a random training crop has at least.
    optimizer:       takes parameter groups, lr and weight_decay (a partial of a torch optimiser).
    head_learning_rate: of the new head; None = that of the grid point, as all layers.
    precision:       of networks without depthwise convolutions; `depthwise_precision` of those with (on CPUs bf16
                     makes the former 1.3 to 2 times as fast and the latter slower).
    in_memory:       decode and shrink each image once, to the short side of the evaluation transform, and cut the
                     training crops from that.
    checkpoint_every: steps between checkpoints inside one grid point.
    curve:            shares of `steps` after which the val split is measured.
    probe:            None: the new head starts at random. Else as the linear model that this protocol fits on the
                      frozen features of train, at `image_size` (linear probing, then fine-tuning: Kumar et al., ICLR
                      2022). The seconds of its fit are not counted.
    racing:           None: every grid point is trained to its end, the one best on val once more on train + val.
                      Else only promising ones are, on train, and the best on val is measured as it is: see `Racing`.
    """

    tasks: ClassVar[Collection[str]] = tuple(TASKS)

    name: str
    learning_rates: Sequence[float]
    weight_decays: Sequence[float]
    steps: int
    batch_size: int
    image_size: int | None
    smallest_crop: float
    optimizer: Callable[..., torch.optim.Optimizer]
    head_learning_rate: float | None
    precision: str
    depthwise_precision: str
    in_memory: bool
    checkpoint_every: int
    workers: int
    curve: Sequence[float] = CURVE
    racing: Racing | None = None
    probe: LinearProbe | None = None

    def __post_init__(self) -> None:
        for name, limits in (("learning_rates", {"above": 0}), ("weight_decays", {"least": 0})):
            object.__setattr__(self, name, numbers(f"protocol.{name}", getattr(self, name), **limits))
        for name, least in (("steps", 1), ("batch_size", 1), ("checkpoint_every", 1), ("workers", 0)):
            check_number(f"protocol.{name}", getattr(self, name), least=least, whole=True)
        check_number("protocol.image_size", self.image_size, least=1, whole=True, null=True)
        check_number("protocol.smallest_crop", self.smallest_crop, above=0, most=1)
        check_number("protocol.head_learning_rate", self.head_learning_rate, above=0, null=True)
        for name in ("precision", "depthwise_precision"):
            if (given := getattr(self, name)) not in PRECISIONS:
                raise ModelRankError(f"protocol.{name}={given}: give one of {', '.join(PRECISIONS)}")
        if self.racing is None:
            return
        if len(self.weight_decays) != 1:
            raise ModelRankError(f"protocol={self.name}: a race is over learning rates, so give one of weight_decays")
        if not 0 < self.racing.rung <= self.steps:
            raise ModelRankError(
                f"protocol={self.name}: racing.rung={self.racing.rung} is no step of the {self.steps} of a training; "
                f"give protocol.racing.rung=1 to {self.steps}"
            )
        if self.racing.floor and self.probe is None:
            raise ModelRankError(f"protocol={self.name}: racing.floor is the value of a head, so it needs a probe")
        if self.racing.finalists < 1:
            raise ModelRankError(f"protocol={self.name}: racing.finalists={self.racing.finalists}; give 1 or more")

    def numbers(self) -> dict[str, object]:
        """What decides the result, for the protocol's hash."""
        operational = ("name", "checkpoint_every", "workers", "curve", "racing", "probe")
        plain = {key: value for key, value in declared(type(self), vars(self)).items() if key not in operational}
        if self.racing is not None:
            plain["racing"] = self.racing.numbers()
        if self.probe is not None:
            plain["probe"] = {key: value for key, value in self.probe.numbers().items() if key != "image_size"}
        return plain

    def points(self) -> list[Point]:
        grid = itertools.product(
            self.learning_rates if self.racing is None else sorted(self.learning_rates), self.weight_decays
        )
        return [{"lr": float(rate), "wd": float(decay)} for rate, decay in grid]

    def __call__(
        self, model: PretrainedModel, data: ImageData, *, trainer: MakeTrainer, folder: Path, cache: Path, seed: int
    ) -> Outcome:
        """Measure; what is finished is kept in `folder` and not done again, a training goes on from its checkpoint.

        Cost in training images: (grid points + 1) x steps x batch_size; with `racing` three or four points to its rung
        and one or two from there to the end.
        """
        check_task(self.name, data, self.tasks)
        make = self.arms(model, data, trainer=trainer, folder=folder, cache=cache, seed=seed)
        arms: dict[str, Arm] = {}
        trainings: list[Training] = []
        seconds = 0.0

        def advance(point: Point, until: int) -> dict[str, Any]:
            found = arms.setdefault(label(point), make(point)).advance(until)
            why, seen = found.get("failed", ""), found.get("curve", [])
            trainings.append(Training(point, until, seen, why, found["seconds"], self.batch_size))
            return found if "failed" in found else {"value": found["curve"][-1][2]}

        mode = TransferTask.mode
        if self.racing is None:
            best, val = every(self.points(), lambda point: advance(point, self.steps), mode)
            for other in arms.values():
                other.clear()
            final = self._final(make, best)
            retrained = final.advance(self.steps)
            if "failed" in retrained:
                raise ModelRankError(f"{model.name}, trained once more on train + val: {retrained['failed']}")
            seconds = retrained["seconds"]
        else:
            floor = None
            if self.racing.floor:
                untrained = make(self.points()[0], name="head").advance(0)
                floor, seconds = untrained["curve"][0][2], untrained["seconds"]
            best, val = race(self.points(), advance, self.racing, self.steps, mode, floor)
            final = arms[label(best)]
        tested = final.test(self.steps)
        for other in arms.values():
            if other is not final:
                other.clear()
        return Outcome(
            accuracy=tested["value"],
            val_accuracy=val,
            learning_rate=best["lr"],
            weight_decay=best["wd"],
            seconds=seconds + tested["seconds"] + sum(training.seconds for training in trainings),
            n_train=len(data.splits["train"]) + (len(data.splits["val"]) if self.racing is None else 0),
            image_size=model.preprocessing.at(self.image_size).size,
            precision=final.precision,
            beside=tested["beside"],
            trainings=trainings,
        )

    def arms(
        self,
        model: PretrainedModel,
        data: ImageData,
        *,
        trainer: MakeTrainer,
        folder: Path,
        cache: Path,
        seed: int,
        weights_seed: int | None = None,
    ) -> Callable[..., Arm]:
        """Makes trainings of this model on these images, each loaded once: `make(point, splits=('train',), name='')`.

        folder: each has one of its own there, `name` or the label of its point. weights_seed: as for `trained`.
        """
        preprocessing = model.preprocessing.at(self.image_size)
        weights_seed = seed if weights_seed is None else weights_seed
        start = functools.cache(
            functools.partial(self.probed_head, model, data, trainer=trainer, cache=cache, seed=weights_seed)
        )
        if self.in_memory:
            data = self.decoded(data, preprocessing)
        source = model.load(cache, seed=weights_seed)
        precision = self.depthwise_precision if has_depthwise(source) else self.precision

        def make(point: Point, splits: tuple[str, ...] = ("train",), name: str = "") -> Arm:
            return Arm(
                title=f"{data.name} {model.name} {'+'.join(splits)} {label(point)}",
                folder=folder / (name or label(point)),
                prepare=functools.partial(self._prepared, source, data, point, splits, preprocessing, seed),
                head=start,
                trainer=trainer,
                precision=precision,
                curve={round(share * self.steps) for share in self.curve} - {0},
                checkpoint_every=self.checkpoint_every,
            )

        return make

    def probed_head(
        self, model: PretrainedModel, data: ImageData, *, trainer: MakeTrainer, cache: Path, seed: int
    ) -> Tensor | None:
        """Weights of the head before the first step, (D + 1) x outputs, the last row the intercept; None: random ones.
        data: as it was read, not `decoded`. Cost: one pass over train and val where their features are not kept."""
        if self.probe is None:
            return None
        probe = replace(self.probe, image_size=self.image_size)
        return probe.head(model, data, trainer=trainer, cache=cache, seed=seed)

    def measured(
        self,
        model: PretrainedModel,
        data: ImageData,
        point: Point,
        *,
        trainer: MakeTrainer,
        folder: Path,
        cache: Path,
        seed: int,
    ) -> nn.Module:
        """The network that was measured at its chosen point, backbone and head, in eval mode; it is trained once more,
        which gives the same one, where its checkpoint is gone."""
        arm = self._final(self.arms(model, data, trainer=trainer, folder=folder, cache=cache, seed=seed), point)
        return arm.network(self.steps).network.eval()

    def _final(self, make: Callable[..., Arm], point: Point) -> Arm:
        """The training whose network is measured on test."""
        return make(point) if self.racing is not None else make(point, ("train", "val"), "final")

    def trained(
        self,
        model: PretrainedModel,
        data: ImageData,
        point: Point,
        *,
        trainer: MakeTrainer,
        folder: Path,
        cache: Path,
        seed: int,
        weights_seed: int = 0,
    ) -> nn.Module:
        """The network (`backbone`, `pool`, `head`) in eval mode after training on train at one grid point.

        seed: of the head, the crops and the order of the images; weights_seed: of the random control's weights.
        Raises ModelRankError where the training diverges.
        """
        make = self.arms(model, data, trainer=trainer, folder=folder, cache=cache, seed=seed, weights_seed=weights_seed)
        arm = make(point)
        network = arm.network(self.steps).network.eval()
        arm.discard()
        return network

    def _prepared(
        self,
        source: nn.Module,
        data: ImageData,
        point: Point,
        splits: tuple[str, ...],
        preprocessing: Preprocessing,
        seed: int,
    ) -> tuple[TransferTask, ImageDataModule]:
        """A fresh copy of the network with a new head, and its images. Seeds the global generator."""
        torch.manual_seed(seed)
        task = self._task(source, data, point, preprocessing.size)
        module = ImageDataModule(
            data,
            *self._transforms(preprocessing, data),
            batch_size=self.batch_size,
            workers=self.workers,
            train_splits=splits,
            seed=seed,
        )
        return task, module

    def decoded(self, data: ImageData, preprocessing: Preprocessing) -> ImageData:
        """The images in memory, as `in_memory` says."""
        return in_memory(data, Shrink(preprocessing.resize, preprocessing.interpolation))

    def _transforms(self, preprocessing: Preprocessing, data: ImageData) -> tuple[Transform, Transform]:
        """For training and for measuring."""
        return preprocessing.training(self.smallest_crop, mirror=data.mirror), preprocessing.evaluation()

    def _task(self, source: nn.Module, data: ImageData, point: Point, size: int) -> TransferTask:
        targets = data.splits["train"].targets
        outputs = len(data.classes) if data.task != "regression" else int(np.prod(targets.shape[1:]))
        return TASKS[data.task](
            replace_head(copy.deepcopy(source), outputs, size=size),
            METRICS[data.metric](outputs),
            **self._optimisation(point),
        )

    def _optimisation(self, point: Point) -> dict[str, Any]:
        """What a `TransferTask` is to know of the protocol."""
        return {
            "optimizer": self.optimizer,
            "learning_rate": point["lr"],
            "weight_decay": point["wd"] / point["lr"],
            "head_learning_rate": point["lr"] if self.head_learning_rate is None else self.head_learning_rate,
            "steps": self.steps,
        }
