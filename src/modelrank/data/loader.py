"""The one way to make a loader of batches."""

from __future__ import annotations

import multiprocessing
import signal
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset


def loader(items: Dataset[Any], *, workers: int, seed: int = 0, **settings: Any) -> DataLoader[Any]:
    """`DataLoader(items, **settings)` whose workers can be started in any process and that has a generator of its own.

    joblib's processes make their own way of starting a process the default one, and by it no worker starts; so the
    platform's is named. Pinned memory where there is an accelerator to copy to. Ctrl-C, which a terminal sends to all
    processes, is left to the one that reads: it ends its workers.
    """
    return DataLoader(
        items,
        num_workers=workers,
        multiprocessing_context=multiprocessing.get_all_start_methods()[0] if workers else None,
        worker_init_fn=_leave_ctrl_c,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator().manual_seed(seed),  # the global one stays untouched
        **settings,
    )


def _leave_ctrl_c(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
