"""Readers of scenes on small packages of the true layout, their conversion, and (slow) the real packages."""

from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image, ImageDraw
from tests.data.making import cifar10_tgz, deb, mnist_members, noise, packed, png
from tests.data.making_detection import CONF, boxes_equal

from modelrank.data.scenes import OPAQUE, Rules, varied
from modelrank.data.spec import DatasetSpec
from modelrank.types import ModelRankError

STAMPS, WALLPAPERS = "usr/share/tuxpaint/stamps/", "usr/share/backgrounds/"
SMALL = {"train": 12, "val": 6, "test": 8}


def stamp(seed):
    image = Image.new("RGBA", (60, 40))
    ImageDraw.Draw(image).ellipse((5, 5, 54, 34), fill=(*noise(3, seed=seed).tolist(), 255))
    return png(np.asarray(image))


def stamp_members(config):
    names = [f"{folders[-1]}/x{k}" for folders in config.folders.values() for k in range(5)]
    names += ["animals/birds/cartoon/tux", "animals/birds/crow_mirror", "animals/mammals/echidna", "symbols/star"]
    return {f"{STAMPS}{name}.png": stamp(k) for k, name in enumerate(names)} | {f"{STAMPS}food/x1.txt": b"words"}


def photographs(config):
    return {path: png(noise(70, 90, 3, seed=k)) for k, path in enumerate(config.photographs)} | {
        f"{WALLPAPERS}Wine_by_Jakkub_Mede.jpg": b"not used"
    }


@pytest.fixture
def made(tmp_path):
    """The data sets of the two YAMLs, with small packages in the place of the real ones."""
    (tmp_path / "packages").mkdir()

    number = count()

    def spec(name, **changes) -> DatasetSpec:
        here = tmp_path / f"made-{next(number)}"
        config = OmegaConf.create({"dataset": OmegaConf.load(CONF / f"{name}.yaml")})
        copy = config.dataset.copies.package
        if name == "scenes_stamps":
            first = deb(here / "1" / "s.deb", stamp_members(copy.read_parts))
            second = deb(here / "2" / "w.deb", photographs(copy.read_parts))
        else:
            first = deb(here / "1" / "f.deb", mnist_members(copy.read_parts.prefix))
            second = cifar10_tgz(here / "2" / "c.tgz", per_batch=100, tests=40)
        copy.read_parts = OmegaConf.merge(copy.read_parts, {"sizes": SMALL}, changes.pop("reader", {}))
        (other,) = copy.further
        for path, entry in ((first, copy.package), (second, copy.further[other])):
            package = packed(path)
            entry.update(file=package.file, sha256=package.sha256)
            path.rename(tmp_path / "packages" / path.name)
        OmegaConf.update(config, "dataset", changes)
        return instantiate(config.dataset)

    return spec


def sources(split):
    """The cut-outs and the backgrounds that the ids of a split name."""
    named = [name.split(": ", 1)[1].rsplit(" on ", 1) for name in split.ids]
    return {item for objects, _ in named for item in objects.split(", ")}, {
        word for _, place in named for word in place.split(" ")
    }


def share_nothing(data):
    items, places = zip(*(sources(data.splits[name]) for name in ("train", "val", "test")), strict=True)
    for kind in (items, places):
        assert all(kind)
        assert not kind[0] & kind[1]
        assert not (kind[0] | kind[1]) & kind[2]


@pytest.mark.parametrize("name", ["scenes_stamps", "scenes_clothes"])
def test_splits_share_neither_cut_outs_nor_backgrounds(made, tmp_path, name):
    spec = made(name)
    assert spec.availability(tmp_path).state == "present"
    data = spec.load(tmp_path)
    assert {split: len(part) for split, part in data.splits.items()} == SMALL
    assert data.splits["train"][0][0].size == (160, 160)
    assert data.source.count(" package ") == 3  # 'registry package (X package ... and Y package ...)'
    share_nothing(data)


def test_left_out_stamps_are_not_pasted(made, tmp_path):
    data = made("scenes_stamps", reader={"rules": {"objects": [4, 4], "extent": [0.1, 0.15]}}).load(tmp_path)
    used = set.union(*(sources(split)[0] for split in data.splits.values()))
    assert len(used) > 25
    assert all(name.rsplit("/", 1)[-1].startswith("x") for name in used)


def test_clothes_come_from_the_split_of_their_set(made, tmp_path):
    data = made("scenes_clothes").load(tmp_path)
    for split, origin, batch in (("train", "train", "data_batch_1"), ("val", "train", "data_batch_1"),
                                 ("test", "test", "test_batch")):  # fmt: skip
        items, places = sources(data.splits[split])
        assert {name.rsplit("-", 1)[0] for name in items} == {origin}
        assert {name.rsplit("-", 1)[0] for name in places} == {batch}


def test_labels_are_the_garments(made, tmp_path):
    split = made("scenes_clothes").load(tmp_path).splits["test"]
    for name, boxes in zip(split.ids, split.targets, strict=True):
        numbers = [int(word.rsplit("-", 1)[-1]) for word in name.split(": ")[1].rsplit(" on ", 1)[0].split(", ")]
        assert [number % 10 for number in numbers] == boxes.labels.tolist()  # mnist_members: label k of image k


def test_another_seed_gives_other_scenes(made, tmp_path):
    one, other = (made("scenes_stamps", seed=seed).load(tmp_path) for seed in (0, 1))
    assert one.fingerprint != other.fingerprint
    assert one.splits["train"].ids != other.splits["train"].ids


def test_conversion_is_used_again_and_rebuilt_the_same_when_damaged(made, tmp_path, caplog):
    spec = made("scenes_stamps")
    first = spec.load(tmp_path)
    pixels = [np.asarray(first.splits["val"][k][0]).copy() for k in range(6)]
    (index,) = tmp_path.rglob("index.json")
    stamped = index.stat().st_mtime_ns
    assert spec.load(tmp_path).fingerprint == first.fingerprint
    assert index.stat().st_mtime_ns == stamped
    (index.parent / "val.targets.npz").write_bytes(b"half a fi")
    rebuilt = spec.load(tmp_path)
    assert "converting the package again" in caplog.text
    assert rebuilt.fingerprint == first.fingerprint
    for k in range(6):
        np.testing.assert_array_equal(np.asarray(rebuilt.splits["val"][k][0]), pixels[k])
        assert boxes_equal(rebuilt.splits["val"].targets[k], first.splits["val"].targets[k])


def test_both_packages_are_wanted(made, tmp_path):
    spec = made("scenes_stamps")
    (tmp_path / "packages/w.deb").unlink()
    known = spec.availability(tmp_path)
    assert known.state in ("fetchable", "missing")  # missing where apt-get is not installed
    assert "lomiri" in known.where
    (tmp_path / "packages/w.deb").write_bytes(b"something else")
    with pytest.raises(ModelRankError, match="sha256"):
        spec.load(tmp_path)


def test_packages_without_the_expected_files_are_refused(made, tmp_path):
    with pytest.raises(ModelRankError, match=r"too few cut-outs of \['bird'\]"):
        made("scenes_stamps", reader={"folders": {"bird": ["nothing"]}}).load(tmp_path)
    with pytest.raises(ModelRankError, match="not all of the photographs"):
        made("scenes_stamps", reader={"photographs": {"usr/share/a.jpg": [0, 0, 1, 1]}}).load(tmp_path)


def test_identity_depends_on_every_package_and_on_the_rules(made):
    one = made("scenes_stamps").copies["package"]
    other = made("scenes_stamps", reader={"rules": {"turn": 3}}).copies["package"]
    newer = replace(one, further={"wallpapers": replace(one.further["wallpapers"], sha256="0" * 64)})
    assert len({one.identity(), other.identity(), newer.identity()}) == 3


@pytest.mark.slow
@pytest.mark.registry
@pytest.mark.parametrize(("name", "objects"), [("scenes_stamps", 2292), ("scenes_clothes", 2329)])
def test_real_packages(registry_cache, name, objects):
    config = OmegaConf.create({"dataset": OmegaConf.load(CONF / f"{name}.yaml")})
    data = instantiate(config.dataset).load(registry_cache)
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 500, "val": 125, "test": 300}
    share_nothing(data)
    labels = [np.concatenate([boxes.labels for boxes in part.targets]) for part in data.splits.values()]
    assert sum(map(len, labels)) == objects
    for found in labels:
        counts = np.bincount(found, minlength=len(data.classes))
        assert counts.min() > 0.5 * counts.mean()


def test_a_turned_garment_keeps_a_tight_box():
    """Boxes are those of opaque pixels after turning, not of the turned frame."""
    frame = np.zeros((60, 60, 4), np.uint8)
    frame[20:40, 28:32] = 255
    pixels = varied(Image.fromarray(frame), np.random.default_rng(1), Rules(side=160, turn=30))
    opaque = pixels[..., 3] >= OPAQUE
    assert opaque.any(1).all()
    assert opaque.any(0).all()
