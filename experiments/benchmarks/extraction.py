"""What extraction costs beside the networks themselves, and a hub beside one plain pass of a DataLoader a model.

    python experiments/benchmarks/extraction.py             # 1 thread, about 13 minutes of one core
    python experiments/benchmarks/extraction.py --quick     # a smoke run; its numbers mean nothing

Ratios of CPU seconds (of the process and its workers), both sides in turn within one run, so that other work on the
machine hardly changes them. Writes extraction.csv and extraction.json, the machine, into --out.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from measuring import alone, command, cpu_in_turn, cpu_seconds, row, status
from photographs import photographs
from torch import nn
from torch.utils.data import DataLoader

from modelrank.data.decoded import PixelStore, Shrink
from modelrank.data.images import ImageData, TransformedImages
from modelrank.features.extract import extract
from modelrank.features.store import FeatureStore
from modelrank.hub.model import PretrainedModel
from modelrank.hub.penultimate import FeatureExtractor
from modelrank.root import CONF

TRAINER = partial(pl.Trainer, accelerator="cpu")
BATCH = 64


def models(hub: str) -> tuple[dict[str, PretrainedModel], Path]:
    """Of a hub, and the user's cache with their weights."""
    from hydra import compose, initialize_config_dir

    from modelrank import build

    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [f"hub={hub}"])
        return build.models(cfg), Path(cfg.paths.cache)


def with_pixels(data: ImageData, folder: Path, hub: Mapping[str, PretrainedModel], size: int) -> ImageData:
    rules = [model.preprocessing.at(size) for model in hub.values()]
    return replace(data, pixels=PixelStore(folder, 10**10, [Shrink(one.resize, one.interpolation) for one in rules]))


def ours(model: PretrainedModel, data: ImageData, size: int, cache: Path, folder: Path) -> torch.Tensor:
    """Features, from a store that is empty."""
    with tempfile.TemporaryDirectory(dir=folder) as store:
        return extract(
            model,
            data,
            store=FeatureStore(Path(store)),
            cache=cache,
            trainer=TRAINER,
            scored=["train"],
            image_size=size,
            batch_size=BATCH,
        ).features


@torch.inference_mode()
def plain(model: PretrainedModel, data: ImageData, size: int, cache: Path, workers: int = 2) -> torch.Tensor:
    """As one would write it: a DataLoader over the files, the network, its features kept."""
    network = FeatureExtractor(model.load(cache)).to(memory_format=torch.channels_last)
    images = TransformedImages([data.splits["train"]], model.preprocessing.at(size).evaluation())
    return torch.cat([network(batch)[0] for batch, _, _ in DataLoader(images, BATCH, num_workers=workers)])


def against_bare(name: str, hub: str, size: int, count: int, repeats: int) -> tuple[float, float, int]:
    """CPU seconds of extracting decoded images, and of the bare forward pass on tensors in memory; peak bytes."""
    every, cache = models(hub)
    model, rule = every[name], every[name].preprocessing.at(size)
    network = model.load(cache).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  torch leaves it out
    Loaded.networks[name] = network
    model = Loaded(**vars(model))
    with tempfile.TemporaryDirectory() as folder:
        data = with_pixels(photographs(Path(folder, "photographs"), count, 500, 375), Path(folder), {name: model}, size)
        ours(model, data, size, cache, Path(folder))  # decodes
        images = TransformedImages([data.splits["train"]], rule.evaluation())
        batches = [batch.contiguous(memory_format=torch.channels_last) for batch, _, _ in DataLoader(images, BATCH)]

        def bare() -> None:
            with torch.inference_mode():
                for batch in batches:
                    network(batch)

        seconds = cpu_in_turn(lambda: ours(model, data, size, cache, Path(folder)), bare, repeats)
    return *seconds, status("VmHWM")


class Loaded(PretrainedModel):
    """Loading is no part of what is compared."""

    networks: ClassVar[dict[str, nn.Module]] = {}

    def load(self, cache: Path, *, seed: int = 0) -> nn.Module:
        return copy.copy(self.networks[self.name])  # of its own, as a loaded one is; the layers are shared


def whole_hub(hub: str, names: Sequence[str], size: int, count: int, width: int, height: int) -> dict[str, float]:
    """CPU seconds of a hub on JPEGs, all decoded anew: ours, the plain way; and peak bytes of the process."""
    every, cache = models(hub)
    chosen = {name: every[name] for name in names}
    seconds = {"ours": 0.0, "plain": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        data = photographs(Path(folder, "photographs"), count, width, height)
        kept = with_pixels(data, Path(folder, "pixels"), chosen, size)
        for model in chosen.values():  # in turn, model by model
            start = cpu_seconds()
            features = ours(model, kept, size, cache, Path(folder))
            between = cpu_seconds()
            difference = (features - plain(model, data, size, cache)).abs().max()
            seconds["ours"] += between - start
            seconds["plain"] += cpu_seconds() - between
            assert difference == 0, f"{model.name}: features differ by {difference}"
    return seconds | {"bytes": status("VmHWM")}


def measure(quick: bool, threads: int) -> list[dict[str, Any]]:
    rows, hub = [], "offline"
    names = ["squeezenet1_1"] if quick else ["squeezenet1_1", "mobilenet_v2", "efficientnet_lite2", "resnet50_thin"]
    sizes = (64,) if quick else (112, 224)
    all_names = names if quick else [*names, "mobilenet_v2_b", "efficientnet_lite0", "efficientnet_lite1"]
    for what, count, width, height in (
        ("JPEGs of 500 x 375", 20 if quick else 2000, 500, 375),
        ("JPEGs of 4000 x 3000", 2 if quick else 12, 4000, 3000),
    ):
        found = alone(whole_hub, threads, hub, all_names, sizes[0], count, width, height)
        label = f"{len(all_names)} models at {sizes[0]} px on {count} {what}: over a DataLoader pass a model"
        bar = 0.5 if width > 1000 else None  # where decoding dominates
        facts = {"seconds": found["ours"], "yardstick": found["plain"], "bytes": found["bytes"]}
        rows.append(row(label, found["ours"] / found["plain"], bar, "x", **facts))
    for size in sizes:
        for name in names if size < 224 else names[1:2]:
            own, bare, peak = alone(against_bare, threads, name, hub, size, 64 if quick else 512, 1 if quick else 5)
            label = f"{name} at {size} px: bare forward over extraction of decoded images"
            rows.append(row(label, bare / own, 0.9, "x", at_least=True, seconds=own, yardstick=bare, bytes=peak))
    return rows


if __name__ == "__main__":
    command("extraction", __doc__, measure)
