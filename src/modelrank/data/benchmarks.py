"""Data sets of the classification benchmarks that torchvision reads but does not split or label as the benchmarks do.

Each reads torchvision's on-disk layout and has `targets` and `classes` like torchvision's newer classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torchvision.datasets
from torchvision.datasets.folder import default_loader

# fmt: off
VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)
# fmt: on


class Caltech101(torchvision.datasets.Caltech101):
    """caltech101/101_ObjectCategories/CLASS/image_0001.jpg with the background class, which torchvision leaves out.

    The set defines no split. Benchmarks draw `per_class` images of each class for training and test on the rest: here
    by `seed`, a stream for each class, so that the draw of one class does not depend on the others.
    """

    def __init__(self, root: str, split: str, per_class: int = 30, seed: int = 0, download: bool = False) -> None:
        super().__init__(root, download=download)
        folder = Path(self.root) / "101_ObjectCategories"
        self.classes = sorted([*self.categories, "BACKGROUND_Google"])
        self.files, self.targets = [], []
        for label, name in enumerate(self.classes):
            files = sorted((folder / name).glob("image_*.jpg"))  # the background folder holds another file too
            if len(files) <= per_class:
                raise RuntimeError(f"{folder / name} holds {len(files)} images, more than {per_class} are needed")
            order = np.random.default_rng([seed, label]).permutation(len(files))
            chosen = order[:per_class] if split == "train" else order[per_class:]
            self.files += [files[i] for i in np.sort(chosen)]
            self.targets += [label] * len(chosen)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return default_loader(self.files[index]), self.targets[index]


class StanfordCars(torchvision.datasets.StanfordCars):
    """torchvision's, with the labels in a list of their own."""

    def __init__(self, root: str, split: str, download: bool = False) -> None:
        super().__init__(root, split=split, download=download)
        self.targets = [int(label) for _, label in self._samples]


class SUN397(torchvision.datasets.SUN397):
    """The images that SUN397/Partitions/{Training,Testing}_0N.txt list: 50 of each class in either."""

    def __init__(self, root: str, split: str, partition: int = 1, download: bool = False) -> None:
        super().__init__(root, download=download)
        stem = {"train": "Training", "test": "Testing"}[split]
        lines = (self._data_dir / "Partitions" / f"{stem}_{partition:02}.txt").read_text().split()
        self._image_files = [self._data_dir / line.strip("/") for line in lines]
        names = ["/".join(Path(line.strip("/")).parts[1:-1]) for line in lines]  # without the initial: a/abbey/sun_.jpg
        if unknown := set(names) - self.class_to_idx.keys():
            raise RuntimeError(
                f"{stem}_{partition:02}.txt names classes that ClassName.txt lacks: {sorted(unknown)[:3]}"
            )
        self.targets = self._labels = [self.class_to_idx[name] for name in names]


class VOC2007(torchvision.datasets.VOCDetection):
    """Images of one image set of VOC2007 with N x 20 of 0 / 1: which classes are in the image.

    A class counts as present when at least one of its objects is not marked 'difficult'. That is value 1 of the files
    ImageSets/Main/CLASS_SET.txt; their value 0 (difficult objects only) counts as absent, as in the benchmark.
    """

    classes = VOC_CLASSES

    def __init__(self, root: str, split: str, download: bool = False) -> None:
        super().__init__(root, year="2007", image_set=split, download=download)
        self.targets = np.stack([_present(Path(path)) for path in self.annotations])

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return default_loader(self.images[index]), self.targets[index]


def _present(annotation: Path) -> np.ndarray:
    found = np.zeros(len(VOC_CLASSES), np.int64)
    for thing in ElementTree.parse(annotation).iter("object"):
        if thing.findtext("difficult", "0").strip() != "1":
            found[VOC_CLASSES.index(thing.findtext("name", "").strip())] = 1
    return found
