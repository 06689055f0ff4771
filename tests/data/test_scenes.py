import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from modelrank.data import scenes
from modelrank.types import ModelRankError

RULES = scenes.Rules(side=64, light=(1.0, 1.0))


def blob(name):
    """A soft-edged cut-out of random form, in one colour that its name tells."""
    rng = np.random.default_rng(int(name))
    thick = gaussian_filter(rng.random((40, 40)), 4)
    alpha = np.clip((thick - np.median(thick)) * 4000, 0, 255).astype(np.uint8)
    return Image.fromarray(np.dstack([np.full((40, 40, 3), 60 + int(name), np.uint8), alpha]))


def black(rng, side):
    return np.zeros((side, side, 3), np.uint8), "black"


ITEMS = scenes.Ingredients([["1", "2", "3"], ["11", "12"], ["21", "22"]], blob, black)


def same(one, other):
    return np.array_equal(one.images, other.images) and list(one.ids) == list(other.ids)


def test_scenes_are_a_function_of_seed_split_and_number():
    one = scenes.make("train", 6, ITEMS, RULES, 0)
    assert same(one, scenes.make("train", 6, ITEMS, RULES, 0))
    longer = scenes.make("train", 8, ITEMS, RULES, 0)
    np.testing.assert_array_equal(longer.images[:6], one.images)
    assert not same(one, scenes.make("train", 6, ITEMS, RULES, 1))
    assert not same(one, scenes.make("val", 6, ITEMS, RULES, 0))


def test_labels_are_those_of_the_cut_outs_that_the_id_names():
    part = scenes.make("train", 30, ITEMS, RULES, 0)
    assert part.images.shape == (30, 64, 64, 3)
    for boxes, name in zip(part.targets, part.ids, strict=True):
        named = name.split(": ")[1].removesuffix(" on black").split(", ")
        assert [int(each) // 10 for each in named] == boxes.labels.tolist()
        assert 1 <= len(named) <= 4
        assert boxes.corners.shape == (len(named), 4)


def test_every_class_is_drawn_evenly_whatever_the_number_of_its_cut_outs():
    labels = np.concatenate([boxes.labels for boxes in scenes.make("train", 200, ITEMS, RULES, 0).targets])
    counts = np.bincount(labels)
    assert counts.min() > 0.75 * counts.mean()


def test_a_box_is_the_tight_extent_of_the_pixels_that_show_its_object():
    """A lone opaque object on black: the box must hold all bright pixels, and touch one on every side."""
    square = lambda name: Image.fromarray(np.full((20, 30, 4), 255, np.uint8))  # noqa: E731
    rules = scenes.Rules(side=64, objects=(1, 1), light=(1.0, 1.0))
    part = scenes.make("train", 20, scenes.Ingredients([["a"], ["b"]], square, black), rules, 0)
    for image, boxes in zip(part.images, part.targets, strict=True):
        assert tuple(boxes.corners[0].astype(int)) == scenes.tight(image[..., 0] >= 128)
        left, top, right, bottom = boxes.corners[0]
        assert 0.2 * 64 - 2 <= max(right - left, bottom - top) <= 0.5 * 64 + 2


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from([0.0, 0.25, 0.6]))
def test_owner_covered_share_and_pixels_fit(seed, count, covered):
    rng = np.random.default_rng(seed)
    objects = [scenes.varied(blob(str(k)), rng, RULES) for k in range(count)]
    scene, owner, placed = scenes.compose(np.zeros((64, 64, 3), np.uint8), objects, rng, covered)
    assert placed[0] == 0
    for k in placed:
        whole = (objects[k][..., 3] >= scenes.OPAQUE).sum()
        assert (owner == k).sum() >= (1 - covered) * whole
        shown = scene[owner == k].astype(float)  # the opaque half of its edge at least
        assert shown.min() >= 0.85 * 0.5 * (60 + k)  # the same undershoot
        assert shown.max() <= 1.1 * (60 + count)  # bicubic filters overshoot at edges; later objects' edges mix in
    assert set(np.unique(owner)) - {-1} == set(placed)
    assert (owner == placed[-1]).sum() == (objects[placed[-1]][..., 3] >= scenes.OPAQUE).sum()


def test_an_object_without_a_place_is_left_out():
    wall = np.full((64, 64, 4), 255, np.uint8)
    _, owner, placed = scenes.compose(
        np.zeros((64, 64, 3), np.uint8), [wall, wall, wall[:10]], np.random.default_rng(0), 0.25
    )
    assert placed == [0, 2]
    assert (owner == 2).sum() == 640
    with pytest.raises(ModelRankError, match="does not fit"):
        scenes.compose(np.zeros((60, 60, 3), np.uint8), [wall], np.random.default_rng(0), 0.25)


def test_a_cut_out_without_opaque_pixels_is_refused():
    clear = scenes.Ingredients([["a"]], lambda name: Image.new("RGBA", (9, 9)), black)
    with pytest.raises(ModelRankError, match=r"train/0000.*a: .*no opaque pixel"):
        scenes.make("train", 1, clear, RULES, 0)


def test_light_and_flip_vary():
    rng = np.random.default_rng(0)
    rules = scenes.Rules(side=64, turn=0, light=(0.5, 1.0))
    left = np.zeros((20, 20, 4), np.uint8)
    left[..., 3], left[:, :10, 0] = 255, 200
    made = [scenes.varied(Image.fromarray(left), rng, rules) for _ in range(40)]
    flipped = [bool(pixels[:, 0, 0].mean() < pixels[:, -1, 0].mean()) for pixels in made]
    assert 10 < sum(flipped) < 30
    peaks = [int(pixels[..., 0].max()) for pixels in made]
    assert 95 < min(peaks) < 130 < 170 < max(peaks) <= 220  # bicubic filters overshoot at edges


@given(st.integers(3, 60), st.integers(0, 99), st.lists(st.floats(0.05, 1), min_size=1, max_size=3))
def test_parts_share_nothing_and_lose_nothing(count, seed, shares):
    names = [f"n{k}" for k in range(count)]
    dealt = scenes.parted(names, {str(k): share for k, share in enumerate(shares)}, seed, "x")
    assert sorted(name for part in dealt.values() for name in part) == sorted(names)
    assert all(dealt.values())
    for share, part in zip(shares, dealt.values(), strict=True):
        assert abs(len(part) - count * share / sum(shares)) <= len(shares)
    assert dealt == scenes.parted(names[::-1], {str(k): share for k, share in enumerate(shares)}, seed, "x")


def test_too_few_sources_for_the_splits_are_refused():
    with pytest.raises(ModelRankError, match="too few"):
        scenes.parted(["a", "b"], {"train": 0.6, "val": 0.2, "test": 0.2}, 0, "x")
