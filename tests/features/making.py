"""A small network, small images and their extraction, for the tests."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn

from modelrank.data.images import ImageData, ImageSplit
from modelrank.features.extract import extract
from modelrank.features.store import FeatureStore
from modelrank.hub.model import PretrainedModel
from modelrank.hub.preprocessing import Preprocessing

TRAINER = partial(pl.Trainer, accelerator="cpu")


def backbone(classes: int | None = 7, scale: float = 1.0) -> nn.Module:
    layers = [nn.Conv2d(3, 12, 3, stride=2), nn.BatchNorm2d(12), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    head = [] if classes is None else [nn.Linear(12, classes)]
    network = nn.Sequential(*layers, *head)
    with torch.no_grad():
        network[1].weight *= scale
    return network


def pretrained(**changes) -> PretrainedModel:
    arguments = {k: changes.pop(k) for k in ("classes", "scale") if k in changes}
    small = Preprocessing(size=16, resize=18)
    model = PretrainedModel("tiny", partial(backbone, **arguments), None, "cnn", "none", "MIT", small)
    return replace(model, **changes)


def images(sizes: tuple[int, ...] = (30, 13, 5)) -> ImageData:
    rng = np.random.default_rng(0)
    splits = {}
    for name, n in zip(("train", "val", "test"), sizes, strict=True):
        pixels = rng.integers(0, 256, (n, 20, 24, 3), dtype=np.uint8)
        splits[name] = ImageSplit(pixels, rng.integers(0, 4, n), [f"{name}/{i}.png" for i in range(n)])
    return ImageData("noise", "classification", ("a", "b", "c", "d"), "accuracy", splits, "here", "CC0", "f" * 64)


def run(root: Path, model: PretrainedModel | None = None, data: ImageData | None = None, **changes):
    settings = {"trainer": TRAINER, "scored": ["train", "val"], "image_size": None, "batch_size": 8, "workers": 0}
    model, data = model or pretrained(), data or images()
    return extract(model, data, store=FeatureStore(root), cache=root, **(settings | changes))
