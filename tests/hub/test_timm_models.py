import re
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from modelrank.hub.penultimate import FeatureExtractor, classifier
from modelrank.hub.timm_models import hub, pretrained
from modelrank.keys import digest
from modelrank.types import MissingAsset, ModelRankError

TINY = "test_vit.r160_in1k"  # timm's own model for tests: 0.4 million parameters


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_the_users_own_file_goes_first(suffix, tmp_path):
    source = timm.create_model(TINY)
    path = tmp_path / f"{TINY}{suffix}"
    save_file(source.state_dict(), path) if suffix == ".safetensors" else torch.save(source.state_dict(), path)
    model = pretrained(TINY, folder=str(tmp_path))
    assert model.availability(tmp_path).where == str(path)
    loaded = model.load(tmp_path)
    assert all(torch.equal(loaded.state_dict()[key], value) for key, value in source.state_dict().items())
    assert "sha256" in model.identity()["weights"]


def test_a_file_that_does_not_fit_is_refused(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / f"{TINY}.safetensors")
    with pytest.raises(ModelRankError, match=f"does not fit timm's {re.escape(TINY)}"):
        pretrained(TINY, folder=str(tmp_path)).load(tmp_path)


def test_a_quantised_file_is_refused(tmp_path):
    state = {name: value.to(torch.int8) for name, value in timm.create_model(TINY).state_dict().items()}
    save_file(state, tmp_path / f"{TINY}.safetensors")
    with pytest.raises(ModelRankError, match="is int8, the model has float32: a quantised file"):
        pretrained(TINY, folder=str(tmp_path)).load(tmp_path)


@pytest.mark.parametrize("place", ["huggingface", "torch hub"])
def test_a_cached_file_that_is_not_the_published_one_is_refused(tmp_path, monkeypatch, place):
    source = timm.create_model(TINY)
    save_file(source.state_dict(), tmp_path / "whole")
    sha256 = digest(tmp_path / "whole")
    if place == "huggingface":
        blob, cached = tmp_path / sha256, tmp_path / "model.safetensors"
        (tmp_path / "whole").rename(blob)
        cached.symlink_to(blob)
    else:
        blob = cached = (tmp_path / "whole").rename(tmp_path / f"test_vit-{sha256[:8]}.safetensors")
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_, **__: load_file(cached))
    monkeypatch.setattr("modelrank.hub.timm_models.try_to_load_from_cache", lambda *_: str(cached))
    loaded = pretrained(TINY).load(tmp_path)
    assert torch.equal(loaded.head.weight, source.head.weight)
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1  # one bit of a weight
    blob.write_bytes(content)
    with pytest.raises(ModelRankError, match=f"its sha256 is .*, published is {sha256[:8]}"):
        pretrained(TINY).load(tmp_path)


def test_without_network_one_sentence_says_what_and_where(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError("no route to the hub")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", offline)
    model = pretrained(TINY, folder=str(tmp_path))
    with pytest.raises(MissingAsset) as error:
        model.load(tmp_path)
    sentence = str(error.value)
    assert f"timm/{TINY}" in sentence
    assert "no route to the hub" in sentence
    assert str(tmp_path / f"{TINY}.safetensors") in sentence


def test_names_tags_and_globs_with_timms_own_preprocessing():
    models = hub(["resnet18.a1_in1k", "test_v*", "vit_tiny_patch16_384"])
    assert {"resnet18.a1_in1k", TINY, "vit_tiny_patch16_384"} <= set(models)
    assert all(name == model.name for name, model in models.items())
    assert models["resnet18.a1_in1k"].family == "resnet"
    rule = models["vit_tiny_patch16_384"].preprocessing
    assert (rule.size, rule.resize, rule.interpolation, rule.mean) == (384, 384, "bicubic", (0.5, 0.5, 0.5))
    assert models[TINY].preprocessing.resize == round(160 / timm.get_pretrained_cfg(TINY).crop_pct)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "hub.names is empty"),
        (["resnet1x"], "close names: resnet"),
        (["resnet18.zz"], "no pre-trained"),
        (["zz*"], "zz"),
    ],
)
def test_wrong_names_are_answered(names, message):
    with pytest.raises(ModelRankError, match=message):
        hub(names)


@pytest.mark.parametrize(
    ("name", "dimension", "outputs"),
    [
        ("resnet18.a1_in1k", 512, 1000),
        ("convnext_atto.d2_in1k", 320, 1000),
        ("mobilenetv3_small_050.lamb_in1k", 1024, 1000),
        ("vit_small_patch16_224.dino", 384, None),
        ("mixer_b16_224.goog_in21k", 768, 21843),
        ("vit_tiny_r_s16_p8_224.augreg_in21k", 192, 21843),
    ],
)
def test_features_and_logits_of_many_families(name, dimension, outputs):
    with torch.device("meta"), torch.no_grad():
        network = hub([name])[name].architecture().eval()
        features, logits = FeatureExtractor(network)(torch.zeros(2, 3, 224, 224))
    assert features.shape == (2, dimension)
    assert (None if logits is None else logits.shape[1]) == outputs


def test_a_transformer_takes_images_of_the_protocols_size_and_at_its_own_it_is_timms():
    ours, theirs = hub([TINY])[TINY].architecture().eval(), timm.create_model(TINY).eval()
    ours.load_state_dict(theirs.state_dict())
    image = torch.randn(1, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(ours(image), theirs(image))
        assert ours(image[..., :112, :112]).shape == (1, 1000)
    with torch.device("meta"):
        swin = hub(["swin_tiny_patch4_window7_224"])["swin_tiny_patch4_window7_224"].architecture()
        assert swin(torch.zeros(1, 3, 112, 112)).shape == (1, 1000)


def test_a_model_with_two_heads_is_refused_with_the_way_out():
    with torch.device("meta"):
        network = hub(["deit_tiny_distilled_patch16_224"])["deit_tiny_distilled_patch16_224"].architecture()
    with pytest.raises(ModelRankError, match="VisionTransformerDistilled has 2 heads"):
        classifier(network)


def test_the_head_that_timm_names_is_found_where_it_is_not_the_last_module():
    network = timm.create_model("test_vit", num_classes=7)
    network.extra = torch.nn.Linear(2, 2)  # registered after the head, never used
    assert classifier(network) == ("head", network.head)


def test_published_file_names_are_found_too(tmp_path):
    model = pretrained("deit_tiny_patch16_224.fb_in1k", folder=str(tmp_path))
    (tmp_path / Path(model.weights.url).name).write_bytes(b"")
    assert model.availability(tmp_path).where == str(tmp_path / "deit_tiny_patch16_224-a1311bcf.pth")


def test_a_model_of_a_glob_that_cannot_be_had_is_left_out_and_said(caplog):
    models = hub(["volo_d[45]_*"])  # published with a crop that is larger than the image
    assert "volo_d4_224.sail_in1k" in models
    assert "volo_d4_448.sail_in1k is left out: preprocessing: needs 0 < size <= resize" in caplog.text
    with pytest.raises(ModelRankError, match="needs 0 < size <= resize"):
        hub(["volo_d4_448.sail_in1k"])
