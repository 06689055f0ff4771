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
from modelrank.types import ModelRankError, NotMeasured


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


@pytest.fixture
def make(tmp_path, digits, model, trainer, protocol):
    """Trainings in a folder of that name."""
    made = replace(protocol, curve=(1.0,))

    def arm(name):
        return made.arms(model, digits, trainer=trainer, folder=tmp_path, cache=tmp_path, seed=0)(
            {"lr": 0.02, "wd": 0.0}, name=name
        )

    return arm


def test_a_network_whose_checkpoint_is_gone_is_trained_again(make):
    """Without it the network before its first step was measured, and left, as if it were the trained one."""
    arm = make("one")
    arm.advance(30)
    known, weights = arm.test(30)["value"], arm.network(30).network.state_dict()
    assert known > 0.3
    (arm.folder / "last.ckpt").unlink()
    (arm.folder / "test30.json").unlink()
    assert arm.test(30)["value"] == known
    arm.clear()
    again = arm.network(30).network.state_dict()
    assert all(torch.equal(weights[name], again[name]) for name in weights)


@pytest.mark.parametrize("left", [0, 0.5])
def test_a_damaged_checkpoint_is_said_and_trained_again(make, left, caplog):
    whole = make("whole")
    whole.advance(10)
    end = whole.advance(30)["curve"][-1]
    arm = make("damaged")
    arm.advance(10)
    path = arm.folder / "last.ckpt"
    path.write_bytes(path.read_bytes()[: int(left * path.stat().st_size)])
    assert arm.advance(30)["curve"][-1][::2] == end[::2]
    assert "last.ckpt is damaged" in caplog.text
    path.write_bytes(path.read_bytes()[: int(left * path.stat().st_size)])
    assert arm.test(30)["value"] == whole.test(30)["value"]


def test_what_was_found_at_a_step_is_found_again_when_the_training_is_further_on(make):
    arm = make("one")
    at_10, at_30 = arm.advance(10)["curve"][-1], arm.advance(30)["curve"][-1]
    assert at_10[2] != at_30[2]
    (arm.folder / "step10.json").write_text("{")
    assert arm.advance(10)["curve"][-1] == at_10
    assert arm.advance(30)["curve"][-1] == at_30


def test_a_damaged_row_is_not_measured_again_where_only_known_ones_are_wanted(
    tmp_path, digits, model, trainer, protocol
):
    folder = cell_folder(model, digits, protocol, cache=tmp_path, seed=0)
    folder.mkdir(parents=True)
    (folder / "row.json").write_text("{")
    with pytest.raises(NotMeasured):
        measure(model, digits, protocol, trainer=trainer, cache=tmp_path, anew=False)


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
