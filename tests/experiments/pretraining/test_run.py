import json
from functools import partial

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file
from tests.experiments.pretraining.conftest import objective

from modelrank.hub.checkpoint_files import digest
from modelrank.hub.encoders import ResNet8
from modelrank.types import ModelRankError


class Killed(BaseException):
    pass


class Kill(pl.Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            raise Killed


def killed_at(step, trainer):
    def make(**keywords):
        return trainer(**{**keywords, "callbacks": [*keywords["callbacks"], Kill(step)]})

    return make


@pytest.mark.parametrize("name", ["moco", "swav"])  # those with a state of their own
def test_a_killed_run_ends_as_the_uninterrupted_one(name, recipe, trainer, tmp_path):
    settings = {"objective": objective(name), "checkpoint_every": 5, "snapshots": (0, 8), "bfloat16": True}
    whole = recipe(**settings).run(tmp_path / "whole", trainer)
    with pytest.raises(Killed):
        recipe(**settings).run(tmp_path / "cut", killed_at(7, trainer))
    assert (tmp_path / "cut" / "last.ckpt").exists()
    assert recipe(**settings).run(tmp_path / "cut", trainer)["sha256"] == whole["sha256"]
    curves = [pd.read_csv(tmp_path / folder / "tiny.csv").drop(columns="cpu_seconds") for folder in ("whole", "cut")]
    pd.testing.assert_frame_equal(*curves)


def test_a_run_leaves_weights_snapshots_and_a_curve(recipe, trainer, tmp_path):
    found = recipe(snapshots=(0, 5)).run(tmp_path, trainer)
    curve = pd.read_csv(tmp_path / "tiny.csv")
    assert list(curve.step) == [0, 4, 8, 12]
    assert curve.knn.between(0, 1).all()
    assert curve.loss[1:].notna().all()
    assert found["knn"] == curve.knn.iloc[-1]
    assert found["sha256"] == {
        name: digest(tmp_path / name)
        for name in ("tiny.safetensors", "tiny_step0000.safetensors", "tiny_step0005.safetensors")
    }
    assert len(set(found["sha256"].values())) == 3, "training changes the weights"
    encoder = ResNet8(width=8)
    weights = load_file(tmp_path / "tiny.safetensors")
    assert all(tensor.dtype == torch.float16 for tensor in weights.values())
    assert set(weights) == {name for name in encoder.state_dict() if not name.endswith("num_batches_tracked")}
    json.dumps(found)


def test_the_seed_decides_everything_and_the_global_generator_nothing(recipe, trainer, tmp_path):
    torch.manual_seed(1)
    first = recipe(steps=3).run(tmp_path / "a", trainer)["sha256"]
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert recipe(steps=3).run(tmp_path / "b", trainer)["sha256"] == first
    assert torch.equal(torch.get_rng_state(), state)
    assert recipe(steps=3, seed=1).run(tmp_path / "c", trainer)["sha256"] != first


def test_the_key_follows_what_decides_the_weights(recipe):
    key = recipe().key()
    assert recipe(every=2, checkpoint_every=3).key() == key
    changes = [{"steps": 13}, {"seed": 1}, {"objective": objective("byol")}, {"encoder": partial(ResNet8, width=4)}]
    assert len({key, *(recipe(**change).key() for change in changes)}) == 5


def test_training_sees_only_the_train_split(recipe, digits, trainer, tmp_path):
    seen = []

    class Look(pl.Callback):
        def on_train_start(self, trainer, pl_module):
            seen.append((len(pl_module.images), int(pl_module.labels.sum())))

    recipe(steps=1).run(tmp_path, lambda **kw: trainer(**{**kw, "callbacks": [*kw["callbacks"], Look()]}))
    assert seen == [(400, int(digits.splits["train"].targets.sum()))]


def test_impossible_recipes_are_refused(recipe):
    with pytest.raises(ModelRankError, match=r"stage\.batch_size=512: digits has only 400 images"):
        recipe(batch_size=512)


def test_a_loss_that_is_no_number_is_said(recipe, trainer, tmp_path):
    with pytest.raises(ModelRankError, match=r"the loss became nan in step \d; lower stage\.learning_rate"):
        recipe(learning_rate=1e30).run(tmp_path, trainer)
