"""How many images does a scorer need, against the dimensions of its features? N against D on the offline hub.

    python experiments/samples.py cifar10 fashion_mnist glyphs openclipart > experiments/results/samples.csv

The features of the scored images are read from the store (extracted where they are not there). Each scorer sees
stratified subsets of 320, 640, ... of their rows, the same for every model, drawn anew `--draws` times, and all rows.
One row a data set, number of images, draw and scorer: tau_w with the accuracies by finetune_offline, the number of
models it is over, the dimensions of the narrowest and the widest of them, and who is first (`winner`, `best`).
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from modelrank import build
from modelrank.data.sampling import draw
from modelrank.ranking.agreement import agreement
from modelrank.ranking.order import rank
from modelrank.root import CONF
from modelrank.scorers.contract import facts_of, subset
from modelrank.stages.check import opened
from modelrank.stages.extract import feature_sets
from modelrank.truth.ledger import Asked
from modelrank.types import FeatureSet, Score, ScorerNotApplicable

SIZES = (320, 640, 1280, 2560, 5120)
SCORERS = "disco,logme,hscore,gbc,transrate,nleep,knn"
KEPT = ("tau_w", "winner", "best")


def table(
    sets: Mapping[str, FeatureSet],
    scorers: Mapping[str, Callable[..., Score]],
    accuracy: Mapping[str, float],
    sizes: Sequence[int],
    draws: int,
) -> Iterator[dict[str, Any]]:
    """sets: model -> features of the same images. Sizes that are not below the number of images are left out."""
    targets = next(iter(sets.values())).targets.numpy()
    smaller = [size for size in sizes if size < len(targets)]
    parts = [
        (size, seed, draw(targets, size, seed, "scored", count=len(targets)))
        for size in smaller
        for seed in range(draws)
    ]
    for size, seed, rows in [*parts, (len(targets), 0, np.arange(len(targets)))]:
        drawn = {model: subset(data, torch.from_numpy(rows)) for model, data in sets.items()}
        for name, scorer in scorers.items():
            scores: dict[str, Score] = {}
            for model, data in drawn.items():
                try:
                    scores[model] = scorer(data)
                except ScorerNotApplicable:
                    continue
            wide = [drawn[model].features.shape[1] for model in scores]
            row = {"images": size, "draw": seed, "scorer": name, "models": len(scores)}
            if scores:
                combine = facts_of(scorer).combine
                ordered = rank(name, scores, combine=combine).scores
                found = agreement({model: score.value for model, score in ordered.items()}, accuracy)
                row |= {"narrowest": min(wide), "widest": max(wide)} | {key: found[key] for key in KEPT}
            yield row


def composed(dataset: str, scorers: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        given = ["experiment=parts/real_truth", f"dataset={dataset}", f"scorer=[{scorers}]", "paths.run=."]
        return compose("config", given)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+")
    parser.add_argument("--scorers", default=SCORERS)
    parser.add_argument("--draws", type=int, default=5)
    given = parser.parse_args()
    rows = []
    for dataset in given.datasets:
        cfg = composed(dataset, given.scorers)
        models, images = opened(cfg)
        truth = build.truth(cfg)(Asked.of(models.values(), images, build.protocol(cfg)))
        found = feature_sets(cfg, models, images)
        sets = {model.name: own for model, own in found if isinstance(own, FeatureSet)}
        if lacking := models.keys() - sets:
            raise SystemExit(f"{dataset}: no features of {', '.join(sorted(lacking))}")
        judged = table(sets, build.scorers(cfg), truth.accuracy, SIZES, given.draws)
        rows += [{"dataset": dataset} | row for row in judged]
    pd.DataFrame(rows).to_csv(sys.stdout, index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
