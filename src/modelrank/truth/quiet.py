"""Lightning without what its user cannot act on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


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
            r"You defined a `validation_step` but have no `val_dataloader`.*",  # val is measured by truth.arm
        ):
            warnings.filterwarnings("ignore", message=message)
        try:
            yield
        finally:
            logger.setLevel(level)
