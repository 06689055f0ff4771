import logging
import os
import shutil
import unicodedata

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image
from tests.data.making import CONF, every_id, folder, image_folder, noise, png

from modelrank.types import MissingAsset, ModelRankError


def test_without_a_split(tmp_path):
    root = image_folder(tmp_path / "images", {"dog": 20, "ant": 10})
    (root / "dog/notes.txt").write_text("not an image")
    (root / ".hidden").mkdir()
    data = folder(root).load(tmp_path / "cache")
    assert data.classes == ("ant", "dog")
    assert [np.bincount(data.splits[s].targets).tolist() for s in ("train", "val", "test")] == [[6, 12], [2, 4], [2, 4]]
    assert all(
        name.startswith(data.classes[t])
        for name, t in zip(data.splits["val"].ids, data.splits["val"].targets, strict=True)
    )
    assert str(root) in data.source


def test_with_a_split_and_nested_files(tmp_path):
    root = tmp_path / "images"
    image_folder(root / "train", {"a": 10, "b/deeper": 10})
    image_folder(root / "val", {"a": 3, "b": 3}, seed=9)
    image_folder(root / "test", {"a": 4}, seed=19)  # a test split may lack a class
    data = folder(root).load(tmp_path)
    assert [len(data.splits[s]) for s in ("train", "val", "test")] == [20, 6, 4]
    assert all(name.startswith("test/") for name in data.splits["test"].ids)


def test_val_is_cut_from_train_where_only_test_is_given(tmp_path):
    image_folder(tmp_path / "i/train", {"a": 10, "b": 10})
    image_folder(tmp_path / "i/test", {"a": 5, "b": 5}, seed=9)
    data = folder(tmp_path / "i").load(tmp_path)
    assert [len(data.splits[s]) for s in ("train", "val", "test")] == [16, 4, 10]


@pytest.mark.parametrize("damage", ["empty", "truncated"])
def test_unreadable_image_is_refused_or_skipped_by_name(tmp_path, damage, caplog):
    root = image_folder(tmp_path / "images", {"a": 10, "b": 10})
    bad = root / "a/003.png"
    bad.write_bytes(b"" if damage == "empty" else bad.read_bytes()[:-200])
    with pytest.raises(ModelRankError, match=r"a/003\.png.*dataset\.on_unreadable=skip"):
        folder(root).load(tmp_path / "cache")
    with caplog.at_level(logging.WARNING):
        data = folder(root, on_unreadable="skip").load(tmp_path / "cache")
    assert "a/003.png" in caplog.text
    assert sum(len(split) for split in data.splits.values()) == 19
    assert not any("a/003.png" in split.ids for split in data.splits.values())


def test_a_mended_image_is_seen(tmp_path):
    root = image_folder(tmp_path / "images", {"a": 10, "b": 10})
    (root / "a/003.png").write_bytes(b"")
    with pytest.raises(ModelRankError):
        folder(root).load(tmp_path)
    (root / "a/003.png").write_bytes(png(noise(12, 16, 3)))
    before = folder(root).load(tmp_path).fingerprint
    (root / "a/003.png").write_bytes(png(noise(20, 16, 3)))
    assert folder(root).load(tmp_path).fingerprint != before


def test_empty_class_folder_is_named(tmp_path):
    root = image_folder(tmp_path / "images", {"a": 10, "b": 10})
    (root / "c").mkdir()
    with pytest.raises(ModelRankError, match=r"images/c: a class folder without images"):
        folder(root).load(tmp_path)


def test_class_of_nothing_but_unreadable_images(tmp_path):
    root = image_folder(tmp_path / "images", {"a": 10, "b": 1})
    (root / "b/000.png").write_bytes(b"")
    with pytest.raises(ModelRankError, match=r"no readable image of \['b'\]"):
        folder(root, on_unreadable="skip").load(tmp_path)


def test_one_image_a_class_leaves_none_for_val(tmp_path):
    root = image_folder(tmp_path / "images", {"a": 1, "b": 1})
    with pytest.raises(
        ModelRankError, match=r"no image for the split 'val' .* keeps one image a class: add images, or"
    ):
        folder(root).load(tmp_path)


def test_one_class(tmp_path):
    with pytest.raises(ModelRankError, match="at least two"):
        folder(image_folder(tmp_path / "images", {"a": 10})).load(tmp_path)


def test_no_classes_no_folder(tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    (root / "loose.png").write_bytes(png(noise(4, 4, 3)))
    (tmp_path / "empty").mkdir()
    says = {
        root: r"1 image\(s\) in .*images are in the folder of no class; give each class one there",
        root / "loose.png": r"there is no folder .*loose\.png, which dataset\.root names: it is a file",
        tmp_path / "empty": r"one folder of images per class.*dataset\.root=PATH",
        tmp_path / "nowhere": r"there is no folder .*nowhere, which dataset\.root names",
    }
    for place, words in says.items():
        spec = folder(place)
        assert spec.availability(tmp_path).state == "missing"
        with pytest.raises(MissingAsset, match=words):
            spec.load(tmp_path)


@pytest.mark.parametrize(("names", "splits"), [
    (("Training", "Testing"), ("train", "test")),
    (("train", "valid", "test"), ("train", "val", "test")),
    (("train2017", "val2017"), ("train", "val")),
    (("TrainSet", "validation_set"), ("train", "val")),
    (("train_images", "eval"), ("train", "test")),
])  # fmt: skip
def test_splits_as_exports_call_them(tmp_path, names, splits):
    for seed, name in enumerate(names):
        image_folder(tmp_path / "i" / name, {"a": 10, "b": 10}, seed=50 * seed)
    data = folder(tmp_path / "i").load(tmp_path / "cache")
    assert data.classes == ("a", "b")
    for name, split in zip(names, splits, strict=True):
        assert all(each.startswith(f"{name}/") for each in data.splits[split].ids)


@pytest.mark.parametrize(("made", "message"), [
    ({"train": "ab", "validation": "ab", "valid": "ab"}, "train/, valid/, validation/, two of them for one split"),
    ({"train": "ab", "other": "ab"}, r"train/ and also \['other'\]"),
    ({"test": "ab", "val": "ab"}, r"has test/, val/, and no folder for train: name its splits train, val and test"),
    ({"learn": "ab", "check": "ab"}, r"all hold \['a', 'b'\].*copies\.folder\.splits"),
    ({"photos": "ab"}, "holds one folder, photos; if the classes are in it, give dataset.root="),
    ({"train": "ab", "val": "z"}, r"the classes \['z'\] are not among those of train"),
])  # fmt: skip
def test_layouts_that_can_be_read_in_two_ways_are_refused(tmp_path, made, message):
    for seed, (name, classes) in enumerate(made.items()):
        image_folder(tmp_path / "i" / name, dict.fromkeys(classes, 4), seed=50 * seed)
    with pytest.raises(ModelRankError, match=message):
        folder(tmp_path / "i").load(tmp_path)


def test_splits_without_class_folders_are_refused(tmp_path):
    with pytest.raises(ModelRankError, match=r"\['Test', 'Train'\] look like splits but hold no class folders"):
        folder(image_folder(tmp_path / "i", {"Train": 4, "Test": 4})).load(tmp_path)


def test_splits_may_be_named_or_denied(tmp_path):
    for seed, name in enumerate(("learn", "check")):
        image_folder(tmp_path / "i" / name, {"a": 10, "b": 10}, seed=50 * seed)
    key = "copies.folder.splits"
    data = changed(tmp_path / "i", **{key: {"train": "learn", "test": "check"}}).load(tmp_path)
    assert (data.classes, len(data.splits["test"])) == (("a", "b"), 20)
    assert changed(tmp_path / "i", **{key: {}}).load(tmp_path).classes == ("check", "learn")
    with pytest.raises(ModelRankError, match=r"there is no folder .*nowhere"):
        changed(tmp_path / "i", **{key: {"train": "nowhere"}}).load(tmp_path)
    for wrong in ({"test": "check"}, "train", ["train", "test"]):
        with pytest.raises(ModelRankError, match=r"dataset\.copies\.folder\.splits=.*give \{train: FOLDER\}"):
            changed(tmp_path / "i", **{key: wrong}).load(tmp_path)


def changed(root, **changes):
    config = OmegaConf.create({"dataset": OmegaConf.load(CONF / "folder.yaml")})
    config.dataset.root = str(root)
    for key, value in changes.items():
        OmegaConf.update(config, f"dataset.{key}", value, force_add=True, merge=False)
    return instantiate(config.dataset)


def test_copies_that_programs_make_are_left_out_and_counted(tmp_path, caplog):
    root = image_folder(tmp_path / "images", {"a": 10, "b": 10})
    plain = folder(root).load(tmp_path / "cache")
    image = png(noise(12, 16, 3, seed=77))
    for name in ("a/.ipynb_checkpoints/000-checkpoint.png", "a/._000.png", "b/@eaDir/thumb.png", "__MACOSX/a/._x.png",
                 ".git/x.png", "a/Thumbs/a.png", "lost+found/b.png"):  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(image)
    (root / "a/Thumbs.db").write_bytes(b"x")
    (root / "a/notes").write_text("not an image")
    data = folder(root).load(tmp_path / "cache")
    assert every_id(data) == every_id(plain)
    assert data.fingerprint == plain.fingerprint
    notes = " ".join(data.notes)
    assert "left out: 7 hidden files and copies that programs made (.git/x.png, __MACOSX/a/._x.png, " in notes
    assert "left out: 1 files that are no images (.db) (a/Thumbs.db)" in notes
    assert "files that are no images (no suffix) (a/notes)" in notes
    assert all(note in caplog.text for note in data.notes)


def test_a_class_may_begin_with_underscores(tmp_path):
    root = image_folder(tmp_path / "images", {"a": 4, "__background__": 4})
    assert folder(root).load(tmp_path).classes == ("__background__", "a")


def test_thumbnails_beside_classes_are_a_class_only_if_it_is_said(tmp_path):
    root = image_folder(tmp_path / "images", {"fist": 4, "palm": 4, "thumbs": 4})
    with pytest.raises(ModelRankError, match=r"thumbs may hold small copies .*splits=\{\}"):
        folder(root).load(tmp_path)
    assert changed(root, **{"copies.folder.splits": {}}).load(tmp_path).classes == ("fist", "palm", "thumbs")


def test_a_format_that_is_not_read_is_refused_unless_it_has_a_twin(tmp_path):
    root = image_folder(tmp_path / "images", {"a": 4, "b": 4})
    (root / "a/000.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    data = folder(root).load(tmp_path)
    assert len(every_id(data)) == 8
    assert any("with a twin of the same name that is (a/000.HEIC)" in note for note in data.notes)
    (root / "a/photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(ModelRankError, match=r"a/photo\.heic \(no image format that is read here\)"):
        folder(root).load(tmp_path)


def test_links_are_followed_and_circles_are_not(tmp_path):
    root = image_folder(tmp_path / "images", {"a": 4, "b": 4})
    image_folder(tmp_path / "else", {"a": 3}, seed=40)
    (root / "a/more").symlink_to(tmp_path / "else/a")
    (root / "b/loop").symlink_to(root / "b")
    data = folder(root).load(tmp_path)
    assert len(every_id(data)) == 11
    assert "a/more/000.png" in every_id(data)
    assert any("links to folders that were looked into already (b/loop)" in note for note in data.notes)
    assert any("3 images lie deeper in the folder of their class" in note for note in data.notes)


def test_accents_may_be_stored_in_either_way(tmp_path):
    one, two = unicodedata.normalize("NFC", "été"), unicodedata.normalize("NFD", "été")
    image_folder(tmp_path / "i/train", {one: 10, "b": 10})
    image_folder(tmp_path / "i/test", {two: 5, "b": 5}, seed=50)
    data = folder(tmp_path / "i").load(tmp_path / "cache")
    assert data.classes == ("b", one)
    assert np.bincount(data.splits["test"].targets).tolist() == [5, 5]
    image_folder(tmp_path / "i/train", {two: 4}, seed=70)
    with pytest.raises(ModelRankError, match=f"train has two folders of the name {one}, whose accents"):
        folder(tmp_path / "i").load(tmp_path / "cache")


def test_a_broken_link_is_named(tmp_path):
    root = image_folder(tmp_path / "images", {"a": 4, "b": 4})
    (root / "a/gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(ModelRankError, match=r"a/gone\.png \(.*No such file"):
        folder(root).load(tmp_path)


def test_a_broken_link_to_a_folder_is_named(tmp_path):
    root = image_folder(tmp_path / "images", {"a": 4, "b": 4})
    (root / "a/more").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ModelRankError, match=r"a/more \(.*No such file"):
        folder(root).load(tmp_path)
    (root / "a/more").unlink()
    (root / "c").symlink_to(tmp_path / "nowhere")  # it may have been a class
    with pytest.raises(ModelRankError, match=r"images/c is a link that leads nowhere"):
        folder(root, on_unreadable="skip").load(tmp_path)


def test_names_that_are_no_utf8_work_and_are_shown(tmp_path):
    root = image_folder(tmp_path / "images", {"a": 4, "b": 4})
    (root / "a/000.png").rename(root / os.fsdecode(b"a/na\xefve.png"))
    (root / "b").rename(root / os.fsdecode(b"b\xff"))
    data = folder(root).load(tmp_path)
    assert r"a/na\xefve.png" in every_id(data)
    assert data.classes == ("a", r"b\xff")
    assert len(data.fingerprint) == 64
    data.splits["train"][0]


def test_pictures_that_use_few_of_16_bits_are_refused(tmp_path):
    root = image_folder(tmp_path / "images", {"a": 4, "b": 4})
    Image.fromarray(noise(12, 16).astype(np.uint16) * 16).save(root / "a/deep.png")
    with pytest.raises(ModelRankError, match=r"1 images store 16 bits .* the largest is 6\.2% .*a/deep\.png"):
        folder(root).load(tmp_path)


def test_identity_is_that_of_names_and_content(tmp_path):
    root = image_folder(tmp_path / "images", {"a": 4, "b": 4})
    before = folder(root).load(tmp_path / "cache").fingerprint
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, copy_function=shutil.copyfile)  # other times
    assert folder(copy).load(tmp_path / "other").fingerprint == before
    (copy / "a/000.png").rename(copy / "a/zzz.png")
    assert folder(copy).load(tmp_path / "other").fingerprint != before


def test_a_changed_byte_is_seen_though_size_and_time_are_as_before(tmp_path):
    root = image_folder(tmp_path / "images", {"a": 4, "b": 4})
    before = folder(root).load(tmp_path / "cache").fingerprint
    path = root / "a/000.png"
    stat, content = path.stat(), bytearray(png(noise(12, 16, 3, seed=5)))
    path.write_bytes(content[: stat.st_size].ljust(stat.st_size, b"\0"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    assert folder(root).load(tmp_path / "cache").fingerprint != before


def test_an_unreadable_folder_is_named(tmp_path, monkeypatch):
    root = image_folder(tmp_path / "images", {"a": 4, "b": 4})

    def closed(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(root), "iterdir", closed)
    with pytest.raises(ModelRankError, match=r"images cannot be read: Permission denied"):
        folder(root).load(tmp_path)
