import numpy as np
import pytest
import torch
from tests.data.making import noise

from modelrank.data.images import ImageSplit, TransformedImages


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
