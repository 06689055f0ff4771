"""Scenes with exact boxes: cut-outs of real photographs, varied and pasted on real photographs or on clutter.

A scene is a pure function of its ingredients and of (seed, split, number), so it changes neither with the number of
scenes nor with the other splits. Splits share neither cut-outs nor backgrounds.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from modelrank.data.boxes import object_array
from modelrank.data.readers import Part
from modelrank.progress import progress
from modelrank.types import Boxes, ModelRankError

OPAQUE = 128  # of 255: from here on a pixel belongs to its object
ATTEMPTS = 20  # at finding a place for an object before the scene goes without it


@dataclass(frozen=True)
class Rules:
    """How a scene is made.

    side:    of the square scene in pixels.
    objects: the least and the most to a scene; fewer when no place is found for one.
    extent:  the least and the most of an object's longer side, as a share of `side`.
    turn:    the most that an object is turned either way, in degrees.
    light:   the least and the most that an object's brightness is multiplied with.
    covered: the most of an object's pixels that later objects may cover, as a share.
    """

    side: int = 160
    objects: tuple[int, int] = (1, 4)
    extent: tuple[float, float] = (0.2, 0.5)
    turn: float = 15.0
    light: tuple[float, float] = (0.7, 1.3)
    covered: float = 0.25


@dataclass(frozen=True)
class Ingredients:
    """What the scenes of one split are made of.

    items:      for each class, in the order of the labels, the names of its cut-outs.
    cut_out:    name -> RGBA image.
    background: (random stream, side) -> side x side x 3 uint8 and the name of what it shows.
    """

    items: Sequence[Sequence[str]]
    cut_out: Callable[[str], Image.Image]
    background: Callable[[np.random.Generator, int], tuple[np.ndarray, str]]


def make(split: str, count: int, ingredients: Ingredients, rules: Rules, seed: int) -> Part:
    """`count` scenes: each with classes drawn evenly, then a cut-out of that class. The id names all its sources."""
    images = np.empty((count, rules.side, rules.side, 3), np.uint8)
    found, ids = [], []
    for number in progress(range(count), f"make {split} scenes", count, "scenes"):
        rng = np.random.default_rng([seed, zlib.crc32(split.encode()), number])
        canvas, place = ingredients.background(rng, rules.side)
        objects, names = [], []
        for _ in range(rng.integers(rules.objects[0], rules.objects[1] + 1)):
            label = int(rng.integers(len(ingredients.items)))
            name = str(rng.choice(ingredients.items[label]))
            try:
                objects.append((varied(ingredients.cut_out(name), rng, rules), label))
            except ModelRankError as error:
                raise ModelRankError(f"scene {split}/{number:04}, cut-out {name}: {error}") from error
            names.append(name)
        images[number], owner, placed = compose(canvas, [pixels for pixels, _ in objects], rng, rules.covered)
        corners = np.array([tight(owner == k) for k in placed], np.float32).reshape(-1, 4)
        found.append(Boxes(corners, np.array([objects[k][1] for k in placed], np.int64)))
        ids.append(f"{split}/{number:04}: {', '.join(names[k] for k in placed)} on {place}")
    return Part(images, object_array(found), ids)


def varied(cut_out: Image.Image, rng: np.random.Generator, rules: Rules) -> np.ndarray:
    """The cut-out flipped or not, turned, scaled and lit anew: h x w x 4 uint8, cropped to its opaque pixels."""
    if rng.random() < 0.5:
        cut_out = cut_out.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    turned = _cropped(cut_out.rotate(rng.uniform(-rules.turn, rules.turn), Image.Resampling.BICUBIC, expand=True))
    scale = rng.uniform(*rules.extent) * rules.side / max(turned.size)
    size = max(1, round(turned.width * scale)), max(1, round(turned.height * scale))
    pixels = np.asarray(_cropped(turned.resize(size, Image.Resampling.BICUBIC, reducing_gap=2))).copy()
    pixels[..., :3] = np.clip(pixels[..., :3] * rng.uniform(*rules.light), 0, 255)
    return pixels


def compose(
    canvas: np.ndarray, objects: Sequence[np.ndarray], rng: np.random.Generator, covered: float
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """The scene (side x side x 3 uint8), the object that each pixel shows (side x side; -1 = none), who found a place.

    Objects are pasted in order, each wholly inside. A place that would hide more than the share `covered` of the
    pixels of an earlier object is not taken.
    """
    scene, owner, placed = canvas.astype(np.float32), np.full(canvas.shape[:2], -1), []
    whole = [int((pixels[..., 3] >= OPAQUE).sum()) for pixels in objects]
    for number, pixels in enumerate(objects):
        height, width = pixels.shape[:2]
        room = canvas.shape[0] - height, canvas.shape[1] - width
        if min(room) < 0:
            raise ModelRankError(f"an object of {width} x {height} pixels does not fit into the scene; lower `extent`")
        for _ in range(ATTEMPTS):
            top, left = (int(rng.integers(space + 1)) for space in room)
            spot = np.s_[top : top + height, left : left + width]
            tried = owner.copy()
            tried[spot][pixels[..., 3] >= OPAQUE] = number
            if all((tried == k).sum() >= (1 - covered) * whole[k] for k in placed):
                alpha = pixels[..., 3:] / np.float32(255)
                scene[spot] = scene[spot] * (1 - alpha) + pixels[..., :3] * alpha
                owner = tried
                placed.append(number)
                break
    return np.round(scene).astype(np.uint8), owner, placed


def tight(mask: np.ndarray) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the true pixels of a H x W mask that has some."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def parted(names: Sequence[str], shares: Mapping[str, float], seed: int, purpose: str) -> dict[str, list[str]]:
    """`names` dealt out to the splits at random in proportion to `shares`, at least one to each, none twice."""
    order = np.random.default_rng([seed, zlib.crc32(purpose.encode())]).permutation(sorted(names))
    if len(order) < len(shares):
        raise ModelRankError(f"{purpose}: {len(order)} cut-outs or backgrounds are too few for {len(shares)} splits")
    ends = np.round(np.cumsum(list(shares.values())) / sum(shares.values()) * len(order)).astype(int)
    for k in range(len(ends)):  # at least one more than the splits before, and one left for each split after
        ends[k] = min(max(ends[k], (ends[k - 1] if k else 0) + 1), len(order) - (len(ends) - 1 - k))
    return {split: sorted(map(str, part)) for split, part in zip(shares, np.split(order, ends[:-1]), strict=True)}


def _cropped(image: Image.Image) -> Image.Image:
    opaque = np.asarray(image)[..., 3] >= OPAQUE
    if not opaque.any():
        raise ModelRankError("a cut-out has no opaque pixel; leave it out")
    return image.crop(tight(opaque))
