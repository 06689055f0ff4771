"""A tiny real source set: scikit-learn's digits, and the objectives as their YAMLs make them."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
from experiments.pretraining.run import Recipe
from hydra import compose, initialize_config_dir
from sklearn.datasets import load_digits

from modelrank import build
from modelrank.data.images import ImageData, ImageSplit
from modelrank.hub.encoders import ResNet8
from modelrank.hub.preprocessing import Preprocessing

CONF = Path(__file__).parents[3] / "conf"
OBJECTIVES = sorted(path.stem for path in (CONF / "objective").glob("*.yaml"))


def configured(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", ["stage=pretrain", *overrides])


def objective(name):
    """The objective's class with its settings bound; MoCo's queue as short as the tests."""
    return build.objective(configured(f"objective={name}", *(["objective.queue=64"] if name == "moco" else [])))


@pytest.fixture(scope="session")
def digits():
    images, labels = load_digits(return_X_y=True)
    images = np.repeat((images.reshape(-1, 8, 8, 1) * 15.9).astype(np.uint8), 3, axis=3)

    def split(rows):
        return ImageSplit(images[rows], labels[rows].astype(np.int64), [str(i) for i in range(len(labels[rows]))])

    return ImageData(
        name="digits",
        task="classification",
        classes=tuple("0123456789"),
        metric="accuracy",
        splits={"train": split(slice(0, 400)), "val": split(slice(400, 600)), "test": split(slice(600, 700))},
        source="scikit-learn",
        licence="BSD-3",
        fingerprint="d" * 64,
    )


@pytest.fixture
def trainer():
    return partial(pl.Trainer, accelerator="cpu", devices=1)


@pytest.fixture
def recipe(digits):
    """A function that makes a short recipe; keywords change it."""

    def make(**changes):
        settings = {
            "name": "tiny",
            "encoder": partial(ResNet8, width=8),
            "objective": objective("simclr"),
            "data": digits,
            "preprocessing": Preprocessing(size=16, resize=16, mean=[0.5] * 3, std=[0.25] * 3),
            "steps": 12,
            "batch_size": 32,
            "learning_rate": 2e-3,
            "weight_decay": 1e-2,
            "bfloat16": False,
            "snapshots": (),
            "every": 4,
            "checkpoint_every": 100,
            "seed": 0,
        }
        return Recipe(**{**settings, **changes})

    return make
