"""One training: cut off, killed, continued, refused."""

from dataclasses import replace
from functools import partial

import pytest
import pytorch_lightning as pl
import torch

from modelrank.truth.frozen import LinearProbe
from modelrank.truth.grid import Racing
from modelrank.truth.measure import cell_folder, measure
from modelrank.truth.tasks import TransferTask
from modelrank.types import ModelRankError


@pytest.mark.parametrize("racing", [None, Racing(start=0.05, rung=20, finalists=2, margin=1.0)])
def test_a_killed_training_ends_as_if_it_had_not_been(tmp_path, digits, model, trainer, protocol, steps, racing):
    protocol = replace(
        protocol,
        learning_rates=[0.02, 0.05],
        weight_decays=[0.0],
        checkpoint_every=10,
        racing=racing,
        smallest_crop=0.3,
    )
    whole = measure(model, digits, protocol, trainer=trainer, cache=tmp_path / "whole")
    for stop_at in (5, 25, 33):
        steps.clear()
        steps.stop_at = stop_at
        with pytest.raises(RuntimeError, match="killed"):
            measure(model, digits, protocol, trainer=trainer, cache=tmp_path / "cut")
    steps.clear()
    steps.stop_at = -1
    row = measure(model, digits, protocol, trainer=trainer, cache=tmp_path / "cut")
    assert 0 < len(steps) < 90
    for column in ("accuracy", "val_accuracy", "lr"):
        assert row[column] == whole[column]
    for cut, uncut in zip(row["trainings"], whole["trainings"], strict=True):
        assert [(step, value) for step, _, value in cut["curve"]] == [(s, v) for s, _, v in uncut["curve"]]
    assert len(list((tmp_path / "cut").rglob("*.ckpt"))) == 1  # that of the measured network


def test_seconds_are_of_all_that_trained_a_stretch_and_a_cut_one_holds_no_other_step(
    tmp_path, digits, model, trainer, protocol, steps
):
    make = replace(protocol, checkpoint_every=5, curve=(1.0,)).arms(
        model, digits, trainer=trainer, folder=tmp_path, cache=tmp_path, seed=0
    )
    arm = make({"lr": 0.01, "wd": 0.0})
    assert arm.holds(0)
    first = arm.advance(10)
    assert arm.holds(10)
    steps.stop_at = len(steps) + 17
    with pytest.raises(RuntimeError, match="killed"):
        arm.advance(30)
    assert not arm.holds(10)
    assert arm.holds(25)
    steps.stop_at = -1
    rest = arm.advance(30)
    (_, at_10, _), (_, at_30, _) = rest["curve"]
    assert at_10 == pytest.approx(first["curve"][0][1])
    assert rest["seconds"] > 0.9 * (at_30 - at_10), "what was trained before the kill counts"


def test_a_training_cut_short_is_no_measurement(tmp_path, digits, model, protocol):
    def limited(**arguments):
        return pl.Trainer(accelerator="cpu", devices=1, **arguments)

    with pytest.raises(ModelRankError, match="3 of 30 steps were trained; take what limits"):
        measure(model, digits, protocol, trainer=partial(limited, limit_train_batches=3), cache=tmp_path)
    with pytest.raises(ModelRankError, match="of 200 test images were measured; take what limits"):
        measure(model, digits, protocol, trainer=partial(limited, limit_test_batches=2), cache=tmp_path)
    with pytest.raises(ModelRankError, match="15 of 30 steps were trained; take what limits"):
        measure(model, digits, protocol, trainer=partial(limited, accumulate_grad_batches=2), cache=tmp_path / "again")
    assert not list(tmp_path.rglob("row.json"))


def test_a_probed_head_goes_on_from_its_checkpoint(tmp_path, digits, model, trainer, protocol):
    probe = LinearProbe("probe", strengths=[1.0], image_size=None, batch_size=64, workers=0)
    probed = replace(protocol, probe=probe, steps=8)

    def arm(folder):
        made = probed.arms(model, digits, trainer=trainer, folder=tmp_path / folder, cache=tmp_path, seed=0)
        return made({"lr": 0.01, "wd": 0.0})

    arm("stopped").advance(4)
    arm("stopped").advance(8)
    arm("whole").advance(8)
    assert arm("stopped").test(8)["value"] == arm("whole").test(8)["value"]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory")])
def test_a_batch_that_does_not_fit_is_refused_with_the_way_out(
    tmp_path, digits, model, trainer, protocol, error, monkeypatch
):
    def step(self, batch, batch_index):
        raise error

    monkeypatch.setattr(TransferTask, "training_step", step)
    with pytest.raises(ModelRankError, match=r"a batch of 32 images does not fit .*another protocol.*batch_size=N"):
        measure(model, digits, protocol, trainer=trainer, cache=tmp_path)
    assert not list(cell_folder(model, digits, protocol, cache=tmp_path, seed=0).glob("**/*.json"))


def test_a_full_disk_is_said(tmp_path, digits, model, trainer, protocol, monkeypatch):
    def full(state, path):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0\nframe #0: ...")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(ModelRankError, match=r"cannot write to .*unexpected pos 64 vs 0; make room there"):
        measure(model, digits, protocol, trainer=trainer, cache=tmp_path)
