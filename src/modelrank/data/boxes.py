"""Boxes of objects: formats, rules for those that are not usable, rows for scorers, transforms and batches.

Everywhere inside, a box is (left, top, right, bottom) in pixels of its image, upright: see `modelrank.types.Boxes`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2

from modelrank.types import Boxes

if TYPE_CHECKING:
    from modelrank.data.images import ImageSplit

SMALLEST = 1.0  # pixels: a box with a shorter side marks nothing that could be seen
Target = dict[str, Tensor]  # 'boxes': n x 4 float32 corners in pixels of the transformed image; 'labels': n int64
Item = tuple[Tensor, Target, int]


def object_array(boxes: Sequence[Boxes]) -> np.ndarray:
    """The targets of a detection split: N objects in one dimension (NumPy would look for arrays inside them)."""
    targets = np.empty(len(boxes), object)
    targets[:] = boxes
    return targets


def from_corner_and_size(boxes: np.ndarray) -> np.ndarray:
    """COCO: n x (left, top, width, height) in pixels -> corners."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def from_counted_pixels(boxes: np.ndarray) -> np.ndarray:
    """VOC: n x (xmin, ymin, xmax, ymax), the first and last pixel that belong to the object, counted from 1."""
    return boxes - np.array([1, 1, 0, 0])


def from_normalised(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """YOLO: n x (centre x, centre y, width, height) in shares of the image's (width, height) -> corners."""
    centre, extent = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([centre - extent / 2, centre + extent / 2], axis=1) * np.tile(size, 2)


def normalised(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The inverse of `from_normalised`."""
    shares = corners / np.tile(size, 2)
    return np.concatenate([(shares[:, :2] + shares[:, 2:]) / 2, shares[:, 2:] - shares[:, :2]], axis=1)


def turned_upright(corners: np.ndarray, size: tuple[int, int], orientation: int) -> np.ndarray:
    """n x 4 corners on an image stored as (width, height), on the image that EXIF's orientation 5 to 8 makes of it.

    All four lay the picture on its side: 5 mirrors along the diagonal, 6 and 8 turn right and left, 7 mirrors along the
    other diagonal.
    """
    width, height = size
    left, top, right, bottom = corners.T
    across = (height - bottom, height - top) if orientation in (6, 7) else (top, bottom)
    down = (width - right, width - left) if orientation in (7, 8) else (left, right)
    return np.stack([across[0], down[0], across[1], down[1]], 1)


def cleaned(corners: np.ndarray, labels: np.ndarray, size: tuple[int, int]) -> tuple[Boxes, Counter[str]]:
    """Boxes clipped to an image of (width, height), without the useless ones, and how many of each kind were dropped.

    'outside': no part of it is in the image. 'degenerate': a side of what is in the image is shorter than 1 pixel
    (also where the file has left > right).
    """
    corners = np.asarray(corners, np.float64).reshape(-1, 4)
    inside = np.clip(corners, 0, np.tile(size, 2))
    extent, kept = corners[:, 2:] - corners[:, :2], inside[:, 2:] - inside[:, :2]
    outside = (extent >= SMALLEST).all(1) & (kept <= 0).any(1)
    degenerate = ~outside & (kept < SMALLEST).any(1)
    good = ~outside & ~degenerate
    found = Boxes(inside[good].astype(np.float32), np.asarray(labels, np.int64)[good])
    return found, Counter(outside=int(outside.sum()), degenerate=int(degenerate.sum()))


def misplaced(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """n bool: boxes that reach beyond an image of (width, height) by more than a tenth of it, or are turned round.

    One is a slip of the hand; many are numbers of another format.
    """
    corners = np.asarray(corners, np.float64).reshape(-1, 4)
    shares = corners / np.tile(size, 2)
    turned = corners[:, 2:] < corners[:, :2]
    return np.concatenate([shares < -0.1, shares > 1.1, turned], axis=1).any(axis=1)  # pyright: ignore[reportReturnType]


def box_rows(splits: Sequence[ImageSplit]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels (M int64), normalised boxes (M x 4 float32: cx, cy, w, h in 0..1) and image of each (M int64).

    One row a box, images in order and boxes in the order of their image; an image counts over all `splits`, as the
    index of `TransformedImages` does, and one without objects has no row. Reads the header of each image file.
    """
    labels, boxes, images = [np.empty(0, np.int64)], [np.empty((0, 4), np.float32)], [np.empty(0, np.int64)]
    rows = ((split, i) for split in splits for i in range(len(split)))
    for number, (split, i) in enumerate(rows):
        target: Boxes = split.targets[i]
        if len(target.labels):
            labels.append(target.labels)
            boxes.append(normalised(target.corners, split.size(i)).astype(np.float32))
            images.append(np.full(len(target.labels), number))
    return np.concatenate(labels), np.concatenate(boxes), np.concatenate(images)


class BoxTransform:
    """(PIL image, Boxes) -> (tensor 3 x H x W, {'boxes', 'labels'}) with the boxes in pixels of the new image.

    transform: of torchvision's v2 family, on a PIL image and tv_tensors.BoundingBoxes; it ends with float32.
    smallest:  None keeps every box, so that rows of features and of `box_rows` fit (resizing drops none). A number of
               pixels clips the boxes after a random crop and drops those with a shorter side.
    """

    def __init__(self, transform: v2.Transform, smallest: float | None = None) -> None:
        tidy = [] if smallest is None else [v2.ClampBoundingBoxes(), v2.SanitizeBoundingBoxes(min_size=smallest)]
        self.transform = v2.Compose([transform, *tidy])

    def __call__(self, image: Image.Image, boxes: Boxes) -> tuple[Tensor, Target]:
        corners = tv_tensors.BoundingBoxes(
            torch.from_numpy(boxes.corners),
            format=tv_tensors.BoundingBoxFormat.XYXY,
            canvas_size=(image.height, image.width),
        )  # pyright: ignore[reportCallIssue] what its documentation shows fits no overload
        made, target = self.transform(image, {"boxes": corners, "labels": torch.from_numpy(boxes.labels)})
        return made, {"boxes": target["boxes"].as_subclass(Tensor), "labels": target["labels"]}


def evaluation(
    size: int | tuple[int, int],
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    interpolation: str = "bilinear",
) -> BoxTransform:
    """Resize (int: the short side; a pair: exactly that height and width), float32 in 0..1, less `mean` over `std`."""
    return BoxTransform(v2.Compose([_resize(size, interpolation), *_floating(mean, std)]))


def training(
    size: int | tuple[int, int],
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    interpolation: str = "bilinear",
    crop: bool = True,
    mirror: bool = True,
    smallest: float = 4.0,
) -> BoxTransform:
    """`evaluation` after, with `mirror`, a random horizontal flip and, with `crop`, SSD's (Liu et al. 2016, 2.2).

    The crop keeps objects whose centre lies in it (there is one at least) and clips them; of these, objects whose
    shorter side is under `smallest` pixels after resizing are dropped.
    """
    flip: list[v2.Transform] = [v2.RandomHorizontalFlip()] if mirror else []
    cut: list[v2.Transform] = [v2.RandomIoUCrop()] if crop else []
    steps = [*flip, *cut, _resize(size, interpolation), *_floating(mean, std)]
    return BoxTransform(v2.Compose(steps), smallest)


def _resize(size: int | tuple[int, int], interpolation: str) -> v2.Transform:
    return v2.Resize(size if isinstance(size, int) else list(size), InterpolationMode(interpolation))


def _floating(mean: Sequence[float] | None, std: Sequence[float] | None) -> list[v2.Transform]:
    scaled: list[v2.Transform] = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    normal = [v2.Normalize(list(mean), list(std))] if mean is not None and std is not None else []
    return [*scaled, *normal, _PureTensor()]


class _PureTensor(v2.Transform):
    """tv_tensors.Image -> Tensor; boxes stay what they are (v2.ToPureTensor would strip them too early)."""

    _transformed_types = (tv_tensors.Image,)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return inpt.as_subclass(Tensor)


def detection_batch(items: Sequence[Item]) -> tuple[list[Tensor], list[Target], Tensor]:
    """Items of `TransformedImages` -> (B images 3 x H x W whose sizes may differ, B targets, index B)."""
    images, targets, index = zip(*items, strict=True)
    return list(images), list(targets), torch.tensor(index)
