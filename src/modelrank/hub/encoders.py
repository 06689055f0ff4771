"""Small encoders for 32-pixel images, made to be pre-trained in minutes on one CPU core: images to B x D features.

Each halves the image in its first layer, which costs little accuracy and a quarter of the time of the usual small
networks; none has a classifier. They take images of any side.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def convolution(inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution and batch normalisation; the size of the image is kept, or divided by the stride."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions around a shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else convolution(inputs, outputs, 1, stride=stride)
        self.first = convolution(inputs, outputs, stride=stride)
        self.second = convolution(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.second(functional.relu(self.first(x)))
        return functional.relu(inner + self.shortcut(x))


class ResNet8(nn.Module):
    """Three residual blocks; D = 4 x width."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.stem = convolution(3, width, stride=2)
        self.blocks = nn.Sequential(
            ResidualBlock(width, width, 1),
            ResidualBlock(width, 2 * width, 2),
            ResidualBlock(2 * width, 4 * width, 2),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.blocks(functional.relu(self.stem(images))).mean(dim=(2, 3))


class VGG6(nn.Module):
    """Six plain 3 x 3 convolutions in three pairs with max pooling between (Simonyan & Zisserman 2015);
    D = 4 x width."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        wide, wider = 2 * width, 4 * width
        plan: list[tuple[int, int, int] | None] = [(3, width, 2), (width, width, 1), None]
        plan += [(width, wide, 1), (wide, wide, 1), None, (wide, wider, 1), (wider, wider, 1)]
        layers: list[nn.Module] = []
        for step in plan:
            if step is None:
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [convolution(step[0], step[1], stride=step[2]), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).mean(dim=(2, 3))


class InvertedBlock(nn.Module):
    """Expand by 1 x 1, filter each channel, project back; a shortcut where the shapes allow (Sandler et al. 2018)."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.shortcut = stride == 1 and inputs == outputs
        self.layers = nn.Sequential(
            convolution(inputs, inner, 1),
            nn.ReLU6(),
            convolution(inner, inner, stride=stride, groups=inner),
            nn.ReLU6(),
            convolution(inner, outputs, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.shortcut else self.layers(x)


class MobileNet(nn.Module):
    """Five inverted residual blocks and a last 1 x 1 convolution; D = 6 x width."""

    def __init__(self, width: int = 16, expansion: int = 3) -> None:
        super().__init__()
        self.stem = convolution(3, width, stride=2)
        shapes = [(width, width, 1), (width, 2 * width, 2), (2 * width, 2 * width, 1), (2 * width, 3 * width, 2)]
        shapes += [(3 * width, 3 * width, 1)]
        self.blocks = nn.Sequential(*(InvertedBlock(*shape, expansion) for shape in shapes))
        self.last = convolution(3 * width, 6 * width, 1)

    def forward(self, images: Tensor) -> Tensor:
        return functional.relu6(self.last(self.blocks(functional.relu6(self.stem(images))))).mean(dim=(2, 3))


class DenseLayer(nn.Module):
    """Adds `growth` channels, computed from all that are there, to them (Huang et al. 2017)."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.layer = nn.Conv2d(inputs, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.layer(functional.relu(self.norm(x)))], dim=1)


class DenseNet(nn.Module):
    """Three dense blocks, with a halving 1 x 1 convolution and mean pooling between them."""

    def __init__(self, growth: int = 16, layers: Sequence[int] = (3, 3, 3)) -> None:
        super().__init__()
        channels = 2 * growth
        self.stem = convolution(3, channels, stride=2)
        stages: list[nn.Module] = []
        for index, count in enumerate(layers):
            if index:
                stages += [convolution(channels, channels // 2, 1), nn.ReLU(), nn.AvgPool2d(2)]
                channels //= 2
            stages += [DenseLayer(channels + i * growth, growth) for i in range(count)]
            channels += count * growth
        self.stages = nn.Sequential(*stages, nn.BatchNorm2d(channels))

    def forward(self, images: Tensor) -> Tensor:
        return functional.relu(self.stages(functional.relu(self.stem(images)))).mean(dim=(2, 3))
