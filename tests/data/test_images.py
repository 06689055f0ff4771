from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.data.making import noise

from modelrank.data.decoded import PixelStore, Shrink
from modelrank.data.images import ImageData, ImageSplit, TransformedImages


def tensor(image):
    return torch.from_numpy(np.asarray(image).copy())


@pytest.fixture
def split():
    return ImageSplit(
        noise(6, 8, 8), np.array([0, 1, 2, 0, 1, 2]), [f"i{i}" for i in range(6)], groups=np.arange(6) // 2
    )


def test_item_is_rgb_and_an_integer(split):
    image, target = split[4]
    assert (image.mode, image.size, target) == ("RGB", (8, 8), 1)
    assert type(target) is int


def test_take_keeps_images_targets_ids_and_groups_together(split):
    taken = split.take(np.array([5, 1])).take(np.array([1]))
    assert (taken.ids, taken.targets.tolist(), taken.groups.tolist(), len(taken)) == (["i1"], [1], [0], 1)
    np.testing.assert_array_equal(np.asarray(taken[0][0]), np.asarray(split[1][0]))


def test_multilabel_targets_stay_multi_hot():
    hot = np.array([[1, 0, 1], [0, 1, 0]])
    target = ImageSplit(noise(2, 4, 4), hot, ["a", "b"])[0][1]
    assert target.dtype == torch.float32
    assert target.tolist() == [1, 0, 1]


def test_joined_splits_count_on(split):
    joined = TransformedImages([split, split.take(np.array([2, 0]))], tensor)
    assert len(joined) == 8
    assert [joined[i][2] for i in range(8)] == list(range(8))
    assert [joined[i][1] for i in range(8)] == [0, 1, 2, 0, 1, 2, 2, 0]
    assert torch.equal(joined[6][0], joined[2][0])
    with pytest.raises(IndexError):
        joined[8]


def test_lengths_must_match():
    with pytest.raises(ValueError, match="do not match"):
        ImageSplit(noise(2, 4, 4), np.array([0]), ["a", "b"])


def four_classes() -> ImageData:
    """80, 40 and 8 images of noise, as many of each class."""
    random = np.random.default_rng(0)
    splits = {}
    for name, n in {"train": 80, "val": 40, "test": 8}.items():
        pixels = random.integers(0, 256, (n, 9, 9, 3), np.uint8)
        splits[name] = ImageSplit(pixels, np.arange(n) % 4, [f"{name}{i}" for i in range(n)])
    return ImageData("d", "classification", tuple("abcd"), "accuracy", splits, "here", "CC0", "f")


def test_only_the_splits_that_are_too_large_are_cut_by_class():
    whole = four_classes()
    assert whole.limited({"train": 80, "val": 99}) is whole
    some = whole.limited({"train": 20, "val": 99})
    assert np.bincount(some.splits["train"].targets).tolist() == [5] * 4
    assert [some.splits[name].ids for name in ("val", "test")] == [whole.splits[name].ids for name in ("val", "test")]
    few = some.limited({"val": 8})
    assert few.splits["train"].ids == some.splits["train"].ids
    assert len({whole.fingerprint, some.fingerprint, few.fingerprint}) == 3
    shrink = Shrink(9, "bilinear")
    for name, split in few.splits.items():
        assert np.array_equal(few.shrunk(name, shrink)[3][0], split[3][0])


def test_samples_are_nested_stratified_and_share_the_pixels_of_the_whole(tmp_path):
    whole = four_classes()
    whole = replace(whole, pixels=PixelStore(tmp_path, 10**6))
    quarter, half = whole.sampled(0.25), whole.sampled(0.5)
    assert set(half.splits) == {"train", "val"}
    for name in half.splits:
        assert set(quarter.splits[name].ids) < set(half.splits[name].ids)
        assert len(set(np.bincount(half.splits[name].targets))) == 1
    assert len({whole.fingerprint, quarter.fingerprint, half.fingerprint}) == 3
    shrink = Shrink(9, "bilinear")
    shrunk = half.shrunk("train", shrink)
    assert np.array_equal(shrunk[3][0], half.splits["train"][3][0])
    assert whole.shrunk("train", shrink).images.missing() == 79
