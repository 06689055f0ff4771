"""Images decoded and shrunk once for all models of a hub: they are kept on disk, and read where they have been kept.

Decoding and resizing a photograph of 12 megapixels takes ten times as long as running a small network on it, and
models that resize by one rule see the same pixels. What is kept is what resizing gave, bit for bit.
"""

from __future__ import annotations

import logging
import os
import shutil
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import PIL
import torchvision
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import Resize

from modelrank import keys
from modelrank.data.pixels import RULES

if TYPE_CHECKING:
    from modelrank.data.images import ImageSplit

log = logging.getLogger(__name__)


class Shrink(NamedTuple):
    """How images are resized: the length of their short side in pixels, and the interpolation."""

    side: int
    interpolation: str

    def __call__(self, image: Image.Image) -> np.ndarray:
        """H x W x 3 uint8."""
        return np.asarray(Resize(self.side, InterpolationMode(self.interpolation))(image))

    def sizes(self, width: np.ndarray, height: np.ndarray) -> np.ndarray:
        """N x 2 int64, heights and widths of what comes out."""
        long = (self.side * np.maximum(width, height) / np.minimum(width, height)).astype(np.int64)
        return np.stack([np.where(height > width, long, self.side), np.where(width > height, long, self.side)], 1)


class Shrunk:
    """The images of a split, opened and shrunk whenever they are asked for: `shrunk[i]` is H x W x 3 uint8."""

    def __init__(self, split: ImageSplit, shrink: Shrink) -> None:
        self.split, self.shrink = split, shrink

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.shrink(self.split[index][0])

    def missing(self) -> int:
        """How many of them would have to be decoded."""
        return len(self)


class Kept(Shrunk):
    """The same from a file of pixels; what it lacks is decoded, put there, and into the files beside it too.

    Any number of processes may read and write at once, without a lock: they write the same bytes, and what was only
    half written does not match its checksum.
    """

    def __init__(self, split: ImageSplit, file: PixelFile, beside: Sequence[PixelFile] = ()) -> None:
        super().__init__(split, file.shrink)
        self.file, self.beside = file, beside

    def __getitem__(self, index: int) -> np.ndarray:
        if (found := self.file.read(index)) is not None:
            return found
        image = self.split[index][0]
        for other in self.beside:
            if not other.has(index):
                other.write(index, other.shrink(image))
        pixels = self.shrink(image)
        self.file.write(index, pixels)
        return pixels

    def missing(self) -> int:
        return self.file.missing()


class PixelStore:
    """A folder of such files, of at most `limit` bytes: those that were used longest ago make room.

    shrinks: all that are wanted of an image, so that it is decoded once for all of them.
    """

    def __init__(self, root: Path, limit: int, shrinks: Iterable[Shrink] = ()) -> None:
        self.root, self.limit, self.shrinks = Path(root), limit, tuple(dict.fromkeys(shrinks))

    def images(self, split: ImageSplit, fingerprint: str, shrink: Shrink) -> Shrunk:
        """The images of a split of the data set with this fingerprint.

        They are not kept where they need more than the limit, or than half of the disk's free space.
        Cost: the header of each image file is read, once.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            limit = min(self.limit, self._used() + shutil.disk_usage(self.root).free // 2)
            identity = {"data": fingerprint, "split": split.digest(), "rules": RULES}
            width, height = self._sizes(keys.key(identity), split).T
            identity |= {"pillow": PIL.__version__, "torchvision": torchvision.__version__}
            files: list[PixelFile] = []
            for one in dict.fromkeys((shrink, *self.shrinks)):
                path = self.root / f"{keys.key(identity | {'shrink': list(one)})}.pixels"
                file = PixelFile(path, one, one.sizes(width, height))
                if sum(other.bytes for other in files) + file.bytes <= limit:
                    files.append(file)
                elif one == shrink:
                    log.info("the images are decoded for every model: kept, they would need %.1f GB", file.bytes / 1e9)
                    return Shrunk(split, shrink)
            self._make_room(files, limit)
            for file in files:
                file.open()
        except OSError as error:
            log.warning("decoded images cannot be kept in %s (%s): each model decodes them again", self.root, error)
            return Shrunk(split, shrink)
        return Kept(split, files[0], files[1:])

    def _sizes(self, key: str, split: ImageSplit) -> np.ndarray:
        """N x 2, width and height of each image before it is shrunk."""
        path = self.root / f"{key}.sizes.npy"
        with suppress(FileNotFoundError, ValueError, EOFError):
            if (known := np.load(path)).shape == (len(split), 2):
                return known
        sizes = np.array([split.size(index) for index in range(len(split))], np.int64).reshape(-1, 2)
        temporary = path.with_name(f"{key}.{os.getpid()}.tmp.npy")
        np.save(temporary, sizes)
        temporary.replace(path)
        return sizes

    def _used(self) -> int:
        return sum(found.st_blocks * 512 for _, found in self._files())

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        """Longest unused first."""
        files = []
        for path in self.root.glob("*.pixels"):
            with suppress(FileNotFoundError):  # another process has just removed it
                files.append((path, path.stat()))
        return sorted(files, key=lambda file: file[1].st_mtime)

    def _make_room(self, wanted: Sequence[PixelFile], limit: int) -> None:
        """Who is reading a file that is removed goes on reading it."""
        others = [(path, s.st_blocks * 512) for path, s in self._files() if path not in {file.path for file in wanted}]
        left = limit - sum(file.bytes for file in wanted) - sum(size for _, size in others)
        for path, size in others:
            if left >= 0:
                return
            path.unlink(missing_ok=True)
            left += size


class PixelFile:
    """N images of known sizes (N x 2, height and width) by one rule: N checksums, 0 where there is nothing yet, then
    the images one after the other, H x W x 3 uint8."""

    def __init__(self, path: Path, shrink: Shrink, sizes: np.ndarray) -> None:
        self.path, self.shrink, self.sizes = path, shrink, sizes
        ends = 4 * len(sizes) + 3 * sizes.prod(1).cumsum()
        self.starts = np.concatenate([[4 * len(sizes)], ends])
        self.bytes = int(self.starts[-1])
        self._handle: int | None = None

    def open(self) -> int:
        """The file's number in this process. Read and written at positions, never mapped: writing to a map of a full
        disk kills the process."""
        if self._handle is None:
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            os.truncate(self._handle, self.bytes)  # holes, which take no space
            os.utime(self._handle)
        return self._handle

    def __del__(self) -> None:
        if self._handle is not None:
            os.close(self._handle)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_handle": None}

    def has(self, index: int) -> bool:
        return self._checksum(index) != 0

    def missing(self) -> int:
        checksums = np.frombuffer(os.pread(self.open(), 4 * len(self.sizes), 0), np.uint32)
        return int((checksums == 0).sum())

    def read(self, index: int) -> np.ndarray | None:
        """None where it is not there, or not what was written."""
        if not (checksum := self._checksum(index)):
            return None
        start, end = self.starts[index : index + 2].tolist()
        pixels = os.pread(self.open(), end - start, start)
        if _checksum(pixels) != checksum:
            return None
        return np.frombuffer(pixels, np.uint8).reshape(*self.sizes[index], 3)

    def write(self, index: int, pixels: np.ndarray) -> None:
        """A full disk, or an image that is not of the size it said, is no error: then it is not kept."""
        if pixels.shape[:2] != tuple(self.sizes[index]):
            return
        content = pixels.tobytes()
        with suppress(OSError):
            if os.pwrite(self.open(), content, int(self.starts[index])) == len(content):
                os.pwrite(self.open(), _checksum(content).to_bytes(4, "little"), 4 * index)

    def _checksum(self, index: int) -> int:
        return int.from_bytes(os.pread(self.open(), 4, 4 * index), "little")


def _checksum(content: bytes) -> int:
    return zlib.crc32(content) or 1  # 0 says that nothing is there
