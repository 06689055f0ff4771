"""A training of 6 steps, its curve on 39 images and its test on 41, in `argv[2]` processes: run by test_ddp.py.

A script, as Lightning starts the further ranks by the command that started the first.
"""

import json
import sys
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from torch import nn
from torchvision.transforms.v2.functional import to_dtype, to_image

from modelrank.data.images import ImageData, ImageSplit
from modelrank.data.module import ImageDataModule
from modelrank.ranks import of_first, place
from modelrank.truth.arm import Arm
from modelrank.truth.metrics import METRICS
from modelrank.truth.tasks import Classification


def scaled(image):
    return to_dtype(to_image(image), torch.float32, scale=True)


def digits() -> ImageData:
    pixels, labels = load_digits(return_X_y=True)
    pixels = (pixels.reshape(-1, 8, 8) * 15.9).astype("uint8")
    bounds = {"train": (0, 100), "val": (100, 139), "test": (139, 180)}
    splits = {
        name: ImageSplit(list(pixels[a:b]), labels[a:b], [str(i) for i in range(a, b)])
        for name, (a, b) in bounds.items()
    }
    return ImageData("digits", "classification", tuple("0123456789"), "accuracy", splits, "", "", "d" * 64)


def prepared() -> tuple[Classification, ImageDataModule]:
    torch.manual_seed(0)
    network = nn.Sequential()
    network.add_module("backbone", nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten()))
    network.add_module("head", nn.Linear(288, 10))
    task = Classification(
        network,
        METRICS["accuracy"](10),
        optimizer=partial(torch.optim.SGD, momentum=0.9),
        learning_rate=0.1,
        weight_decay=1e-4,
        head_learning_rate=0.1,
        steps=6,
    )
    return task, ImageDataModule(digits(), scaled, scaled, batch_size=32)


if __name__ == "__main__":
    folder, processes = Path(sys.argv[1]), int(sys.argv[2])
    strategy = {"strategy": "ddp"} if processes > 1 else {}
    trainer = partial(pl.Trainer, accelerator="cpu", devices=processes, **strategy)
    arm = Arm("digits", folder, prepared, lambda: None, trainer, "32-true", {3, 6}, checkpoint_every=4)
    curve = [[step, value] for step, _, value in arm.advance(6)["curve"]]
    tested = arm.test(6)
    if torch.distributed.is_initialized():
        assert torch.distributed.get_world_size() == processes
    print(json.dumps({"curve": curve, "test": tested["value"], "agreed": of_first(f"rank {place()[0]}")}))
