import json
import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from modelrank.data.decoded import Shrink
from modelrank.data.images import ImageSplit, in_memory
from modelrank.data.module import ImageDataModule
from modelrank.hub.model import has_depthwise
from modelrank.truth import finetune
from modelrank.truth.frozen import LinearProbe
from modelrank.truth.grid import Racing, race
from modelrank.truth.ledger import Asked, data_id, measured, model_id, protocol_id
from modelrank.truth.measure import cell_folder, measure, record
from modelrank.types import ModelRankError, NotMeasured


def explosive(small):
    network = small()
    torch.nn.init.constant_(network[0].weight, float("inf"))
    return network


@pytest.fixture
def watched(monkeypatch):
    """What was trained on and measured on, in order."""
    events = []
    trained, measured = ImageDataModule.train_dataloader, ImageDataModule.test_dataloader
    monkeypatch.setattr(
        ImageDataModule, "train_dataloader", lambda self: (events.append(self.train_splits), trained(self))[1]
    )
    monkeypatch.setattr(ImageDataModule, "test_dataloader", lambda self: (events.append("test"), measured(self))[1])
    return events


def test_grid_on_train_then_train_and_val_then_test_once(tmp_path, digits, model, trainer, protocol, watched):
    row = measure(model, digits, protocol, trainer=trainer, cache=tmp_path)
    assert watched == [("train",)] * 4 + [("train", "val"), "test"]
    assert row["accuracy"] > 0.6  # chance is 0.1
    assert row["val_accuracy"] > 0.6
    assert row["lr"] == 0.05
    assert (row["n_train"], row["n_test"], row["seed"], row["metric"]) == (400, 200, 0, "accuracy")
    assert row["precision"] == "32-true"
    for column in ("command", "commit", "versions", "date", "seconds", "protocol_id", "model_id", "data_id"):
        assert row[column] not in ("", None)
    watched.clear()
    assert measure(model, digits, protocol, trainer=trainer, cache=tmp_path) == row
    renamed = replace(digits, name="mine"), replace(protocol, name="own")
    again = measure(model, *renamed, trainer=None, cache=tmp_path)  # the same numbers by other names: not done again
    assert again == row | {"dataset": "mine", "protocol": "own"}
    assert watched == []


def test_interrupted_grid_goes_on_where_it_was(tmp_path, digits, model, trainer, protocol, watched, steps):
    steps.stop_at = 65
    with pytest.raises(RuntimeError, match="killed"):
        measure(model, digits, protocol, trainer=trainer, cache=tmp_path)
    folder = cell_folder(model, digits, protocol, cache=tmp_path, seed=0)
    assert len(list(folder.glob("lr*/step30.json"))) == 2
    watched.clear()
    measure(model, digits, protocol, trainer=trainer, cache=tmp_path)
    assert watched == [("train",)] * 2 + [("train", "val"), "test"]


@pytest.mark.parametrize("racing", [None, Racing(start=0.05, rung=10, finalists=2, margin=1.0)])
def test_the_measured_network_is_there_or_trained_again(tmp_path, digits, model, trainer, protocol, racing):
    protocol = replace(protocol, learning_rates=[0.05], weight_decays=[0.0], racing=racing)
    folder = tmp_path / "cell"
    folder.mkdir()
    given = {"trainer": trainer, "folder": folder, "cache": tmp_path, "seed": 0}
    outcome = protocol(model, digits, **given)
    point = {"lr": outcome.learning_rate, "wd": outcome.weight_decay}
    network = protocol.measured(model, digits, point, **given)
    transform = model.preprocessing.at(protocol.image_size).evaluation()
    test = digits.splits["test"]
    images = torch.stack([transform(test[index][0]) for index in range(len(test))])
    with torch.no_grad():
        outputs = network(images)
    right = (outputs.argmax(1).numpy() == test.targets).mean()
    assert right == pytest.approx(outcome.accuracy, abs=0.006)
    for checkpoint in folder.glob("*/last.ckpt"):
        checkpoint.unlink()
    with torch.no_grad():
        again = protocol.measured(model, digits, point, **given)(images)
    torch.testing.assert_close(again, outputs, rtol=1e-4, atol=1e-5)


def test_a_race_trains_the_promising_rates_to_the_end_and_measures_the_best_as_it_is(
    tmp_path, digits, model, trainer, protocol, watched, steps
):
    rates = [1e-5, 1e-4, 1e-3, 1e-2, 0.05, 0.2]
    racing = Racing(start=1e-3, rung=10, finalists=1, margin=0.0)
    row = measure(
        model,
        digits,
        replace(protocol, learning_rates=rates, weight_decays=[0.0], racing=racing),
        trainer=trainer,
        cache=tmp_path,
    )
    assert row["lr"] in (0.01, 0.05)
    assert row["accuracy"] > 0.6
    assert row["n_train"] == 320, "val only chose"
    assert "test" in watched
    assert watched.count("test") == 1
    assert ("train", "val") not in watched
    tried = [training["lr"] for training in row["trainings"]]
    assert 1e-5 not in tried, "far from the best"
    assert tried.count(row["lr"]) == 2
    assert len(steps) == 10 * (len(tried) - 1) + 20
    curve = next(training["curve"] for training in row["trainings"] if training["until"] == 30)
    assert len(curve) >= 10
    assert curve[-1][0] == 30
    assert [second for _, second, _ in curve] == sorted(second for _, second, _ in curve)


def test_divergence_fails_a_grid_point_or_all(tmp_path, digits, model, trainer, protocol):
    wild = replace(protocol, learning_rates=[1e12, 0.05], weight_decays=[0.0])
    assert measure(model, digits, wild, trainer=trainer, cache=tmp_path)["lr"] == 0.05
    broken = replace(model, architecture=partial(explosive, model.architecture))
    with pytest.raises(ModelRankError, match=r"failed at every grid point .*the loss became nan in step 1"):
        measure(broken, digits, protocol, trainer=trainer, cache=tmp_path)


def test_same_seed_same_accuracy_and_the_global_generator_is_left_alone(tmp_path, digits, model, trainer, protocol):
    protocol = replace(protocol, learning_rates=[0.02], weight_decays=[0.0])
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = measure(model, digits, protocol, trainer=trainer, cache=tmp_path / "a", seed=3)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)
    second = measure(model, digits, protocol, trainer=trainer, cache=tmp_path / "b", seed=3)
    assert (first["accuracy"], first["val_accuracy"]) == (second["accuracy"], second["val_accuracy"])


def test_two_processes_measure_a_cell_once(tmp_path, digits, model, trainer, protocol, watched):
    protocol = replace(protocol, learning_rates=[0.02], weight_decays=[0.0])
    rows = []
    threads = [
        threading.Thread(target=lambda: rows.append(measure(model, digits, protocol, trainer=trainer, cache=tmp_path)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows[0] == rows[1]
    assert watched == [("train",), ("train", "val"), "test"]


def test_what_an_earlier_version_measured_is_taken_into_a_table_with_ids(tmp_path, digits, model, protocol):
    def taken():
        return measure(model, digits, protocol, trainer=None, cache=tmp_path / "cache", anew=False)

    with pytest.raises(NotMeasured, match="small on digits, seed 0: not measured before by tiny"):
        taken()
    assert not (tmp_path / "cache").exists()
    cell = cell_folder(model, digits, protocol, cache=tmp_path / "cache", seed=0)
    cell.mkdir(parents=True)
    training = {"lr": 0.1, "wd": 0.0, "until": 2, "curve": [[1, 0.5, 0.2], [2, 1.0, 0.4]], "failed": "", "seconds": 1.0}
    earlier = {"dataset": "digits", "model": "small", "protocol": "old name", "seed": 0, "accuracy": 0.5}
    earlier |= {"metric": "accuracy", "protocol_hash": "a" * 12, "data_fingerprint": "b" * 12, "trainings": [training]}
    (cell / "row.json").write_text(json.dumps(earlier))
    record(taken(), cell, table=tmp_path / "measured.csv")
    truth = measured(Asked.of([model], digits, protocol), paths=[tmp_path / "measured.csv"])
    assert truth.accuracy == {"small": 0.5}
    assert truth.protocol == "tiny"
    for name in ("measured.csv", "curves.csv"):
        row = pd.read_csv(tmp_path / name, dtype=str).iloc[0]
        assert (row.model_id, row.data_id) == (model_id(model), data_id(digits))
        assert row.protocol_id == protocol_id(protocol)
        assert "protocol_hash" not in row


def test_the_cell_depends_on_all_that_decides_the_number(tmp_path, digits, model, protocol):
    def key(model=model, data=digits, protocol=protocol, seed=0):
        return cell_folder(model, data, protocol, cache=tmp_path, seed=seed)

    other_protocol = replace(protocol, steps=31)
    other_model = replace(model, preprocessing=model.preprocessing.at(16))
    keys = {key(), key(seed=1), key(protocol=other_protocol), key(data=replace(digits, fingerprint="e" * 64))}
    assert len(keys | {key(model=other_model)}) == 5
    assert protocol_id(other_protocol) != protocol_id(protocol)
    assert key(protocol=replace(protocol, workers=2, checkpoint_every=7)) == key()


def test_a_probed_head_starts_where_the_linear_probe_ends(tmp_path, digits, model, trainer, protocol):
    probe = LinearProbe("probe", strengths=[0.1, 1.0], image_size=None, batch_size=64, workers=0, refit=False)
    probed = replace(protocol, probe=probe)
    make = probed.arms(model, digits, trainer=trainer, folder=tmp_path / "arms", cache=tmp_path, seed=0)

    def untrained(make):
        arm = make({"lr": 0.01, "wd": 0.0})
        arm.advance(0)
        return arm.test(0)["value"]

    frozen = measure(model, digits, probe, trainer=trainer, cache=tmp_path)
    assert untrained(make) == pytest.approx(frozen["accuracy"])
    random = protocol.arms(model, digits, trainer=trainer, folder=tmp_path / "random", cache=tmp_path, seed=0)
    assert untrained(random) < frozen["accuracy"] - 0.3
    others = [replace(probe, strengths=[1.0]), replace(probe, name="other", workers=2)]
    ids = [protocol_id(replace(protocol, probe=one)) for one in (None, probe, *others)]
    assert len(set(ids)) == 3
    assert ids[1] == ids[3]


def test_the_floor_of_a_race_is_what_the_head_alone_has_on_val(tmp_path, digits, model, trainer, protocol, monkeypatch):
    floors = []
    monkeypatch.setattr(finetune, "race", lambda *given: floors.append(given[-1]) or race(*given))
    probe = LinearProbe("probe", strengths=[1.0], image_size=None, batch_size=64, workers=0, refit=False)
    racing = Racing(start=0.05, rung=10, finalists=1, margin=0.05)
    plain = replace(protocol, probe=probe, racing=racing, weight_decays=[0.0])
    floored = replace(plain, racing=replace(racing, floor=True))
    for one in (plain, floored):
        measure(model, digits, one, trainer=trainer, cache=tmp_path)
    frozen = measure(model, digits, probe, trainer=trainer, cache=tmp_path)
    assert floors == [None, pytest.approx(frozen["val_accuracy"], abs=1e-6)]
    assert protocol_id(floored) != protocol_id(plain)
    with pytest.raises(ModelRankError, match=r"racing\.floor is the value of a head, so it needs a probe"):
        replace(floored, probe=None)


def test_the_head_has_its_own_learning_rate(digits, model, protocol, tmp_path):
    adam = replace(protocol, optimizer=torch.optim.AdamW, head_learning_rate=0.1)
    task = adam._task(model.load(tmp_path), digits, {"lr": 0.01, "wd": 0.0}, 8)
    body, head = task.configure_optimizers()["optimizer"].param_groups
    assert (body["lr"], head["lr"]) == (0.01, 0.1)
    assert [tuple(parameter.shape) for parameter in head["params"]] == [(10, 128), (10,)]
    assert len(body["params"]) + 2 == len(list(task.parameters()))
    assert protocol_id(adam) != protocol_id(replace(adam, optimizer=torch.optim.Adam))


def test_weight_decay_is_divided_by_the_learning_rate(digits, model, protocol, tmp_path):
    task = protocol._task(model.load(tmp_path), digits, {"lr": 0.01, "wd": 0.001}, 8)
    settings = task.configure_optimizers()
    group = settings["optimizer"].param_groups[0]
    assert (group["weight_decay"], group["nesterov"], group["momentum"]) == (0.1, True, 0.9)
    assert all(parameter.requires_grad for parameter in task.network.parameters())
    assert all(module.training for module in task.network.modules())
    schedule = settings["lr_scheduler"]["scheduler"].lr_lambdas[0]
    assert [round(schedule(step), 6) for step in (0, 15, 30)] == [1, 0.5, 0]


def test_images_in_memory_evaluate_to_the_same_tensors(digits, model):
    rng = np.random.default_rng(0)
    photos = [Image.fromarray(rng.integers(0, 255, (60, 90, 3), dtype=np.uint8)) for _ in range(3)]
    split = ImageSplit(photos, np.arange(3), list("abc"))
    preprocessing = replace(model.preprocessing, size=14, resize=16)
    held = in_memory(replace(digits, splits={"train": split}), Shrink(16, "bilinear")).splits["train"]
    assert held[0][0].size == (24, 16)
    transform = preprocessing.evaluation()
    for i in range(3):
        assert torch.equal(transform(held[i][0]), transform(photos[i]))


def test_depthwise_convolutions_are_recognised():
    plain = torch.nn.Conv2d(8, 8, 3, groups=2)
    assert not has_depthwise(torch.nn.Sequential(plain, torch.nn.Conv2d(1, 4, 3)))
    assert has_depthwise(torch.nn.Sequential(plain, torch.nn.Conv2d(8, 8, 3, groups=8)))


@pytest.mark.parametrize(("task", "metric"), [("multilabel", "map11"), ("regression", "r2")])
def test_other_tasks(tmp_path, digits, model, trainer, protocol, task, metric):
    def split(old):
        y = old.targets
        targets = np.stack([y % 2 == 0, y > 4], 1).astype(np.float32 if task == "regression" else np.int64)
        return ImageSplit(old.images, targets, old.ids)

    splits = {name: split(old) for name, old in digits.splits.items()}
    data = replace(digits, task=task, metric=metric, classes=("even", "large"), splits=splits)
    protocol = replace(protocol, learning_rates=[0.05], weight_decays=[0.0])
    row = measure(model, data, protocol, trainer=trainer, cache=tmp_path)
    assert row["metric"] == metric
    assert row["accuracy"] > (0.7 if task == "multilabel" else 0.2)
    assert finetune.TASKS[task].monitor == "metric"


def test_training_flips_only_images_whose_targets_bear_it(tmp_path, digits, model, trainer, protocol, monkeypatch):
    protocol = replace(protocol, learning_rates=[0.05], weight_decays=[0.0], steps=2)
    flips = []
    monkeypatch.setattr(
        "modelrank.hub.preprocessing.v2.RandomHorizontalFlip", lambda: (flips.append(1), torch.nn.Identity())[1]
    )
    one_way = replace(digits, mirror=False)
    measure(model, one_way, protocol, trainer=trainer, cache=tmp_path)
    assert not flips
    measure(model, digits, protocol, trainer=trainer, cache=tmp_path)
    assert flips, "another cell, so measured on its own"
