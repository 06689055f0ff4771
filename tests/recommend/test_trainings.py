"""The network that a race names is the one whose value on val it knows, whatever became of later stretches."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from torch import nn

from modelrank.data.images import ImageData, ImageSplit
from modelrank.hub.model import PretrainedModel
from modelrank.hub.preprocessing import Preprocessing
from modelrank.recommend.trainings import Trainings, rules
from modelrank.truth.finetune import FineTuning
from modelrank.types import ModelRankError


def network():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 5)
    )


@pytest.fixture
def digits():
    pixels, labels = load_digits(return_X_y=True)
    images = np.repeat((pixels.reshape(-1, 8, 8, 1) * 15.9).astype(np.uint8), 3, axis=3)
    bounds = {"train": (0, 200), "val": (200, 300), "test": (300, 500)}
    splits = {
        name: ImageSplit(list(images[a:b]), labels[a:b].astype(np.int64), [str(i) for i in range(a, b)])
        for name, (a, b) in bounds.items()
    }
    return ImageData("digits", "classification", tuple("0123456789"), "accuracy", splits, "", "", "d" * 64)


@pytest.fixture
def protocol():
    return FineTuning(
        name="tiny",
        learning_rates=[0.05],
        weight_decays=[0.0],
        steps=20,
        batch_size=32,
        image_size=None,
        smallest_crop=0.8,
        optimizer=partial(torch.optim.SGD, momentum=0.9),
        head_learning_rate=None,
        precision="32-true",
        depthwise_precision="32-true",
        in_memory=True,
        checkpoint_every=4,
        workers=0,
    )


@pytest.fixture
def trainings(tmp_path, digits, protocol):
    model = PretrainedModel(
        name="small",
        architecture=network,
        weights=None,
        family="test",
        pretraining="none",
        licence="none",
        preprocessing=Preprocessing(size=8, resize=8, interpolation="bilinear"),
    )

    def make(folder: str) -> Trainings:
        raced = rules(protocol, digits, [0.4, 1.0], [1, 1])
        trainer = partial(pl.Trainer, accelerator="cpu", devices=1)
        return Trainings({"small": model}, digits, digits, protocol, raced, trainer, tmp_path / folder, tmp_path, 0)

    return make


@pytest.mark.parametrize("gone", ["later", "none"])
def test_the_tested_network_is_that_of_the_rung(trainings, gone):
    whole, cut = trainings("whole"), trainings("cut")
    first = whole.advance("small", 0, None)
    tested, network = whole.finish("small", 0.05, 0)
    cut.advance("small", 0, None)
    cut.advance("small", 1, first)  # as a stretch that was killed, or diverged, after the rung
    if gone == "none":
        (checkpoint,) = cut.folder.rglob("last.ckpt")
        checkpoint.unlink()
    again, same = cut.finish("small", 0.05, 0)
    assert again["value"] == tested["value"]
    for name, weights in network.state_dict().items():
        torch.testing.assert_close(same.state_dict()[name], weights, rtol=0, atol=0)


def test_a_race_goes_on_with_one_rate_at_least(digits, protocol):
    with pytest.raises(ModelRankError, match=r"race\.widths=\[3, 0\].*of 1 or more"):
        rules(replace(protocol, learning_rates=[0.01, 0.05, 0.1]), digits, [0.4, 1.0], [3, 0])
