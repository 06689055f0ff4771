"""A tiny real source set: scikit-learn's digits, and the objectives as their YAMLs make them."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from experiments.pretraining.run import Recipe
from hydra import compose, initialize_config_dir
from tests.small_problem import digits_of, trainer  # noqa: F401 a fixture

from modelrank import build
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
    return digits_of({"train": np.arange(400), "val": np.arange(400, 600), "test": np.arange(600, 700)})


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
