"""What `extraction.compile=true` saves: the forward pass compiled against as it is, and what compiling costs first.

    python experiments/benchmarks/compiled.py             # 1 thread, about 5 minutes of one core; wants a C++ compiler
    python experiments/benchmarks/compiled.py --quick     # a smoke run; its numbers mean nothing

Ratios of CPU seconds, both in turn within one run. The images from which on compiling pays are those of one network on
one data set: a network is compiled anew in each run. Writes compiled.csv and compiled.json, the machine, into --out.
"""

from __future__ import annotations

import copy
import os
import tempfile
from math import inf
from typing import Any

import torch
from extraction import BATCH, models
from measuring import alone, command, cpu_in_turn, cpu_timed, row

from modelrank.hub.penultimate import FeatureExtractor


@torch.inference_mode()
def against_eager(name: str, size: int, repeats: int) -> tuple[float, float, float, float]:
    """CPU seconds of a batch compiled and as it is, of compiling, and the largest difference of a feature as a share
    of the largest feature."""
    every, cache = models("offline")
    network = every[name].load(cache).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  torch leaves it out
    eager, compiled = FeatureExtractor(network).eval(), FeatureExtractor(copy.deepcopy(network)).eval()
    compiled.compile()
    batch = torch.randn(BATCH, 3, size, size, generator=torch.Generator().manual_seed(0))
    batch = batch.contiguous(memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory() as folder:  # nothing that an earlier run has compiled
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        first = cpu_timed(lambda: compiled(batch))
        own, plain = cpu_in_turn(lambda: compiled(batch), lambda: eager(batch), repeats)
        there, here = compiled(batch)[0], eager(batch)[0]
    return own, plain, first - own, float((there - here).abs().max() / here.abs().max())


def measure(quick: bool, threads: int) -> list[dict[str, Any]]:
    rows = []
    every = ["squeezenet1_1", "mobilenet_v2", "efficientnet_lite2", "vit_small_saliency"]
    for name, size in [("squeezenet1_1", 56)] if quick else [*((name, 112) for name in every), ("mobilenet_v2", 224)]:
        own, plain, first, difference = alone(against_eager, threads, name, size, 1 if quick else 5)
        pays = first / (plain - own) * BATCH if plain > own else inf
        label = f"{name} at {size} px"
        rows.append(row(f"{label}: compiled over eager forward", own / plain, None, "x", seconds=own, yardstick=plain))
        rows.append(row(f"{label}: compiling", first, None, "CPU s"))
        rows.append(row(f"{label}: pays from", pays, None, "images"))
        rows.append(row(f"{label}: largest difference", difference, None, "of the largest feature"))
    return rows


if __name__ == "__main__":
    command("compiled", __doc__, measure)
