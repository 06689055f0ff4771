"""Ground truth by fine-tuning all layers: grid on train, choice on val, once more on train + val, test once."""

from __future__ import annotations

import copy
import itertools
import logging
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.utilities.seed import isolate_rng
from torch import nn
from torchvision.transforms.v2 import InterpolationMode, Resize

from modelrank.data.images import ImageData, ImageSplit, Transform
from modelrank.data.module import ImageDataModule
from modelrank.hub.model import PretrainedModel
from modelrank.hub.penultimate import replace_head
from modelrank.hub.preprocessing import Preprocessing
from modelrank.truth.classification import Classification, MultiLabel
from modelrank.truth.grid import Diverged, Point, label, remembered, search
from modelrank.truth.metrics import METRICS
from modelrank.truth.progress import StepProgress
from modelrank.truth.protocol import MakeTrainer, Outcome, check_task
from modelrank.truth.regression import Regression
from modelrank.truth.task import TransferTask
from modelrank.types import ModelRankError

TASKS: dict[str, type[TransferTask]] = {
    "classification": Classification,
    "multilabel": MultiLabel,
    "regression": Regression,
}

SILENT = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}


@dataclass(frozen=True)
class Measured:
    """The value of the data set's metric, and other values of the same split that belong beside it."""

    value: float
    beside: dict[str, float]


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

    def numbers(self) -> dict[str, object]:
        """What decides the result, for the protocol's hash."""
        operational = ("name", "checkpoint_every", "workers")
        return {name: _floats(value) for name, value in vars(self).items() if name not in operational}

    def points(self) -> list[Point]:
        grid = itertools.product(self.learning_rates, self.weight_decays)
        return [{"lr": float(rate), "wd": float(decay)} for rate, decay in grid]

    def __call__(
        self, model: PretrainedModel, data: ImageData, *, trainer: MakeTrainer, folder: Path, cache: Path, seed: int
    ) -> Outcome:
        """Measure; every finished grid point and the final retraining are kept in `folder` and not done again.

        Cost: (grid points + 1) x steps x batch_size training images.
        """
        check_task(self.name, data, self.tasks)
        preprocessing = model.preprocessing.at(self.image_size)
        if self.in_memory:
            data = self._in_memory(data, preprocessing)
        source = model.load(cache, seed=seed)
        precision = self.depthwise_precision if has_depthwise(source) else self.precision

        def run(point: Point, splits: tuple[str, ...], measure_on: str, where: Path) -> Measured:
            with isolate_rng(), quiet():
                task, module = self._prepared(source, data, point, splits, preprocessing, seed)
                title = f"{data.name} {model.name} {'+'.join(splits)} {label(point)}"
                return self._train_and_measure(task, module, measure_on, title, trainer, precision, where)

        def on_val(point: Point) -> float:
            return run(point, ("train",), "val", folder / label(point)).value

        best, val, seconds = search(self.points(), on_val, folder, TransferTask.mode)
        final = remembered(folder / "final.json", lambda: vars(run(best, ("train", "val"), "test", folder / "final")))
        return Outcome(
            accuracy=final["value"],
            val_accuracy=val,
            learning_rate=best["lr"],
            weight_decay=best["wd"],
            seconds=seconds + final["seconds"],
            image_size=preprocessing.size,
            precision=precision,
            beside=final.get("beside", {}),  # absent in what was measured before it was kept
        )

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
        preprocessing = model.preprocessing.at(self.image_size)
        source = model.load(cache, seed=weights_seed)
        precision = self.depthwise_precision if has_depthwise(source) else self.precision
        if self.in_memory:
            data = self._in_memory(data, preprocessing)
        with isolate_rng(), quiet():
            task, module = self._prepared(source, data, point, ("train",), preprocessing, seed)
            title = f"{data.name} {model.name} train {label(point)} seed {seed}"
            try:
                self._train(task, module, title, trainer, precision, folder)
            except Diverged as error:
                raise ModelRankError(f"{model.name} at {label(point)}: {error}") from error
        (folder / "last.ckpt").unlink(missing_ok=True)
        return task.network.eval()

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

    def _in_memory(self, data: ImageData, preprocessing: Preprocessing) -> ImageData:
        return held_in_memory(data, preprocessing)

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

    def _train_and_measure(
        self,
        task: TransferTask,
        module: ImageDataModule,
        measure_on: str,
        title: str,
        trainer: MakeTrainer,
        precision: str,
        folder: Path,
    ) -> Measured:
        self._train(task, module, title, trainer, precision, folder)
        measuring: pl.Trainer = trainer(enable_checkpointing=False, precision=precision, **SILENT)
        evaluate = measuring.test if measure_on == "test" else measuring.validate
        values = dict(evaluate(task, datamodule=module, verbose=False)[0])
        (folder / "last.ckpt").unlink(missing_ok=True)  # only now: measuring may be stopped too
        return Measured(float(values.pop(task.monitor)), values)

    def _train(
        self,
        task: TransferTask,
        module: ImageDataModule,
        title: str,
        trainer: MakeTrainer,
        precision: str,
        folder: Path,
    ) -> None:
        """Leaves its last checkpoint, where there is one, for the caller to remove."""
        callbacks: list[Callback] = [StepProgress(title, self.batch_size)]
        if checkpointing := self.checkpoint_every < self.steps:
            callbacks.append(
                ModelCheckpoint(
                    folder, filename="last", every_n_train_steps=self.checkpoint_every, enable_version_counter=False
                )
            )
        fitting = trainer(
            max_steps=self.steps,
            max_epochs=-1,
            limit_val_batches=0,
            callbacks=callbacks,
            enable_checkpointing=checkpointing,
            precision=precision,
            **SILENT,
        )
        last = folder / "last.ckpt"
        # A resumed run goes on with the weights, momentum and schedule of its last checkpoint; the order of the images
        # begins anew, so it is equivalent to, but not bit for bit, an uninterrupted one.
        fitting.fit(task, datamodule=module, ckpt_path=last if last.exists() else None, weights_only=True)
        if task.diverged:
            last.unlink(missing_ok=True)
            raise Diverged(task.diverged)


def held_in_memory(data: ImageData, preprocessing: Preprocessing) -> ImageData:
    """The same data with every image decoded and shrunk once (N x about resize^2 x 3 bytes).

    The short side becomes that of the evaluation transform, with its own interpolation, so evaluation sees exactly
    the pixels that it would have seen.
    """
    mode = InterpolationMode(preprocessing.interpolation)

    def shrunk(split: ImageSplit) -> ImageSplit:
        shrink = Resize(preprocessing.resize, mode)
        images = [np.asarray(shrink(split[i][0])) for i in range(len(split))]
        return ImageSplit(images, split.targets, split.ids, groups=split.groups)

    return replace(data, splits={name: shrunk(split) for name, split in data.splits.items()})


def has_depthwise(network: nn.Module) -> bool:
    """Whether a convolution works on each channel by itself."""
    return any(isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1 for layer in network.modules())


def _floats(value: object) -> object:
    """1 and 1.0 in a grid are one protocol."""
    return [float(item) for item in value] if isinstance(value, Sequence) and not isinstance(value, str) else value


@contextmanager
def quiet() -> Iterator[None]:
    """Without Lightning's notes on devices and on reached step counts, and its advice on workers and checkpoints."""
    logger = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    level = logger.level
    logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in (
            r".*does not have many workers.*",
            r".*LeafSpec.*",  # Lightning 2.6 with torch 2.12
            r"Checkpoint directory .* exists and is not empty",
            r"You're resuming from a checkpoint that ended before the epoch ended.*",
        ):
            warnings.filterwarnings("ignore", message=message)
        try:
            yield
        finally:
            logger.setLevel(level)
