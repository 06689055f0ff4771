import time

import pytest
from tests.data.making_detection import CONF, IMAGES, dataset, objects_of, voc, voc_object

from modelrank.data import voc as reader
from modelrank.data.copies import Places
from modelrank.types import MissingAsset, ModelRankError


def load(tmp_path, text=None, **changes):
    root = voc(tmp_path / "d")
    if text is not None:
        (root / "Annotations/b.xml").write_text(text)
    return dataset("voc_folder", root, **changes).load(tmp_path / "cache")


def test_the_first_pixel_is_number_one_and_the_last_belongs_to_the_object(tmp_path):
    whole = (
        "<object><name>ant</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>20</xmax><ymax>40</ymax></bndbox></object>"
    )
    assert objects_of(load(tmp_path, f"<annotation>{whole}</annotation>"))["b"] == [("ant", 0, 0, 20, 40)]


def test_difficult_objects_are_left_out_everywhere(tmp_path):
    text = f"<annotation>{voc_object('ant', 0, 0, 9, 9)}{voc_object('bee', 0, 0, 9, 9, difficult=1)}</annotation>"
    assert objects_of(load(tmp_path, text))["b"] == [("ant", 0, 0, 9, 9)]


@pytest.mark.parametrize("word", ["False", "Unspecified", "", "0"])
def test_an_object_is_difficult_only_where_it_is_said(tmp_path, word):
    text = f"<annotation>{voc_object('ant', 0, 0, 9, 9, difficult=word)}</annotation>"
    assert objects_of(load(tmp_path, text))["b"] == [("ant", 0, 0, 9, 9)]


def test_trainval_without_a_train_list(tmp_path):
    root = voc(tmp_path / "d")
    (root / "ImageSets/Main/train.txt").rename(root / "ImageSets/Main/trainval.txt")
    data = dataset("voc_folder", root).load(tmp_path / "cache")
    assert [len(data.splits[split]) for split in ("train", "val", "test")] == [4, 1, 1]


def test_without_lists_all_annotations_are_train(tmp_path):
    root = voc(
        tmp_path / "d", [("train", f"i{k}", (40, 20), [("ant", 0, 0, 8, 8), ("bee", 0, 0, 9, 9)]) for k in range(10)]
    )
    (root / "ImageSets/Main/train.txt").unlink()
    data = dataset("voc_folder", root).load(tmp_path / "cache")
    assert [len(data.splits[split]) for split in ("train", "val", "test")] == [6, 2, 2]


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_empty_list_is_refused(tmp_path, split):
    root = voc(tmp_path / "d")
    (root / f"ImageSets/Main/{split}.txt").write_text("\n")
    with pytest.raises(ModelRankError, match=rf"Main/{split}\.txt names no image; fill it, or remove it"):
        dataset("voc_folder", root).load(tmp_path / "cache")


def test_an_image_listed_twice_is_refused(tmp_path):
    root = voc(tmp_path / "d")
    with (root / "ImageSets/Main/train.txt").open("a") as file:
        file.write("b\n")
    with pytest.raises(ModelRankError, match=r"train\.txt: b is listed twice"):
        dataset("voc_folder", root).load(tmp_path)


@pytest.mark.parametrize("line", ["../../secret", "/etc/hostname", "a/../../../secret", "../Annotations/a"])
def test_a_list_that_leaves_the_folder_is_refused(tmp_path, line):
    root = voc(tmp_path / "d")
    (tmp_path / "secret.xml").write_text((root / "Annotations/a.xml").read_text())
    with (root / "ImageSets/Main/train.txt").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(ModelRankError, match=r"train\.txt names .*which is not a path below"):
        dataset("voc_folder", root).load(tmp_path)


CORNERS = "<xmin>1</xmin><ymin>1</ymin><xmax>{}</xmax><ymax>9</ymax>"


@pytest.mark.parametrize(("inner", "message"), [
    (f"<object><name>dog</name><bndbox>{CORNERS.format(9)}</bndbox></object>", r"unknown class 'dog'"),
    ("<object><name>ant</name></object>", r"lacks its bndbox"),
    (f"<object><bndbox>{CORNERS.format(9)}</bndbox></object>", r"lacks its name"),
    (f"<object><name>ant</name><bndbox>{CORNERS.format('nan')}</bndbox></object>", r"bndbox of a ant.*finite"),
    (f"<object><name>ant</name><bndbox>{CORNERS.format('')}</bndbox></object>", r"bndbox of a ant"),
    ("<object><name>ant</name><bndbox><xmin>1</xmin></bndbox></object>", r"bndbox of a ant"),
    ("<size><width>wide</width><height>40</height></size>", r"size"),
    ("<object>", r"cannot be read as a VOC annotation"),
])  # fmt: skip
def test_wrong_annotations_are_refused_with_the_name_of_their_file(tmp_path, inner, message):
    with pytest.raises(ModelRankError, match=rf"b\.xml.*{message}"):
        load(tmp_path, f"<annotation>{inner}</annotation>", classes=["ant", "bee", "cat"])


def test_classes_are_those_of_train(tmp_path):
    root = voc(tmp_path / "d", [*IMAGES, ("val", "g", (40, 20), [("dog", 0, 0, 8, 8)])])
    with pytest.raises(ModelRankError, match=r"g\.xml: unknown class 'dog'"):
        dataset("voc_folder", root).load(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_neither_unfolded_nor_fetched(tmp_path, encoding):
    levels = "".join(f'<!ENTITY e{k} "{f"&e{k - 1};" * 10}">' for k in range(1, 10))
    bomb = f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY e0 "ha">{levels}]><annotation>&e9;</annotation>'
    secret = tmp_path / "secret"
    secret.write_text("ant")
    thief = f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY s SYSTEM "file://{secret}">]><annotation>&s;</annotation>'
    for text in (bomb, thief):
        path = tmp_path / "x.xml"
        path.write_bytes(text.encode(encoding))
        started = time.process_time()
        with pytest.raises(ModelRankError, match=r"x\.xml.*document type"):
            reader._parsed(path)
        assert time.process_time() - started < 0.5


def test_voc2007_in_torchvisions_layout(tmp_path):
    images = [
        (split, f"{k:06}", size, [("dog", *box[1:]) for box in objects])
        for k, (split, _, size, objects) in enumerate(IMAGES)
    ]
    voc(tmp_path / "VOCdevkit/VOC2007", images)
    data = dataset("voc2007_detection", tmp_path).load(tmp_path / "cache")
    assert (len(data.classes), data.classes[11]) == (20, "dog")
    assert [len(data.splits[split]) for split in ("train", "val", "test")] == [4, 1, 1]
    assert data.scored_targets().tolist() == [11] * 5


def test_a_download_is_tried_where_there_is_one(tmp_path):
    class Download:
        user_files = True

        def origin(self, places):
            return "somewhere"

        def fetch(self, places):
            voc(places.own / "VOC")

    places = Places(tmp_path, tmp_path, tmp_path)
    copy = reader.VocCopy("VOC", download=Download())  # type: ignore[arg-type]  only what is called here
    assert (copy.origin(places), copy.present(places)) == ("somewhere", None)
    copy.fetch(places)
    assert copy.present(places) == tmp_path / "VOC"
    assert len(copy.read(places).splits["train"]) == 4
    with pytest.raises(MissingAsset, match="Annotations/"):
        reader.VocCopy().fetch(places)


def test_the_class_list_of_both_voc2007_sets_is_one():
    from omegaconf import OmegaConf

    from modelrank.data.benchmarks import VOC_CLASSES

    assert tuple(OmegaConf.load(CONF / "voc2007_detection.yaml").classes) == VOC_CLASSES


def test_images_may_have_suffixes_in_capitals(tmp_path):
    root = voc(tmp_path / "d")
    (root / "JPEGImages/b.png").rename(root / "JPEGImages/b.PNG")
    assert "b" in objects_of(dataset("voc_folder", root).load(tmp_path / "cache"))


def test_a_list_that_is_no_text_is_refused_by_name(tmp_path):
    root = voc(tmp_path / "d")
    (root / "ImageSets/Main/val.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelRankError, match=r"val\.txt cannot be read as text"):
        dataset("voc_folder", root).load(tmp_path / "cache")
