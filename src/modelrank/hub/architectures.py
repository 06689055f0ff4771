"""Networks that neither torchvision nor timm builds by name: old Caffe shapes and trunks without a head."""

from __future__ import annotations

from typing import Any

import torch
from timm.models.resnet import Bottleneck, ResNet
from torch import Tensor, nn
from torchvision.models import mobilenet_v2, resnet50
from torchvision.models.vgg import cfgs, make_layers


def mobilenet_v2_trunk() -> nn.Module:
    """torchvision's MobileNetV2 without its classifier: B x 1280."""
    model = mobilenet_v2()
    model.classifier = nn.Identity()  # type: ignore[assignment]  declared as Sequential
    return model


def resnet50_trunk() -> nn.Module:
    """torchvision's ResNet-50 without its classifier: B x 2048."""
    model = resnet50()
    model.fc = nn.Identity()  # type: ignore[assignment]  declared as Linear
    return model


def vgg16_trunk(*, batch_norm: bool, layers: int | None = None) -> nn.Module:
    """The first `layers` modules (all when None) of torchvision's VGG-16 `features`: B x 512 x h x w.

    Built from torchvision's own layer table, without the 124 million parameters of its classifier.
    """
    return make_layers(cfgs["D"], batch_norm=batch_norm)[:layers]


class ChannelBias(nn.Module):
    """Adds one number to each channel: what is left of a batch normalisation folded into the convolution before it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias[:, None, None]


def resnet50_thin(*, outputs: int = 2) -> nn.Module:
    """Yahoo's thin ResNet-50 (half of the usual widths: 1024 features) in Caffe's form, batch normalisation folded.

    Differs from today's ResNet-50 in three places: the first 1 x 1 convolution of a stage takes the stride, the
    max pooling pads at the right and bottom only (Caffe rounds the size up), and there is no normalisation layer,
    because the published weights have it folded in. A real one with the folded bias as its shift would do the same
    in eval mode but destroy the features in training mode, where it would normalise a second time.
    """
    widths = (32, 64, 128, 256)

    def shift(channels: int, **_: Any) -> nn.Module:  # timm passes a device and a dtype too
        return ChannelBias(channels)

    # timm declares norm_layer as a module's class and calls it as any function of the channels
    model = ResNet(Bottleneck, (3, 4, 6, 3), num_classes=outputs, channels=widths, norm_layer=shift)  # type: ignore[arg-type]
    model.maxpool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
    for stage in (2, 3, 4):
        block: Any = model.get_submodule(f"layer{stage}.0")
        block.conv1.stride, block.conv2.stride = (2, 2), (1, 1)
    return model
