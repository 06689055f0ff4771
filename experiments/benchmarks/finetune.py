"""What fine-tuning costs beside a bare PyTorch loop over the same batches.

    python experiments/benchmarks/finetune.py             # 1 thread, about 2 minutes of one core
    python experiments/benchmarks/finetune.py --quick     # a smoke run; its numbers mean nothing

Ratios of CPU seconds, both sides in turn within one run. Writes finetune.csv and finetune.json into --out.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from extraction import models
from measuring import alone, command, cpu_timed, row, status
from photographs import photographs
from torch.nn import functional

from modelrank.root import CONF
from modelrank.truth.finetune import FineTuning


def protocol() -> FineTuning:
    from hydra import compose, initialize_config_dir

    from modelrank import build

    with initialize_config_dir(str(CONF), version_base="1.3"):
        return build.protocol(compose("config", ["protocol=finetune_offline", "protocol.checkpoint_every=1000000"]))


def against_loop(name: str, steps: int, repeats: int) -> tuple[float, float, int]:
    """Least CPU seconds of so many steps by the protocol and by a loop over the same batches; peak bytes."""
    every, cache = models("offline")
    rule = protocol()
    with tempfile.TemporaryDirectory() as folder:
        data = photographs(Path(folder, "photographs"), 64, 500, 375)
        trainer = partial(pl.Trainer, accelerator="cpu")
        settings = {"trainer": trainer, "folder": Path(folder), "cache": cache, "seed": 0}
        make = rule.arms(every[name], data, **settings)
        point = rule.points()[0]
        arms = iter([make(point, ("train", "val"), str(number)) for number in range(repeats + 1)])

        def loop() -> None:
            task, module = make(point, ("train", "val"), "bare").prepare()
            network = task.network.train()
            groups = [{"params": list(network.backbone.parameters())}, {"params": list(network.head.parameters())}]
            optimizer = rule.optimizer(groups, lr=1e-7, weight_decay=0.0)
            module.steps = range(steps)
            for images, targets, _ in module.train_dataloader():
                optimizer.zero_grad()
                outputs = network(images.contiguous(memory_format=torch.channels_last))
                functional.cross_entropy(outputs, targets).backward()
                optimizer.step()

        seconds = [(cpu_timed(lambda: next(arms).advance(steps)), cpu_timed(loop)) for _ in range(repeats + 1)][1:]
    return min(own for own, _ in seconds), min(bare for _, bare in seconds), status("VmHWM")


def measure(quick: bool, threads: int) -> list[dict[str, Any]]:
    rows = []
    for name in ["squeezenet1_1"] if quick else ["squeezenet1_1", "mobilenet_v2"]:
        own, bare, peak = alone(against_loop, threads, name, 2 if quick else 12, 1 if quick else 2)
        label = f"{name} at 112 px: bare loop over fine-tuning"
        rows.append(row(label, bare / own, 0.95, "x", at_least=True, seconds=own, yardstick=bare, bytes=peak))
    return rows


if __name__ == "__main__":
    command("finetune", __doc__, measure)
