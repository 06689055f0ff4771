import numpy as np
import pytest
from PIL import Image
from tests.data.test_spec import MemoryCopy, part

from modelrank.data.copies import Places
from modelrank.data.rotated import RotatedCopy, turned


def places(root):
    return Places(root / "rotation", root / "rotation", root)


def read(root, seed=0, side=16):
    return RotatedCopy("made", MemoryCopy({"train": part("train", 200), "test": part("test", 30)}), side, seed).read(
        places(root)
    )


def test_targets_are_sine_and_cosine_of_the_angle_that_the_image_is_turned_by(tmp_path):
    plain = part("train", 200)
    split = read(tmp_path).splits["train"]
    assert split.targets.shape == (200, 2)
    assert split.targets.dtype == np.float32
    np.testing.assert_allclose((split.targets**2).sum(1), 1, rtol=1e-5)
    angles = np.degrees(np.arctan2(split.targets[:, 0], split.targets[:, 1]))
    for i in (0, 7, 199):
        np.testing.assert_array_equal(np.asarray(split[i][0]), np.asarray(turned(plain[i][0], angles[i], 16)))
    assert np.abs(split.targets.mean(0)).max() < 0.15, "uniform over the circle"


def test_angles_depend_on_the_seed_and_are_the_same_each_time(tmp_path):
    first, again, other = read(tmp_path), read(tmp_path), read(tmp_path, seed=1)
    np.testing.assert_array_equal(first.splits["train"].targets, again.splits["train"].targets)
    assert not np.array_equal(first.splits["train"].targets, other.splits["train"].targets)
    assert not np.array_equal(first.splits["train"].targets[:30], first.splits["test"].targets)
    assert first.identity == again.identity
    assert len({first.identity, other.identity, read(tmp_path, side=18).identity}) == 3


def test_a_quarter_turn_is_counter_clockwise_and_only_the_disc_is_left():
    image = Image.fromarray(np.zeros((32, 32, 3), np.uint8))
    image.paste((255, 0, 0), (20, 12, 28, 20))  # right of the centre
    pixels = np.asarray(turned(image, 90, 32))
    assert pixels[4:12, 12:20, 0].min() == 255  # above it
    assert pixels.sum() == pixels[4:12, 12:20].sum()


@pytest.mark.parametrize("angle", [17.0, 45.0, 123.4, 359.0])
def test_nothing_but_the_content_tells_the_angle(angle):
    flat = Image.fromarray(np.full((40, 60, 3), 200, np.uint8))
    np.testing.assert_array_equal(np.asarray(turned(flat, angle, 33)), np.asarray(turned(flat, 0.0, 33)))


def test_files_are_looked_for_where_the_source_set_has_them(tmp_path):
    copy = RotatedCopy("made", MemoryCopy(), 16, 0)
    assert str(tmp_path / "made") in copy.wanted(places(tmp_path))
    own = Places(tmp_path / "mine", tmp_path / "rotation", tmp_path)
    assert str(tmp_path / "mine") in copy.wanted(own)


def test_a_drawn_subset_keeps_image_and_angle_together(tmp_path):
    split = read(tmp_path).splits["train"]
    chosen = np.array([5, 100, 3])
    taken = split.take(chosen)
    for i, row in enumerate(chosen):
        np.testing.assert_array_equal(np.asarray(taken[i][0]), np.asarray(split[row][0]))
        np.testing.assert_array_equal(taken[i][1], split.targets[row])
