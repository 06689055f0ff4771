"""The ablation of N against D: subsets are the same for every model, and what it is composed of is there."""

import functools
import runpy
from pathlib import Path

import pandas as pd
import pytest
import torch

from modelrank import build
from modelrank.scorers.disco import disco
from modelrank.scorers.hscore import hscore
from modelrank.types import FeatureSet

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "experiments" / "samples.py"))


def features(signal, dimensions):
    generator = torch.Generator().manual_seed(dimensions)
    targets = torch.arange(4).repeat(30)
    means = torch.nn.functional.one_hot(targets, dimensions).float()
    return FeatureSet(torch.randn(len(targets), dimensions, generator=generator) + signal * means, targets)


def test_every_size_and_draw_is_judged_and_all_images_once():
    sets = {"good": features(6.0, 24), "fair": features(3.0, 16), "bad": features(0.0, 12)}
    accuracy = {"good": 0.9, "fair": 0.7, "bad": 0.5}
    scorers = {"disco": functools.partial(disco, components=8), "hscore": functools.partial(hscore)}
    rows = pd.DataFrame(SCRIPT["table"](sets, scorers, accuracy, sizes=(20, 60, 500), draws=2))
    assert rows.groupby("scorer").images.apply(list)["disco"] == [20, 20, 60, 60, 120]
    whole = rows.loc[(rows.images == 120) & (rows.scorer == "disco")].iloc[0]
    assert (whole.tau_w, whole.winner, whole.best, whole.models) == (1, "good", "good", 3)
    assert (whole.narrowest, whole.widest) == (12, 24)
    few = rows.loc[(rows.images == 20) & (rows.scorer == "hscore")]
    assert (few.models < 3).all(), "with no more images than dimensions it says nothing"


@pytest.mark.parametrize("dataset", ["cifar10", "openclipart"])
def test_it_composes_the_offline_benchmark(dataset):
    cfg = SCRIPT["composed"](dataset, SCRIPT["SCORERS"])
    assert list(build.scorers(cfg)) == SCRIPT["SCORERS"].split(",")
    assert (cfg.dataset.name, cfg.hub.name, cfg.protocol.name) == (dataset, "offline", "finetune_offline")
