"""Small data sets in the on-disk formats of the real ones, made from seeded noise."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import struct
import subprocess
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from modelrank.packages import PackageFile


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def tgz(path: Path, members: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def deb(path: Path, members: Mapping[str, bytes]) -> Path:
    """A package built by Debian's own tool."""
    tree = path.parent / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x.x>\nDescription: x\n"
    )
    for name, content in members.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    subprocess.run(
        ["dpkg-deb", "-Zgzip", "-b", "--root-owner-group", str(tree), str(path)], check=True, capture_output=True
    )
    return path


def packed(path: Path, registry: str = "npm") -> PackageFile:
    """The pinned description of a file that lies in a cache's packages folder."""
    # declared as one of the known registries; any string is let through so that a test can give a wrong one
    return PackageFile(registry, "made", "1", path.name, hashlib.sha256(path.read_bytes()).hexdigest())  # type: ignore[arg-type]


def cifar10_tgz(path: Path, per_batch: int = 10, tests: int = 20) -> Path:
    rows = lambda n, seed: png(noise(n, 1024, 3, seed=seed))  # noqa: E731
    members = {f"package/data_batch_{i}.png": rows(per_batch, i) for i in range(1, 6)}
    members["package/test_batch.png"] = rows(tests, 9)
    members["package/train_lables.json"] = json.dumps([i % 10 for i in range(5 * per_batch)]).encode()
    members["package/test_lables.json"] = json.dumps([i % 10 for i in range(tests)]).encode()
    return tgz(path, members)


def mnist_members(prefix: str, train: int = 100, tests: int = 40, zipped: bool = True) -> dict[str, bytes]:
    pack = gzip.compress if zipped else bytes
    suffix = ".gz" if zipped else ""
    members = {}
    for stem, n in (("train", train), ("t10k", tests)):
        members[f"{prefix}{stem}-images-idx3-ubyte{suffix}"] = pack(idx(noise(n, 28, 28, seed=n)))
        members[f"{prefix}{stem}-labels-idx1-ubyte{suffix}"] = pack(idx(np.arange(n) % 10))
    return members


def folder(root, **changes):
    """The data set of conf/dataset/folder.yaml in `root`."""
    config = OmegaConf.create({"dataset": OmegaConf.load(CONF / "folder.yaml")})
    config.dataset.root = str(root)
    return instantiate(config.dataset, **changes)


def image_folder(root: Path, counts: Mapping[str, int], seed: int = 0) -> Path:
    """ROOT/CLASS/000.png ...; 16 x 12 noise."""
    for number, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            (root / name / f"{i:03}.png").write_bytes(png(noise(12, 16, 3, seed=seed + 1000 * number + i)))
    return root


CONF = Path(__file__).parents[2] / "conf/dataset"
FOLDERS = {"cats": ["animals"], "signs": ["animals/signs"]}  # of `clip_art`


def from_yaml(name, archive, **changes):
    """The data set of the YAML with its package replaced by a made one and without its download."""
    config = OmegaConf.create({"dataset": OmegaConf.load(CONF / f"{name}.yaml")})
    package = packed(archive)
    config.dataset.copies = {"package": config.dataset.copies.package}
    config.dataset.copies.package.package.update(file=package.file, sha256=package.sha256)
    OmegaConf.update(config, "dataset", changes)
    return instantiate(config.dataset)


def elpv_wheel(path):
    lines = io.StringIO()
    table = csv.writer(lines, delimiter=" ")
    with zipfile.ZipFile(path, "w") as wheel:
        for i in range(40):
            wheel.writestr(f"elpv_dataset/data/images/cell{i:04}.png", png(noise(30, 30, seed=i)))
            table.writerow([f"images/cell{i:04}.png", *[""] * 5, [0.0, 1 / 3, 2 / 3, 1.0][i % 4], "mono"])
        wheel.writestr("elpv_dataset/data/labels.csv", lines.getvalue().replace('""', ""))
    return path


def clip_art():
    big = np.zeros((300, 600, 4), np.uint8)
    return {
        "png/animals/a.png": png(noise(20, 30, 3, seed=1)),
        "png/animals/copy_of_a.png": png(noise(20, 30, 3, seed=1)),
        "png/animals/big.png": png(big),
        "png/animals/unwanted.png": png(noise(20, 30, 3, seed=5)),
        "png/animals/in_both.png": png(noise(20, 30, 3, seed=6)),
        "png/animals/signs/s.png": png(noise(20, 30, 3, seed=3)),
        "png/animals/signs/in_both.png": png(noise(20, 30, 3, seed=6)),
        "png/other/x.png": png(noise(20, 30, 3, seed=4)),
        "png/animals/readme.txt": b"words",
    }


def every_id(data):
    return sorted(name for split in data.splits.values() for name in split.ids)
