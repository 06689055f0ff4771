import numpy as np
import pandas as pd
import pytest

from modelrank.ranking.agreement import agreement, null_level
from modelrank.report.content import Report
from modelrank.types import Truth

MODELS = (
    "mobilenet_v2",
    "mobilenet_v2_b",
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "squeezenet1_1",
    "resnet50_thin",
    "vgg16_bn_text",
    "vgg16_edges",
    "vit_small",
    "random",
)
SCORERS = ("disco", "logme", "leep", "linear_probe", "knn", "static_order", "imagenet_accuracy", "parameters")


def example_report(models=MODELS, scorers=SCORERS, *, with_truth=True, with_interval=True, parts=True, hub="offline"):
    """A report whose numbers are drawn, but whose rows are made as a run makes them."""
    rng = np.random.default_rng(7)
    accuracy = dict(zip(models, rng.uniform(0.4, 0.95, len(models)).round(3), strict=True))
    rows, spectra = [], {}
    for i, scorer in enumerate(scorers):
        for model in models:
            value = accuracy[model] + rng.normal(0, 0.05 + 0.06 * i)
            if scorer == "disco":
                ratio = np.sort(rng.dirichlet(np.ones(8)))[::-1]
                task = np.linspace(accuracy[model], 0.1, 8)
                spectra[model], value = {"ratio": ratio, "task": task}, float(ratio @ task)
            row = {"hub": hub, "dataset": "cifar10", "model": model, "scorer": scorer, "score": value}
            row |= {"status": "ok", "reason": "", "seconds": 0.2, "n": 2000, "d": 512, "classes": 10, "seed": 0}
            if with_interval and scorer == "disco":
                row |= {"score_low": value - 0.02, "score_high": value + 0.02}
            if scorer == "leep" and model == models[-1]:
                row |= {"score": None, "status": "not_applicable", "reason": "leep needs logits"}
            rows.append(row)
    scores = pd.DataFrame(rows).reindex(columns=[*rows[0], "score_low", "score_high"])
    scores = scores.loc[:, ~scores.columns.duplicated()]
    scores["score"] = pd.to_numeric(scores["score"])
    truth, ranking = None, pd.DataFrame()
    if with_truth:
        seeds = {s: {m: a + rng.normal(0, 0.02) for m, a in accuracy.items()} for s in (0, 1)}
        truth = Truth("cifar10", "finetune_short", "accuracy", accuracy, seeds, "experiments/truth.csv, commit abc123")
        ranking = pd.DataFrame(
            {
                "chance": null_level(len(own)),
                "hub": hub,
                "dataset": "cifar10",
                "scorer": scorer,
                "protocol": "finetune_short",
                "seconds": 1.5,
            }
            | agreement(dict(zip(own["model"], own["score"], strict=True)), accuracy)
            for scorer, own in scores[scores["status"] == "ok"].groupby("scorer", sort=False)
        )
    context = {
        "scored": ["train", "val"],
        "n": 2000,
        "source": "registry package, 6.1 MB",
        "licences": {"mobilenet_v2": "Apache-2.0", "cifar10": "no licence stated"},
        "versions": "python=3.12 torch=2.11",
        "config": "hub: offline\ndataset: cifar10\n",
        "command": "python run.py",
        "commit": "abc123",
        "seconds": 21.3,
    }
    return Report(scores, ranking, spectra if parts else {}, truth, context)


@pytest.fixture
def make_report():
    return example_report


@pytest.fixture
def report():
    return example_report()
