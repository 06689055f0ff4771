"""A tiny real transfer problem: scikit-learn's digits as 8 px images, and a small convolutional network."""

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
from modelrank.truth.finetune import FineTuning


def small_network():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 5),
    )


@pytest.fixture
def model():
    return PretrainedModel(
        name="small",
        architecture=small_network,
        weights=None,
        family="test",
        pretraining="none",
        licence="none",
        preprocessing=Preprocessing(size=8, resize=8, interpolation="bilinear"),
    )


def digits_of(splits):
    """scikit-learn's digits as 8 px images; splits: name -> row numbers."""
    images, labels = load_digits(return_X_y=True)
    images = np.repeat((images.reshape(-1, 8, 8, 1) * 15.9).astype(np.uint8), 3, axis=3)
    return ImageData(
        name="digits",
        task="classification",
        classes=tuple("0123456789"),
        metric="accuracy",
        splits={
            name: ImageSplit([images[i] for i in rows], labels[rows].astype(np.int64), [str(i) for i in rows])
            for name, rows in splits.items()
        },
        source="scikit-learn",
        licence="BSD-3",
        fingerprint="d" * 64,
    )


@pytest.fixture(scope="session")
def digits():
    order = np.random.default_rng(0).permutation(1797)
    return digits_of({"train": order[:320], "val": order[320:400], "test": order[400:600]})


@pytest.fixture
def trainer():
    return partial(pl.Trainer, accelerator="cpu", devices=1)


@pytest.fixture
def protocol():
    return FineTuning(
        name="tiny",
        learning_rates=[0.001, 0.05],
        weight_decays=[0.0, 0.0001],
        steps=30,
        batch_size=32,
        image_size=None,
        smallest_crop=0.8,
        optimizer=partial(torch.optim.SGD, momentum=0.9, nesterov=True),
        head_learning_rate=None,
        precision="32-true",
        depthwise_precision="32-true",
        in_memory=True,
        checkpoint_every=1000,
        workers=0,
    )
