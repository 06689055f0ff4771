"""What the Lightning trainers of the project share: they say nothing that the user cannot act on, count images, and
take fewer at a time where a batch does not fit into memory."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch

from modelrank import stopping
from modelrank.progress import Progress
from modelrank.types import ModelRankError

log = logging.getLogger(__name__)
Result = TypeVar("Result")

SILENT = {  # settings
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


@contextmanager
def quiet() -> Iterator[None]:
    """Without Lightning's notes on devices and on reached step counts, and its advice on workers and checkpoints;
    with all of that in a verbose run."""
    if logging.getLogger("modelrank").isEnabledFor(logging.DEBUG):
        yield
        return
    logger = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    level = logger.level
    logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in (
            r".*does not have many workers.*",
            r".*LeafSpec.*",  # Lightning 2.6 with torch 2.12
            r"Checkpoint directory .* exists and is not empty",
            r"You're resuming from a checkpoint that ended before the epoch ended.*",
            r"You defined a `validation_step` but have no `val_dataloader`.*",  # val is measured by truth.arm
            r"The `srun` command is available on your system but is not used.*",  # the launchers do that
        ):
            warnings.filterwarnings("ignore", message=message)
        try:
            yield
        finally:
            logger.setLevel(level)


class StepProgress(pl.Callback):
    """The images that one training run has learnt from; `title` says which run, batch_size is that of all ranks."""

    def __init__(self, title: str, batch_size: int) -> None:
        self.title, self.batch_size = title, batch_size
        self.shown: Progress | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            total, done = trainer.max_steps * self.batch_size, trainer.global_step * self.batch_size
            self.shown = Progress(self.title, total, "images", done=done)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        stopping.again()  # some library may have swallowed it
        if self.shown is not None:
            self.shown.update(self.batch_size)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.shown is not None:
            self.shown.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.on_train_end(trainer, pl_module)  # give the terminal its line back


def own_device(trainer: Callable[..., pl.Trainer]) -> list[int] | int:
    """`devices` of a trainer for this process alone; each rank of a DDP run has the device that it trains on."""
    index = trainer(**SILENT).strategy.root_device.index
    return 1 if index is None else [index]


def out_of_memory(error: BaseException) -> bool:
    """Whether it says that an allocation failed, on any device (torch has no class of its own for that of a CPU)."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def doubled(first: int, most: int, room: int, peak: Callable[[int], int]) -> int:
    """The largest of first, 2 first, 4 first, ... up to `most` that fits into `room` bytes, if twice as many images
    take twice the memory; a larger one is not tried. peak: bytes that a batch took, with all that was there."""
    size = first
    while 2 * size <= most and 2 * peak(size) <= room:
        size *= 2
    return size


def in_batches_that_fit(work: Callable[[int], Result], batch_size: int, title: str, setting: str) -> Result:
    """`work(batch_size)`, and again with half of that for as long as a batch does not fit into memory; said once.

    Only for work that gives the same in batches of any size. setting: that the user can change, for the message.
    ModelRankError: one image alone does not fit.
    """
    size = batch_size
    while True:
        try:
            result = work(size)
        except Exception as error:
            if not out_of_memory(error):
                raise
            if size == 1:
                raise ModelRankError(f"{title}: one image does not fit into memory; make it smaller") from error
        else:
            break
        size = size // 2  # out here nothing holds the batch that was too large
        torch.cuda.empty_cache()
    if size < batch_size:
        log.warning(
            "%s: %d images did not fit into memory, %d at a time did: %s=%d", title, batch_size, size, setting, size
        )
    return result
