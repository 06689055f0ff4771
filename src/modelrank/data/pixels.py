"""From an image file of any format to the picture that a viewer shows, in 8-bit RGB; or a refusal with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from modelrank.types import ModelRankError

RULES = 3  # of what a file is read as; part of the identity of the user's images. Raise it when a picture would change
# What is decoded, whatever a file is called. Pillow knows more; EPS would start Ghostscript, a program of its own.
KNOWN = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "PPM", "JPEG2000", "AVIF")
SUFFIXES = frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in KNOWN)
FORMATS = tuple(name for name in KNOWN if name in Image.OPEN)  # without MPO, which JPEG's opener opens
UPRIGHT = {  # EXIF's orientation -> what turns the stored picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def shown(path: Path, root: Path | None = None) -> str:
    """A path as text that can be printed, hashed and saved, below `root` where it lies there.

    A name may be any bytes on Unix; those that are no UTF-8 appear as \\xNN.
    """
    inside = root is not None and path.is_relative_to(root)
    return bytes(path.relative_to(root) if inside and root else path).decode("utf-8", "backslashreplace")


def fault(error: BaseException) -> str:
    """Why a file could not be read, without its name."""
    if isinstance(error, UnidentifiedImageError):
        return "no image format that is read here"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


@contextmanager
def opened(path: str | Path | BinaryIO, name: str = "") -> Iterator[Image.Image]:
    """The image file (or its content, and a `name` for messages), its pixels not yet decoded; whatever goes wrong in
    the block is a ModelRankError with its name.

    Files of gigapixels are refused by Pillow's own limit, before anything is decoded.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            yield image
    except Exception as error:  # decoders raise errors of every kind on damaged bytes
        absent = isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
        way_out = "give the path of an image file on this machine" if absent else "mend or remove the file"
        raise ModelRankError(
            f"cannot read the image {name or shown(Path(str(path)))}: {fault(error)}; {way_out}"
        ) from error


def as_rgb(image: Image.Image | np.ndarray | str | Path) -> Image.Image:
    """An RGB image of a file (its first one if several), an H x W (x 3 or 4) uint8 array or a PIL image in any mode.

    Turned upright by the EXIF note that phones write. Transparent pixels show white (dropping alpha would show whatever
    colour lies under it, mostly black). 16-bit numbers are scaled to 8 bit (PIL would clip them to white), floating
    ones in 0..1 too; ValueError for other floating ones, whose white nobody knows.
    ModelRankError names a file that cannot be read. A PIL image that is all of that already comes back itself, without
    a copy: never write into the result.
    """
    if isinstance(image, np.ndarray):
        return _converted(Image.fromarray(np.ascontiguousarray(image)))
    if not isinstance(image, Image.Image):
        with opened(image) as file:
            return as_rgb(file)
    rgb = _converted(image)
    turn = UPRIGHT.get(orientation(image))  # of a TIFF, Pillow has turned the pixels and taken the note away by now
    rgb = rgb.transpose(turn) if turn is not None else rgb
    if rgb is not image:
        rgb.info = {}  # with the note in it the picture would be turned once more by the next reader
    return rgb


def image_size(image: Image.Image | np.ndarray | str | Path) -> tuple[int, int]:
    """(width, height) of what `as_rgb` would give; ModelRankError names a file that is no image."""
    if isinstance(image, np.ndarray):
        return image.shape[1], image.shape[0]
    if not isinstance(image, Image.Image):
        with opened(image) as file:
            return image_size(file)
    return _swapped(stored_size(image), orientation(image) >= 5)


def stored_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) of the picture as it lies in an opened file; of a TIFF, Pillow says that of the turned one."""
    return _swapped(image.size, image.format == "TIFF" and orientation(image) >= 5)


def _swapped(size: tuple[int, int], swap: bool) -> tuple[int, int]:
    return (size[1], size[0]) if swap else size


def orientation(image: Image.Image) -> int:
    """How EXIF (or XMP) says to turn it: 1 (as it is) to 8; 1 where there is no note that can be read."""
    try:
        noted = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged note; viewers show the picture as it is
        return 1
    return noted if noted in UPRIGHT else 1


def range_used(image: Image.Image) -> float | None:
    """Of an image that stores 16 bits a number, or floating ones: the largest, as a share of white; None of all others.

    Cameras and microscopes of 10, 12 or 14 bits leave the upper bits empty; such a picture would be nearly black.
    Alpha does not count.
    """
    tiles = getattr(image, "tile", None)  # of colours only this tells
    stored = str(tiles[0].args) if tiles else ""
    if image.mode == "F":
        return float(np.asarray(image).max())
    if image.mode.startswith("I"):
        return float(np.asarray(image).max()) / 65535
    colours = [image.getchannel(band) for band in image.getbands() if band not in "Aa"] if ";16" in stored else []
    return max((float(np.asarray(band).max()) / 255 for band in colours), default=None)


def _converted(image: Image.Image) -> Image.Image:
    """An RGB image, not turned; the given one where it is that already."""
    if image.mode == "F":
        values = np.asarray(image)
        if not (values.min() >= 0 and values.max() <= 1):  # false for NaN too
            raise ValueError("its floating numbers are not within 0 and 1, so nothing says which is white")
        return Image.fromarray((values * 255).round().astype(np.uint8)).convert("RGB")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("its numbers are not within those of 16 bits, so nothing says which is white")
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    image.load()  # while the file is open
    return image if image.mode == "RGB" else image.convert("RGB")
