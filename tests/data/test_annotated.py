"""The rules for images and boxes, the same in COCO, VOC and YOLO folders."""

import logging
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from tests.data.making import noise
from tests.data.making_detection import FORMATS, IMAGES, dataset, objects_of, voc, write_image, yolo

from modelrank.data.boxes import box_rows
from modelrank.types import MissingAsset, ModelRankError

every_format = pytest.mark.parametrize("name", FORMATS)
EXPECTED = {name: objects for _, name, _, objects in IMAGES}


@every_format
def test_boxes_are_read_as_they_were_written(tmp_path, name):
    spec = dataset(name, FORMATS[name](tmp_path / "d"))
    assert spec.availability(tmp_path).state == "present"
    data = spec.load(tmp_path / "cache")
    assert data.classes == ("ant", "bee", "cat")
    assert data.task == "detection"
    assert {split: [Path(i).stem for i in part.ids] for split, part in data.splits.items()} == {
        "train": list("abcd"), "val": ["e"], "test": ["f"]}  # fmt: skip
    assert objects_of(data) == EXPECTED
    assert "train 4 (4 objects), val 1 (1 objects), test 1 (2 objects)" in data.split_rule
    for split in data.splits.values():
        for boxes in split.targets:
            assert (boxes.corners.dtype, boxes.labels.dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(np.asarray(data.splits["val"][0][0]), noise(40, 20, 3, seed=4))


@every_format
def test_an_image_without_objects_stays_and_has_no_row(tmp_path, name):
    data = dataset(name, FORMATS[name](tmp_path / "d")).load(tmp_path / "cache")
    image, boxes = data.splits["train"][2]
    assert (image.size, boxes.corners.shape) == ((40, 20), (0, 4))
    labels, rows, images = box_rows([data.splits[name] for name in data.scored])
    assert images.tolist() == [0, 0, 1, 3, 4]
    assert labels.tolist() == data.scored_targets().tolist() == [1, 2, 0, 2, 1]
    np.testing.assert_allclose(rows[:2], [[0.5, 0.5, 1, 1], [0.3, 0.4, 0.1, 0.4]], rtol=1e-6)


@every_format
def test_without_a_split_it_is_cut_from_train(tmp_path, name):
    images = [("train", f"i{k}", (40, 20), [("ant", 0, 0, 8, 8), ("bee", 1, 1, 9, 9)]) for k in range(20)]
    data = dataset(name, FORMATS[name](tmp_path / "d", images)).load(tmp_path / "cache")
    assert [len(data.splits[split]) for split in ("train", "val", "test")] == [12, 4, 4]
    assert len({i for split in data.splits.values() for i in split.ids}) == 20


@every_format
def test_useless_boxes_are_clipped_or_dropped_and_counted(tmp_path, name, caplog):
    odd = [
        ("ant", -10, -4, 10, 10),  # partly outside: clipped
        ("bee", 60, 0, 70, 10),  # wholly outside
        ("cat", 38, 16, 38, 18),  # no width
        ("cat", 8, 8, 16, 16),
    ]
    images = [*IMAGES, ("train", "odd", (40, 20), odd)]
    with caplog.at_level(logging.WARNING):
        data = dataset(name, FORMATS[name](tmp_path / "d", images)).load(tmp_path / "cache")
    assert objects_of(data)["odd"] == [("ant", 0, 0, 10, 10), ("cat", 8, 8, 16, 16)]
    for words in ("1 boxes wholly outside their image", "1 boxes with a side under 1 pixel"):
        assert f"left out: {words}" in caplog.text


@every_format
@pytest.mark.parametrize("strange", [2, 3])
def test_many_boxes_far_beyond_their_image_are_numbers_of_another_format(tmp_path, name, strange):
    right = [("train", f"right{k}", (40, 20), [("ant", 4, 4, 20, 12)]) for k in range(6)]
    # Corners (20, 4, 36, 12), taken for left, top, width and height.
    wrong = [("train", f"wrong{k}", (40, 20), [("bee", 20, 4, 56, 16)]) for k in range(strange)]
    more = [("val", "v", (40, 20), [("ant", 0, 0, 4, 4)] * 2), ("test", "t", (40, 20), [("ant", 0, 0, 4, 4)])]
    folder = dataset(name, FORMATS[name](tmp_path / "d", [*right, *wrong, *more]))
    if strange == 2:  # of 11
        assert objects_of(folder.load(tmp_path / "cache"))["wrong0"] == [("bee", 20, 4, 40, 16)]
        return
    with pytest.raises(ModelRankError, match=r"3 of all 12 boxes reach far beyond .*wrong0\.png, 40 x 20.*boxes are "):
        folder.load(tmp_path / "cache")


@every_format
def test_unreadable_image_is_refused_or_skipped_by_name(tmp_path, name, caplog):
    root = FORMATS[name](tmp_path / "d")
    (bad,) = root.rglob("b.png")
    bad.write_bytes(bad.read_bytes()[:200])
    with pytest.raises(ModelRankError, match=r"b\.png.*dataset\.on_unreadable=skip"):
        dataset(name, root).load(tmp_path / "cache")
    with caplog.at_level(logging.WARNING):
        data = dataset(name, root, on_unreadable="skip").load(tmp_path / "cache")
    assert "b.png" in caplog.text
    assert set(objects_of(data)) == set("acdef")


@pytest.mark.parametrize("name", ["coco_folder", "voc_folder"])  # YOLO lists no images: its folder is the list
def test_missing_image_is_named(tmp_path, name):
    root = FORMATS[name](tmp_path / "d")
    (gone,) = root.rglob("b.png")
    gone.unlink()
    with pytest.raises(ModelRankError, match=r"/b\.(png|jpg), which is not there"):
        dataset(name, root).load(tmp_path / "cache")


@pytest.mark.parametrize("name", ["coco_folder", "voc_folder"])
def test_an_image_of_another_size_than_stated_is_refused(tmp_path, name):
    root = FORMATS[name](tmp_path / "d")
    (path,) = root.rglob("b.png")
    write_image(path, (10, 20))
    with pytest.raises(ModelRankError, match=r"b\.png has 20 x 40 pixels, but it has 10 x 20"):
        dataset(name, root).load(tmp_path / "cache")


STORED = {5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
          8: Image.Transpose.ROTATE_270, 3: Image.Transpose.ROTATE_180, 2: Image.Transpose.FLIP_LEFT_RIGHT}  # fmt: skip


def lay_on_its_side(path, orientation, kind="PNG"):
    """Store the picture as a camera does: turned, with the note that turns it back."""
    note = Image.Exif()
    note[ExifTags.Base.Orientation] = orientation
    picture = Image.open(path).transpose(STORED[orientation])
    picture.save(path, kind, exif=note)
    return picture.size


@pytest.mark.parametrize("name", ["coco_folder", "voc_folder"])
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("on", ["shown", "stored"])
def test_boxes_follow_a_picture_that_is_turned_upright(tmp_path, name, orientation, on):
    root = FORMATS[name](tmp_path / "d")
    if on == "stored":  # annotate the stored picture: another data set of its own, whose picture is on its side
        width, height = 40, 20
        turned = []
        for kind, left, top, right, bottom in EXPECTED["a"]:
            canvas = Image.new("L", (width, height))
            canvas.paste(255, (left, top, right, bottom))
            turned.append((kind, *canvas.transpose(STORED[orientation]).getbbox()))
        images = [("train", "a", (height, width), turned), *IMAGES[1:]]
        upright = {path.stem: path.read_bytes() for path in root.rglob("*.png")}
        root = FORMATS[name](tmp_path / "e", images)
        (path,) = root.rglob("a.png")
        path.write_bytes(upright["a"])
    (path,) = root.rglob("a.png")
    pixels = np.asarray(Image.open(path))
    lay_on_its_side(path, orientation)
    data = dataset(name, root).load(tmp_path / "cache")
    assert objects_of(data)["a"] == EXPECTED["a"]
    np.testing.assert_array_equal(np.asarray(data.splits["train"][0][0]), pixels)


@pytest.mark.parametrize("name", ["coco_folder", "voc_folder"])
@pytest.mark.parametrize("orientation", [2, 3])
def test_boxes_of_a_turned_picture_of_the_same_size_are_refused(tmp_path, name, orientation):
    root = FORMATS[name](tmp_path / "d")
    (path,) = root.rglob("a.png")
    lay_on_its_side(path, orientation)
    with pytest.raises(ModelRankError, match=rf"a\.png holds an EXIF note to turn it \(orientation {orientation}\)"):
        dataset(name, root).load(tmp_path / "cache")


def test_boxes_follow_a_tiff_which_pillow_turns_itself(tmp_path):
    root = FORMATS["coco_folder"](tmp_path / "d")
    (path,) = root.rglob("a.png")
    pixels = np.asarray(Image.open(path))
    Image.open(path).save(path, "TIFF")
    lay_on_its_side(path, 6, "TIFF")
    data = dataset("coco_folder", root).load(tmp_path / "cache")
    assert objects_of(data)["a"] == EXPECTED["a"]
    np.testing.assert_array_equal(np.asarray(data.splits["train"][0][0]), pixels)


@every_format
def test_a_turned_picture_without_boxes_is_taken(tmp_path, name):
    root = FORMATS[name](tmp_path / "d")
    (path,) = root.rglob("c.png")
    lay_on_its_side(path, 3)
    assert objects_of(dataset(name, root).load(tmp_path / "cache"))["c"] == []


@pytest.mark.parametrize("name", ["coco_folder", "voc_folder"])  # YOLO takes every image of a folder
def test_images_that_are_not_listed_are_counted(tmp_path, name):
    root = FORMATS[name](tmp_path / "d")
    (one,) = root.rglob("a.png")
    write_image(one.with_name("unlisted.png"), (20, 20))
    notes = dataset(name, root).load(tmp_path / "cache").notes
    assert any(note.startswith("left out: 1 images that are not listed (") and "unlisted.png" in note for note in notes)


@every_format
def test_the_same_picture_in_two_splits_is_said(tmp_path, name, caplog):
    root = FORMATS[name](tmp_path / "d")
    (one,), (other,) = root.rglob("a.png"), root.rglob("f.png")
    other.write_bytes(one.read_bytes())
    data = dataset(name, root).load(tmp_path / "cache")
    assert "1 pictures are in several splits" in caplog.text
    assert any("a.png = " in note for note in data.notes)


@pytest.mark.parametrize(("name", "make"), [("voc_folder", voc), ("yolo_folder", yolo)])
def test_an_image_of_two_splits_is_refused(tmp_path, name, make):
    root = make(tmp_path / "d")
    if name == "voc_folder":
        (root / "ImageSets/Main/val.txt").write_text("a\n")
    else:
        (root / "data.yaml").write_text("train: images/train\nval: images/train\nnames: [ant, bee, cat]\n")
    with pytest.raises(ModelRankError, match=r"a\.png is in the splits 'train' and 'val'"):
        dataset(name, root).load(tmp_path / "cache")


@every_format
def test_a_train_split_without_any_object_is_refused(tmp_path, name):
    images = [("train", "a", (40, 20), []), ("val", "e", (40, 20), [("ant", 0, 0, 8, 8)])]
    with pytest.raises(ModelRankError, match="no object in the 1 train images"):
        dataset(name, FORMATS[name](tmp_path / "d", images), classes=["ant", "bee", "cat"]).load(tmp_path / "cache")


@every_format
def test_nothing_there_says_what_to_put_where(tmp_path, name):
    spec = dataset(name, tmp_path / "nowhere")
    assert spec.availability(tmp_path).state == "missing"
    with pytest.raises(MissingAsset, match=r"nowhere, which dataset\.root names"):
        spec.load(tmp_path)


@every_format
def test_fingerprint_knows_the_boxes(tmp_path, name):
    moved = [*IMAGES[:-1], ("test", "f", (40, 20), [("ant", 0, 10, 8, 20), ("bee", 20, 0, 32, 8)])]
    make = partial(dataset, name)
    one = make(FORMATS[name](tmp_path / "1")).load(tmp_path / "cache")
    other = make(FORMATS[name](tmp_path / "2", moved)).load(tmp_path / "cache")
    assert one.fingerprint == make(tmp_path / "1").load(tmp_path / "cache").fingerprint != other.fingerprint
