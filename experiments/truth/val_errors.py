"""How alike are the errors of two models on the same val images? `python experiments/truth/val_errors.py`.

The correlation, over the images of val, of whether each of two models is right: the least, the mean and the largest
over the pairs of a set's networks with pre-trained weights. By the head that `finetune_offline` starts from, from the
features of train and val in the user's cache (run `stage=finetune protocol=linear_probe_offline` first).
`memory/belief.py` goes by it (SAME_IMAGES).
"""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from checks import HERE
from hydra import compose, initialize_config_dir

from modelrank import build
from modelrank.features.store import FeatureStore
from modelrank.root import CONF
from modelrank.truth.finetune import FineTuning
from modelrank.truth.frozen import Fits


def main() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config")
        protocol, store = build.protocol(cfg), FeatureStore(Path(cfg.paths.cache) / "features")
    assert isinstance(protocol, FineTuning)
    assert protocol.probe is not None
    rows = pd.read_csv(HERE / "measured.csv").query("protocol == 'finetune_offline'")
    measured = {*rows.dataset}
    right: dict[tuple[str, int], dict[str, np.ndarray]] = {}
    for path in sorted(store.root.glob("*.safetensors")):
        entry = store.load(path.stem)
        if entry is None:
            continue
        dataset, model, identity = (entry.header[key] for key in ("dataset", "model", "identity"))
        asked = identity["splits"], identity["preprocessing"]["size"]
        if dataset not in measured or asked != (["train", "val"], protocol.image_size) or model.endswith("_random"):
            continue
        x, y, val = entry.tensors["features"].double(), entry.tensors["targets"], entry.tensors["split"] == 1
        weights = Fits(x[~val], y[~val], int(y.max()) + 1, "classification").fit(protocol.probe.strengths[0])
        found = torch.addmm(weights[-1], x[val], weights[:-1]).argmax(1)
        right.setdefault((dataset, len(x)), {})[model] = (found == y[val]).numpy()
    for (dataset, images), models in right.items():
        if len(models) > 1:
            alike = [np.corrcoef(models[a], models[b])[0, 1] for a, b in combinations(models, 2)]
            told = f"{min(alike):.2f}, {np.mean(alike):.2f}, {max(alike):.2f}"
            print(f"{dataset:14s} {len(models)} models, {images} images of train and val: {told}")


if __name__ == "__main__":
    main()
