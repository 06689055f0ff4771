"""Models that transformers' own save_pretrained wrote, small and with random weights."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from modelrank.hub.huggingface_models import _preprocessing, hub
from modelrank.hub.penultimate import FeatureExtractor, replace_head
from modelrank.recommend.architecture import built, described
from modelrank.types import MissingAsset, ModelRankError

pytestmark = pytest.mark.slow  # importing transformers takes seconds


@pytest.fixture
def folder(tmp_path):
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    network = ViTForImageClassification(ViTConfig(**sizes, image_size=32, patch_size=16, num_labels=3))
    network.save_pretrained(tmp_path / "tiny")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_features_and_logits_are_those_of_transformers(folder, tmp_path):
    from transformers import AutoModelForImageClassification

    model = hub([str(folder)])["tiny"]
    assert model.availability(tmp_path).state == "present"
    assert (model.preprocessing.size, model.preprocessing.mean) == (32, (0.5, 0.5, 0.5))
    images = torch.randn(2, 3, 32, 32)
    own = AutoModelForImageClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        features, logits = FeatureExtractor(model.load(tmp_path))(images)
        assert torch.equal(logits, own(images).logits)
        assert torch.allclose(features, own.vit(images).last_hidden_state[:, 0], atol=1e-6)
        again = built(described(model.architecture))  # of a fine-tuned network that was taken home
        again.load_state_dict(model.load(tmp_path).state_dict())
        assert torch.equal(again.eval()(images), logits)
        assert replace_head(model.load(tmp_path), 5, size=32)(images).shape == (2, 5)


def test_the_identity_is_the_content_not_the_place(folder, tmp_path):
    first = hub([str(folder)])["tiny"].identity()
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert hub([str(tmp_path / "elsewhere")])["elsewhere"].identity() == first
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    assert hub([str(folder)])["tiny"].identity() != first


def test_weights_that_are_not_all_there_are_refused(folder, tmp_path):
    tensors = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("classifier")}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelRankError, match=r"lacks classifier\.bias, classifier\.weight"):
        hub([str(folder)])["tiny"].load(tmp_path)


def test_what_cannot_be_used_is_said_in_one_sentence(folder, tmp_path):
    (folder / "preprocessor_config.json").rename(tmp_path / "away.json")
    with pytest.raises(MissingAsset, match=r"image processor .*; give a folder with config\.json"):
        hub([str(folder)])
    (tmp_path / "away.json").rename(folder / "preprocessor_config.json")
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["ViTModel"]}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelRankError, match="is no image classifier of transformers, but ViTModel"):
        hub([str(folder)])
    with pytest.raises(ModelRankError, match=r"hub\.names is empty"):
        hub([])


def test_without_a_network_a_name_is_answered_with_what_to_give(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        MissingAsset, match=r"^hub\.names: nobody/nothing@abc is no folder, and transformers cannot get"
    ):
        hub(["nobody/nothing@abc"])


def test_preprocessing():
    enlarged = {"size": {"shortest_edge": 224}, "crop_pct": 0.875, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    assert (_preprocessing("x", enlarged, "convnext").size, _preprocessing("x", enlarged, "convnext").resize) == (
        224,
        256,
    )
    cropped = {"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}}
    cropped |= {"resample": 3, "do_normalize": False}
    found = _preprocessing("x", cropped, "resnet")
    assert (found.size, found.resize, found.interpolation, found.mean, found.std) == (
        224,
        256,
        "bicubic",
        (0.0, 0.0, 0.0),
        (1.0, 1.0, 1.0),
    )
    with pytest.raises(ModelRankError, match=r"scales pixels by 0\.007843"):
        _preprocessing("x", cropped | {"rescale_factor": 1 / 127.5}, "resnet")
    assert _preprocessing("x", cropped, "levit").resize == 256
    normal = cropped | {"do_normalize": True, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
    twice = _preprocessing("x", normal | {"include_top": True}, "efficientnet")
    assert twice.std == pytest.approx([0.04, 0.09, 0.16])
    with pytest.raises(ModelRankError, match="takes blue before red"):
        _preprocessing("x", cropped, "mobilevit")
    with pytest.raises(ModelRankError, match="does not say how it normalises"):
        _preprocessing("x", {key: value for key, value in normal.items() if key != "image_mean"}, "resnet")
