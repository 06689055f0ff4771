import pytest
import torch
from timm.models import create_model
from torch import nn
from torchvision import models

from modelrank.hub.architectures import resnet50_thin
from modelrank.hub.penultimate import FeatureExtractor
from modelrank.hub.pyramid import Pyramid
from modelrank.types import ModelRankError


@pytest.mark.parametrize(
    ("make", "channels"),
    [
        (models.mobilenet_v2, {2: 96, 4: 144, 8: 192, 16: 576, 32: 1280}),
        (models.squeezenet1_1, {2: 64, 4: 128, 8: 256, 16: 512}),
        (models.resnet18, {2: 64, 4: 64, 8: 128, 16: 256, 32: 512}),
        (resnet50_thin, {2: 64, 4: 128, 8: 256, 16: 512, 32: 1024}),
        (lambda: create_model("efficientnet_lite0"), {2: 96, 4: 144, 8: 240, 16: 672, 32: 1280}),
    ],
)
def test_the_last_map_of_each_stride_is_found_without_names(make, channels):
    network = make()
    with torch.no_grad():
        pyramid = Pyramid(network.to("meta"))
    assert pyramid.channels == channels
    assert not any("classifier" in name or "fc" in name for name, _ in pyramid.named_parameters())


def test_the_coarsest_map_is_what_the_classifier_pools():
    network = models.squeezenet1_1().eval()
    images = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        features, _ = FeatureExtractor(network)(images)
        maps = Pyramid(network).eval()(images)
    assert list(maps) == [2, 4, 8, 16]
    torch.testing.assert_close(maps[16].mean((2, 3)), features)


def test_gradients_reach_the_first_layer_and_modes_stay():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 8, 3, 2, 1)).train()
    pyramid = Pyramid(network)
    assert network[1].training
    assert network[1].num_batches_tracked == 0  # the probing pass left the statistics alone
    pyramid(torch.rand(2, 3, 32, 32))[4].sum().backward()
    assert network[0].weight.grad.abs().sum() > 0


def test_a_network_without_maps_or_without_the_strides_is_refused():
    with pytest.raises(ModelRankError, match="has no maps to pool boxes from"):
        Pyramid(nn.Sequential(nn.Flatten(), nn.Linear(3 * 320 * 320, 2)))
    pyramid = Pyramid(nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 8, 3, 2, 1)))
    assert pyramid.chosen([4, 8], "x") == [4]
    with pytest.raises(ModelRankError, match=r"x=\[8\]: Sequential has no map at these strides; it has 2, 4"):
        pyramid.chosen([8], "x")
    with pytest.raises(ModelRankError, match="VisionTransformer cannot be run on 320 x 320 pixels"):
        Pyramid(create_model("vit_tiny_patch16_224"))


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "deit3_small_patch16_224"])
def test_patches_and_attention_are_no_maps(name):
    taken = {"strict_img_size": False} if name.startswith("swin") else {"dynamic_img_size": True}
    with pytest.raises(ModelRankError, match="has no maps to pool boxes from"):
        Pyramid(create_model(name, **taken))


def test_attention_among_convolutions_is_passed_over():
    pyramid = Pyramid(create_model("mobilevit_xxs"))
    assert {8, 16, 32} <= set(pyramid.channels)
    assert not [name for name in pyramid.taps.values() if "norm" in name.split(".")[-1] and "attn" in name]
