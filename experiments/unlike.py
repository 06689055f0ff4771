"""Memory of photographs, judged on images unlike them: does it harm?

    python experiments/unlike.py > experiments/results/replay/unlike.csv

Public tables: accuracies on data sets of photographs order the models on medical sets; nobody published scores of these
models, so `memory` stands beside 0, the order of chance. The offline hub, by fine-tuning and by linear probes: its
scores (experiments/truth/scores.csv) without and with what is remembered of any of the other data sets, on each. tau_w.
"""

import sys
from collections.abc import Iterator
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import pandas as pd

from modelrank.memory.prior import believe
from modelrank.ranking.agreement import weighted_tau

TRUTH = Path(__file__).parent / "truth"
PHOTOGRAPHS = {
    "lovm_zero_shot": ["cars", "cifar100", "country211", "flowers", "pets", "stl10", "sun397", "voc2007"],
    "transfergraph": ["caltech101", "cifar100", "flowers", "food101", "pets", "stanfordcars"],
    "shift_image": ["caltech101", "cifar100", "oxford_flowers102", "oxford_iiit_pet", "sun397"],
}
MEDICAL = ("diabetic_retinopathy", "diabetic_retinopathy_detection", "pcam", "patch_camelyon")
OWN = ("finetune_offline", "linear_probe_offline")


def public() -> Iterator[dict[str, Any]]:
    for name, photographs in PHOTOGRAPHS.items():
        rows = pd.read_csv(TRUTH / "public" / f"{name}.csv")
        table = rows.pivot(index="model", columns="dataset", values="accuracy")
        for target in table.columns.intersection(MEDICAL):
            known = table.loc[table[target].notna()]
            found = weighted_tau(believe(known[photographs]).mean, known[target])
            yield {"hub": name, "target": target, "models": len(known), "remembered": " ".join(photographs)} | {
                "memory": float(found)
            }


def own(protocol: str) -> Iterator[dict[str, Any]]:
    rows = pd.read_csv(TRUTH / "measured.csv").query("protocol == @protocol")
    table = rows.pivot_table(index="model", columns="dataset", values="accuracy")  # the mean of the seeds
    scored = pd.read_csv(TRUTH / "scores.csv").groupby("dataset")
    scores = {str(name): rows.pivot(index="model", columns="scorer", values="score") for name, rows in scored}
    scores = {name: one.reindex(table.index) for name, one in scores.items()}
    nothing = pd.DataFrame(index=table.index, dtype=float)
    for target in table:
        others = table.columns.drop(target)
        for names in chain.from_iterable(combinations(others, count + 1) for count in range(len(others))):
            known = table[[*names]]
            beliefs = {
                "memory": believe(known),
                "scores": believe(nothing, scores=scores[target]),
                "both": believe(known, scores=scores[target], scores_elsewhere={name: scores[name] for name in names}),
            }
            yield {"hub": protocol, "target": target, "models": len(table), "remembered": " ".join(names)} | {
                name: float(weighted_tau(belief.mean, table[target])) for name, belief in beliefs.items()
            }


if __name__ == "__main__":
    found = [*public(), *chain.from_iterable(map(own, OWN))]
    pd.DataFrame(found).round(3).to_csv(sys.stdout, index=False, lineterminator="\n")
