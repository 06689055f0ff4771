"""JPEGs for the benchmarks: cut out of scikit-learn's two sample photographs, so that they decode as photographs do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from modelrank.data.images import ImageData, ImageSplit


def photographs(folder: Path, count: int, width: int, height: int, classes: int = 5) -> ImageData:
    """`count` JPEGs of this size, quality 90: patches of 320 x 240 pixels at full sharpness, put side by side."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    sources = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    paths = []
    for number in range(count):
        photograph = Image.new("RGB", (width, height))
        for left in range(0, width, 320):
            for top in range(0, height, 240):
                source = sources[random.integers(2)]
                x, y = random.integers(source.width - 320), random.integers(source.height - 240)
                photograph.paste(source.crop((x, y, x + 320, y + 240)), (left, top))
        paths.append(folder / f"{number:05d}.jpg")
        photograph.save(paths[-1], quality=90)
    targets, names = np.arange(count) % classes, [path.name for path in paths]
    split, labels = ImageSplit(paths, targets, names), tuple("abcdefghij"[:classes])
    few = split.take(np.arange(min(count, classes)))
    splits = {"train": split, "val": few, "test": few}
    return ImageData(
        folder.name, "classification", labels, "accuracy", splits, str(folder), "BSD-3", folder.name, ("train",)
    )
