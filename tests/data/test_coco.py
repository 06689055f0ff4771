import logging

import pytest
from tests.data.making_detection import IMAGES, coco, dataset, edit_json, objects_of

from modelrank.types import ModelRankError

TRAIN = "annotations/instances_train.json"


def load(tmp_path, change=None, **changes):
    root = coco(tmp_path / "d")
    if change:
        edit_json(root / TRAIN, change)
    return dataset("coco_folder", root, **changes).load(tmp_path / "cache")


def test_crowds_are_left_out(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        data = load(tmp_path, lambda d: d["annotations"][0].update(iscrowd=1, segmentation={"counts": [1]}))
    assert objects_of(data)["a"] == [IMAGES[0][3][1]]
    assert "left out: 1 crowds or difficult objects" in caplog.text


@pytest.mark.parametrize("no", [0, "0", False, None])
def test_no_crowd_however_it_is_said(tmp_path, no):
    data = load(tmp_path, lambda d: d["annotations"][0].update(iscrowd=no))
    assert objects_of(data)["a"] == IMAGES[0][3]


def test_files_of_other_names_and_a_shared_image_folder(tmp_path):
    root = coco(tmp_path / "d")
    for old, new in (("train", "things_2017"), ("test", "held_out")):
        (root / f"annotations/instances_{old}.json").rename(root / f"annotations/{new}.json")
        (root / "images").mkdir(exist_ok=True)
        for path in (root / old).iterdir():
            path.rename(root / "images" / path.name)
    named = {"train": "annotations/things_2017.json", "test": "annotations/held_out.json"}
    data = dataset("coco_folder", root, **{"copies.coco.annotations": named}).load(tmp_path / "cache")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 3, "val": 1, "test": 1}


def test_two_files_for_one_split_ask_for_a_choice(tmp_path):
    root = coco(tmp_path / "d")
    (root / "annotations/instances_train2014.json").write_text("{}")
    with pytest.raises(ModelRankError, match=r"dataset\.copies\.coco\.annotations"):
        dataset("coco_folder", root).load(tmp_path)


def first(key, **values):
    return lambda document: document[key][0].update(values)


@pytest.mark.parametrize(("change", "message"), [
    (first("annotations", category_id=4), r"annotation 0: the category id 4 is not listed"),
    (first("annotations", category_id=[3]), r"the category id \[3\]"),
    (first("annotations", image_id=5), r"annotation 0 is of the image id 5"),
    (first("annotations", image_id={}), r"of the image id \{\}"),
    (first("annotations", bbox=[0, 0, float("nan"), 4]), r"annotation 0: bbox.*finite"),
    (first("annotations", bbox=[0, 0, float("inf"), 4]), r"annotation 0: bbox.*finite"),
    (first("annotations", bbox=[0, 0, 4]), r"annotation 0: bbox.*4 finite numbers"),
    (first("annotations", bbox="1234"), r"annotation 0: bbox"),
    (first("annotations", bbox=None), r"annotation 0: bbox"),
    (first("annotations", bbox=[], segmentation=[[1, 1, 9, 9]]), r"annotation 0: segmentation.*no polygon"),
    (first("images", file_name="../secret.png"), r"'\.\./secret\.png', which is not a path below"),
    (first("images", file_name="/etc/secret.png"), r"'/etc/secret\.png', which is not a path below"),
    (lambda d: d["annotations"][0].pop("bbox"), r"annotation 0 has no 'bbox'"),
    (first("images", id=101), r"the image id 101 occurs twice"),
    (first("images", file_name="b.png"), r"b\.png occurs under two image ids"),
    (lambda d: d["images"][0].pop("file_name"), r"lacks its 'id' or 'file_name'"),
    (first("images", width="wide"), r"size of a\.png"),
    (first("categories", id=3), r"category id 3.*twice"),
    (first("categories", name="ant"), r"\[3, 90\] are all called 'ant'; rename them"),
    (lambda d: d["categories"][0].pop("name"), r"category lacks"),
    (lambda d: d.pop("categories"), r"no list 'categories'"),
    (lambda d: d.update(images=[3]), r"entry of 'images'"),
])  # fmt: skip
def test_wrong_annotations_are_refused_with_the_name_of_their_file(tmp_path, change, message):
    with pytest.raises(ModelRankError, match=rf"instances_train\.json.*{message}"):
        load(tmp_path, change)


def test_categories_must_agree_between_the_splits(tmp_path):
    with pytest.raises(ModelRankError, match=r"instances_val\.json: its categories"):
        load(tmp_path, lambda d: d["categories"].append({"id": 91, "name": "dog"}))


def test_broken_json_is_named(tmp_path):
    root = coco(tmp_path / "d")
    (root / TRAIN).write_text('{"images": [')
    with pytest.raises(ModelRankError, match=r"instances_train\.json cannot be read as JSON"):
        dataset("coco_folder", root).load(tmp_path)


@pytest.mark.parametrize("named", [{"test": "x.json"}, {"train": "x.json", "held_out": "y.json"}])
def test_annotations_of_unknown_splits_are_refused(tmp_path, named):
    with pytest.raises(ModelRankError, match="give train"):
        dataset("coco_folder", coco(tmp_path / "d"), **{"copies.coco.annotations": named}).load(tmp_path)


def test_json_nested_too_deep_is_named(tmp_path):
    root = coco(tmp_path / "d")
    (root / TRAIN).write_text("[" * 100_000)
    with pytest.raises(ModelRankError, match=r"instances_train\.json cannot be read as JSON"):
        dataset("coco_folder", root).load(tmp_path)


@pytest.mark.parametrize("name", ["animals", "ant"])
def test_the_root_of_an_export_is_no_class_and_may_be_called_like_one(tmp_path, name, caplog):
    plain = load(tmp_path)
    for path in (tmp_path / "d/annotations").iterdir():
        edit_json(path, lambda d: d["categories"].append({"id": 0, "name": name, "supercategory": "none"}))
    data = dataset("coco_folder", tmp_path / "d").load(tmp_path / "cache")
    assert data.classes == plain.classes
    assert objects_of(data) == objects_of(plain)
    assert f"left out: the category '{name}'" in caplog.text
    assert any(name in note for note in data.notes)


def test_a_root_by_supercategory_goes_and_a_class_without_objects_stays(tmp_path):
    root = coco(tmp_path / "d")
    for path in (root / "annotations").iterdir():
        edit_json(path, lambda d: [c.update(supercategory="insects") for c in d["categories"]])
        edit_json(path, lambda d: d["categories"].extend(
            [{"id": 91, "name": "insects"}, {"id": 92, "name": "moth"}]))  # fmt: skip
    assert dataset("coco_folder", root).load(tmp_path / "cache").classes == ("ant", "bee", "cat", "moth")


def test_an_object_without_a_box_has_that_of_its_polygons(tmp_path):
    polygons = [[10, 4, 14, 4, 12, 8], [11, 12, 13, 6, 14, 7]]
    data = load(tmp_path, lambda d: d["annotations"][1].update(bbox=[], segmentation=polygons))
    assert objects_of(data)["a"][1] == ("cat", 10, 4, 14, 12)


def test_images_beside_their_annotations(tmp_path):
    root = coco(tmp_path / "d")
    before = objects_of(dataset("coco_folder", root).load(tmp_path / "cache"))
    for split in ("train", "val", "test"):
        (root / f"annotations/instances_{split}.json").rename(root / split / "_annotations.coco.json")
        (root / split).rename(root / f"{split}_part")
    named = {split: f"{split}_part/_annotations.coco.json" for split in ("train", "val", "test")}
    changed = dataset("coco_folder", root, **{"copies.coco.annotations": named})
    assert objects_of(changed.load(tmp_path / "cache")) == before
