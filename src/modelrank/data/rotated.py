"""Images of another data set, each turned by a known angle: a regression target that can be made of any images."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from modelrank.data.copies import Contents, ImageCopy, Places
from modelrank.data.images import ImageSplit
from modelrank.keys import key

COLUMNS = ("sine", "cosine")  # of the angle: unlike the angle itself they do not jump where a turn is complete


@dataclass(frozen=True)
class RotatedCopy:
    """The images of `copy`, turned counter-clockwise by angles that are uniform over the circle.

    dataset: the name of the set that the copy is of: its files are looked for, and kept, where that set has them.
    side:    of the turned images in pixels.
    seed:    of the angles; one stream for each split.
    """

    dataset: str
    copy: ImageCopy
    side: int
    seed: int

    @property
    def user_files(self) -> bool:
        return self.copy.user_files

    def present(self, places: Places) -> Path | None:
        return self.copy.present(self._at_source(places))

    def origin(self, places: Places) -> str | None:
        return self.copy.origin(self._at_source(places))

    def wanted(self, places: Places) -> str:
        return self.copy.wanted(self._at_source(places))

    def fetch(self, places: Places) -> None:
        self.copy.fetch(self._at_source(places))

    def read(self, places: Places) -> Contents:
        plain = self.copy.read(self._at_source(places))
        return Contents(
            {name: self._turned(name, split) for name, split in plain.splits.items()},
            COLUMNS,
            f"{plain.source}, turned by angles of seed {self.seed}",
            key(["rotated", plain.identity, self.side, self.seed]),
        )

    def _at_source(self, places: Places) -> Places:
        home = places.store.parent / self.dataset
        return replace(places, own=home if places.own == places.store else places.own, store=home)

    def _turned(self, name: str, split: ImageSplit) -> ImageSplit:
        angles = np.random.default_rng([self.seed, zlib.crc32(name.encode())]).uniform(0, 360, len(split))
        targets = np.stack([np.sin(np.radians(angles)), np.cos(np.radians(angles))], 1).astype(np.float32)
        return ImageSplit(_TurnedImages(split, angles, self.side), targets, split.ids, groups=split.groups)


class _TurnedImages:
    def __init__(self, split: ImageSplit, angles: np.ndarray, side: int) -> None:
        self.split, self.angles, self.side = split, angles, side

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> Image.Image:
        return turned(self.split[index][0], float(self.angles[index]), self.side)


def turned(image: Image.Image, degrees: float, side: int) -> Image.Image:
    """The centre square at side x side pixels, turned counter-clockwise, black outside its inscribed disc.

    Inside the disc every pixel comes from the image at any angle, so neither corners nor filling give the angle away.
    """
    square = ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC).rotate(degrees, Image.Resampling.BICUBIC)
    offset = np.arange(side) - (side - 1) / 2
    outside = offset[:, None] ** 2 + offset**2 > (side / 2 - 1) ** 2
    pixels = np.array(square)
    pixels[outside] = 0
    return Image.fromarray(pixels)
