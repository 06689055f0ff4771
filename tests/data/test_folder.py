import logging

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from tests.data.making import image_folder, noise, png
from tests.data.test_package import CONF

from modelrank.types import MissingAsset, ModelRankError


def folder(root, **changes):
    config = OmegaConf.create({"dataset": OmegaConf.load(CONF / "folder.yaml")})
    config.dataset.root = str(root)
    return instantiate(config.dataset, **changes)


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


def test_one_class(tmp_path):
    with pytest.raises(ModelRankError, match="at least two"):
        folder(image_folder(tmp_path / "images", {"a": 10})).load(tmp_path)


def test_no_classes_no_folder(tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    (root / "loose.png").write_bytes(png(noise(4, 4, 3)))
    for place in (root, tmp_path / "nowhere"):
        spec = folder(place)
        assert spec.availability(tmp_path).state == "missing"
        with pytest.raises(MissingAsset, match=r"one folder of images per class.*dataset\.root=PATH"):
            spec.load(tmp_path)


def test_unknown_split_or_class(tmp_path):
    root = tmp_path / "images"
    image_folder(root / "train", {"a": 10, "b": 10})
    image_folder(root / "validation", {"a": 3})
    with pytest.raises(ModelRankError, match="validation"):
        folder(root).load(tmp_path)
    (root / "validation").rename(root / "val")
    image_folder(root / "val", {"z": 3})
    with pytest.raises(ModelRankError, match=r"\['z'\]"):
        folder(root).load(tmp_path)
