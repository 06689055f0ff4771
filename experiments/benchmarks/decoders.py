"""How long decoders take from a JPEG to the pixels that the project keeps of it, and how far their pixels differ.

    python experiments/benchmarks/decoders.py             # 1 thread, about 2 minutes of one core
    python experiments/benchmarks/decoders.py --quick     # a smoke run; its numbers mean nothing

From the file to 128 px of the short side, as most networks are given images for 112 px. Ratios of CPU seconds to
Pillow as the project uses it, in turn within one run. simplejpeg (`pip install simplejpeg`, libjpeg-turbo in its wheel)
is left out where it is not installed; PyTurboJPEG, which calls the same library, needs it on the system, and is not
tried. Writes decoders.csv and decoders.json, the machine, into --out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from measuring import alone, command, cpu_in_turn, row
from photographs import photographs
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms.v2.functional import resize

from modelrank.data.decoded import Shrink
from modelrank.data.pixels import as_rgb

SHRINK = Shrink(128, "bilinear")


def pillow(path: Path) -> np.ndarray:
    """As the project does: the whole picture, upright."""
    return SHRINK(as_rgb(path))


def pillow_draft(path: Path) -> np.ndarray:
    """Decoded at 1/2, 1/4 or 1/8 of its size, no less than is wanted."""
    with Image.open(path) as image:
        image.draft("RGB", (SHRINK.side, SHRINK.side))
        return SHRINK(image)


def torchvision_pillow(path: Path) -> np.ndarray:
    pixels = decode_jpeg(read_file(str(path)), ImageReadMode.RGB)
    return SHRINK(Image.fromarray(pixels.permute(1, 2, 0).numpy()))


def torchvision_resize(path: Path) -> np.ndarray:
    pixels = decode_jpeg(read_file(str(path)), ImageReadMode.RGB)
    return resize(pixels, [SHRINK.side], antialias=True).permute(1, 2, 0).numpy()


def simplejpeg_whole(path: Path) -> np.ndarray:
    from simplejpeg import decode_jpeg

    return SHRINK(Image.fromarray(decode_jpeg(path.read_bytes())))


def simplejpeg_scaled(path: Path) -> np.ndarray:
    """Decoded at the smallest size that libjpeg-turbo has and that is no less than is wanted."""
    from simplejpeg import decode_jpeg

    pixels = decode_jpeg(path.read_bytes(), min_height=SHRINK.side, min_width=SHRINK.side, min_factor=1)
    return SHRINK(Image.fromarray(pixels))


WAYS: dict[str, Callable[[Path], np.ndarray]] = {
    "Pillow with draft": pillow_draft,
    "torchvision, resized by Pillow": torchvision_pillow,
    "torchvision, resized by torchvision": torchvision_resize,
    "simplejpeg, resized by Pillow": simplejpeg_whole,
    "simplejpeg scaled, resized by Pillow": simplejpeg_scaled,
}


def against_pillow(names: Sequence[str], count: int, width: int, height: int, repeats: int) -> list[dict[str, float]]:
    """For each way: CPU seconds an image, those of Pillow, and the mean and largest difference of an 8-bit number."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        paths = list(photographs(Path(folder, "photographs"), count, width, height).splits["train"].images)
        for way in map(WAYS.__getitem__, names):

            def ours(way: Callable[[Path], np.ndarray] = way) -> list[np.ndarray]:
                return [way(path) for path in paths]

            seconds, yardstick = cpu_in_turn(ours, lambda: [pillow(path) for path in paths], repeats)
            apart = np.abs(np.stack(ours()).astype(int) - [pillow(path) for path in paths])
            differences = {"mean_difference": float(apart.mean()), "largest_difference": float(apart.max())}
            found.append({"seconds": seconds / count, "yardstick": yardstick / count, **differences})
    return found


def measure(quick: bool, threads: int) -> list[dict[str, Any]]:
    names = [name for name in WAYS if not name.startswith("simplejpeg") or find_spec("simplejpeg")]
    if left_out := WAYS.keys() - names:
        print(f"not installed, so left out: {', '.join(sorted(left_out))}")
    rows = []
    for count, width, height in ((4 if quick else 60, 500, 375), (1 if quick else 8, 4000, 3000)):
        measured = alone(against_pillow, threads, names, count, width, height, 1 if quick else 5)
        for name, found in zip(names, measured, strict=True):
            value = found["seconds"] / found["yardstick"]
            rows.append(row(f"{name}: JPEGs of {width} x {height}", value, None, "x Pillow", **found))
    return rows


if __name__ == "__main__":
    command("decoders", __doc__, measure)
