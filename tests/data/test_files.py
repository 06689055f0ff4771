"""What is an image among files, and which are alike; through folders of them."""

import errno
import os
import shutil
import socket
from contextlib import closing

import numpy as np
import PIL
import pytest
from PIL import Image
from tests.data.making import every_id, folder, image_folder, noise, png

from modelrank import keys
from modelrank.data import files


def test_images_by_their_content_whatever_they_are_called(tmp_path):
    root = image_folder(tmp_path / "images", {"a": 4, "b": 4})
    for number, name in enumerate(("x.jfif", "x.JPEG", "x.bmp", "x.gif", "x.tiff", "noname", "x.dat", "x.avif")):
        (root / "a" / name).write_bytes(png(noise(12, 16, 3, seed=100 + number)))
    assert len(every_id(folder(root).load(tmp_path))) == 16


@pytest.mark.parametrize("name", ["a/pipe", "a/pipe.png"])
def test_pipes_and_sockets_are_left_out_unopened(tmp_path, name):
    root = image_folder(tmp_path / "images", {"a": 10, "b": 10})
    os.mkfifo(root / name)
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(os.path.relpath(root / "a/socket.png"))  # the address of a socket is short
    data = folder(root).load(tmp_path / "cache")
    assert len(every_id(data)) == 20
    assert f"left out: 2 pipes, sockets or devices ({name}, a/socket.png)" in data.notes


def test_images_of_12_bits_among_those_of_16_are_said_and_others_are_not(tmp_path, caplog):
    root = image_folder(tmp_path / "images", {"a": 8, "b": 8})
    deep = noise(12, 16).astype(np.uint16)
    Image.fromarray(deep * 257).save(root / "a/sixteen.png")
    Image.fromarray(deep * 40).save(root / "a/dark.png")
    folder(root).load(tmp_path / "cache")
    assert not caplog.text
    Image.fromarray(deep * 16).save(root / "b/twelve.png")
    assert len(every_id(folder(root).load(tmp_path / "cache"))) == 19
    assert "1 of the 3 images of 16 bits (or floating numbers) use only 12 of them (b/twelve.png, ...)" in caplog.text


def test_pictures_that_are_there_twice_are_said(tmp_path, caplog):
    root = tmp_path / "images"
    for seed, name in enumerate(("train", "val", "test")):
        image_folder(root / name, {"a": 4, "b": 4}, seed=50 * seed)
    same = (root / "train/a/000.png").read_bytes()
    (root / "test/a/copy.png").write_bytes(same)
    other = (root / "train/a/001.png").read_bytes()
    (root / "train/b/copy.png").write_bytes(other)
    (root / "val/b/copy.png").write_bytes((root / "val/b/000.png").read_bytes())
    data = folder(root).load(tmp_path / "cache")
    assert "1 pictures are in several splits" in caplog.text
    assert "(train/a/000.png = test/a/copy.png)" in caplog.text
    assert "1 pictures are in several classes, so their labels contradict each other (train/a/001.png = " in caplog.text
    assert "1 pictures are several times in one class (val/b/000.png = val/b/copy.png)" in caplog.text
    assert len(data.notes) == 3


def test_pictures_that_differ_in_fine_detail_are_no_copies(tmp_path):
    root = tmp_path / "images"
    board = np.indices((512, 512)).sum(0).astype(np.uint8) % 2 * 255
    for number, (name, picture) in enumerate({"a": board, "b": 255 - board}.items()):
        image_folder(root / name, {".": 9}, seed=50 * number)
        Image.fromarray(picture).save(root / name / "fine.jpg", quality=95)
        shutil.copy(root / name / "fine.jpg", root / name / "again.jpg")
    notes = folder(root).load(tmp_path / "cache").notes
    assert [note.removeprefix("identical images: ") for note in notes] == [
        "2 pictures are several times in one class (a/again.jpg = a/fine.jpg; b/again.jpg = b/fine.jpg)"
    ]


def test_verdicts_go_by_the_reader_of_the_images(tmp_path, monkeypatch):
    root = image_folder(tmp_path / "images", {"a": 4, "b": 4})
    for version in (PIL.__version__, "0"):
        monkeypatch.setattr(PIL, "__version__", version)
        folder(root).load(tmp_path / "cache")
    assert len([*(tmp_path / "cache").rglob("checked-*.json")]) == 2


def test_a_fault_of_the_disk_is_not_remembered(tmp_path, monkeypatch, caplog):
    root = image_folder(tmp_path / "images", {"a": 4, "b": 4})

    def broken(path):
        raise OSError(errno.EIO, "Input/output error")

    def kept():
        return len(every_id(folder(root, on_unreadable="skip").load(tmp_path / "cache")))

    with monkeypatch.context() as patch:
        patch.setattr(files, "digest", lambda path: broken(path) if path.name == "000.png" else keys.digest(path))
        assert kept() == 6
    assert "a/000.png (Input/output error)" in caplog.text
    assert kept() == 8
