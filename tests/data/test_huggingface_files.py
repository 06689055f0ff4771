"""Data sets as Hugging Face's own `datasets` writes them."""

import numpy as np
import pytest
from PIL import Image

from modelrank.data.huggingface_files import dataset
from modelrank.types import MissingAsset, ModelRankError

pytestmark = pytest.mark.slow  # importing datasets takes seconds
SPEC = {"name": "mine", "task": "classification", "metric": "accuracy", "licence": "mine"}


def pictures(count: int, start: int) -> list[Image.Image]:
    return [Image.fromarray(np.full((8, 8, 3), start + i, np.uint8)) for i in range(count)]


@pytest.fixture
def splits():
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})

    def part(count: int, start: int, labels: list[int]) -> datasets.Dataset:
        return datasets.Dataset.from_dict({"image": pictures(count, start), "label": labels}, features=features)

    return datasets.DatasetDict(
        train=part(20, 0, [0, 1] * 10), validation=part(4, 100, [0, 1, 0, 1]), test=part(5, 200, [1, 0, 1, 0, -1])
    )


def test_what_save_to_disk_and_parquet_hold(splits, tmp_path):
    splits.save_to_disk(tmp_path / "disk")
    for name, rows in splits.items():
        rows.to_parquet(tmp_path / "parquet" / f"{name}-00000-of-00001.parquet")
    first, second = (dataset(str(tmp_path / kind), **SPEC).load(tmp_path) for kind in ("disk", "parquet"))
    assert first.fingerprint == second.fingerprint
    for data in (first, second):
        assert data.classes == ("cat", "dog")
        assert {name: len(split) for name, split in data.splits.items()} == {"train": 20, "val": 4, "test": 4}
        image, label = data.splits["val"][1]
        assert (image.getpixel((0, 0)), label) == ((101, 101, 101), 1)
        assert data.notes == ("1 test images without a label are left out",)
    splits["train"] = splits["train"].select([1, 0, *range(2, 20)])
    splits.save_to_disk(tmp_path / "other")
    assert dataset(str(tmp_path / "other"), **SPEC).load(tmp_path).fingerprint != first.fingerprint


def test_the_same_picture_in_two_splits_is_said(splits, tmp_path):
    import datasets

    splits["test"] = datasets.concatenate_datasets([splits["test"], splits["train"].select([3])])
    splits.save_to_disk(tmp_path / "disk")
    data = dataset(str(tmp_path / "disk"), **SPEC).load(tmp_path)
    assert "1 pictures are in several splits" in data.notes[1]
    assert "(train/3 = test/5)" in data.notes[1]


def test_two_names_of_one_split_are_refused(splits, tmp_path):
    splits["dev"] = splits["validation"]
    splits.save_to_disk(tmp_path / "disk")
    with pytest.raises(ModelRankError, match="several splits that mean val, dev among them"):
        dataset(str(tmp_path / "disk"), **SPEC).load(tmp_path)


def test_missing_text_is_no_class_and_a_missing_image_is_named(splits, tmp_path):
    import datasets

    rows = splits["train"].remove_columns("label").add_column("animal", ["cat", "dog", None, "cat"] * 5)
    rows.save_to_disk(tmp_path / "gaps")
    data = dataset(str(tmp_path / "gaps"), label="animal", **SPEC).load(tmp_path)
    assert data.classes == ("cat", "dog")
    assert data.notes == ("5 train images without a label are left out",)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    gap = datasets.Dataset.from_dict({"image": [*pictures(3, 0), None], "label": [0, 1, 0, 1]}, features=features)
    gap.save_to_disk(tmp_path / "gap")
    with pytest.raises(ModelRankError, match="train, image 3 is missing"):
        dataset(str(tmp_path / "gap"), **SPEC).load(tmp_path)


def test_only_the_known_formats_are_decoded(tmp_path):
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    images = [{"bytes": eps + b"%%" * number, "path": None} for number in range(10)]
    rows = datasets.Dataset.from_dict({"image": images, "label": [0, 1] * 5}, features=features)
    rows.save_to_disk(tmp_path / "eps")
    data = dataset(str(tmp_path / "eps"), **SPEC).load(tmp_path)
    with pytest.raises(ModelRankError, match=r"cannot read the image .*train, image \d+: no image format"):
        data.splits["train"][0]


def test_one_split_is_cut_and_text_is_a_class(splits, tmp_path):
    rows = splits["train"]
    words = ["cat" if label == 0 else "dog" for label in rows["label"]]
    rows.remove_columns("label").add_column("animal", words).save_to_disk(tmp_path / "one")
    with pytest.raises(ModelRankError, match=r"dataset\.label=null; name one of its columns, image, animal"):
        dataset(str(tmp_path / "one"), **SPEC).load(tmp_path)
    data = dataset(str(tmp_path / "one"), label="animal", **SPEC).load(tmp_path)
    assert data.classes == ("cat", "dog")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 12, "val": 4, "test": 4}


def test_what_cannot_be_had_is_said(tmp_path, monkeypatch):
    spec = dataset("nobody/nothing", **SPEC)
    assert spec.availability(tmp_path).state == "fetchable"
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MissingAsset, match=r"no images for the data set mine: give dataset\.path=FOLDER"):
        spec.load(tmp_path)
