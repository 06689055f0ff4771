from functools import partial
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import nn
from torchvision import models

from modelrank import build
from modelrank.hub.detector import NewHead, detector, found, losses
from modelrank.hub.pyramid import Pyramid
from modelrank.hub.torchvision_detectors import build as build_detector
from modelrank.hub.torchvision_detectors import hub, pretrained
from modelrank.hub.torchvision_models import TorchvisionWeights
from modelrank.types import MissingAsset, ModelRankError

CONF = Path(__file__).parents[2] / "conf"
CHANNELS = {  # stride -> channels of what the backbone hands to the head
    "fasterrcnn_resnet50_fpn": dict.fromkeys([4, 8, 16, 32, 64], 256),
    "fasterrcnn_resnet50_fpn_v2": dict.fromkeys([4, 8, 16, 32, 64], 256),
    "fasterrcnn_mobilenet_v3_large_fpn": dict.fromkeys([32, 64], 256),
    "fasterrcnn_mobilenet_v3_large_320_fpn": dict.fromkeys([32, 64], 256),
    "retinanet_resnet50_fpn": dict.fromkeys([8, 16, 32, 64, 128], 256),
    "retinanet_resnet50_fpn_v2": dict.fromkeys([8, 16, 32, 64, 128], 256),
    "fcos_resnet50_fpn": dict.fromkeys([8, 16, 32, 64, 128], 256),
    "ssd300_vgg16": {8: 512, 16: 1024, 32: 512, 64: 256, 128: 256, 256: 256},
    "ssdlite320_mobilenet_v3_large": {16: 672, 32: 480, 64: 512, 128: 256, 256: 128},
}
BIASES = {  # of the new layers, for 3 classes: times the anchors, and one more with a background
    "fasterrcnn": [4, 16],  # classes, and boxes of each
    "retinanet": [9 * 3],
    "fcos": [3],
    "ssd300": [4 * 4, 6 * 4, 6 * 4, 6 * 4, 4 * 4, 4 * 4],
    "ssdlite320": [n for channels in (672, 480, 512, 256, 256, 128) for n in (channels, channels, 6 * 4)],
}
TARGETS = [
    {"boxes": torch.tensor([[20.0, 20, 90, 110], [5, 5, 40, 30]]), "labels": torch.tensor([2, 0])},
    {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)},  # an image without objects
]
HEAD = NewHead(strides=[8, 16, 32], sizes=[0.15, 0.3, 0.5, 0.8])


@pytest.fixture(scope="module")
def coco():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return build.models(compose("config", ["hub=detection"]))


def test_the_hub_has_the_nine_detectors_with_their_own_preprocessing(coco):
    assert set(coco) == set(CHANNELS)
    sizes = {name: model.preprocessing.size for name, model in coco.items()}
    assert (sizes["ssd300_vgg16"], sizes["ssdlite320_mobilenet_v3_large"], sizes["fcos_resnet50_fpn"]) == (
        300,
        320,
        800,
    )
    assert coco["ssd300_vgg16"].preprocessing.std == pytest.approx([1 / 255] * 3)
    assert coco["ssdlite320_mobilenet_v3_large"].preprocessing.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("name", CHANNELS)
def test_every_detector_is_built_without_weights_and_its_maps_are_known(coco, name):
    with torch.device("meta"):
        network = coco[name].architecture()
    pyramid = Pyramid(network)
    assert pyramid.channels == CHANNELS[name]


@pytest.mark.parametrize("name", CHANNELS)
def test_the_new_class_layer_has_the_right_outputs(coco, name):
    with torch.device("meta"):
        network, new = detector(coco[name].architecture(), 3, HEAD, 320)
    assert all(parameter.requires_grad for parameter in network.parameters())
    ids = {id(parameter) for parameter in network.parameters()}
    assert new
    assert all(id(parameter) in ids for parameter in new)
    assert [len(parameter) for parameter in new if parameter.ndim == 1] == BIASES[name.split("_")[0]]


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large"])
def test_a_coco_detector_learns_and_finds(coco, name):
    network, _ = detector(coco[name].architecture(), 3, HEAD, 320)
    learns_and_finds(network, 320)
    assert (network.score_thresh, network.detections_per_img) == (0.01, 100)  # not its own: the same for all


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(CHANNELS) - {"ssdlite320_mobilenet_v3_large"}))
def test_every_other_coco_detector_learns_and_finds(coco, name):
    network, _ = detector(coco[name].architecture(), 3, HEAD, 320)
    learns_and_finds(network, 320)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["maskrcnn_resnet50_fpn", "keypointrcnn_resnet50_fpn"])
def test_of_detectors_of_more_than_boxes_the_boxes_are_learnt(name):
    network, _ = detector(build_detector(name, "COCO_V1"), 3, HEAD, 320)
    learns_and_finds(network, 320)


@pytest.mark.parametrize("make", [models.mobilenet_v2, models.squeezenet1_1])
def test_any_other_network_gets_the_new_head(make):
    network, new = detector(make(), 3, HEAD, 128)
    new = {id(parameter) for parameter in new}
    names = [name for name, parameter in network.named_parameters() if id(parameter) not in new]
    assert all(name.startswith("backbone.pyramid.") for name in names)
    learns_and_finds(network, 128)


def learns_and_finds(network: nn.Module, size: int) -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 3, size, size)
    losses(network.train(), images, TARGETS).backward()
    assert any(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())
    with torch.no_grad():
        results = found(network.eval(), images)
    assert len(results) == 2
    for result in results:
        assert result["boxes"].shape == (len(result["labels"]), 4)
        assert ((result["labels"] >= 0) & (result["labels"] < 3)).all()
        assert (result["boxes"] >= 0).all()
        assert (result["boxes"] <= size).all()


def test_an_overfitted_detector_finds_the_object_where_it_is():
    torch.manual_seed(0)
    small = nn.Sequential(*(nn.Sequential(nn.Conv2d(i, o, 3, 2, 1), nn.ReLU()) for i, o in ((3, 8), (8, 16), (16, 32))))
    network, _ = detector(small, 2, NewHead([8], [0.4, 0.6]), 64)
    images = torch.zeros(2, 3, 64, 64)
    images[0, 0, 8:32, 8:32], images[1, 1, 24:56, 16:48] = 1.0, 1.0
    targets = [
        {"boxes": torch.tensor([[8.0, 8, 32, 32]]), "labels": torch.tensor([0])},
        {"boxes": torch.tensor([[16.0, 24, 48, 56]]), "labels": torch.tensor([1])},
    ]
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(80):
        optimizer.zero_grad()
        losses(network.train(), images, targets).backward()
        optimizer.step()
    with torch.no_grad():
        results = found(network.eval(), images)
    for result, target in zip(results, targets, strict=True):
        assert result["labels"][0] == target["labels"][0]
        torch.testing.assert_close(result["boxes"][0], target["boxes"][0], atol=4.0, rtol=0)


def test_sizes_that_do_not_fit_the_strides_are_refused():
    with pytest.raises(ModelRankError, match=r"protocol.head.sizes=\[0.2\]: give one for each of strides"):
        NewHead([8, 16], [0.2])


def test_names_globs_weights_and_what_is_unknown():
    assert list(hub(["ssd*"])) == ["ssd300_vgg16", "ssdlite320_mobilenet_v3_large"]
    assert list(hub(["fcos_resnet50_fpn.COCO_V1"])) == ["fcos_resnet50_fpn.COCO_V1"]
    with pytest.raises(ModelRankError, match=r"no detection model 'yolo'; it has .*ssd300_vgg16"):
        pretrained("yolo")
    with pytest.raises(ModelRankError, match=r"no weights 'V7' for ssd300_vgg16; it has COCO_V1"):
        pretrained("ssd300_vgg16", "V7")
    with pytest.raises(ModelRankError, match=r"hub.names is empty"):
        hub([])


def test_weights_saved_with_frozen_batch_norm_are_read(coco, tmp_path):
    """torchvision's files come from networks whose batch normalisation counts no batches."""
    network = coco["ssdlite320_mobilenet_v3_large"].architecture()
    state = {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "net.pth")
    other = coco["ssdlite320_mobilenet_v3_large"].architecture()
    TorchvisionWeights("https://weights.example/net.pth", str(tmp_path)).load_into(other, tmp_path)
    assert all(torch.equal(value, state[name]) for name, value in other.state_dict().items() if name in state)


def test_the_first_detectors_have_their_batch_norm_without_epsilon():
    with torch.device("meta"):
        first, second = (build_detector(name, "COCO_V1") for name in ("retinanet_resnet50_fpn", "fcos_resnet50_fpn"))
    first, second = (
        {layer.eps for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)} for network in (first, second)
    )
    assert (first, second) == ({torch.finfo(torch.float32).tiny}, {1e-5})


def test_missing_weights_are_said_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", partial(_no_network))
    model = pretrained("ssdlite320_mobilenet_v3_large", folder=str(tmp_path / "own"))
    assert model.availability(tmp_path).state == "fetchable"
    with pytest.raises(MissingAsset, match=r"cannot download .*ssdlite320.*put the file by hand at .*own"):
        model.load(tmp_path)


def _no_network(*_: object, **__: object) -> None:
    raise OSError("no network")
