"""Weights from the user's files, tested on small files in the layouts of the real ones.

Each tensor of a fake checkpoint is one number repeated, which torch stores once: the file of a ResNet-50 is 60 KB,
and a tensor that lands in the wrong place is seen.
"""

import argparse
import logging
import os
import re
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from tests.hub.test_paper_hubs import HUBS, hub
from torch import nn
from torchvision.models import resnet50

from modelrank.hub.architectures import resnet50_trunk
from modelrank.hub.checkpoint_files import CheckpointFile, snapshots
from modelrank.hub.preprocessing import Preprocessing
from modelrank.types import MissingAsset, ModelRankError


def repeated(shapes, offset=0.0):
    """Name -> tensor of that shape, all of one number, another one for each name."""
    return {name: torch.tensor(offset + i).expand(shape) for i, (name, shape) in enumerate(shapes.items())}


with torch.device("meta"):
    TRUNK = {k: v.shape for k, v in resnet50_trunk().state_dict().items() if "tracked" not in k}
    WHOLE = {k: v.shape for k, v in resnet50().state_dict().items() if "tracked" not in k}
NUMBERS = repeated(TRUNK)
FC = {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
MLP = {f"{i}.{part}": torch.zeros(2048) for i in (0, 2) for part in ("weight", "bias")}


def below(prefix, tensors):
    return {prefix + name: value for name, value in tensors.items()}


def moco(head):
    other = repeated(TRUNK, offset=5000.0)  # the momentum encoder: must not be taken
    names = below("module.encoder_q.", {**NUMBERS, **head}) | below("module.encoder_k.", {**other, **head})
    queue = {"module.queue": torch.zeros(128, 4), "module.queue_ptr": torch.zeros(1)}
    return {"epoch": 200, "arch": "resnet50", "state_dict": names | queue, "optimizer": {"state": {}}}


def pycontrast(heads):
    names = below("module.encoder.", NUMBERS) | below("module.", heads)
    return {"opt": argparse.Namespace(method="InfoMin", lr=0.03), "model": names, "epoch": 800}


def clustering():
    heads = below("projection_head.", MLP) | {"prototypes.weight": torch.zeros(3000, 128)}
    return below("module.", {**NUMBERS, **heads})


def simclr_v2():
    """The names of the converter: a stem, then stages of blocks that are sequences."""

    def other(name):
        if name.startswith(("conv1.", "bn1.")):
            return name.replace("conv1.", "net.0.0.").replace("bn1.", "net.0.1.0.")
        stage, block, rest = re.fullmatch(r"layer(\d)\.(\d)\.(.*)", name).groups()
        places = {
            "conv1": "net.0",
            "bn1": "net.1.0",
            "conv2": "net.2",
            "bn2": "net.3.0",
            "conv3": "net.4",
            "bn3": "net.5.0",
        }
        places |= {"downsample.0": "projection.shortcut", "downsample.1": "projection.bn.0"}
        module, _, leaf = rest.rpartition(".")
        return f"net.{stage}.blocks.{block}.{places[module]}.{leaf}"

    counters = {"net.0.1.0.num_batches_tracked": torch.tensor(0)}
    return {"resnet": {other(name): value for name, value in NUMBERS.items()} | FC | counters, "head": MLP}


LAYOUTS = {
    "byol": lambda: {"state_dict": {**NUMBERS, **FC}},
    "deepcluster-v2": clustering,
    "infomin": lambda: pycontrast(below("head.", MLP) | below("head_jig.", MLP)),
    "insdis": lambda: pycontrast(below("head.", MLP)),
    "moco-v1": lambda: moco(FC),
    "moco-v2": lambda: moco(below("fc.", MLP)),
    "pcl-v1": lambda: moco(FC),
    "pcl-v2": lambda: moco(below("fc.", MLP)),
    "sela-v2": clustering,
    "simclr-v1": lambda: {"state_dict": {**NUMBERS, **FC}},
    "simclr-v2": simclr_v2,
    "swav": clustering,
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_rule_of_each_self_supervised_model(name, tmp_path):
    model = hub("self_supervised", tmp_path)[name]
    path = Path(model.weights.path)
    assert path.parent == tmp_path / "weights/self_supervised"
    with pytest.raises(MissingAsset, match=re.escape(f"{path}: put the file there (from ")):
        model.load(tmp_path)
    path.parent.mkdir(parents=True)
    torch.save(LAYOUTS[name](), path)
    assert model.availability(tmp_path).state == "present"
    state = model.load(tmp_path).state_dict()
    wrong = [key for key, value in NUMBERS.items() if not torch.equal(state[key], value)]
    assert not wrong
    assert set(LAYOUTS) == set(HUBS["self_supervised"])


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def saved(path: Path, content, **changes) -> CheckpointFile:
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path)
    return CheckpointFile(str(path), **changes)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_plain_state_dict_fills_the_model_and_its_content_is_its_identity(suffix, tmp_path):
    source, target = small(), small()
    weights = saved(tmp_path / f"w{suffix}", source.state_dict())
    weights.load_into(target, tmp_path)
    assert all(torch.equal(target.state_dict()[key], value) for key, value in source.state_dict().items())
    before = weights.identity()
    assert saved(tmp_path / f"copy{suffix}", source.state_dict()).identity() == before or suffix == ".pth"
    saved(tmp_path / f"w{suffix}", small().state_dict())
    assert weights.identity() != before
    assert CheckpointFile(weights.path, drop=["x"]).identity() != weights.identity()


def test_a_file_that_does_not_fit_is_told_by_name_and_shape(tmp_path):
    state = small().state_dict()
    with pytest.raises(ModelRankError, match=r"missing \['3\.bias'\]"):
        saved(tmp_path / "a.pth", {k: v for k, v in state.items() if k != "3.bias"}).load_into(small(), tmp_path)
    with pytest.raises(ModelRankError, match=r"not wanted \['fc\.weight'\]"):
        saved(tmp_path / "b.pth", {**state, "fc.weight": torch.zeros(1)}).load_into(small(), tmp_path)
    with pytest.raises(ModelRankError, match=r"3\.bias is \[5\], the model has \[2\]"):
        saved(tmp_path / "c.pth", {**state, "3.bias": torch.zeros(5)}).load_into(small(), tmp_path)
    with pytest.raises(ModelRankError, match=r"no name begins with 'module\.'; it holds 0\.weight"):
        saved(tmp_path / "d.pth", state, prefix="module.").load_into(small(), tmp_path)
    with pytest.raises(
        ModelRankError, match=r"hub\.architecture\).*hub\.prefix\).*hub\.drop\); for a file without a head"
    ):
        saved(tmp_path / "e.pth", {**state, "3.bias": torch.zeros(5)}).load_into(small(), tmp_path)


def test_a_quantised_file_is_refused(tmp_path):
    quantised = {name: (100 * value).to(torch.int8) for name, value in small().state_dict().items()}
    says = r"a\.safetensors: .* is int8, the model has float32: a quantised file; save it dequantised$"
    with pytest.raises(ModelRankError, match=says):
        saved(tmp_path / "a.safetensors", quantised).load_into(small(), tmp_path)


def test_a_head_to_drop_may_be_one_text(tmp_path):
    state = {**small().state_dict(), "classifier.weight": torch.zeros(1)}
    weights, target = saved(tmp_path / "a.pth", state, drop="classifier."), small()
    weights.load_into(target, tmp_path)
    assert torch.equal(target[3].weight, state["3.weight"])
    assert weights.identity() == CheckpointFile(weights.path, drop=["classifier."]).identity()


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.module.", "net.0."])
def test_the_prefix_of_a_wrapper_is_found(tmp_path, prefix, caplog):
    source, target = small(), small()
    other = {"queue": torch.zeros(3), "head.weight": torch.zeros(2)}
    with caplog.at_level(logging.INFO):
        saved(tmp_path / "a.pth", below(prefix, source.state_dict()) | other).load_into(target, tmp_path)
    assert all(torch.equal(target.state_dict()[key], value) for key, value in source.state_dict().items())
    assert f"begin with '{prefix}', which is cut off" in caplog.text


def test_of_two_networks_that_fit_one_must_be_chosen(tmp_path):
    student, teacher, target = small(), small(), small()
    both = below("student.", student.state_dict()) | below("teacher.", teacher.state_dict())
    with pytest.raises(ModelRankError, match=r"choose: hub\.prefix=student\. or teacher\."):
        saved(tmp_path / "a.pth", both).load_into(target, tmp_path)
    saved(tmp_path / "a.pth", both, prefix="teacher.").load_into(target, tmp_path)
    assert torch.equal(target[3].weight, teacher[3].weight)


def test_names_that_would_be_the_same_are_refused(tmp_path):
    both = below("encoder_q.", small().state_dict()) | below("encoder_k.", small().state_dict())
    with pytest.raises(ModelRankError, match=r"a\.pth: rename=.*gives encoder_q\.\S+ and encoder_k\.\S+ the same name"):
        saved(tmp_path / "a.pth", both, rename={r"encoder_[qk]\.": ""}).load_into(small(), tmp_path)
    saved(tmp_path / "a.pth", both, rename={r"encoder_q\.": ""}, drop=["encoder_k."]).load_into(small(), tmp_path)


def test_where_the_network_is_may_be_said_and_is_part_of_the_identity(tmp_path):
    first, second, target = small(), small(), small()
    content = {"a": first.state_dict(), "b": second.state_dict()}
    weights = saved(tmp_path / "a.pth", content, key="b")
    weights.load_into(target, tmp_path)
    assert torch.equal(target[3].weight, second[3].weight)
    assert weights.identity() != CheckpointFile(weights.path, key="a").identity()


def test_snapshots_of_a_run_are_a_hub_in_the_order_of_their_numbers(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for epoch in (10, 2, 1):
        saved(run / f"epoch_{epoch}.pth", {"state_dict": {f"model.{k}": v for k, v in small().state_dict().items()}})
    saved(run / "last.safetensors", {f"model.{k}": v for k, v in small().state_dict().items()})
    (run / "notes.txt").write_text("no checkpoint")
    models = snapshots(str(run), small, Preprocessing(), prefix="model.")
    assert list(models) == ["epoch_1", "epoch_2", "epoch_10", "last"]
    identities = {model.identity()["weights"]["sha256"] for model in models.values()}
    assert len(identities) == 4
    assert models["epoch_2"].load(tmp_path)[3].weight.shape == (2, 4)


def test_names_of_snapshots_keep_what_is_no_suffix(tmp_path):
    names = [
        "best-val_loss=1.91.ckpt",
        "best-val_loss=1.52.ckpt",
        "acc_0.83.pth.tar",
        "best.pth",
        "best.pt",
        "v1.0.bin",
    ]
    for name in names:
        saved(tmp_path / name, small().state_dict())
    (tmp_path / os.fsdecode(b"na\xefve.pth")).write_bytes((tmp_path / "best.pth").read_bytes())
    models = snapshots(str(tmp_path), small, Preprocessing())
    expected = {"best-val_loss=1.91", "best-val_loss=1.52", "acc_0.83", "best.pth", "best.pt", "v1.0", r"na\xefve"}
    assert set(models) == expected
    assert all(len(model.load(tmp_path)) == 4 for model in models.values())


def test_suffixes_in_capitals_are_checkpoints_too(tmp_path):
    saved(tmp_path / "a.PTH", small().state_dict())
    saved(tmp_path / "b.safetensors", small().state_dict())
    (tmp_path / "b.safetensors").rename(tmp_path / "b.SafeTensors")
    models = snapshots(str(tmp_path), small, Preprocessing())
    assert list(models) == ["a", "b"]
    assert all(len(model.load(tmp_path)) == 4 for model in models.values())


def test_what_is_no_checkpoint_is_left_out_and_said(tmp_path, caplog):
    saved(tmp_path / "epoch_1.pth", small().state_dict())
    (tmp_path / "epoch_2.ckpt").mkdir()
    (tmp_path / "._epoch_1.pth").write_bytes(b"\0\5\x16\7" * 50)
    (tmp_path / "log.txt").write_text("x")
    (tmp_path / "epoch_3.pth").symlink_to(tmp_path / "nowhere.pth")
    with caplog.at_level(logging.INFO):
        assert list(snapshots(str(tmp_path), small, Preprocessing())) == ["epoch_1"]
    assert "4 of 5 entries are no checkpoints: ._epoch_1.pth, epoch_2.ckpt, epoch_3.pth, log.txt" in caplog.text


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
def test_a_network_for_other_than_colour_images_is_refused(tmp_path, channels):
    def other() -> nn.Module:
        return nn.Sequential(nn.Conv2d(channels, 4, 1), nn.Flatten(), nn.Linear(4, 2))

    saved(tmp_path / "a.pth", other().state_dict())
    model = snapshots(str(tmp_path), other, Preprocessing())["a"]
    with pytest.raises(ModelRankError, match=rf"model a: its first layer takes images of {channels} channel"):
        model.load(tmp_path)


@pytest.mark.parametrize("folder", [None, "nowhere", "."])
def test_a_run_without_checkpoints_is_refused(folder, tmp_path):
    with pytest.raises(ModelRankError, match=r"hub\.folder"):
        snapshots(folder and str(tmp_path / folder), small, Preprocessing())


def test_the_hub_of_snapshots_takes_another_architecture_by_option(tmp_path):
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate
    from tests.hub.test_paper_hubs import ROOT

    network = torchvision.models.resnet18(num_classes=3)
    torch.save(network.state_dict(), tmp_path / "a.pth")
    options = ["hub.architecture._target_=torchvision.models.resnet18", "+hub.architecture.num_classes=3"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose(overrides=["+hub=checkpoints", f"hub.folder={tmp_path}", *options])
    models = instantiate(cfg.hub.expand)
    assert torch.equal(models["a"].load(tmp_path).fc.weight, network.fc.weight)
