"""Several processes that are one run (DDP): the first, rank 0, speaks and writes for all; the others only work.

Lightning starts the further ranks by the same command in the same run folder. Left to themselves they would open a
second W&B run, write the same tables at the same time, and print everything twice.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator
from typing import Any, TypeVar

from omegaconf import DictConfig

T = TypeVar("T")
# set to other than 0 in the further ranks by Lightning, torchrun, or SLURM
NUMBERS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")


def uses_ddp(cfg: DictConfig) -> bool:
    """Whether the trainer spreads one fine-tuning over several processes."""
    return "ddp" in str(cfg.trainer.get("strategy", ""))


def expected(cfg: DictConfig) -> int:
    """How many processes will share one fine-tuning; 1 where only the machine can tell (devices=auto)."""
    devices: Any = cfg.trainer.get("devices", 1)
    count = devices if isinstance(devices, int | str) else len(devices)
    if not uses_ddp(cfg) or isinstance(count, str) or count < 1:
        return 1
    return count * int(cfg.trainer.get("num_nodes", 1))


def follows(cfg: DictConfig) -> bool:
    """Whether this process is a further rank of a run."""
    return uses_ddp(cfg) and any(os.environ.get(name, "0") != "0" for name in NUMBERS)


@contextlib.contextmanager
def own_part(cfg: DictConfig) -> Iterator[DictConfig]:
    """The config for this process: of a further rank without a tracker and with a run folder that goes at the end.

    A further rank prints nothing within, and logs warnings only.
    """
    if not follows(cfg):
        yield cfg
        return
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        logging.disable(logging.INFO)
        cfg = cfg.copy()
        cfg.paths.run, cfg.logger = folder, {"_target_": "modelrank.tracking.Tracker"}
        yield cfg


def place() -> tuple[int, int]:
    """The rank of this process and how many there are; 0 of 1 for one alone, or before Lightning started the others."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def of_first(value: T) -> T:
    """What rank 0 gives, in every rank, as soon as all of them are here."""
    from torch import distributed

    ranks = place()[1]
    if ranks == 1:
        return value
    values = [value] * ranks
    distributed.all_gather_object(values, value)
    return values[0]


def wait_for_all() -> None:
    """Until every rank is here: what rank 0 wrote before can be read by all after."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
