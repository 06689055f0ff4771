"""Decoded images on disk: the pixels that resizing gives, once for all, whatever happens to the files."""

import multiprocessing

import numpy as np
import pytest
from PIL import Image

from modelrank.data.decoded import PixelFile, PixelStore, Shrink, Shrunk
from modelrank.data.images import ImageData, ImageSplit

BICUBIC, BILINEAR = Shrink(32, "bicubic"), Shrink(24, "bilinear")
SIZES = [(50, 40), (40, 50), (33, 33), (200, 7), (641, 427), (20, 300)]


class Counted(ImageSplit):
    opened = 0

    def __getitem__(self, index):
        Counted.opened += 1
        return super().__getitem__(index)


@pytest.fixture
def split(tmp_path) -> Counted:
    Counted.opened = 0
    paths = []
    for number, size in enumerate(SIZES):
        exif = Image.Exif()
        exif[0x0112] = 6 if number == 0 else 1  # lies on its side
        paths.append(tmp_path / f"{number}.jpg")
        Image.effect_noise(size, 80).convert("RGB").save(paths[-1], exif=exif)
    return Counted(paths, np.zeros(len(paths), int), [path.name for path in paths])


def store(tmp_path, limit: int = 10**8, shrinks=()) -> PixelStore:
    return PixelStore(tmp_path / "pixels", limit, shrinks)


def pixels(images) -> list[np.ndarray]:
    return [images[index] for index in range(len(images))]


def test_pixels_are_those_of_resizing_and_each_image_is_opened_once_for_all_rules(tmp_path, split):
    expected = {shrink: pixels(Shrunk(split, shrink)) for shrink in (BICUBIC, BILINEAR)}
    Counted.opened = 0
    for _ in range(2):
        for shrink in (BICUBIC, BILINEAR):
            kept = store(tmp_path, shrinks=(BICUBIC, BILINEAR)).images(split, "f", shrink)
            assert all(np.array_equal(*pair) for pair in zip(pixels(kept), expected[shrink], strict=True))
            assert kept.missing() == 0
    assert Counted.opened == len(split)


def test_a_data_set_has_its_splits_shrunk_with_the_same_targets(tmp_path, split):
    data = ImageData("d", "classification", ("a",), "accuracy", {"train": split}, "here", "CC0", "f")
    kept = ImageData(**{**vars(data), "pixels": store(tmp_path)})
    for one in (data, kept, kept):
        shrunk = one.shrunk("train", BICUBIC)
        assert shrunk[3][0].size == (914, 32)
        assert (shrunk.ids, shrunk.targets.tolist()) == (split.ids, split.targets.tolist())


def test_damage_is_noticed_and_the_image_decoded_again(tmp_path, split):
    kept = store(tmp_path).images(split, "f", BICUBIC)
    expected = pixels(kept)
    content = kept.file.path.read_bytes()
    kept.file.path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    assert all(np.array_equal(*pair) for pair in zip(pixels(kept), expected, strict=True))
    kept.file.path.write_bytes(content[:100])
    again = store(tmp_path).images(split, "f", BICUBIC)
    assert all(np.array_equal(*pair) for pair in zip(pixels(again), expected, strict=True))


def test_other_images_have_files_of_their_own(tmp_path, split):
    pixels(store(tmp_path).images(split, "f", BICUBIC))
    assert store(tmp_path).images(split, "g", BICUBIC).missing() == len(split)
    part = split.take(np.array([4, 1]))
    kept = store(tmp_path).images(part, "f", BICUBIC)
    assert np.array_equal(kept[0], BICUBIC(split[4][0]))


def test_the_longest_unused_makes_room_and_what_is_too_large_is_not_kept(tmp_path, split):
    size = store(tmp_path).images(split, "f", BICUBIC).file.bytes
    room = store(tmp_path, limit=int(1.5 * size) + 40_000)
    first = room.images(split, "f", BICUBIC)
    pixels(first)
    pixels(room.images(split, "g", BICUBIC))
    assert not first.file.path.exists()
    assert first.missing() == 0  # who has it open goes on reading it
    too_large = store(tmp_path, limit=size - 1).images(split, "f", BICUBIC)
    assert type(too_large) is Shrunk
    assert np.array_equal(too_large[1], BICUBIC(split[1][0]))


def test_rules_that_do_not_fit_together_are_kept_one_at_a_time(tmp_path, split):
    size = store(tmp_path).images(split, "f", BICUBIC).file.bytes
    kept = store(tmp_path, limit=size, shrinks=(BICUBIC, BILINEAR)).images(split, "f", BICUBIC)
    assert kept.beside == []


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path, split, caplog):
    (tmp_path / "pixels").write_text("in the way")
    images = store(tmp_path).images(split, "f", BICUBIC)
    assert np.array_equal(images[1], BICUBIC(split[1][0]))
    assert "each model decodes them again" in caplog.text


def test_a_full_disk_costs_only_time(tmp_path, split, monkeypatch):
    kept = store(tmp_path).images(split, "f", BICUBIC)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    assert np.array_equal(kept[1], BICUBIC(split[1][0]))
    assert kept.missing() == len(split)


def test_processes_that_are_forked_or_spawned_share_the_file(tmp_path, split):
    kept = store(tmp_path).images(split, "f", BICUBIC)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(kept.__getitem__, range(3))
    assert kept.missing() == 3
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert np.array_equal(pool.apply(kept.__getitem__, (5,)), kept[5])
    assert kept.missing() == 2


def test_an_image_of_another_size_than_its_header_said_is_not_kept(tmp_path):
    file = PixelFile(tmp_path / "a.pixels", BICUBIC, np.array([[32, 40]]))
    file.write(0, np.zeros((32, 41, 3), np.uint8))
    assert file.read(0) is None
