"""One training of one network at one grid point: stopped at any step, kept, and continued from there.

Everything random in it (the order of the images, their crops, dropout) is a function of the seed and of the number of
the step, so a training that was stopped and continued is the same training, with any number of loader workers.
"""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor
from torch.utils.data import DataLoader

from modelrank import stopping
from modelrank.data.module import ImageDataModule, seed_of_step
from modelrank.packages import writable
from modelrank.ranks import wait_for_all
from modelrank.trainers import SILENT, StepProgress, out_of_memory, quiet
from modelrank.truth.grid import remembered
from modelrank.truth.protocol import MakeTrainer
from modelrank.truth.tasks import TransferTask
from modelrank.types import ModelRankError

log = logging.getLogger(__name__)
SETTINGS = SILENT | {"use_distributed_sampler": False}  # the loaders give each rank its share: see `ImageDataModule`


@dataclass(frozen=True)
class Arm:
    """prepare: makes the network before its first step, and its images; called anew for each stretch of training.
    head: weights of the new head before the first step, see `TransferTask.start`; None leaves those of `prepare`.
    folder: keeps `stepN.json`, what was found after N steps, and `last.ckpt`, network and optimiser to go on from.
    curve:  steps after which the val split is measured (the last step of a stretch always is); empty where val is
            trained on.
    checkpoint_every: steps between checkpoints within a stretch.
    """

    title: str
    folder: Path
    prepare: Callable[[], tuple[TransferTask, ImageDataModule]]
    head: Callable[[], Tensor | None]
    trainer: MakeTrainer
    precision: str
    curve: Collection[int]
    checkpoint_every: int

    def advance(self, until: int) -> dict[str, Any]:
        """Train up to step `until`: {'curve': [[step, seconds, value on val], ...], 'seconds': of this stretch}, or
        {'failed': reason} where the loss became no number. What was done before is read. Step 0: the head alone.

        Seconds are those of the process's CPU, on other devices of the clock, with those that a stretch had trained
        before it was cut off; those of the curve are of the training steps alone, since the first.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        return remembered(
            self.folder / f"step{until}.json", lambda: self._stretch(until) if until else self._untrained()
        )

    def test(self, after: int) -> dict[str, Any]:
        """The value of the metric on the test split, other values beside it, and seconds, after step `after`."""
        return remembered(self.folder / f"test{after}.json", lambda: self._test(after))

    def network(self, after: int) -> TransferTask:
        """The task with its network as it is after that step."""
        self._reach(after)
        return self._prepared()[0]

    def holds(self, step: int) -> bool:
        """Whether the checkpoint is of this step: not where a later stretch was cut off, or where it was given up."""
        state = self._kept(mmap=True)
        return step == (0 if state is None else state["step"])

    def clear(self) -> None:
        """Give back the disk space of the checkpoint; the arm cannot be continued after that."""
        self._checkpoint.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.folder)

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "last.ckpt"

    def _kept(self, *, mmap: bool = False) -> dict[str, Any] | None:
        """The checkpoint; None where there is none, or a damaged one, which is taken away."""
        try:
            return torch.load(self._checkpoint, weights_only=True, mmap=mmap)
        except FileNotFoundError:
            return None
        except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
            if out_of_memory(error) or isinstance(error, PermissionError):
                raise
            log.warning("%s is damaged: it is trained again", self._checkpoint)
            self.clear()
            return None

    def _reach(self, step: int) -> None:
        """Train once more, which gives the same network, where the checkpoint is not of that step."""
        if self.holds(step):
            return
        self.clear()
        for found in self.folder.glob("step*.json"):
            found.unlink(missing_ok=True)
        if failed := self.advance(step).get("failed"):
            raise ModelRankError(f"{self.title}: {failed}")

    def _prepared(self) -> tuple[TransferTask, ImageDataModule]:
        """Where the last stretch ended, or before the first step."""
        state = self._kept()
        weights = self.head() if state is None else None  # first, since `prepare` seeds the generator
        task, module = self.prepare()
        if state is not None:
            task.restore(state)
        elif weights is not None:
            task.start(weights)
        return task, module

    def _stretch(self, until: int) -> dict[str, Any]:
        with isolate_rng(), quiet():
            task, module = self._prepared()
            if task.done > until:  # what was found at that step is lost, and the training further on
                known = [one for one in task.curve if one[0] <= until]
                if known and known[-1][0] == until:
                    return {"curve": known, "seconds": known[-1][1]}
                self.clear()
                task, module = self._prepared()
            module.steps = range(task.done, until)
            before = task.trained_before - self._seconds_at_last_stretch(task.curve)  # what was cut off of this one
            watch = _Watch(module, {*self.curve, until} if "val" not in module.train_splits else (), self)
            fitting: pl.Trainer = self.trainer(
                max_steps=len(module.steps),
                max_epochs=1,  # the loader holds all steps; a second pass would repeat the first ones
                limit_val_batches=0,
                callbacks=[StepProgress(self.title, module.batch_size), watch],
                precision=self.precision,
                **SETTINGS,
            )
            watch.begin()
            if module.steps:
                with self._in_memory(module):
                    fitting.fit(task, train_dataloaders=module.train_dataloader())
            if task.diverged:
                self.clear()
                return {"failed": task.diverged, "seconds": before + watch.seconds()}
            if fitting.global_step != len(module.steps):
                raise ModelRankError(
                    f"{self.title}: {fitting.global_step} of {len(module.steps)} steps were trained; take what limits "
                    "the training (fast_dev_run, limit_train_batches, max_time, ...) out of the trainer's settings"
                )
            if module.steps:
                self.keep(task, until, watch.trained(task))
                wait_for_all()  # the other ranks read it next
            return {"curve": task.curve, "seconds": before + watch.seconds()}

    def _seconds_at_last_stretch(self, curve: Sequence[Sequence[float]]) -> float:
        """Seconds of training, since the first step, at the end of the last stretch that came to its end."""
        ended = {float(path.stem.removeprefix("step")) for path in self.folder.glob("step*.json")}
        return max((seconds for step, seconds, _ in curve if step in ended), default=0.0)

    def _untrained(self) -> dict[str, Any]:
        with isolate_rng(), quiet():
            task, module, watch, measuring = self._measuring()
            with self._in_memory(module):
                values = measuring.validate(task, dataloaders=module.val_dataloader(), verbose=False)[0]
            return {"curve": [[0, 0.0, round(float(values[task.monitor]), 6)]], "seconds": watch.seconds()}

    @contextmanager
    def _in_memory(self, module: ImageDataModule) -> Iterator[None]:
        """A batch that does not fit is refused: of other batches the same steps learn other things (batch
        normalisation, which sees the images of one pass), so parts of it would be another protocol under its name."""
        try:
            yield
        except Exception as error:
            stopping.again()
            if not out_of_memory(error):
                raise
            raise ModelRankError(
                f"{self.title}: a batch of {module.batch_size} images does not fit into memory. Smaller ones are "
                "another protocol, for all models that are compared: protocol.batch_size=N or protocol.image_size=N"
            ) from error

    def keep(self, task: TransferTask, step: int, seconds: float) -> None:
        """Write the checkpoint, by renaming; rank 0 for all."""
        if task.global_rank == 0:
            temporary = self.folder / f"last.{os.getpid()}.tmp"
            with writable(self.folder):
                try:
                    torch.save(task.state(step, seconds), temporary)
                except RuntimeError as error:  # torch's word for what the disk refuses
                    temporary.unlink(missing_ok=True)
                    raise OSError(str(error).split("\n")[0]) from error
                temporary.replace(self._checkpoint)

    def _measuring(self) -> tuple[TransferTask, ImageDataModule, _Watch, pl.Trainer]:
        """The network as it is, its images, a watch that runs, and what measures it."""
        task, module = self._prepared()
        watch = _Watch(module, (), self)
        watch.begin()
        return task, module, watch, self.trainer(precision=self.precision, callbacks=[watch], **SETTINGS)

    def _test(self, after: int) -> dict[str, Any]:
        self._reach(after)
        with isolate_rng(), quiet():
            task, module, watch, measuring = self._measuring()
            with self._in_memory(module):
                values = dict(measuring.test(task, datamodule=module, verbose=False)[0])
            if task.seen != (expected := len(module.data.splits["test"])):
                raise ModelRankError(
                    f"{self.title}: {task.seen} of {expected} test images were measured; take what limits the testing "
                    "(fast_dev_run, limit_test_batches, ...) out of the trainer's settings"
                )
            task.after_test(module.data, self.folder.parent)
            return {"value": float(values.pop(task.monitor)), "beside": values, "seconds": watch.seconds()}


class _Watch(Callback):
    """Seeds each step, measures the curve, keeps checkpoints, and tells the time."""

    def __init__(self, module: ImageDataModule, curve: Collection[int], arm: Arm) -> None:
        self.module, self.curve, self.arm = module, frozenset(curve), arm
        self.clock: Callable[[], float] = time.process_time
        self.began = self.measuring = 0.0

    def begin(self) -> None:
        self.began = self.clock()

    def seconds(self) -> float:
        return self.clock() - self.began

    def trained(self, task: TransferTask) -> float:
        """Seconds of training alone, since the first step."""
        return task.trained_before + self.seconds() - self.measuring

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if trainer.strategy.root_device.type != "cpu":
            self.clock = time.perf_counter
            self.begin()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.begin()
        self.val = self.module.val_dataloader() if self.curve else None

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        step = self.module.steps[batch_idx]
        torch.manual_seed(seed_of_step(self.module.seed, step, "network", trainer.global_rank))

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = self.module.steps[batch_idx] + 1
        if step in self.curve and not pl_module.diverged:
            assert self.val is not None
            trained, begin = self.trained(pl_module), self.clock()
            pl_module.curve.append([step, round(trained, 3), round(_on_val(trainer, pl_module, self.val), 6)])
            self.measuring += self.clock() - begin
        if step % self.arm.checkpoint_every == 0 and step < self.module.steps.stop and not pl_module.diverged:
            self.arm.keep(pl_module, step, self.trained(pl_module))


@torch.no_grad()
def _on_val(trainer: pl.Trainer, task: TransferTask, loader: DataLoader) -> float:
    """The monitored value on val in the middle of training, which it leaves untouched."""
    modes = {module: module.training for module in task.modules()}
    task.eval()
    with trainer.precision_plugin.forward_context():
        for number, batch in enumerate(loader):
            task.validation_step(trainer.strategy.batch_to_device(batch), number)
    value = float(task.values()[task.monitor])
    task.metric.reset()
    for module, mode in modes.items():
        module.training = mode
    return value
