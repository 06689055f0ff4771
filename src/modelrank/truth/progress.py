"""A progress bar of the training steps with images per second and the time left."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class StepProgress(pl.Callback):
    """One bar for one training run, on the error stream; `title` says which."""

    def __init__(self, title: str, batch_size: int) -> None:
        self.title, self.batch_size = title, batch_size
        self.bar: Progress | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"))
        rate = TextColumn("{task.fields[rate]:.0f} images/s")
        self.bar = Progress(*columns, rate, TimeRemainingColumn(), console=Console(stderr=True))
        self.bar.start()
        self.task = self.bar.add_task(self.title, total=trainer.max_steps, completed=trainer.global_step, rate=0.0)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.bar is not None:
            speed = (self.bar.tasks[self.task].speed or 0.0) * self.batch_size * trainer.world_size
            self.bar.update(self.task, completed=trainer.global_step, rate=speed)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.bar is not None:
            self.bar.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.on_train_end(trainer, pl_module)  # give the terminal its cursor back
