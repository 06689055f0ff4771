"""What `top=3` saves, and whether the first three by DISCO stay the same as on all images.

    python experiments/benchmarks/top.py --datasets cifar10 fashion_mnist openclipart glyphs
    python experiments/benchmarks/top.py --hubs offline --leave-out vgg16_bn_text vgg16_edges vit_small_saliency \
        --datasets openclipart glyphs cifar10 fashion_mnist
    python experiments/benchmarks/top.py --quick     # a smoke run; its numbers mean nothing

Each hub on each data set, one thread, no features in the store: each model on all images, then the samples on which
models are dropped. Those that are left would see all images next; that is the work of the first part again, so their
CPU seconds there are added, and it is not done twice. Images are decoded before. Rows are added to top.csv in --out,
those of the same hub and data set replaced; top.json is the machine of the last run.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from hydra import compose, initialize_config_dir
from measuring import alone, cpu_seconds, machine, save
from omegaconf import DictConfig

from modelrank.data.images import ImageData
from modelrank.root import CONF
from modelrank.stages.check import opened
from modelrank.stages.score import SHARES, score_hub, shortlist

HUBS = ("self_supervised_offline", "checkpoints_offline")
QUICK = {
    "hubs": ["offline_small"],
    "leave_out": ["mobilenet_v2", "mobilenet_v2_b", *(f"efficientnet_lite{n}" for n in range(3))],
    "datasets": ["digits"],
    "top": 1,
}
SMALL = ("hub.image_size=32", "dataset.subsample={train: 256, val: 64, test: 20}")


def composed(hub: str, dataset: str, *more: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [f"hub={hub}", f"dataset={dataset}", "scorer=disco", "extraction.workers=0", *more])


def one(hub: str, dataset: str, overrides: Sequence[str], top: int, folder: Path) -> dict[str, Any]:
    models, images = opened(composed(hub, dataset, *overrides))
    assert isinstance(images, ImageData)
    assert images.pixels is not None
    count = sum(len(images.splits[name]) for name in images.scored)

    def stored(name: str) -> DictConfig:
        """With a feature store of its own, empty; weights are those of the user's cache."""
        cfg = composed(hub, dataset, *overrides, f"top={top}", f"paths.cache={folder / name}")
        (folder / name).mkdir()
        for part in ("weights", "packages"):
            kept = Path(composed(hub, dataset).paths.cache, part).absolute()
            kept.mkdir(parents=True, exist_ok=True)
            (folder / name / part).symlink_to(kept)
        return cfg

    for name in images.scored:  # decodes
        shrunk = images.shrunk(name, images.pixels.shrinks[0])
        for index in range(len(shrunk)):
            shrunk[index]
    first = next(iter(models))
    score_hub(stored("warm"), {first: models[first]}, images.sampled(SHARES[0]))  # loads libraries
    seconds, scores, cfg = {}, {}, stored("all")
    for name, model in models.items():
        start = cpu_seconds()
        scores[name] = float(score_hub(cfg, {name: model}, images).rows.score.iloc[0])
        seconds[name] = cpu_seconds() - start
    start = cpu_seconds()
    left, _ = shortlist(stored("top"), models, images)
    sampling = cpu_seconds() - start
    firsts = [sorted(some, key=scores.__getitem__, reverse=True)[:top] for some in (models, left)]
    return {
        "hub": hub,
        "dataset": dataset,
        "models": len(models),
        "images": count,
        "cpu_seconds_all": round(sum(seconds.values()), 2),
        "passes_all": count * len(models),
        "cpu_seconds_top": round(sampling + sum(seconds[name] for name in left), 2),
        "passes_top": _forward_passes(folder / "top") + count * len(left),
        "dropped": len(models) - len(left),
        "same_first": firsts[0][0] == firsts[1][0],
        "same_set": set(firsts[0]) == set(firsts[1]),
        "same_order": firsts[0] == firsts[1],
    }


def _forward_passes(cache: Path) -> int:
    """Images that went through a network, over all models."""
    from safetensors import safe_open

    total = 0
    for path in cache.glob("features/*.safetensors"):
        with safe_open(path, "pt") as file:
            total += file.get_slice("targets").get_shape()[0]
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hubs", nargs="+", default=HUBS)
    parser.add_argument("--leave-out", nargs="+", default=[], help="networks of the hub that are not run")
    parser.add_argument("--datasets", nargs="+", default=["digits", "cifar10", "fashion_mnist"])
    parser.add_argument("--top", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="two networks on 320 digits of 32 pixels")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    if given.quick:
        vars(given).update(QUICK)
    overrides = [*(f"~models.{name}" for name in given.leave_out), *(SMALL if given.quick else ())]
    facts = machine() | {"threads": 1}
    for hub in given.hubs:
        for dataset in given.datasets:
            with tempfile.TemporaryDirectory() as folder:
                found = alone(one, 1, hub, dataset, overrides, given.top, Path(folder))
            print(found, flush=True)
            path = given.out / "top.csv"
            others = pd.read_csv(path).query("hub != @hub or dataset != @dataset") if path.exists() else pd.DataFrame()
            save("top", given.out, facts, [*others.to_dict("records"), found])


if __name__ == "__main__":
    main()
