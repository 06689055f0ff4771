import io
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file, save_file

import modelrank
from modelrank.data.images import ImageData, ImageSplit
from modelrank.hub.architectures import vgg16_trunk
from modelrank.hub.encoders import ResNet8
from modelrank.hub.model import PretrainedModel
from modelrank.hub.penultimate import replace_head
from modelrank.hub.preprocessing import Preprocessing
from modelrank.recommend.architecture import built, described
from modelrank.recommend.winner import load, save
from modelrank.types import ModelRankError

ARCHITECTURES = {
    "torchvision": (torchvision.models.mobilenet_v2, True),
    "torchvision by name": (partial(torchvision.models.get_model, "resnet18"), True),
    "timm": (partial(timm.create_model, "resnet10t.c3_in1k", num_classes=7), True),
    "vit": (partial(timm.create_model, "vit_tiny_patch16_224", img_size=32, depth=2), True),
    "squeezenet": (torchvision.models.squeezenet1_1, False),  # its classifier is a convolution with a ReLU behind it
    "trunk": (partial(vgg16_trunk, batch_norm=False, layers=5), False),
    "ours": (partial(ResNet8, width=8), False),
}


def model_of(architecture):
    return PretrainedModel("it", architecture, None, "", "none", "MIT", Preprocessing(32, 32))


@pytest.fixture
def data():
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (40, 40, 3), np.uint8) for _ in range(6)]
    split = ImageSplit(images, np.arange(6) % 3, [str(number) for number in range(6)])
    classes = ("ash", "<b>birch</b>", "chêne")
    return ImageData("trees", "classification", classes, "accuracy", {"test": split}, "here", "CC0", "0" * 64)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_network_comes_back_as_it_was(tmp_path, data, name):
    architecture, whole = ARCHITECTURES[name]
    torch.manual_seed(0)
    network = replace_head(architecture(), 3, size=32).eval()
    model = model_of(architecture)
    save(tmp_path / "a", network, model, data, model.preprocessing, {"val": 0.5})
    found = modelrank.load(tmp_path / "a")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(found.network(images), network(images), rtol=1e-4, atol=1e-5)
    assert found.facts["whole"] is whole
    assert found.classes == list(data.classes)
    assert found.facts["val"] == 0.5
    assert found.facts["licences"] == {"weights": "MIT", "images": "CC0"}


@pytest.mark.parametrize("name", ["torchvision", "torchvision by name", "timm", "vit"])
def test_the_recipe_loads_the_weights_without_this_package(tmp_path, data, name, monkeypatch):
    architecture, _ = ARCHITECTURES[name]
    torch.manual_seed(0)
    network = replace_head(architecture(), 3, size=32).eval()
    model = model_of(architecture)
    save(tmp_path, network, model, data, model.preprocessing, {})
    recipe = json.loads((tmp_path / "model.json").read_text())["recipe"]
    assert len(recipe.strip().splitlines()) == 5
    assert "modelrank" not in recipe
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(recipe, names)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(names["model"](images), network(images), rtol=1e-4, atol=1e-5)


@pytest.fixture
def saved(tmp_path, data):
    torch.manual_seed(0)
    architecture = ARCHITECTURES["ours"][0]
    network = replace_head(architecture(), 3, size=32).eval()
    model = model_of(architecture)
    save(tmp_path / "saved", network, model, data, model.preprocessing, {})
    return tmp_path / "saved"


def test_predicts_files_pictures_and_arrays(saved, tmp_path, data):
    arrays = [np.asarray(data.splits["test"][number][0]) for number in range(6)]
    Image.fromarray(arrays[0]).save(tmp_path / "one.png")
    found = load(saved)
    names = found.predict(arrays)
    assert len(names) == 6
    assert set(names) <= set(data.classes)
    assert found.predict(tmp_path / "one.png") == found.predict(Image.fromarray(arrays[0])) == names[:1]
    probabilities = found.outputs(arrays)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    assert [data.classes[index] for index in probabilities.argmax(1)] == names
    assert found.outputs([]).shape == (0, 3)
    for wrong in (tmp_path / "no-such.png", "https://here/one.png", tmp_path, tmp_path / "one.png" / "x"):
        with pytest.raises(
            ModelRankError, match=rf"{Path(wrong).name}.*; give the path of an image file on this machine$"
        ):
            found.predict(wrong)
    for several in (np.array([str(tmp_path / "one.png")] * 2), np.array([str(tmp_path / "one.png")] * 2, object)):
        assert found.predict(several) == names[:1] * 2
    assert found.predict(np.stack(arrays)) == names
    assert repr(found).startswith(f"FineTuned({found.facts['name']} on ")


def truncated(suffix):
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, suffix)
    return Image.open(io.BytesIO(file.getvalue()[:-500]))


PIXELS = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (PIXELS / 255, r"^an array of float64, \(64, 64, 3\), is no image; give files"),
        (PIXELS.transpose(2, 0, 1), r"^an array of uint8, \(3, 64, 64\), is no image; give .* H x W x 3"),
        (PIXELS.transpose(2, 0, 1)[None], r"^an array of uint8, \(3, 64, 64\), is no image"),
        (PIXELS[:, :, :1], r"^an array of uint8, \(64, 64, 1\), is no image"),
        (PIXELS[:0], r"^an array of uint8, \(0, 64, 3\), is no image"),
        (Image.new("RGB", (0, 5)), r"^a PIL image of 0 x 5 pixels, mode RGB, is no image"),
        (torch.zeros(3, 64, 64), r"^a tensor of torch\.float32, \(3, 64, 64\), is no image"),
        (
            Image.fromarray(PIXELS[:, :, 0].astype(np.float32)),
            "64 pixels, mode F, cannot be read: its floating numbers",
        ),
        (truncated("JPEG"), "^a PIL image of 64 x 64 pixels, mode RGB, cannot be read: .*truncated"),
        (truncated("PNG"), "^a PIL image of 64 x 64 pixels, mode RGB, cannot be read: .*truncated"),
        (None, "^None is no image"),
    ],
)
def test_what_is_no_image_is_said_in_one_sentence(saved, wrong, says):
    with pytest.raises(ModelRankError, match=says):
        load(saved).predict(wrong)


def test_grey_and_transparent_arrays_are_read_as_files_are(saved, tmp_path):
    found, alpha = load(saved), np.dstack([PIXELS, PIXELS[:, :, 0]])
    for array in (PIXELS[:, :, 0], alpha):
        Image.fromarray(array).save(tmp_path / "one.png")
        np.testing.assert_array_equal(found.outputs(array), found.outputs(tmp_path / "one.png"))


def test_the_folder_of_the_run_and_the_file_of_the_weights_do_as_well(saved, tmp_path):
    saved.rename(tmp_path / "model")
    for given in (tmp_path, tmp_path / "model", tmp_path / "model/model.safetensors"):
        assert load(given).classes == load(tmp_path / "model").classes


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_other_tasks(tmp_path, data, task):
    torch.manual_seed(0)
    architecture = ARCHITECTURES["ours"][0]
    network = replace_head(architecture(), 3, size=32).eval()
    model = model_of(architecture)
    save(tmp_path, network, model, replace(data, task=task), model.preprocessing, {})
    found = load(tmp_path)
    image = data.splits["test"][0][0]
    (answer,) = found.predict(image)
    values = found.outputs(image)[0]
    if task == "regression":
        assert answer == values.tolist()
    else:
        assert answer == [name for name, value in zip(data.classes, values, strict=True) if value > 0.5]


def test_detection_is_refused(tmp_path, data):
    model = model_of(ARCHITECTURES["ours"][0])
    network = replace_head(model.architecture(), 3, size=32)
    with pytest.raises(ModelRankError, match="detection"):
        save(tmp_path, network, model, replace(data, task="detection"), model.preprocessing, {})


def test_damaged_and_missing_files_are_said(saved, tmp_path):
    with pytest.raises(ModelRankError, match="holds no fine-tuned model"):
        load(tmp_path / "nowhere")
    tensors = load_file(saved / "model.safetensors")
    save_file({name: value + 1 for name, value in tensors.items()}, saved / "model.safetensors")
    with pytest.raises(ModelRankError, match="sha256"):
        load(saved)
    (saved / "model.json").write_text('{"format": 1')
    with pytest.raises(ModelRankError, match="damaged"):
        load(saved)


def own_network():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())


def test_a_network_of_ones_own_is_given_not_named(tmp_path, data):
    model = model_of(own_network)
    network = replace_head(own_network(), 3, size=32).eval()
    save(tmp_path, network, model, data, model.preprocessing, {})
    with pytest.raises(ModelRankError, match="architecture="):
        load(tmp_path)
    found = load(tmp_path, architecture=own_network)
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(found.network(image), network(image))


@pytest.mark.parametrize(
    "description",
    [
        {"library": "other", "name": "os.system", "arguments": {"command": "true"}},
        {"library": "modelrank", "name": "modelrank.hub.state_dicts.read_checkpoint", "arguments": {}},
        {"library": "torchvision", "name": "_utils", "arguments": {}},
        {"library": "timm", "name": "hf-hub:some/where", "arguments": {}},
        {"library": "timm", "name": "resnet18", "arguments": {"pretrained": True}},
        {"library": "timm", "name": "resnet18", "arguments": {"checkpoint_path": "weights.pth"}},
        {"library": "torchvision", "name": "resnet18", "arguments": {"weights": "DEFAULT"}},
        {"library": "torchvision", "name": "resnet18", "arguments": {"size_of_it": 3}},
        {"library": "timm"},
        "resnet18",
    ],
)
def test_what_a_file_names_is_not_run(description):
    with pytest.raises(ModelRankError):
        built(description)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_descriptions_are_plain(name):
    description = described(ARCHITECTURES[name][0])
    assert json.loads(json.dumps(description)) == description
    assert description["library"] != "other"
