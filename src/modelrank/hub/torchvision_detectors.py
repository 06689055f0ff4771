"""Detectors of torchvision with their COCO weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torchvision.models
from torch import nn
from torchvision.models import detection

from modelrank.hub.model import PretrainedModel
from modelrank.hub.preprocessing import Preprocessing
from modelrank.hub.torchvision_models import LICENCE, TorchvisionWeights, named, weights_entry


def pretrained(
    name: str, weights: str = "DEFAULT", folder: str | None = None, id: str | None = None
) -> PretrainedModel:
    """One detector; arguments as for `torchvision_models.pretrained`."""
    entry = weights_entry(name, weights, detection)
    architecture = partial(build, name, weights=entry.name)
    return PretrainedModel(
        name=id or name,
        architecture=architecture,
        weights=TorchvisionWeights(entry.url, folder),
        family=torchvision.models.get_model_builder(name).__module__.rpartition(".")[2],
        pretraining=f"COCO detection ({entry.name})",
        licence=LICENCE,
        preprocessing=_own_preprocessing(architecture),
    )


def hub(names: Sequence[str], folder: str | None = None) -> dict[str, PretrainedModel]:
    """`hub=detection 'hub.names=[ssd*, fcos_resnet50_fpn.COCO_V1]'`: as `torchvision_models.hub`, for detectors."""
    return named(names, detection, partial(pretrained, folder=folder), example="ssd*")


def build(name: str, weights: str) -> nn.Module:
    """The untrained detector in the form in which torchvision evaluates these weights.

    Those of the first two ResNet-50 detectors were trained with a batch normalisation that adds nothing to the
    variance, and torchvision sets that when it loads them.
    """
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None)
    if (name, weights) in {("fasterrcnn_resnet50_fpn", "COCO_V1"), ("retinanet_resnet50_fpn", "COCO_V1")}:
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eps = torch.finfo(torch.float32).tiny  # nothing; torch 2.11 refuses 0
    return model


def _own_preprocessing(architecture: partial[nn.Module]) -> Preprocessing:
    """What the detector's own transform would do, as a square of its short side."""
    with torch.device("meta"):  # nothing is initialised, so it takes no time
        rule: Any = architecture().transform
    size = rule.min_size[-1]
    return Preprocessing(size, size, "bilinear", rule.image_mean, rule.image_std)
