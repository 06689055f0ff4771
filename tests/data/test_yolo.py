import numpy as np
import pytest
from PIL import ExifTags, Image
from tests.data.making_detection import IMAGES, dataset, objects_of, yolo

from modelrank.types import ModelRankError


def load(root, cache):
    return dataset("yolo_folder", root).load(cache)


def test_names_may_be_a_mapping_and_folders_below_path(tmp_path):
    root = yolo(tmp_path / "d")
    before = objects_of(load(root, tmp_path / "cache"))
    (root / "inner").mkdir()
    for part in ("images", "labels"):
        (root / part).rename(root / "inner" / part)
    text = "path: inner\ntrain: images/train\nval: images/val\ntest: images/test\nnames: {2: cat, 0: ant, 1: bee}\n"
    (root / "data.yaml").write_text(text)
    assert objects_of(load(root, tmp_path / "cache")) == before


def test_roboflows_layout(tmp_path):
    root = yolo(tmp_path / "d")
    before = objects_of(load(root, tmp_path / "cache"))
    for split in ("train", "val", "test"):
        (root / split).mkdir()
        for part in ("images", "labels"):
            (root / part / split).rename(root / split / part)
    folders = "".join(f"{split}: ../{split}/images\n" for split in ("train", "val", "test"))
    (root / "data.yaml").write_text(f"{folders}names: [ant, bee, cat]\n")
    assert objects_of(load(root, tmp_path / "cache")) == before


@pytest.mark.parametrize("shape", [(1, 2), (2, 2), (4, 3)])  # 2 x 2 and 4 x 3: as many numbers as a polygon could have
def test_key_points_after_a_box_are_not_read(tmp_path, shape):
    root = yolo(tmp_path / "d")
    plain = objects_of(load(root, tmp_path / "cache"))
    for path in (root / "labels").rglob("*.txt"):
        path.write_text("".join(f"{line} {'0.1 ' * shape[0] * shape[1]}\n" for line in path.read_text().splitlines()))
    (root / "data.yaml").write_text(f"{(root / 'data.yaml').read_text()}kpt_shape: {list(shape)}\n")
    assert objects_of(load(root, tmp_path / "cache")) == plain


def test_images_without_labels_and_labels_without_images_are_counted(tmp_path):
    root = yolo(tmp_path / "d")
    (root / "labels/train/a.txt").rename(root / "labels/train/other.txt")
    data = load(root, tmp_path / "cache")
    notes = " ".join(data.notes)
    assert "2 images have no file of labels and count as images without objects (images/train/a.png, " in notes
    assert "left out: 1 text files beside the labels that belong to no image (labels/train/other.txt)" in notes


def test_labels_may_have_suffixes_in_capitals(tmp_path):
    root = yolo(tmp_path / "d")
    plain = objects_of(load(root, tmp_path / "cache"))
    (root / "labels/train/a.txt").rename(root / "labels/train/a.TXT")
    assert objects_of(load(root, tmp_path / "cache")) == plain


def test_an_empty_label_file_and_empty_lines(tmp_path):
    root = yolo(tmp_path / "d")
    (root / "labels/train/c.txt").write_text("")
    (root / "labels/train/d.txt").write_text("\n2 0.05 0.15 0.05 0.2\n\n")
    found = objects_of(load(root, tmp_path / "cache"))
    assert (found["c"], [kind for kind, *_ in found["d"]]) == ([], ["cat"])


@pytest.mark.parametrize(("line", "message"), [
    ("3 0.5 0.5 0.1 0.1", r"class 3, but .*data\.yaml has 0 to 2"),
    ("-1 0.5 0.5 0.1 0.1", r"class -1"),
    ("0.5 0.5 0.5 0.1 0.1", r"class 0\.5"),
    ("0 0.5 0.5 0.1", r"5 finite numbers"),
    ("0 0.1 0.1 0.2 0.2 0.9", r"5 finite numbers"),
    ("0 0.1 0.1 0.2 0.2 0.3 nan", r"7 finite numbers"),
    ("0 0.5 nan 0.1 0.1", r"5 finite numbers"),
    ("ant 0.5 0.5 0.1 0.1", r"5 numbers"),
])  # fmt: skip
def test_wrong_lines_are_refused_with_file_and_number(tmp_path, line, message):
    root = yolo(tmp_path / "d")
    (root / "labels/train/b.txt").write_text(f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(ModelRankError, match=rf"b\.txt, line 2: .*{message}"):
        load(root, tmp_path / "cache")


def unfolding(level: str) -> str:
    """Twenty levels of nine aliases each: 10^19 names where they are unfolded."""
    levels = (f"a{k}: &a{k} {level.format(', '.join([f'*a{k - 1}'] * 9))}\n" for k in range(1, 21))
    return "a0: &a0 {0: ant}\n" + "".join(levels)


@pytest.mark.parametrize(("text", "message"), [
    ("train: images/train\n", "'names' must list"),
    ("train: images/train\nnames: [ant, ant]\n", "'ant' twice"),
    ("train: images/train\nnames: {0: ant, 2: bee}\n", "not 0, 1, 2"),
    ("val: images/val\nnames: [ant, bee, cat]\n", "no folder of train images"),
    ("train: images/none\nnames: [ant, bee, cat]\n", "'images/none' of the train images is not there"),
    ("train: 3\nnames: [ant, bee, cat]\n", "give a folder, a text file"),
    ("train: /etc\nnames: [ant, bee, cat]\n", "names '/etc', outside"),
    ("train: ../../..\nnames: [ant, bee, cat]\n", "outside"),
    ("a: &a [x, x]\nb: &b [*a, *a]\nnames: [*b, *b]\ntrain: images/train\n", "'names' must list"),
    (f"{unfolding('[{}]')}names: *a20\ntrain: images/train\n", "'names' must list"),
    (f"{unfolding('[{}]')}names: [ant, bee, cat]\ntrain: *a20\n", "give a folder, a text file"),
    (f"{unfolding('{{<<: [{}]}}')}names: *a20\ntrain: images/train\n", "has 0 to 0"),
    (f"{unfolding('[{}]')}names: [ant, bee, cat]\ntrain: images/train\nkpt_shape: *a20\n", "kpt_shape must be two"),
    ("names: " + "[" * 5000, "cannot be read as YAML"),
    ("just words", "must have 'names'"),
    ("train: [", "cannot be read as YAML"),
    ("!!python/object/apply:os.getcwd []", "cannot be read as YAML"),
])  # fmt: skip
def test_a_wrong_data_yaml_is_refused(tmp_path, text, message):
    root = yolo(tmp_path / "d")
    (root / "data.yaml").write_text(text)
    with pytest.raises(ModelRankError, match=rf"data\.yaml.*{message}"):
        load(root, tmp_path / "cache")


def test_polygons_tabs_and_the_mark_of_windows_are_read(tmp_path):
    root = yolo(tmp_path / "d")
    plain = objects_of(load(root, tmp_path / "cache"))
    path = root / "labels/train/a.txt"  # bee over all of 40 x 20, cat from 10, 4 to 14, 12
    path.write_bytes(b"\xef\xbb\xbf1\t0.5\t0.5\t1\t1\r\n2 0.25 0.2 0.35 0.2 0.35 0.6 0.25 0.6\r\n")
    found = objects_of(load(root, tmp_path / "cache"))
    assert [kind for kind, *_ in found["a"]] == [kind for kind, *_ in plain["a"]]
    np.testing.assert_allclose([box for _, *box in found["a"]], [box for _, *box in plain["a"]], atol=1e-5)


@pytest.mark.parametrize(("train", "listed"), [
    ("train.txt", "./images/train/{}.png"),
    ("data/train.txt", "data/images/train/{}.png"),
    ("lists/train.txt", "../images/train/{}.png"),
    ("[images/train]", ""),
])  # fmt: skip
def test_images_may_be_named_by_a_list(tmp_path, train, listed):
    root = yolo(tmp_path / "d")
    plain = load(root, tmp_path / "cache")
    if listed:
        file = root / train.removeprefix("data/")
        file.parent.mkdir(exist_ok=True)
        file.write_text("".join(f"{listed.format(name)}\n" for name in "abcd"))
    text = (root / "data.yaml").read_text().replace("train: images/train", f"train: {train}")
    (root / "data.yaml").write_text(text)
    data = load(root, tmp_path / "cache")
    assert objects_of(data) == objects_of(plain)
    assert data.splits["train"].ids == plain.splits["train"].ids


def test_an_image_of_a_list_that_is_not_there_is_named_with_its_line(tmp_path):
    root = yolo(tmp_path / "d")
    (root / "train.txt").write_text("images/train/a.png\nimages/train/z.png\n")
    (root / "data.yaml").write_text("train: train.txt\nnames: [ant, bee, cat]\n")
    with pytest.raises(ModelRankError, match=r"train\.txt, line 2: the image images/train/z\.png is not there"):
        load(root, tmp_path / "cache")


def test_labels_beside_images_where_no_folder_is_called_images(tmp_path):
    root = yolo(tmp_path / "d")
    plain = objects_of(load(root, tmp_path / "cache"))
    (root / "images").rename(root / "all")
    for path in (root / "labels").rglob("*.txt"):
        path.rename(root / "all" / path.relative_to(root / "labels"))
    (root / "data.yaml").write_text("train: all/train\nval: all/val\ntest: all/test\nnames: [ant, bee, cat]\n")
    assert objects_of(load(root, tmp_path / "cache")) == plain


def test_a_folder_without_images_is_refused(tmp_path):
    root = yolo(tmp_path / "d")
    for path in (root / "images/val").iterdir():
        path.unlink()
    with pytest.raises(ModelRankError, match="images/val: no images"):
        load(root, tmp_path / "cache")


def test_labels_that_are_no_text_are_refused_by_name(tmp_path):
    root = yolo(tmp_path / "d")
    (root / "labels/train/b.txt").write_bytes(b"0 0.5 0.5 0.1 0.1 \xff")
    with pytest.raises(ModelRankError, match=r"b\.txt cannot be read as text"):
        load(root, tmp_path / "cache")


def test_an_image_with_a_note_to_turn_it_is_refused(tmp_path):
    root = yolo(tmp_path / "d")
    note = Image.Exif()
    note[ExifTags.Base.Orientation] = 6
    Image.open(root / "images/train/a.png").save(root / "images/train/a.png", exif=note)
    with pytest.raises(ModelRankError, match=r"a\.png holds an EXIF note to turn it \(orientation 6\)"):
        load(root, tmp_path / "cache")


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_without_an_object_is_refused(tmp_path, split):
    root = yolo(tmp_path / "d")
    (root / "labels" / split).rename(root / "labels" / f"{split}s")
    with pytest.raises(ModelRankError, match=f"no object in the . {split} images"):
        load(root, tmp_path / "cache")


def test_one_class_is_enough_for_a_detector(tmp_path):
    images = [(split, name, size, [("ant", *box) for _, *box in objects]) for split, name, size, objects in IMAGES]
    root = yolo(tmp_path / "d", images)
    (root / "data.yaml").write_text("train: images/train\nval: images/val\ntest: images/test\nnames: [ant]\n")
    assert load(root, tmp_path / "cache").classes == ("ant",)
