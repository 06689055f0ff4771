"""Extraction on real models and images, small: what comes out and what is kept."""

import json
import logging
import time
import weakref
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from tests.features.making import TRAINER, backbone, images, pretrained, run
from torch import nn

from modelrank import progress
from modelrank.data.images import ImageSplit
from modelrank.features.extract import kept
from modelrank.features.store import FeatureStore
from modelrank.hub.preprocessing import Preprocessing
from modelrank.trainers import doubled, in_batches_that_fit
from modelrank.types import ModelRankError


def test_features_are_those_of_the_model(tmp_path):
    model, data = pretrained(imagenet_accuracy=0.7), images()
    found = run(tmp_path, model, data)
    network, transform = model.load(tmp_path), model.preprocessing.evaluation()
    rows = [data.splits[name][i] for name in ("train", "val") for i in range(len(data.splits[name]))]
    with torch.no_grad():
        features = network[:-1](torch.stack([transform(image) for image, _ in rows]))
        logits = network[-1](features)
    torch.testing.assert_close(found.features, features)
    torch.testing.assert_close(found.logits, logits)
    assert found.targets.tolist() == [target for _, target in rows]
    assert found.task == "classification"
    parameters = sum(p.numel() for p in network.parameters())
    assert found.facts == {"parameters": parameters, "imagenet_accuracy": 0.7}


def test_second_time_reads_the_file_and_makes_no_trainer(tmp_path):
    first = run(tmp_path)
    second = run(tmp_path, trainer=None, batch_size=3, workers=5)
    assert torch.equal(first.features, second.features)
    assert torch.equal(first.targets, second.targets)
    assert first.facts == second.facts


def test_what_is_kept_is_known_without_reading_it(tmp_path):
    def known(model=None, data=None, **settings):
        what = {"scored": ("train", "val"), "image_size": None} | settings
        return kept(model or pretrained(), data or images(), store=FeatureStore(tmp_path), **what)

    assert not known()
    run(tmp_path)
    assert known()
    assert not known(pretrained(classes=None))
    assert not known(scored=["train"])
    assert not known(dtype="float16")
    assert not known(data=images().limited({"train": 8}))


def test_what_is_stored(tmp_path):
    run(tmp_path)
    (path,) = tmp_path.glob("*.safetensors")
    store = FeatureStore(tmp_path)
    header = store.load(path.stem).header
    assert (header["model"], header["dataset"], header["images"], header["dimension"]) == ("tiny", "noise", 43, 12)
    assert header["source_classes"] == 7
    assert header["images_per_second"] > 0
    assert header["identity"]["splits"] == ["train", "val"]
    tensors = store.load(path.stem).tensors
    assert tensors["split"].tolist() == [0] * 30 + [1] * 13
    assert (
        json.loads(tensors["sample_ids"].numpy().tobytes()) == images().splits["train"].ids + images().splits["val"].ids
    )


def test_without_a_source_head_there_are_no_logits(tmp_path):
    assert run(tmp_path, pretrained(classes=None)).logits is None
    assert run(tmp_path, pretrained(classes=None), trainer=None).logits is None


def test_float16(tmp_path):
    half, full = run(tmp_path, dtype="float16"), run(tmp_path)
    assert half.features.dtype == half.logits.dtype == torch.float16
    assert torch.equal(half.features, full.features.half())
    with pytest.raises(ModelRankError, match=r"dtype=float8: give one of float32, float16"):
        run(tmp_path, dtype="float8")


@pytest.mark.filterwarnings("ignore:.*AMP with fp16 is not supported on CPU")
def test_half_precision_gives_nearly_the_same_features_in_a_file_of_their_own(tmp_path):
    full, half = run(tmp_path), run(tmp_path, precision="bf16-mixed")
    assert full.key != half.key
    assert half.features.dtype == torch.float32
    assert not torch.equal(half.features, full.features)
    torch.testing.assert_close(half.features, full.features, rtol=0.02, atol=0.02)
    with pytest.raises(
        ModelRankError, match=r"extraction\.precision=16-mixed: not on this device, where bf16-mixed is"
    ):
        run(tmp_path, precision="16-mixed")
    with pytest.raises(ModelRankError, match=r"extraction\.precision=int8: give one of 32-true, bf16-mixed, 16-mixed"):
        run(tmp_path, precision="int8")


def test_a_compiled_network_has_the_same_features(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled.append(self))  # minutes, else; see the slow test
    assert torch.equal(run(tmp_path / "a", compile=True).features, run(tmp_path / "b").features)
    assert len(compiled) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, in its compiler's own imports
def test_torch_compile_finds_the_penultimate_layer_of_every_batch(tmp_path):
    compiled = run(tmp_path / "a", compile=True)
    plain = run(tmp_path / "b")
    torch.testing.assert_close(compiled.features, plain.features, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(compiled.logits, plain.logits, rtol=1e-5, atol=1e-5)


def test_every_setting_that_changes_features_has_a_file_of_its_own(tmp_path):
    run(tmp_path)
    run(tmp_path, image_size=16)  # the model's own size: the same file
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    run(tmp_path, image_size=24)
    run(tmp_path, scored=["train"])
    run(tmp_path, dtype="float16")
    run(tmp_path, data=replace(images(), fingerprint="0" * 64))
    run(tmp_path, pretrained(classes=5))
    run(tmp_path, pretrained(preprocessing=Preprocessing(size=16, resize=18, mean=(0, 0, 0))))
    assert len(list(tmp_path.glob("*.safetensors"))) == 7


FEW = 8  # a network without weights has had a pass over so many images when it is loaded


class Fits(nn.Module):
    """The memory of a small device: of `most` images at once."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def forward_of(self, count: int):
        return self(range(count))

    def forward(self, x):
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return x


def on_a_small_device(most: int) -> nn.Module:
    network = backbone()
    network[0] = nn.Sequential(Fits(most), network[0])
    return network


def test_a_batch_that_does_not_fit_is_halved_and_that_is_said_once(tmp_path, caplog):
    torch.manual_seed(1)
    small = replace(pretrained(), architecture=partial(on_a_small_device, FEW))
    found = run(tmp_path / "small", small, batch_size=32)
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING] == [
        "tiny: 32 images did not fit into memory, 8 at a time did: extraction.batch_size=8"
    ]
    large = run(tmp_path / "large", replace(small, architecture=partial(on_a_small_device, 9)))
    torch.testing.assert_close(found.features, large.features)
    with pytest.raises(ModelRankError, match="tiny: one image does not fit into memory"):
        in_batches_that_fit(Fits(0).forward_of, 8, "tiny", "extraction.batch_size")


@pytest.mark.parametrize(
    ("room", "most", "size"),
    [(0, 10**6, 64), (1000, 10**6, 64), (2 * 1280, 10**6, 256), (10**9, 500, 256), (10**9, 512, 512), (10**9, 5, 64)],
)
def test_batches_are_doubled_while_the_next_fits(room, most, size):
    tried = []

    def peak(images: int) -> int:
        tried.append(images)
        return 10 * images

    assert doubled(64, most, room, peak) == size
    assert all(10 * images <= max(room, 640) for images in tried)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_batch_that_a_gpu_takes_gives_the_same_features(tmp_path):
    gpu = partial(TRAINER, accelerator="gpu")
    one = run(tmp_path / "one", trainer=gpu, batch_size=7)
    many = run(tmp_path / "many", trainer=gpu, batch_size=None)
    torch.testing.assert_close(many.features, one.features, atol=1e-4, rtol=1e-4)


BUILT: list[weakref.ref] = []


def counted(scale: float) -> nn.Module:
    network = backbone(scale=scale)
    BUILT.append(weakref.ref(network))
    return network


def test_one_network_at_a_time_is_in_memory(tmp_path):
    alive = []
    for scale in (1.0, 2.0, 3.0, 4.0):
        run(tmp_path, replace(pretrained(), architecture=partial(counted, scale)))
        alive.append(sum(network() is not None for network in BUILT))
    assert len(BUILT) == 4
    assert alive == [alive[0]] * 4, "networks of models that are done stay in memory"


def test_multilabel_targets_keep_their_shape(tmp_path):
    data = images()
    many = {
        name: ImageSplit(split.images, np.eye(4, dtype=np.int64)[split.targets], split.ids)
        for name, split in data.splits.items()
    }
    assert run(tmp_path, data=replace(data, splits=many, task="multilabel")).targets.shape == (43, 4)


@pytest.mark.parametrize("spec", [{}, {"devices": 2, "strategy": "ddp"}, {"precision": "bf16-mixed"}])
def test_trainer_of_a_config(tmp_path, spec):
    """As the stages hand it over; settings for fine-tuning do not change features."""
    config = OmegaConf.create({"_target_": "pytorch_lightning.Trainer", "accelerator": "cpu"} | spec)
    assert torch.equal(run(tmp_path, trainer=partial(instantiate, config)).features, run(tmp_path / "plain").features)


def test_features_that_are_not_finite(tmp_path):
    with pytest.raises(
        ModelRankError, match=r"tiny: 96 of 96 features of the rows 0 to 7 are NaN or infinite; its weights"
    ):
        run(tmp_path, pretrained(scale=1e39))
    assert not list(tmp_path.glob("*.safetensors"))


def test_features_too_large_for_float16(tmp_path):
    with pytest.raises(ModelRankError, match=r"too large for torch.float16: use extraction.dtype=float32"):
        run(tmp_path, pretrained(scale=1e6), dtype="float16")
    assert run(tmp_path, pretrained(scale=1e6)).features.max() > 65504


def test_trainer_that_leaves_images_out(tmp_path):
    with pytest.raises(ModelRankError, match=r"35 of 43 rows have no features; .*limit_predict_batches"):
        run(tmp_path, trainer=partial(TRAINER, limit_predict_batches=1))


def test_damaged_file_is_made_again_with_one_line(tmp_path, caplog):
    first = run(tmp_path)
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-10])
    with caplog.at_level(logging.WARNING, logger="modelrank"):
        again = run(tmp_path)
    assert [str(path) in record.getMessage() for record in caplog.records] == [True]
    assert torch.equal(first.features, again.features)
    assert FeatureStore(tmp_path).load(path.stem) is not None


def test_progress_counts_images(tmp_path, monkeypatch, capsys):
    run(tmp_path / "quick")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "EVERY", 0.0)
    run(tmp_path / "long")
    shown = capsys.readouterr().err
    assert " of 43 rows" in shown


def test_lightning_says_nothing_and_its_logger_is_left_as_it_was(tmp_path, capsys):
    before = logging.getLogger("pytorch_lightning").level
    started = time.perf_counter()
    run(tmp_path, workers=2)
    assert time.perf_counter() - started < 60
    assert logging.getLogger("pytorch_lightning").level == before
    assert capsys.readouterr() == ("", "")
