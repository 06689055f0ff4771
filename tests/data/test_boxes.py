from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.data.making import noise
from torchvision.transforms import v2

from modelrank.data import boxes as formats
from modelrank.data.images import ImageData, ImageSplit, TransformedImages
from modelrank.data.module import ImageDataModule
from modelrank.data.pixels import image_size
from modelrank.data.spec import fingerprint
from modelrank.types import Boxes, ModelRankError

sizes = st.tuples(st.integers(1, 5000), st.integers(1, 5000))


@st.composite
def corners_in(draw, whole=False):
    """(width, height) and n x 4 corners inside."""
    size = draw(sizes)
    side = lambda length: st.lists(  # noqa: E731
        st.integers(0, length) if whole else st.floats(0, length), min_size=2, max_size=2
    ).map(sorted)
    found = [(*draw(side(size[0])), *draw(side(size[1]))) for _ in range(draw(st.integers(0, 4)))]
    return size, np.array(found, np.float64).reshape(-1, 4)[:, [0, 2, 1, 3]]


@given(corners_in())
def test_shares_of_the_image_and_back(case):
    size, corners = case
    shares = formats.normalised(corners, size)
    assert ((shares >= 0) & (shares <= 1 + 1e-12)).all()
    np.testing.assert_allclose(formats.from_normalised(shares, size), corners, atol=1e-9 * max(size))


@given(corners_in())
def test_corner_and_size_and_back(case):
    _, corners = case
    coco = np.column_stack([corners[:, :2], corners[:, 2:] - corners[:, :2]])
    np.testing.assert_allclose(formats.from_corner_and_size(coco), corners, atol=1e-9)


@given(corners_in(whole=True))
def test_counted_pixels_cover_the_same_pixels(case):
    _, corners = case
    counted = corners + np.array([1, 1, 0, 0])
    np.testing.assert_array_equal(formats.from_counted_pixels(counted), corners)


@given(sizes, st.lists(st.tuples(*[st.floats(-6000, 6000)] * 4), max_size=6))
@example((1, 1), [(0.0, 1e-140, 1.0, 1.0)])  # no float32 but 0 is near
def test_cleaned_boxes_are_inside_and_none_is_lost_uncounted(size, listed):
    corners = np.array(listed).reshape(-1, 4)
    found, dropped = formats.cleaned(corners, np.arange(len(corners)), size)
    assert len(found.labels) + dropped.total() == len(corners)
    assert (found.corners >= 0).all()
    assert (found.corners <= np.tile(size, 2)).all()
    assert (found.corners[:, 2:] - found.corners[:, :2] >= 1 - 1e-3).all()
    again, none = formats.cleaned(found.corners + 0.0, found.labels, size)
    assert none["outside"] == 0
    kept = corners[found.labels]
    inside = ((kept >= 0) & (kept <= np.tile(size, 2))).all(1)
    np.testing.assert_array_equal(found.corners[inside], kept[inside].astype(np.float32))
    assert len(again.labels) <= len(found.labels)


def test_what_is_dropped_and_what_is_clipped():
    listed = {
        "inside": (2, 3, 7, 9), "half outside": (-5, 5, 5, 15), "one pixel": (4, 4, 5, 5),
        "outside": (25, 0, 30, 5), "touches from outside": (20, 0, 30, 5),
        "thin": (3, 3, 3.5, 9), "turned round": (9, 9, 3, 3), "sliver left": (19.5, 0, 30, 5),
    }  # fmt: skip
    found, dropped = formats.cleaned(np.array(list(listed.values()), float), np.arange(8), (20, 10))
    assert found.corners.tolist() == [[2, 3, 7, 9], [0, 5, 5, 10], [4, 4, 5, 5]]
    assert found.labels.tolist() == [0, 1, 2]
    assert dropped == {"outside": 2, "degenerate": 3}


def test_misplaced_boxes_reach_far_beyond_or_are_turned_round():
    listed = [(0, 0, 20, 10), (-2, -1, 22, 11), (-2.1, 0, 5, 5), (0, 0, 22.1, 5), (0, 0, 5, 11.1), (9, 3, 3, 9)]
    assert formats.misplaced(np.array(listed, float), (20, 10)).tolist() == [False, False, True, True, True, True]
    assert formats.misplaced(np.empty((0, 4)), (20, 10)).tolist() == []


def some(*listed):
    """`Boxes` of (label, left, top, right, bottom)."""
    rows = np.array(listed, np.float32).reshape(-1, 5)
    return Boxes(rows[:, 1:].copy(), rows[:, 0].astype(np.int64))


@pytest.fixture
def data():
    """Black images of 40 x 30; the pixels of each object are 100 + its label. The third has no object."""
    targets = [some((0, 4, 5, 20, 25)), some((1, 0, 0, 10, 10), (2, 20, 12, 40, 30)), some(), some((2, 8, 8, 24, 16))]
    images = []
    for boxes in targets:
        image = np.zeros((30, 40, 3), np.uint8)
        for (left, top, right, bottom), label in zip(boxes.corners.astype(int), boxes.labels, strict=True):
            image[top:bottom, left:right] = 100 + label
        images.append(image)
    split = ImageSplit(images, formats.object_array(targets), list("abcd"))
    splits = {"train": split, "val": split.take(np.array([3, 1])), "test": split.take(np.array([0]))}
    return ImageData("m", "detection", ("x", "y", "z"), "map", splits, "", "", "")


def test_items_and_take(data):
    image, boxes = data.splits["val"][1]
    assert image.size == (40, 30)
    assert boxes.labels.tolist() == [1, 2]
    assert data.splits["val"].take(np.array([0])).ids == ["d"]


def test_rows_follow_images_and_boxes(data):
    labels, rows, images = formats.box_rows([data.splits[name] for name in data.scored])
    assert labels.tolist() == [0, 1, 2, 2, 2, 1, 2] == data.scored_targets().tolist()
    assert images.tolist() == [0, 1, 1, 3, 4, 5, 5]
    assert (rows.dtype, labels.dtype, images.dtype) == (np.float32, np.int64, np.int64)
    np.testing.assert_allclose(rows[0], [12 / 40, 15 / 30, 16 / 40, 20 / 30])
    empty = formats.box_rows([data.splits["train"].take(np.array([2]))])
    assert [part.shape for part in empty] == [(0,), (0, 4), (0,)]


def test_size_reads_files_arrays_and_pictures(tmp_path):
    pixels = noise(30, 40, 3)
    picture = ImageSplit([pixels], np.array([0]), ["a"])[0][0]
    picture.save(tmp_path / "a.jpg")
    assert {image_size(each) for each in (pixels, picture, tmp_path / "a.jpg")} == {(40, 30)}
    (tmp_path / "a.jpg").write_bytes(b"words")
    with pytest.raises(ModelRankError, match=r"a\.jpg"):
        image_size(tmp_path / "a.jpg")


def boxes_show_their_objects(image, target):
    """The object's pixels, and no others, are of its brightness, up to a pixel at the edges."""
    for box, label in zip(target["boxes"], target["labels"], strict=True):
        shown = (image[0] * 255 - 100 - label).abs() < 0.4
        rows, columns = shown.any(1).nonzero().flatten(), shown.any(0).nonzero().flatten()
        edges = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        if (box - edges).abs().max() > 1.5:
            return False
    return True


def test_evaluation_scales_boxes_with_the_image_and_keeps_all(data):
    tiny = replace(data, splits=data.splits | {"train": ImageSplit(
        [noise(30, 40, 3)], formats.object_array([some((1, 0, 0, 1, 1))]), ["t"])})  # fmt: skip
    for size, shape in (((60, 60), (3, 60, 60)), (15, (3, 15, 20))):
        for each in TransformedImages([data.splits["train"]], formats.evaluation(size, interpolation="nearest")):
            image, target, _ = each
            assert image.shape == shape
            assert type(image) is type(target["boxes"]) is torch.Tensor
            assert image.max() <= 1
            assert boxes_show_their_objects(image, target)
        _, target, _ = TransformedImages([tiny.splits["train"]], formats.evaluation(size))[0]
        assert len(target["boxes"]) == 1


def test_normalised_pixels(data):
    plain, normal = formats.evaluation(30), formats.evaluation(30, mean=[0.5, 0.4, 0.3], std=[0.1, 0.2, 0.3])
    split = data.splits["train"]
    expected = (TransformedImages([split], plain)[0][0] - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / torch.tensor(
        [0.1, 0.2, 0.3]
    )[:, None, None]
    torch.testing.assert_close(TransformedImages([split], normal)[0][0], expected)


def test_training_boxes_still_show_their_objects(data):
    torch.manual_seed(0)
    images = TransformedImages([data.splits["train"]], formats.training((120, 160), interpolation="nearest"))
    counts = []
    for _ in range(15):
        for k in range(4):
            image, target, _ = images[k]
            assert image.shape == (3, 120, 160)
            assert boxes_show_their_objects(image, target)
            assert (target["boxes"] >= 0).all()
            assert (target["boxes"] <= torch.tensor([160, 120, 160, 120])).all()
            assert (target["boxes"][:, 2:] - target["boxes"][:, :2] >= 4).all()
            counts.append((k, len(target["labels"])))
    assert (1, 1) in counts  # a crop that left one of two objects out
    assert (1, 2) in counts


def test_after_a_crop_slivers_are_dropped_with_their_labels(data):
    cut = formats.BoxTransform(v2.Compose([v2.Lambda(lambda x: x), _Cut(), v2.ToImage(), formats._PureTensor()]), 4.0)
    _, target = cut(*data.splits["train"][1])
    assert target["labels"].tolist() == [2]  # of the other 3 columns are left
    assert target["boxes"].tolist() == [[13, 12, 33, 30]]


class _Cut(v2.Transform):
    """Without the left 7 columns."""

    def transform(self, inpt, params):
        return v2.functional.crop(inpt, 0, 7, 30, 33)


def test_batches(data):
    crops, squares = formats.training((32, 32)), formats.evaluation(16)
    module = ImageDataModule(data, crops, squares, batch_size=2, train_splits=["val"])
    images, targets, index = next(iter(module.val_dataloader()))
    assert index.tolist() == [0, 1]
    assert [image.shape for image in images] == [(3, 16, 21)] * 2
    assert [target["labels"].tolist() for target in targets] == [[2], [1, 2]]
    assert targets[0]["boxes"].dtype == torch.float32
    assert all(len(index) == 2 for _, _, index in module.train_dataloader())


def test_workers_give_the_same_batches(data):
    alone, helped = (
        ImageDataModule(data, formats.training(32), formats.evaluation(32), batch_size=3, workers=w) for w in (0, 1)
    )
    for (a, s, _), (b, t, _) in zip(alone.test_dataloader(), helped.test_dataloader(), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
        assert all(torch.equal(x["boxes"], y["boxes"]) for x, y in zip(s, t, strict=True))


@settings(max_examples=20)
@given(st.integers(0, 2), st.sampled_from(["label", "corner", "image"]))
def test_fingerprint_changes_with_any_box(which, change):
    def of(targets):
        return fingerprint("id", {"train": ImageSplit(np.zeros((2, 9, 9), np.uint8), targets, ["a", "b"])})

    boxes = [(0, 1, 1, 3, 3), (1, 2, 2, 5, 5), (2, 0, 0, 9, 9)]
    before = of(formats.object_array([some(*boxes[:2]), some(boxes[2])]))
    assert before == of(formats.object_array([some(*boxes[:2]), some(boxes[2])]))
    if change == "image":
        after = formats.object_array(
            [some(*boxes[:which]), some(*boxes[which:])] if which != 2 else [some(*boxes), some()]
        )
    else:
        changed = [list(box) for box in boxes]
        changed[which][0 if change == "label" else 3] += 1
        after = formats.object_array([some(*changed[:2]), some(changed[2])])
    assert before != of(after)
