"""What `top=3` saves, and whether the first three by DISCO stay the same as on all images.

    python experiments/benchmarks/top.py --datasets digits cifar10 fashion_mnist

Each hub of small networks on each data set: all images for all models, then with `top=3` and nothing in the store.
Writes top.csv and top.json into --out.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from measuring import cpu_seconds, machine, save
from omegaconf import DictConfig

from modelrank.data.images import ImageData
from modelrank.root import CONF
from modelrank.stages.check import opened
from modelrank.stages.score import score_hub

HUBS = ("self_supervised_offline", "checkpoints_offline")


def composed(hub: str, dataset: str, *more: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [f"hub={hub}", f"dataset={dataset}", "scorer=disco", "extraction.workers=0", *more])


def one(hub: str, dataset: str, top: int, folder: Path) -> dict[str, Any]:
    models, images = opened(composed(hub, dataset))
    assert isinstance(images, ImageData)
    count = sum(len(images.splits[name]) for name in images.scored)
    found: dict[str, Any] = {"hub": hub, "dataset": dataset, "models": len(models), "images": count}
    first = {}
    for name, value in (("all", "null"), ("top", str(top))):
        cfg = composed(hub, dataset, f"top={value}", f"paths.cache={folder / name}")
        start = cpu_seconds()
        rows = score_hub(cfg, models, images).rows
        found[f"seconds_{name}"] = round(cpu_seconds() - start, 2)
        first[name] = rows.sort_values("score", ascending=False).model[:top].tolist()
        entries = list((folder / name / "features").glob("*.safetensors"))
        found[f"passes_{name}"] = _forward_passes(entries)
    found |= {"dropped": int((rows.status != "ok").sum()), "same_first": first["all"][0] == first["top"][0]}
    return found | {"same_set": set(first["all"]) == set(first["top"]), "same_order": first["all"] == first["top"]}


def _forward_passes(entries: list[Path]) -> int:
    """Images that went through a network, over all models."""
    from safetensors import safe_open

    total = 0
    for path in entries:
        with safe_open(path, "pt") as file:
            total += file.get_slice("targets").get_shape()[0]
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=["digits", "cifar10", "fashion_mnist"])
    parser.add_argument("--top", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    facts, rows = machine(), []
    for hub in HUBS:
        for dataset in given.datasets:
            with tempfile.TemporaryDirectory() as folder:
                rows.append(one(hub, dataset, given.top, Path(folder)))
            print(rows[-1], flush=True)
    save("top", given.out, facts, rows)


if __name__ == "__main__":
    main()
