"""Would `racing.floor` have changed a row that was measured before there was it? `python experiments/truth/floors.py`.

For each model and set of finetune_offline: the value on val of the head alone (from the features of train and val in
the user's cache: run `stage=finetune protocol=linear_probe_offline` first) and of the best learning rate at the rung.
"""

from pathlib import Path

import pandas as pd
import torch
from checks import HERE
from hydra import compose, initialize_config_dir

from modelrank import build
from modelrank.features.store import FeatureStore
from modelrank.root import CONF
from modelrank.truth.finetune import FineTuning
from modelrank.truth.frozen import Fits
from modelrank.truth.metrics import METRICS


def main() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config")
        protocol, store = build.protocol(cfg), FeatureStore(Path(cfg.paths.cache) / "features")
    assert isinstance(protocol, FineTuning)
    assert protocol.racing is not None
    assert protocol.probe is not None
    racing, strength = protocol.racing, protocol.probe.strengths[0]
    curves = pd.read_csv(HERE / "curves.csv").query(
        "protocol == 'finetune_offline' and seed == 0 and until == @racing.rung"
    )
    rows = pd.read_csv(HERE / "measured.csv").query("protocol == 'finetune_offline'")
    metrics = dict(zip(rows.dataset, rows.metric, strict=True))
    best: dict[tuple[str, str], float] = {}
    for dataset, model, values in zip(curves.dataset, curves.model, curves.value, strict=True):
        best[dataset, model] = max(best.get((dataset, model), 0.0), float(str(values).split()[-1]))
    for path in sorted(store.root.glob("*.safetensors")):
        entry = store.load(path.stem)
        if entry is None:
            continue
        cell, identity = (entry.header["dataset"], entry.header["model"]), entry.header["identity"]
        asked = identity["splits"], identity["preprocessing"]["size"]
        if cell not in best or cell[0] not in metrics or asked != (["train", "val"], protocol.image_size):
            continue
        x, y, val = entry.tensors["features"].double(), entry.tensors["targets"], entry.tensors["split"] == 1
        classes = int(y.max()) + 1
        weights = Fits(x[~val], y[~val], classes, "classification").fit(strength)
        metric = METRICS[metrics[cell[0]]](classes)
        metric.update(torch.addmm(weights[-1], x[val], weights[:-1]), y[val].long())
        head = float(metric.compute())
        verdict = "" if best[cell] >= head - racing.margin else "  smaller rates are tried"
        print(f"{cell[0]:14s} {cell[1]:20s} head {head:.3f}, best at the rung {best[cell]:.3f}{verdict}")


if __name__ == "__main__":
    main()
