"""Fine-tuning of a small detector on coloured rectangles, through `measure`, and what is kept of what it finds."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from modelrank.data.boxes import object_array
from modelrank.data.images import ImageData, ImageSplit
from modelrank.hub.detector import NewHead
from modelrank.hub.model import PretrainedModel
from modelrank.hub.preprocessing import Preprocessing
from modelrank.truth import found_boxes
from modelrank.truth.detection import Detection, DetectorFineTuning
from modelrank.truth.frozen import LinearProbe
from modelrank.truth.ledger import Asked, protocol_id
from modelrank.truth.measure import cell_folder, measure
from modelrank.truth.metrics import METRICS
from modelrank.types import Boxes, ModelRankError

COLOURS = np.array([[250, 40, 40], [40, 250, 40]], np.uint8)


def small() -> nn.Module:
    layers = [nn.Sequential(nn.Conv2d(i, o, 3, 2, 1), nn.BatchNorm2d(o), nn.ReLU()) for i, o in ((3, 16), (16, 32))]
    return nn.Sequential(*layers, nn.Conv2d(32, 32, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.fixture
def model():
    size = Preprocessing(size=32, resize=32, interpolation="bilinear", mean=(0.5,) * 3, std=(0.25,) * 3)
    return PretrainedModel("small", small, None, "test", "none", "none", size)


@pytest.fixture(scope="module")
def rectangles():
    """64 px scenes (so that sizes must be converted) with up to two objects, some with none."""
    rng, splits = np.random.default_rng(0), {}
    for name, n in (("train", 32), ("val", 12), ("test", 12)):
        pixels, targets = rng.integers(0, 60, (n, 64, 64, 3)).astype(np.uint8), []
        for i in range(n):
            lefts = (2, 34)[: i % 3]
            tops, labels = rng.integers(0, 40, len(lefts)), rng.integers(0, 2, len(lefts))
            for left, top, label in zip(lefts, tops, labels, strict=True):
                pixels[i, top : top + 24, left : left + 28] = COLOURS[label]
            corners = [[left, top, left + 28, top + 24] for left, top in zip(lefts, tops, strict=True)]
            targets.append(Boxes(np.array(corners, np.float32).reshape(-1, 4), labels.astype(np.int64)))
        splits[name] = ImageSplit(pixels, object_array(targets), [f"{name}/{i}" for i in range(n)])
    return ImageData("rectangles", "detection", ("red", "green"), "map50", splits, "here", "CC0", "e" * 64)


@pytest.fixture
def protocol():
    return DetectorFineTuning(
        name="tiny",
        learning_rates=[3e-3],
        weight_decays=[0.0],
        steps=60,
        batch_size=8,
        image_size=None,
        smallest_crop=1.0,
        optimizer=torch.optim.AdamW,
        head_learning_rate=3e-3,
        precision="32-true",
        depthwise_precision="32-true",
        in_memory=True,
        checkpoint_every=1000,
        workers=0,
        head=NewHead(strides=[4, 8], sizes=[0.3, 0.5, 0.7]),
        crop=False,
        freeze_batch_norm=False,
    )


def test_map_is_measured_on_val_and_test_and_found_boxes_are_kept(tmp_path, rectangles, model, trainer, protocol):
    row = measure(model, rectangles, protocol, trainer=trainer, cache=tmp_path)
    assert row["metric"] == "map50"
    assert row["accuracy"] == row["map50"] > 0.5
    assert 0.1 < row["map"] < row["map50"]
    assert row["val_accuracy"] > 0.3
    assert (row["n_train"], row["n_test"]) == (44, 12)
    assert measure(model, rectangles, protocol, trainer=None, cache=tmp_path) == row

    folder = cell_folder(model, rectangles, protocol, cache=tmp_path, seed=0)
    kept = found_boxes.kept(folder)
    found_boxes.append(tmp_path / "measured.csv", row, kept)
    found_boxes.append(tmp_path / "measured.csv", row, kept)  # measured again: replaced
    assert len(pd.read_csv(tmp_path / "found.csv")) == len(kept)
    asked = Asked.of([model], rectangles, protocol)
    found = found_boxes.found([tmp_path / "measured.csv"], asked, rectangles.classes)["small"]
    marked, own = rectangles.splits["test"].targets[1], found["test/1"]
    assert own.scores.max() == own.scores[0]
    assert own.scores.min() >= own.scores[0] / 3
    np.testing.assert_allclose(own.corners[0], marked.corners[0], atol=8)  # in pixels of the 64 px image
    others = Asked.of([model], replace(rectangles, fingerprint="0" * 64), protocol)
    assert found_boxes.found([tmp_path / "measured.csv"], others, rectangles.classes) == {}


def test_a_grid_is_chosen_from_on_val_and_retrained(tmp_path, rectangles, model, trainer, protocol):
    two = replace(protocol, learning_rates=[1e-5, 3e-3], head_learning_rate=None)
    row = measure(model, rectangles, two, trainer=trainer, cache=tmp_path)
    assert row["lr"] == 3e-3
    assert row["val_accuracy"] > 0
    assert len(list(cell_folder(model, rectangles, two, cache=tmp_path, seed=0).glob("lr*/step60.json"))) == 2


def test_another_metric_is_another_measurement(tmp_path, rectangles, model, protocol):
    folders = [
        cell_folder(model, replace(rectangles, metric=metric), protocol, cache=tmp_path, seed=0)
        for metric in ("map50", "map")
    ]
    assert folders[0] != folders[1]


def test_found_boxes_of_an_earlier_measurement_go_and_names_stay_text(tmp_path, rectangles):
    data = replace(rectangles, classes=("1", "NA"))
    asked = Asked({"small": "m", "other": "o"}, data.name, "d", "tiny", "p")
    row = {"dataset": data.name, "model": "small", "protocol": "tiny", "seed": 0}
    row |= {"model_id": "m", "data_id": "d", "protocol_id": "p"}
    table, place = tmp_path / "measured.csv", {"left": 1.5, "top": 2, "right": 9, "bottom": 9}
    found_boxes.append(table, row, [{"image": "test/0", "class": "NA", "score": 0.5, **place}])
    found = found_boxes.found([table], asked, data.classes)["small"]["test/0"]
    assert (found.labels.tolist(), found.scores.tolist(), found.corners[0, 0]) == ([1], [0.5], 1.5)
    found_boxes.append(table, row, [])
    assert found_boxes.found([table], asked, data.classes) == {"small": {}}
    assert found_boxes.found([table], replace(asked, models={"small": "other weights"}), data.classes) == {}
    assert found_boxes.found([table], replace(asked, data_id="other images"), data.classes) == {}
    assert found_boxes.found([table], replace(asked, protocol_id="other steps"), data.classes) == {}
    found_boxes.append(tmp_path / "other" / "measured.csv", row, None)  # no detection
    assert not (tmp_path / "other").exists()


def test_boxes_of_some_of_the_images_are_kept_where_processes_share_them(tmp_path, rectangles):
    one = {"boxes": torch.tensor([[1.0, 2, 20, 20]]), "scores": torch.tensor([0.5]), "labels": torch.tensor([1])}
    found_boxes.keep({0: one, 2: one, 11: one}, rectangles, 64, tmp_path)
    assert [box["image"] for box in found_boxes.kept(tmp_path)] == ["test/0", "test/2", "test/11"]


def test_training_mirrors_only_where_a_mirrored_object_is_the_same(rectangles, model, protocol):
    for mirror, seen in ((True, 2), (False, 1)):
        transform, _ = protocol._transforms(model.preprocessing, replace(rectangles, mirror=mirror))
        image, boxes = rectangles.splits["train"][1]
        lefts = {round(float(transform(image, boxes)[1]["boxes"][0, 0]), 3) for _ in range(40)}
        assert len(lefts) == seen


def test_new_layers_of_a_detector_are_not_frozen(rectangles):
    network = nn.ModuleList([nn.BatchNorm2d(2), nn.BatchNorm2d(2)])
    task = Detection(
        network,
        METRICS["map50"](2),
        new=list(network[1].parameters()),
        size=32,
        freeze_batch_norm=True,
        optimizer=torch.optim.SGD,
        learning_rate=0.1,
        weight_decay=0.0,
        head_learning_rate=0.1,
        steps=1,
    )
    task.train()
    assert [layer.training for layer in network] == [False, True]


def test_frozen_batch_norm_keeps_its_statistics(rectangles, model, trainer, protocol, tmp_path):
    for freeze in (True, False):
        task = replace(protocol, freeze_batch_norm=freeze)._task(
            model.load(tmp_path), rectangles, {"lr": 1e-3, "wd": 0.0}, 32
        )
        assert isinstance(task, Detection)
        norm = next(layer for layer in task.network.modules() if isinstance(layer, nn.BatchNorm2d))
        before = norm.running_mean.clone()
        task.train()
        images = [torch.rand(3, 32, 32) for _ in range(2)]
        targets = [{"boxes": torch.tensor([[2.0, 2, 20, 20]]), "labels": torch.tensor([1])}] * 2
        assert task.batch_loss((images, targets, torch.arange(2))).isfinite()
        assert torch.equal(norm.running_mean, before) == freeze


def test_protocol_and_task_must_fit(tmp_path, rectangles, digits, model, trainer, protocol):
    with pytest.raises(ModelRankError, match=r"protocol=tiny measures detection, but digits is classification"):
        measure(model, digits, protocol, trainer=trainer, cache=tmp_path)
    other = LinearProbe("probe", [1.0], None, 8, 0)
    with pytest.raises(
        ModelRankError, match=r"protocol=probe .* but rectangles is detection; choose .*detection_short"
    ):
        measure(model, rectangles, other, trainer=trainer, cache=tmp_path)


def test_every_number_that_matters_is_in_the_hash(protocol):
    changed = [
        {"head": replace(protocol.head, sizes=[0.2, 0.5, 0.7])},
        {"crop": True},
        {"freeze_batch_norm": True},
        {"optimizer": partial(torch.optim.SGD, momentum=0.9)},
    ]
    hashes = {protocol_id(replace(protocol, **change)) for change in changed}
    assert len(hashes | {protocol_id(protocol)}) == 5
    assert protocol_id(replace(protocol, workers=3)) == protocol_id(protocol)


def test_average_precision_by_hand():
    """Two objects of one class; found in this order: a hit, a miss, a hit: precision 1 up to recall 1/2, then 2/3."""
    target = [{"boxes": torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]]), "labels": torch.tensor([0, 0])}]
    boxes = torch.tensor([[0.0, 0, 10, 10], [80, 80, 90, 90], [50, 50, 60, 57.2]])  # the last overlaps by 0.72
    found = [{"boxes": boxes, "scores": torch.tensor([0.9, 0.8, 0.7]), "labels": torch.tensor([0, 0, 0])}]
    metric = METRICS["map50"](1)
    metric.update(found, target)
    values = {name: float(value) for name, value in metric.compute().items()}
    assert values["metric"] == values["map50"] == pytest.approx((51 * 1.0 + 50 * 2 / 3) / 101, abs=1e-4)
    half = 51 / 101  # from an overlap of 0.75 on the third is a miss
    assert values["map"] == pytest.approx((5 * values["map50"] + 5 * half) / 10, abs=1e-4)
    empty = METRICS["map"](1)
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    empty.update([nothing | {"scores": torch.zeros(0)}], [nothing])
    assert empty.compute()["metric"] == 0
