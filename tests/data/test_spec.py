from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from hydra.errors import InstantiationException
from tests.data.making import folder, image_folder, noise
from tests.data.making_detection import IMAGES, coco, dataset

from modelrank.data.copies import Contents
from modelrank.data.images import ImageSplit
from modelrank.data.spec import DatasetSpec
from modelrank.types import MissingAsset, ModelRankError


@dataclass(frozen=True)
class MemoryCopy:
    """A copy whose state the test chooses."""

    splits: dict = field(default_factory=dict)
    here: bool = True
    source: str = "memory"
    fails: bool = False
    fetchable: bool = True
    user_files: bool = False

    def present(self, places):
        return Path("/here") if self.here else None

    def origin(self, places):
        return self.source if self.fetchable else None

    def wanted(self, places):
        return f"put {self.source} into {places.own}"

    def fetch(self, places):
        if self.fails:
            raise MissingAsset(f"{self.source} is not reachable")

    def read(self, places):
        return Contents(self.splits, ("a", "b", "c"), self.source, "identity")


def part(name, n, classes=3, groups=None):
    return ImageSplit(noise(n, 4, 4), np.arange(n) % classes, [f"{name}/{i}" for i in range(n)], groups=groups)


def spec(splits=None, copies=None, **changes):
    made = DatasetSpec("made", "classification", "accuracy", copies or {"memory": MemoryCopy(splits)}, licence="none")
    return replace(made, **changes)


def ids(data):
    return {name: set(split.ids) for name, split in data.splits.items()}


def test_missing_val_is_a_fifth_of_train_and_the_sets_own_test_is_kept(tmp_path):
    data = spec({"train": part("train", 300), "test": part("test", 90)}).load(tmp_path)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 240, "val": 60, "test": 90}
    assert np.bincount(data.splits["val"].targets).tolist() == [20, 20, 20]
    assert ids(data)["test"] == {f"test/{i}" for i in range(90)}


def test_without_any_split_60_20_20_without_overlap(tmp_path):
    data = spec({"train": part("all", 300)}).load(tmp_path)
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [180, 60, 60]
    assert set.union(*ids(data).values()) == {f"all/{i}" for i in range(300)}  # 300 in all, so none is shared


def test_own_val_is_kept(tmp_path):
    data = spec({"train": part("train", 30), "val": part("val", 12), "test": part("test", 9)}).load(tmp_path)
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [30, 12, 9]


def test_the_last_image_of_a_class_stays_in_train(tmp_path):
    labels = np.array([0] * 50 + [1] * 50 + [2])
    split = ImageSplit(noise(101, 4, 4), labels, [str(i) for i in range(101)])
    assert 2 in spec({"train": split}).load(tmp_path).splits["train"].targets


def test_groups_are_never_parted(tmp_path):
    groups = np.arange(400) // 10
    data = spec({"train": part("all", 400, groups=groups)}).load(tmp_path)
    seen = [set(data.splits[name].groups.tolist()) for name in ("train", "val", "test")]
    assert [len(s) for s in seen] == [24, 8, 8]
    assert not seen[0] & seen[1]
    assert not (seen[0] | seen[1]) & seen[2]


def test_subsample_is_stratified_and_within_its_split(tmp_path):
    splits = {"train": part("train", 300), "test": part("test", 90)}
    whole, some = (
        spec(splits).load(tmp_path),
        spec(splits, subsample={"train": 30, "val": None, "test": 12}).load(tmp_path),
    )
    assert [len(some.splits[name]) for name in ("train", "val", "test")] == [30, 60, 12]
    assert np.bincount(some.splits["train"].targets).tolist() == [10, 10, 10]
    assert all(ids(some)[name] <= ids(whole)[name] for name in ids(some))


def test_same_seed_same_images_other_seed_others(tmp_path):
    splits = {"train": part("train", 300)}
    one, same, other = (spec(splits, seed=s).load(tmp_path) for s in (0, 0, 1))
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert ids(one) == ids(same) != ids(other)


def test_fingerprint_knows_targets_and_subsample(tmp_path):
    base = part("train", 60)
    flipped = ImageSplit(base.images, base.targets[::-1].copy(), base.ids)
    prints = {
        spec({"train": base}).load(tmp_path).fingerprint,
        spec({"train": flipped}).load(tmp_path).fingerprint,
        spec({"train": base}, subsample={"train": 12}).load(tmp_path).fingerprint,
    }
    assert len(prints) == 3


def test_no_test_image_is_scored(tmp_path):
    data = spec({"train": part("train", 300), "test": part("test", 90)}).load(tmp_path)
    assert not (ids(data)["train"] | ids(data)["val"]) & ids(data)["test"]
    assert len(data.scored_targets()) == 300
    with pytest.raises(ModelRankError, match="never scored"):
        spec({}, scored=("train", "test"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"val": 0.6, "test": 0.5},
        {"val": 0.0},
        {"val": "20%"},
        {"val": None},
        {"seed": "abc"},
        {"seed": None},
        {"seed": -1},
        {"subsample": {"train": "ten"}},
        {"subsample": {"training": 5}},
        {"subsample": {"train": 1}},
        {"on_unreadable": "ignore"},
        {"scored": ()},
    ],
)
def test_wrong_settings_are_refused_by_name(wrong):
    with pytest.raises(ModelRankError, match=rf"^dataset\.{max(wrong)}"):
        spec({}, **wrong)


def test_a_split_is_named_for_a_subsample():
    with pytest.raises(ModelRankError, match=r"^dataset\.subsample=60: .*dataset\.subsample\.train=60"):
        spec({}, subsample=60)


@pytest.mark.parametrize("name", ["", ".", "..", "../../x", "a/b", "/a", "a/", None, 1.5])
def test_a_name_that_is_no_folder_of_its_own_is_refused(name):
    with pytest.raises(ModelRankError, match=r"^dataset\.name="):
        spec({}, name=name)


def test_a_year_is_a_name_and_a_folder(tmp_path):
    image_folder(tmp_path / "2024", {"a": 5, "b": 5})
    data = folder(tmp_path / "2024", name=2024).load(tmp_path / "cache")
    assert data.name == "2024"


def test_a_text_for_a_list_is_a_list_of_one(tmp_path):
    splits = {"train": part("train", 60)}
    assert spec(splits, scored="train").load(tmp_path).scored == ("train",)
    with pytest.raises(ModelRankError, match=r"\('animals',\) in its YAML"):
        spec(splits, classes="animals").load(tmp_path)


def test_classes_must_be_those_of_the_yaml(tmp_path):
    with pytest.raises(ModelRankError, match="YAML"):
        spec({"train": part("train", 30)}, classes=("a", "b", "d")).load(tmp_path)


def test_copies_present_then_fetched_then_missing(tmp_path):
    splits = {"train": part("train", 30)}
    present = MemoryCopy(splits, source="package")
    download = MemoryCopy(splits, here=False, source="download")
    dead = MemoryCopy(here=False, source="dead link", fails=True)
    user = MemoryCopy(here=False, fetchable=False, source="your files", user_files=True)

    chosen = spec(copies={"download": download, "package": present})
    assert chosen.availability(tmp_path).state == "present"
    assert chosen.load(tmp_path).source == "package"

    chosen = spec(copies={"user": user, "dead": dead, "download": download})
    known = chosen.availability(tmp_path)
    assert (known.kind, known.name, known.state) == ("images", "made", "fetchable")
    assert known.where == "dead link, or else download"
    assert chosen.load(tmp_path).source == "download"

    assert spec(copies={"user": user}).availability(tmp_path).state == "missing"
    with pytest.raises(MissingAsset, match=r"made.*your files.*datasets/made.*dead link is not reachable"):
        spec(copies={"user": user, "dead": dead}).load(tmp_path)


def test_with_a_root_only_the_users_files_count(tmp_path):
    package = MemoryCopy({"train": part("train", 30)}, source="package")
    user = MemoryCopy(here=False, fetchable=False, source="your files", user_files=True)
    with pytest.raises(MissingAsset, match="/nowhere"):
        spec(copies={"user": user, "package": package}, root="/nowhere").load(tmp_path)
    known = spec(copies={"package": package}, root="/nowhere").availability(tmp_path)
    assert (known.state, "dataset.root=/nowhere is for files of your own" in known.where) == ("missing", True)


def test_rest_is_train_images_that_are_only_scored(tmp_path):
    splits = {"train": part("train", 60), "test": part("test", 12)}
    sizes = {"train": 20, "val": 6, "test": 8}
    plain = spec(splits, subsample=sizes).load(tmp_path)
    data = spec(splits, subsample={**sizes, "rest": 16}, scored=["train", "val", "rest"]).load(tmp_path)
    assert {name: len(split) for name, split in data.splits.items()} == {**sizes, "rest": 16}
    rows = [set(data.splits[name].ids) for name in ("train", "val", "rest")]
    assert len(set.union(*rows)) == 42, "no image twice"
    assert len(data.scored_targets()) == 42
    assert data.fingerprint == plain.fingerprint, "a network learns from and is tested on the same images"
    everything = spec(splits, subsample={"rest": 16}, scored=["train", "val", "rest"]).load(tmp_path)
    assert everything.scored == ("train", "val"), "no image is left over"


def test_a_class_that_is_never_judged_is_said(tmp_path, caplog):
    image_folder(tmp_path / "images", {"a": 20, "b": 20, "lone": 1})
    data = folder(tmp_path / "images").load(tmp_path / "cache")
    assert data.notes == tuple(
        f"1 of 3 classes have no {split} image and are not judged there: lone" for split in ("val", "test")
    )
    assert data.notes[0] in caplog.text


def test_a_class_without_objects_is_said(tmp_path):
    data = dataset("coco_folder", coco(tmp_path / "d")).load(tmp_path / "cache")
    told = [note for note in data.notes if "classes" in note]
    assert told == [
        "2 of 3 classes have no val object and are not judged there: ant, cat",
        "2 of 3 classes have no test object and are not judged there: bee, cat",
    ]
    lone = [("train", "a", (40, 20), [("bee", 0, 0, 40, 20)]), *IMAGES[2:]]
    data = dataset("coco_folder", coco(tmp_path / "e", lone)).load(tmp_path / "cache")
    assert "1 of 3 classes have no train object and are not learnt there: ant" in data.notes


def test_copies_of_a_picture_are_not_parted_by_a_cut(tmp_path):
    root = tmp_path / "images"
    image_folder(root, {"a": 12, "b": 12})
    for number in range(12):  # every picture of a three times, under names that lie far apart
        for copy in ("m", "z"):
            (root / f"a/{copy}{number:03}.png").write_bytes((root / f"a/{number:03}.png").read_bytes())
    data = folder(root).load(tmp_path / "cache")
    of_picture = {}
    for name, split in data.splits.items():
        for title in split.ids:
            of_picture.setdefault(title[:2] + title[-7:], set()).add(name)
    assert all(len(names) == 1 for names in of_picture.values())
    assert {name for names in of_picture.values() for name in names} == {"train", "val", "test"}
    assert sum(len(split) for split in data.splits.values()) == 48
    labels = {name: np.bincount(split.targets, minlength=2).tolist() for name, split in data.splits.items()}
    assert all(abs(a / 3 - b) <= 1 for a, b in labels.values()), labels  # by picture: stratified as without copies


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"task": "clasification"}, "dataset.task=clasification: give one of classification"),
        ({"metric": "acc"}, "dataset.metric=acc: give one of accuracy"),
        ({"metric": "r2"}, "dataset.metric=r2: give one of accuracy, mean_per_class_accuracy for classification"),
        ({"metric": "map50"}, "dataset.metric=map50: give one of accuracy"),
        ({"task": "multilabel"}, "dataset.metric=accuracy: give one of map11 for multilabel"),
        ({"task": "regression"}, "dataset.metric=accuracy: give one of r2 for regression"),
        ({"task": "detection"}, "dataset.metric=accuracy: give one of map50, map for detection"),
        ({"task": "regression", "metric": "r2"}, "dataset.task=regression, but .* is for classification"),
        ({"task": "multilabel", "metric": "map11"}, "dataset.task=multilabel, but .* is for classification"),
        ({"task": "detection", "metric": "map50"}, "dataset.task=detection, but .* is for classification"),
    ],
)
def test_a_task_or_metric_that_is_none_or_does_not_fit_the_images_is_refused(tmp_path, changes, says):
    image_folder(tmp_path / "images", {"a": 5, "b": 5})
    with pytest.raises((ModelRankError, InstantiationException), match=says):
        folder(tmp_path / "images", **changes).load(tmp_path / "cache")
