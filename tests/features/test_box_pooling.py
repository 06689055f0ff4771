"""Features of boxes: each row is the mean of the network's maps over its box, and belongs to the right object."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from modelrank.data.boxes import box_rows, object_array
from modelrank.data.images import ImageData, ImageSplit
from modelrank.features import extraction
from modelrank.features.box_pooling import BoxFeatures, BoxPooling
from modelrank.features.extract import extract
from modelrank.features.store import FeatureStore
from modelrank.hub.model import PretrainedModel
from modelrank.hub.preprocessing import Preprocessing
from modelrank.types import Boxes, ModelRankError

COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
POOLING = {"layer": [2, 4], "grid": 2, "reduce": "mean"}


def plain() -> nn.Module:
    """Its maps are the image itself, and halved once and twice by the mean."""
    made = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, groups=3), nn.AvgPool2d(2), nn.AvgPool2d(2))
    with torch.no_grad():
        made[0].weight.zero_()[:, :, 1, 1] = 1.0
        made[0].bias.zero_()
    return made


MODEL = PretrainedModel(
    "plain", plain, None, "test", "none", "MIT", Preprocessing(32, 32, "bilinear", (0, 0, 0), (1, 1, 1))
)


def scenes(sizes: tuple[int, ...] = (9, 4, 2), side: int = 64) -> ImageData:
    """Black images with rectangles in one of three colours, one colour a class; every third is empty."""
    rng = np.random.default_rng(0)
    splits = {}
    for name, n in zip(("train", "val", "test"), sizes, strict=True):
        pixels, targets = np.zeros((n, side, side, 3), np.uint8), []
        for i in range(n):
            corners, labels = [], []
            for left in (0, 32) if i % 3 else ():
                label, top = rng.integers(3), 8 * rng.integers(0, 4)
                pixels[i, top : top + 24, left + 4 : left + 28] = COLOURS[label]
                corners.append([left + 4, top, left + 28, top + 24])
                labels.append(label)
            targets.append(Boxes(np.array(corners, np.float32).reshape(-1, 4), np.array(labels, np.int64)))
        splits[name] = ImageSplit(pixels, object_array(targets), [f"{name}/{i}" for i in range(n)])
    return ImageData("scenes", "detection", ("r", "g", "b"), "map50", splits, "here", "CC0", "s" * 64)


def run(root: Path, data: ImageData | None = None, model: PretrainedModel = MODEL, **changes):
    settings = {
        "trainer": partial(pl.Trainer, accelerator="cpu"),
        "scored": ["train", "val"],
        "image_size": None,
        "batch_size": 4,
        "workers": 0,
        "boxes": POOLING,
    }
    return extract(model, data or scenes(), store=FeatureStore(root), cache=root, **(settings | changes))


def test_each_row_is_the_colour_of_its_object(tmp_path):
    data = scenes()
    found = run(tmp_path, data)
    labels, boxes, _ = box_rows([data.splits[name] for name in data.scored])
    assert found.task == "detection"
    assert found.targets.tolist() == labels.tolist()
    np.testing.assert_allclose(found.boxes, boxes)
    assert found.features.shape == (len(labels), 6)  # three channels at two strides
    own = torch.eye(3)[found.targets]
    torch.testing.assert_close(found.features, torch.cat([own, own], 1), atol=0.3, rtol=0)
    assert found.logits is None
    assert found.facts["parameters"] == 30


def test_pooling_options_and_what_is_stored(tmp_path):
    assert run(tmp_path, boxes=POOLING | {"reduce": "none"}).features.shape[1] == 6 * 4
    assert run(tmp_path, boxes=POOLING | {"layer": [4, 8]}).features.shape[1] == 3  # it has no map at 8
    largest = run(tmp_path, boxes=POOLING | {"reduce": "max"}).features
    assert (largest >= run(tmp_path).features - 1e-6).all()
    assert len(list(tmp_path.glob("*.safetensors"))) == 4
    again = run(tmp_path, trainer=None, boxes=POOLING | {"reduce": "max"})
    assert torch.equal(again.features, largest)
    entry = next(FeatureStore(tmp_path).load(path.stem) for path in tmp_path.glob("*.safetensors"))
    assert entry.tensors["image"].unique().tolist() == [1, 2, 4, 5, 7, 8, 10, 11]  # every third is empty
    assert entry.tensors["split"].tolist() == [0] * 12 + [1] * 4


def test_a_killed_extraction_goes_on_and_gives_the_same(tmp_path, monkeypatch):
    whole = run(tmp_path / "a", batch_size=2)
    monkeypatch.setattr(extraction, "PART_SECONDS", 0.0)
    plain_step, seen = BoxFeatures.forward, []

    def third_dies(self, images, boxes):
        seen.append(len(images))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return plain_step(self, images, boxes)

    monkeypatch.setattr(BoxFeatures, "forward", third_dies)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(tmp_path / "b", batch_size=2)
    parts = list(tmp_path.glob("b/*.parts/*.safetensors"))
    assert parts
    seen[:] = [0] * 3
    again = run(tmp_path / "b", batch_size=2)
    assert len(seen) - 3 < 4  # four batches of two images have objects
    assert torch.equal(whole.features, again.features)


def test_what_cannot_be_pooled_is_refused(tmp_path):
    wrong = r"extraction.boxes.layer=\[16\]: Sequential has no map at these strides; it has 1, 2, 4"
    with pytest.raises(ModelRankError, match=wrong):
        run(tmp_path, boxes=POOLING | {"layer": [16]})
    with pytest.raises(ModelRankError, match=r"layer=penultimate: give strides in pixels"):
        run(tmp_path, boxes=POOLING | {"layer": "penultimate"})
    with pytest.raises(ModelRankError, match=r"layer=16: give strides in pixels"):
        run(tmp_path, boxes=POOLING | {"layer": 16})
    with pytest.raises(ModelRankError, match=r"reduce=median: give .* mean, max, none"):
        run(tmp_path, boxes=POOLING | {"reduce": "median"})
    with pytest.raises(ModelRankError, match=r"extraction.boxes is empty"):
        run(tmp_path, boxes=None)
    data = scenes()
    empty = {name: replace_targets(split) for name, split in data.splits.items()}
    with pytest.raises(ModelRankError, match="no object is marked in any of the scored images"):
        run(tmp_path, replace(data, splits=empty))


def replace_targets(split: ImageSplit) -> ImageSplit:
    none = [Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.int64)) for _ in range(len(split))]
    return ImageSplit(split.images, object_array(none), split.ids)


def test_half_a_box_is_half_the_colour():
    image = torch.zeros(1, 3, 32, 32)
    image[0, 0, :, :16] = 1.0
    boxes = [torch.tensor([[0.0, 0, 16, 32], [8.0, 0, 24, 32], [16.0, 0, 32, 32]])]
    features = BoxFeatures(plain(), BoxPooling([2], 4, "mean"))(image, boxes)
    torch.testing.assert_close(features[:, 0], torch.tensor([1.0, 0.5, 0.0]), atol=0.07, rtol=0)
