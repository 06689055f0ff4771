"""A split of a target data set: images that are opened when asked for, with their targets."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Literal, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from modelrank.data.boxes import BoxTransform
from modelrank.data.decoded import PixelStore, Shrink, Shrunk
from modelrank.data.pixels import as_rgb, image_size
from modelrank.data.sampling import draw
from modelrank.types import Boxes, ModelRankError, Task


class Images(Protocol):
    """Anything indexable that gives paths, uint8 arrays or PIL images."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


Metric = Literal["accuracy", "mean_per_class_accuracy", "map11", "r2", "map50", "map"]  # map: IoU 0.5, 0.55 ... 0.95
METRICS: Mapping[Task, tuple[Metric, ...]] = {  # of each task, the usual one first
    "classification": ("accuracy", "mean_per_class_accuracy"),
    "multilabel": ("map11",),
    "regression": ("r2",),
    "detection": ("map50", "map"),
}
Transform = Callable[[Image.Image], Tensor] | BoxTransform


def check_metric(task: Task, metric: str) -> None:
    """ModelRankError unless the metric is one of the task's."""
    if metric not in METRICS[task]:
        raise ModelRankError(f"dataset.metric={metric}: give one of {', '.join(METRICS[task])} for {task}")


class ImageSplit(Dataset[tuple[Image.Image, Any]]):
    """N images with targets and ids; `split[i]` is (RGB image, target).

    images:  anything indexable that gives a path, an array or a PIL image (see `as_rgb`); nothing is opened before
             it is asked for.
    targets: N int64 (classification), N x C of 0 / 1 (multi-label), N x K floating (regression),
             N `Boxes` in an array of objects (detection; `boxes.object_array`).
    ids:     N strings that name an image for the user (a path, or a number in the original file).
    groups:  N int64, or None; images of one group (glyphs of one typeface) must not be parted by a split.
    pictures: N bytes, equal where two images show the same picture, so that a split does not part them; None: unknown.
    rows:    which images this split has; None = all. Targets, ids and groups are already those of the rows.
    """

    def __init__(
        self,
        images: Images,
        targets: np.ndarray,
        ids: Sequence[str],
        *,
        groups: np.ndarray | None = None,
        pictures: np.ndarray | None = None,
        rows: np.ndarray | None = None,
    ) -> None:
        self.rows = np.arange(len(images)) if rows is None else np.asarray(rows)
        if not len(self.rows) == len(targets) == len(ids):
            raise ValueError(f"{len(self.rows)} images, {len(targets)} targets and {len(ids)} ids do not match")
        self.images, self.targets, self.ids, self.groups = images, targets, list(ids), groups
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Image.Image, Any]:
        """The image and its target: an int, a float32 tensor of C or K values, or `Boxes`."""
        image, target = as_rgb(self.images[int(self.rows[index])]), self.targets[index]
        if isinstance(target, Boxes):
            return image, target
        return image, int(target) if self.targets.ndim == 1 else torch.as_tensor(target, dtype=torch.float32)

    def size(self, index: int) -> tuple[int, int]:
        """(width, height) of an image in pixels; of an image file only the header is read."""
        return image_size(self.images[int(self.rows[index])])

    def take(self, indices: np.ndarray) -> ImageSplit:
        """The split of these rows, in this order."""
        return ImageSplit(
            self.images,
            self.targets[indices],
            [self.ids[i] for i in indices],
            groups=None if self.groups is None else self.groups[indices],
            pictures=None if self.pictures is None else self.pictures[indices],
            rows=self.rows[indices],
        )

    def firsts(self) -> np.ndarray:
        """N positions: of each image the first one that shows the same picture."""
        if self.pictures is None:
            return np.arange(len(self))
        _, first, which = np.unique(self.pictures, return_index=True, return_inverse=True)
        return first[which]

    def digest(self) -> str:
        """SHA-256 of the ids and targets, in order."""
        return hashlib.sha256("\n".join(self.ids).encode() + _bytes(self.targets)).hexdigest()


def _bytes(targets: np.ndarray) -> bytes:
    if targets.dtype != object:
        return np.ascontiguousarray(targets).tobytes()
    counts = np.array([len(boxes.labels) for boxes in targets])  # else a box could move from one image to the next
    return counts.tobytes() + b"".join(boxes.corners.tobytes() + boxes.labels.tobytes() for boxes in targets)


def repeated(splits: Mapping[str, ImageSplit]) -> list[str]:
    """Sentences on pictures that are there more than once, where splits know their pictures."""
    same: dict[bytes, list[tuple[str, str, str]]] = defaultdict(list)
    for name, split in splits.items():
        if split.pictures is None:
            continue
        labels = map(str, split.targets if split.targets.dtype.kind == "i" else [None] * len(split))
        for picture, title, label in zip(split.pictures, split.ids, labels, strict=True):
            same[picture].append((name, title, label))
    several = [group for group in same.values() if len(group) > 1]
    parted = [group for group in several if len({name for name, _, _ in group}) > 1]
    unsure = [group for group in several if len({label for _, _, label in group}) > 1]
    once = [group for group in several if group not in parted and group not in unsure]
    reasons = {
        "in several splits, so accuracies are measured on images that were learnt from": parted,
        "in several classes, so their labels contradict each other": unsure,
        "several times in one class": once,
    }
    return [
        f"identical images: {len(groups)} pictures are {reason} "
        f"({'; '.join(' = '.join(title for _, title, _ in group[:3]) for group in groups[:3])}"
        f"{'; ...' if len(groups) > 3 else ''})"
        for reason, groups in reasons.items()
        if groups
    ]


class TransformedImages(Dataset[tuple[Tensor, Any, int]]):
    """One or more splits in order as (tensor, target, index); the index counts over all of them."""

    def __init__(self, splits: Sequence[ImageSplit], transform: Transform) -> None:
        self.splits, self.transform = list(splits), transform
        self.ends = list(accumulate(len(split) for split in self.splits))

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, index: int) -> tuple[Tensor, Any, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        which = int(np.searchsorted(self.ends, index, side="right"))
        image, target = self.splits[which][index - self.ends[which] + len(self.splits[which])]
        if isinstance(self.transform, BoxTransform):
            return *self.transform(image, target), index
        return self.transform(image), target, index


@dataclass(frozen=True)
class ImageData:
    """One target data set, split and subsampled, ready for features and fine-tuning.

    splits:      'train', 'val' and 'test', which share no image; 'rest' where further train images are scored.
    source:      which copy of the images was taken (the user's own at PATH, a download, a registry package).
    fingerprint: content identity, 64 hex digits: source content + chosen images and targets of train, val and test.
    scored:      the splits whose images the scorers see, in order; never 'test'.
    split_rule:  where the splits come from and what was drawn from them, in words for the report.
    mirror:      whether a mirrored image has the same target, so that training may flip it.
    notes:       what of the copy was left out or looks wrong (see `copies.Contents`), for the report.
    drawn_from:  of a sample: the data set that it was drawn from, and the rows of each split.
    pixels:      where decoded images are kept, or None: each is decoded whenever it is asked for.
    """

    name: str
    task: Task
    classes: tuple[str, ...]
    metric: Metric
    splits: Mapping[str, ImageSplit]
    source: str
    licence: str
    fingerprint: str
    scored: tuple[str, ...] = ("train", "val")
    split_rule: str = ""
    mirror: bool = True
    notes: tuple[str, ...] = ()
    pixels: PixelStore | None = None
    drawn_from: tuple[ImageData, Mapping[str, np.ndarray]] | None = None

    def shrunk(self, name: str, shrink: Shrink) -> ImageSplit:
        """A split with its images resized, from the pixel store where they have been kept."""
        if self.drawn_from is not None:  # one file of pixels for all samples
            whole, rows = self.drawn_from
            return whole.shrunk(name, shrink).take(rows[name])
        split = self.splits[name]
        images = Shrunk(split, shrink) if self.pixels is None else self.pixels.images(split, self.fingerprint, shrink)
        return ImageSplit(images, split.targets, split.ids, groups=split.groups)

    def sampled(self, share: float, seed: int = 0) -> ImageData:
        """That share of the images to be scored and nothing else, stratified by class; larger shares hold smaller
        ones."""
        rows = {name: self._drawn(name, round(share * len(self.splits[name])), seed) for name in self.scored}
        return self._of(rows, f"{share} {seed}")

    def limited(self, sizes: Mapping[str, int], seed: int = 0) -> ImageData:
        """At most so many images of each split that is named, stratified by class, and the other splits as they are;
        the data itself where that leaves nothing out."""
        if all(len(split) <= sizes.get(name, len(split)) for name, split in self.splits.items()):
            return self
        counts = {name: min(sizes.get(name, len(split)), len(split)) for name, split in self.splits.items()}
        return self._of({name: self._drawn(name, count, seed) for name, count in counts.items()}, f"{counts} {seed}")

    def _drawn(self, name: str, count: int, seed: int) -> np.ndarray:
        targets = self.splits[name].targets
        labels = targets if self.task == "classification" else None
        return draw(labels, count, seed, name, count=len(targets))

    def _of(self, rows: Mapping[str, np.ndarray], how: str) -> ImageData:
        splits = {name: self.splits[name].take(some) for name, some in rows.items()}
        made = hashlib.sha256(f"{self.fingerprint} {how}".encode()).hexdigest()
        return replace(self, splits=splits, fingerprint=made, drawn_from=(self, rows))

    def scored_targets(self) -> np.ndarray:
        """Targets of the scored splits, in the order in which their features are extracted.

        Detection has one row of features for each box: the labels of all boxes, as in `boxes.box_rows`.
        """
        targets = np.concatenate([self.splits[name].targets for name in self.scored])
        return np.concatenate([boxes.labels for boxes in targets]) if self.task == "detection" else targets


def in_memory(data: ImageData, shrink: Shrink | None = None) -> ImageData:
    """The same data, less what is only scored, every image decoded once and, where it is said how, shrunk (N x about
    side^2 x 3 bytes); shrunk as an evaluation transform does, so evaluation sees exactly the pixels that it would see.
    """

    def held(name: str) -> ImageSplit:
        split = data.splits[name] if shrink is None else data.shrunk(name, shrink)
        images = [np.asarray(split[i][0]) for i in range(len(split))]
        return ImageSplit(images, split.targets, split.ids, groups=split.groups)

    return replace(data, splits={name: held(name) for name in data.splits if name != "rest"}, pixels=None)
