"""Encoders for 32 px: the width of their features, and that the rest of the project can use them without a head."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from modelrank.hub.penultimate import FeatureExtractor, classifier, feature_dimension, replace_head

CONF = Path(__file__).parents[2] / "conf" / "encoder"
SIZES = {  # features, thousands of parameters: as their YAMLs say
    "densenet": (92, 80),
    "mobilenet": (96, 43),
    "resnet8": (96, 173),
    "vgg6": (128, 287),
}


def encoder(name):
    torch.manual_seed(0)
    return instantiate(OmegaConf.load(CONF / f"{name}.yaml"))()


def test_every_encoder_is_known_here():
    assert {path.stem for path in CONF.glob("*.yaml")} == set(SIZES)


@pytest.mark.parametrize("name", SIZES)
def test_features_of_an_encoder(name):
    network, (dimension, thousands) = encoder(name).eval(), SIZES[name]
    images = torch.rand(2, 3, 32, 32)
    assert network(images).shape == (2, dimension)
    assert round(sum(p.numel() for p in network.parameters()) / 1000) == thousands
    assert feature_dimension(network, size=32) == dimension
    features, logits = FeatureExtractor(network)(images)
    assert logits is None
    torch.testing.assert_close(features, network(images))


@pytest.mark.parametrize("name", SIZES)
def test_every_parameter_of_an_encoder_is_used(name):
    network = encoder(name)
    assert classifier(network) is None
    head = replace_head(network, 5, size=32)
    head(torch.rand(4, 3, 32, 32)).square().sum().backward()
    unused = [key for key, parameter in head.named_parameters() if parameter.grad is None]
    assert not unused
