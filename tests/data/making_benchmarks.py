"""Tiny copies of the benchmarks' data sets in their true on-disk formats, with the true number of classes.

Every image has a colour of its own, so that a test can tell which file it was given.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets
from PIL import Image
from scipy.io import savemat

from modelrank.data.benchmarks import VOC_CLASSES


@dataclass
class Copy:
    """Where a tiny copy lies, and what was put into it: number (colour) -> (target, split)."""

    root: Path
    made: dict[int, tuple[Any, str]] = field(default_factory=dict)

    def colour(self, target: Any, split: str) -> tuple[int, ...]:
        number = len(self.made)
        self.made[number] = (target, split)
        return tuple(8 * (number // 32**i % 32) + 4 for i in range(3))  # steps of 8: JPEG's rounding stays below

    def paint(self, path: str, target: Any, split: str) -> str:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), self.colour(target, split)).save(file, quality=95)
        return path

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    @staticmethod
    def number(image: Image.Image) -> int:
        return sum(value // 8 * 32**i for i, value in enumerate(image.resize((1, 1), 0).getpixel((0, 0))))


def aircraft(copy: Copy, patch: pytest.MonkeyPatch) -> None:
    base = "fgvc-aircraft-2013b/data"
    names = [f"Boeing 7{i:02}-x" for i in range(100)]
    copy.write(f"{base}/variants.txt", "\n".join(names))
    for split in ("train", "val", "test"):
        lines = []
        for label, name in enumerate(names):
            number = 1000000 + len(copy.made)
            copy.paint(f"{base}/images/{number}.jpg", label, split)
            lines.append(f"{number} {name}")
        copy.write(f"{base}/images_variant_{split}.txt", "\n".join(lines))


def caltech101(copy: Copy, patch: pytest.MonkeyPatch) -> None:
    base = "caltech101/101_ObjectCategories"
    for label, name in enumerate(sorted(["BACKGROUND_Google", *(f"thing_{i:03}" for i in range(101))])):
        for i in range(31 + label % 2):  # the smallest class of the real set has 31
            copy.paint(f"{base}/{name}/image_{i + 1:04}.jpg", label, "any")
    copy.write(f"{base}/BACKGROUND_Google/tmp", "as in the real set: no image")


def cars(copy: Copy, patch: pytest.MonkeyPatch) -> None:
    names = np.array([f"Make {i} 2012" for i in range(196)], dtype=object)
    (copy.root / "stanford_cars/devkit").mkdir(parents=True)
    savemat(copy.root / "stanford_cars/devkit/cars_meta.mat", {"class_names": names})
    for split, per_class, file in (
        ("train", 2, "devkit/cars_train_annos.mat"),
        ("test", 1, "cars_test_annos_withlabels.mat"),
    ):
        labels = [label for label in range(196) for _ in range(per_class)]
        files = [
            Path(copy.paint(f"stanford_cars/cars_{split}/{i:05}.jpg", c, split)).name for i, c in enumerate(labels)
        ]
        kind = [("bbox_x1", "O"), ("bbox_y1", "O"), ("bbox_x2", "O"), ("bbox_y2", "O"), ("class", "O"), ("fname", "O")]
        rows = np.array([(1, 1, 8, 8, c + 1, f) for c, f in zip(labels, files, strict=True)], dtype=kind)
        savemat(copy.root / "stanford_cars" / file, {"annotations": rows})


def cifar100(copy: Copy, patch: pytest.MonkeyPatch) -> None:
    folder = copy.root / "cifar-100-python"
    folder.mkdir(parents=True)
    contents = {"meta": {"fine_label_names": [f"fine {i}" for i in range(100)]}}
    for split, per_class in (("train", 5), ("test", 1)):
        labels = [label for label in range(100) for _ in range(per_class)]
        colours = np.array([copy.colour(label, split) for label in labels], np.uint8)
        contents[split] = {"data": np.repeat(colours, 1024, axis=1), "fine_labels": labels}  # 1024 of R, of G, of B
    md5 = {}
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
        md5[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    cls = torchvision.datasets.CIFAR100  # its MD5 are those of the real files
    patch.setattr(cls, "train_list", [["train", md5["train"]]])
    patch.setattr(cls, "test_list", [["test", md5["test"]]])
    patch.setattr(cls, "meta", {**cls.meta, "md5": md5["meta"]})


def dtd(copy: Copy, patch: pytest.MonkeyPatch) -> None:
    names = [f"texture{i:02}" for i in range(47)]
    for split in ("train", "val", "test"):
        files = [copy.paint(f"dtd/dtd/images/{n}/{n}_{split}.jpg", i, split) for i, n in enumerate(names)]
        copy.write(f"dtd/dtd/labels/{split}1.txt", "\n".join(file.removeprefix("dtd/dtd/images/") for file in files))
    copy.write("dtd/dtd/labels/train2.txt", "texture00/texture00_test.jpg")  # split 2 trains on an image of our test


def flowers(copy: Copy, patch: pytest.MonkeyPatch) -> None:
    labels, ids = [], {}
    for key, split, per_class in (("trnid", "train", 1), ("valid", "val", 1), ("tstid", "test", 2)):
        ids[key] = []
        for label in [label for label in range(102) for _ in range(per_class)]:
            labels.append(label + 1)
            ids[key].append(len(labels))
            copy.paint(f"flowers-102/jpg/image_{len(labels):05}.jpg", label, split)
    files = dict(torchvision.datasets.Flowers102._file_dict)
    for key, name, content in (("label", "imagelabels.mat", {"labels": labels}), ("setid", "setid.mat", ids)):
        path = copy.root / "flowers-102" / name
        savemat(path, content)
        files[key] = (name, hashlib.md5(path.read_bytes()).hexdigest())
    patch.setattr(torchvision.datasets.Flowers102, "_file_dict", files)  # its MD5 are those of the real files


def food(copy: Copy, patch: pytest.MonkeyPatch) -> None:
    for split, per_class in (("train", 5), ("test", 2)):
        listed = {}
        for label in range(101):
            name = f"dish_{label:03}"
            paths = [f"{name}/{split}{i}" for i in range(per_class)]
            for path in paths:
                copy.paint(f"food-101/images/{path}.jpg", label, split)
            listed[name] = paths
        copy.write(f"food-101/meta/{split}.json", json.dumps(listed))


def pets(copy: Copy, patch: pytest.MonkeyPatch) -> None:
    for split, file, per_class in (("train", "trainval", 5), ("test", "test", 2)):
        lines = []
        for label in range(37):
            for i in range(per_class):
                name = f"breed_{label:02}_{split}{i}"
                copy.paint(f"oxford-iiit-pet/images/{name}.jpg", label, split)
                lines.append(f"{name} {label + 1} {1 + label % 2} 1")
        copy.write(f"oxford-iiit-pet/annotations/{file}.txt", "\n".join(lines))


def sun397(copy: Copy, patch: pytest.MonkeyPatch) -> None:
    names = [f"/a/place{i:03}" if i % 9 else f"/b/place{i:03}/indoor" for i in range(397)]  # some lie deeper
    copy.write("SUN397/ClassName.txt", "\n".join(names))
    lines = {"train": [], "test": [], "unlisted": []}
    for label, name in enumerate(names):
        for i, split in enumerate(("train", "train", "test", "unlisted")):
            path = copy.paint(f"SUN397{name}/sun_{'abcd'[i]}{label:03}.jpg", label, split)
            lines[split].append(path.removeprefix("SUN397"))
    copy.write("SUN397/Partitions/Training_01.txt", "\n".join(lines["train"]))
    copy.write("SUN397/Partitions/Testing_01.txt", "\n".join(lines["test"]))
    copy.write("SUN397/Partitions/Training_02.txt", "\n".join(lines["test"]))


def voc2007(copy: Copy, patch: pytest.MonkeyPatch) -> None:
    base = "VOCdevkit/VOC2007"
    for split in ("train", "val", "test"):
        names = []
        for i in range(20):
            there, also, hard = {i, (i + 3) % 20}, i, (i + 7) % 20  # `hard` has difficult objects only
            things = [(c, 0) for c in sorted(there)] + [(also, 1), (hard, 1)]
            xml = "".join(
                f"<object><name>{VOC_CLASSES[c]}</name><difficult>{difficult}</difficult>"
                "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object>"
                for c, difficult in things
            )
            name = f"{len(copy.made):06}"
            copy.paint(f"{base}/JPEGImages/{name}.jpg", tuple(int(c in there) for c in range(20)), split)
            copy.write(f"{base}/Annotations/{name}.xml", f"<annotation>{xml}</annotation>")
            names.append(name)
        copy.write(f"{base}/ImageSets/Main/{split}.txt", "\n".join(names))


def eurosat(copy: Copy, patch: pytest.MonkeyPatch) -> None:
    _folders(copy, "eurosat/2750", 10, 10)


def resisc45(copy: Copy, patch: pytest.MonkeyPatch) -> None:
    _folders(copy, ".", 45, 10)


def _folders(copy: Copy, base: str, classes: int, per_class: int) -> None:
    for label in range(classes):
        for i in range(per_class):
            copy.paint(f"{base}/kind_{label:02}/{i:03}.jpg", label, "any")


MAKERS: dict[str, Callable[[Copy, pytest.MonkeyPatch], None]] = {
    function.__name__: function
    for function in (
        aircraft, caltech101, cars, cifar100, dtd, flowers, food, pets, sun397, voc2007, eurosat, resisc45
    )
}  # fmt: skip
