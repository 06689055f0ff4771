"""The data sets of the paper's benchmarks: splits, classes, metrics and targets, from copies in the true formats."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from tests.data.making_benchmarks import MAKERS, Copy

from modelrank.types import MissingAsset, ModelRankError

ROOT = Path(__file__).parents[2]
TABLE = {  # classes; images of the tiny copy in train, val, test; metric
    "aircraft": (100, (100, 100, 100), "mean_per_class_accuracy"),
    "caltech101": (102, (2448, 612, 153), "mean_per_class_accuracy"),  # 30 a class, a fifth of them val; the rest
    "cars": (196, (314, 78, 196), "accuracy"),  # 392: a fifth is 78
    "cifar100": (100, (400, 100, 100), "accuracy"),
    "dtd": (47, (47, 47, 47), "accuracy"),
    "flowers": (102, (102, 102, 204), "mean_per_class_accuracy"),
    "food": (101, (404, 101, 202), "accuracy"),
    "pets": (37, (148, 37, 74), "mean_per_class_accuracy"),
    "sun397": (397, (635, 159, 397), "accuracy"),  # 794: a fifth is 159
    "voc2007": (20, (20, 20, 20), "map11"),
    "eurosat": (10, (60, 20, 20), "accuracy"),
    "resisc45": (45, (270, 90, 90), "accuracy"),
}


def spec(name: str, *overrides: str):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return instantiate(compose(overrides=[f"+dataset={name}", *overrides]).dataset)


@pytest.fixture(scope="module", params=TABLE)
def loaded(request, tmp_path_factory):
    """(name, what was made, the data set that its YAML loads from it)."""
    name = request.param
    copy = Copy(tmp_path_factory.mktemp(name) / "mine")
    copy.root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        MAKERS[name](copy, patch)
        yield name, copy, spec(name, f"dataset.root={copy.root}").load(tmp_path_factory.mktemp("cache"))


def test_splits_classes_and_metric_follow_the_table(loaded):
    name, copy, data = loaded
    classes, sizes, metric = TABLE[name]
    assert len(data.classes) == len(set(data.classes)) == classes
    assert tuple(len(data.splits[split]) for split in ("train", "val", "test")) == sizes
    assert data.metric == metric
    assert data.name == name
    assert data.task == ("multilabel" if name == "voc2007" else "classification")
    assert data.scored == ("train", "val")
    assert str(copy.root) in data.source


def test_every_image_has_its_own_target_and_no_test_image_is_scored(loaded):
    name, copy, data = loaded
    seen = {}
    for split, images in data.splits.items():
        seen[split] = set()
        for i in range(len(images)):
            image, target = images[i]
            number = copy.number(image)
            wanted, made_for = copy.made[number]
            np.testing.assert_array_equal(np.asarray(target), wanted)
            np.testing.assert_array_equal(images.targets[i], wanted)
            assert made_for in ("any", split) or (made_for, split) == ("train", "val")  # val is cut from train
            seen[split].add(number)
        assert len(seen[split]) == len(images)
    assert not seen["test"] & (seen["train"] | seen["val"])
    assert not seen["train"] & seen["val"]
    scored = data.scored_targets()
    assert len(scored) == len(seen["train"]) + len(seen["val"])
    if name != "voc2007":
        assert set(scored) == set(range(len(data.classes))), "every class is seen"


def test_voc_keeps_several_classes_of_an_image_and_leaves_out_the_difficult(tmp_path, monkeypatch):
    copy = Copy(tmp_path)
    MAKERS["voc2007"](copy, monkeypatch)
    data = spec("voc2007", f"dataset.root={tmp_path}").load(tmp_path / "cache")
    targets = data.scored_targets()
    assert targets.shape == (40, 20)
    assert set(np.unique(targets)) == {0, 1}
    assert (targets.sum(axis=1) == 2).all(), "two classes an image; the third has difficult objects only"
    assert targets[0, 0] == 1, "present although one of its objects is difficult"
    assert targets[0, 7] == 0, "absent because all of its objects are difficult"


def test_caltech_draws_by_its_seed_and_the_fingerprint_tells(tmp_path, monkeypatch):
    copy = Copy(tmp_path)
    MAKERS["caltech101"](copy, monkeypatch)
    drawn = {}
    for run, seed in enumerate((0, 0, 1)):
        data = spec("caltech101", f"dataset.root={tmp_path}", f"dataset.seed={seed}").load(tmp_path / "cache")
        test = data.splits["test"]
        drawn[run] = {copy.number(test[i][0]) for i in range(len(test))}, data.fingerprint
    assert drawn[0] == drawn[1]
    assert drawn[0][0] != drawn[2][0]
    assert drawn[0][1] != drawn[2][1]


def test_caltech_with_too_few_images_is_refused_by_name(tmp_path, monkeypatch):
    copy = Copy(tmp_path)
    MAKERS["caltech101"](copy, monkeypatch)
    for path in sorted((tmp_path / "caltech101/101_ObjectCategories/thing_007").iterdir())[:5]:
        path.unlink()
    with pytest.raises(ModelRankError, match=r"thing_007 holds 2[67] images"):
        spec("caltech101", f"dataset.root={tmp_path}").load(tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cars", ["cars_test_annos_withlabels.mat", "dead link", "dataset.root=PATH"]),
        ("sun397", ["SUN397/Partitions", "Training_01.txt", "dead link", "dataset.root=PATH"]),
        ("resisc45", ["one folder of images per class", "dataset.root=PATH"]),
    ],
)
def test_what_cannot_be_downloaded_says_where_to_put_the_files(name, words, tmp_path):
    known = spec(name).availability(tmp_path)
    assert known.state == "missing"
    with pytest.raises(MissingAsset) as error:
        spec(name).load(tmp_path)
    for text in (known.where, str(error.value)):
        assert str(tmp_path / "datasets" / name) in text
        assert all(word in text for word in words)


@pytest.mark.parametrize("name", sorted(set(TABLE) - {"cars", "sun397", "resisc45"}))
def test_the_others_would_be_downloaded(name, tmp_path):
    assert spec(name).availability(tmp_path).state == "fetchable"


def test_the_ids_are_those_of_the_published_tables():
    with (ROOT / "experiments/truth/published.csv").open() as file:
        rows = list(csv.DictReader(file))
    published = {
        row["dataset"]: row["metric"] for row in rows if row["hub"] in ("supervised", "self_supervised", "vit")
    }
    paper = {name: metric for name, (_, _, metric) in TABLE.items() if name not in ("eurosat", "resisc45")}
    assert published == paper | {"cifar10": "accuracy"}


@pytest.mark.parametrize("name", [*TABLE, "cifar10"])
def test_all_images_are_used_unless_asked_otherwise(name):
    chosen = spec(name, "dataset.subsample=null")  # for cifar10, which has a subsample by default
    assert chosen.subsample is None
    assert (spec(name).subsample is None) == (name != "cifar10")
