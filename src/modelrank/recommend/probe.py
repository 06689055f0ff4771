"""What a model costs on this machine: parameters, milliseconds an image, seconds a training step, memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from modelrank.hub.model import PretrainedModel
from modelrank.hub.penultimate import replace_head

PASSES = 10  # of one image, of which the least is taken, after one that is not counted
STEPS = 3  # of which the least is taken: what else the machine does now comes and goes, and the race corrects
IMAGES = 4  # of the training step that is timed and weighed; a batch costs in proportion


@dataclass(frozen=True)
class Probe:
    """latency_ms: one image through the network, in milliseconds. step_seconds: forward and backward of one batch.
    memory_gb: of fine-tuning: weights, gradients and the two moments of Adam, and what the backward pass of a batch
    keeps (10^9 bytes)."""

    parameters: int
    latency_ms: float
    step_seconds: float
    memory_gb: float


def probe(
    model: PretrainedModel, *, image_size: int | None, batch_size: int, cache: Path, device: str = "cpu"
) -> Probe:
    """Measured now, on `device`, at the size in pixels that fine-tuning uses. Cost: a few passes; raises what loading
    the model raises."""
    size = model.preprocessing.at(image_size).size
    with torch.random.fork_rng(devices=[]):
        network = replace_head(model.load(cache), 2, size=size).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = torch.randn(IMAGES, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    parameters = sum(weights.numel() for weights in network.parameters())
    network.eval()
    with torch.inference_mode():
        latency = min(_timed(lambda: network(images[:1]), PASSES + 1, device)[1:])
    network.train()
    kept = 0
    # Counted as weights; what autograd keeps of a linear layer is a view on them.
    seen = {weights.untyped_storage().data_ptr() for weights in network.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        nonlocal kept
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            kept += storage.nbytes()
        return tensor

    def step() -> None:
        functional.cross_entropy(network(images), torch.zeros(IMAGES, dtype=torch.long, device=device)).backward()

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step()
    seconds = min(_timed(step, STEPS, device))
    network.zero_grad(set_to_none=True)
    scale = batch_size / IMAGES
    return Probe(parameters, 1000 * latency, seconds * scale, (16 * parameters + kept * scale) / 1e9)


def _timed(call: Callable[[], Any], times: int, device: str) -> list[float]:
    """Seconds of each call."""
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        if device != "cpu":
            torch.accelerator.synchronize()
        found.append(time.perf_counter() - begin)
    return found
