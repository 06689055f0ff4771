"""Detectors for fine-tuning: a torchvision detector with a new class head, or a new one on an image network's maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD, SSDClassificationHead
from torchvision.models.detection.ssdlite import SSDLiteClassificationHead
from torchvision.ops import FeaturePyramidNetwork

from modelrank.hub.pyramid import DETECTORS, Pyramid


class Prepared(nn.Module):
    """In the place of torchvision's transform: images come normalised and of one size, boxes in pixels of that size."""

    def forward(self, images: Tensor, targets: Any = None) -> tuple[ImageList, Any]:
        return ImageList(images, [(images.shape[-2], images.shape[-1])] * len(images)), targets

    def postprocess(self, result: Any, image_shapes: Any, original_image_sizes: Any) -> Any:
        return result


@dataclass(frozen=True)
class NewHead:
    """What a network that is no detector is given: torchvision's FCOS (Tian et al. 2019) on a feature pyramid.

    strides:      of the network's maps that are used; those that it lacks are left out.
    channels:     of the feature pyramid and the head.
    convolutions: in each branch of the head.
    anchor:       size, in strides, of the one square anchor at each place. It decides which level learns an object:
                  the finest takes those that reach at most 8 anchors from a place to their farthest side.
    radius:       in anchors: places so near to the centre of an object learn it.
    """

    strides: Sequence[int]
    channels: int
    convolutions: int
    anchor: float
    radius: float

    def on(self, network: nn.Module, outputs: int) -> tuple[FCOS, list[nn.Parameter]]:
        backbone = PyramidBackbone(network, self.strides, self.channels)
        sizes = tuple((round(self.anchor * stride),) for stride in backbone.strides)
        model = FCOS(
            backbone,
            outputs,
            anchor_generator=AnchorGenerator(sizes, ((1.0,),) * len(sizes)),
            head=FCOSHead(self.channels, 1, outputs, self.convolutions),
            center_sampling_radius=self.radius,
            score_thresh=0.01,  # a curve of precision needs the doubtful boxes too
        )
        return model, [*backbone.fpn.parameters(), *model.head.parameters()]


class PyramidBackbone(nn.Module):
    """images -> maps of `out_channels` at the given strides, by a feature pyramid on the network's own maps."""

    def __init__(self, network: nn.Module, strides: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.pyramid = Pyramid(network)
        self.strides = self.pyramid.chosen(strides, "protocol.head.strides")
        self.fpn = FeaturePyramidNetwork([self.pyramid.channels[stride] for stride in self.strides], out_channels)
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.pyramid(images)
        return self.fpn({str(stride): maps[stride] for stride in self.strides})


def detector(network: nn.Module, classes: int, head: NewHead) -> tuple[nn.Module, list[nn.Parameter]]:
    """A detector of `classes` kinds of objects with every layer trainable, and its new parameters.

    A torchvision detector keeps everything but the layer of its class scores; any other network gets `head`. It is
    called through `losses` and `found`. Changes `network` in place. New layers start from the global generator.
    """
    if isinstance(network, DETECTORS):
        model, new = network, _new_class_head(network, classes + _background(network))
    else:
        model, new = head.on(network, classes)
    model.transform = Prepared()  # type: ignore[assignment]
    return model.requires_grad_(True), new


def _background(model: nn.Module) -> int:
    """1 where class 0 is 'nothing' (a softmax over classes), 0 where each class is a yes or no of its own."""
    return int(isinstance(model, FasterRCNN | SSD))


def _new_class_head(model: nn.Module, outputs: int) -> list[nn.Parameter]:
    """Put a new last layer of class scores into a torchvision detector; of SSD and SSDlite the whole class head."""
    part: Any = model.roi_heads if isinstance(model, FasterRCNN) else model.head
    if isinstance(model, FasterRCNN):
        new = part.box_predictor = FastRCNNPredictor(part.box_predictor.cls_score.in_features, outputs)
    elif isinstance(model, SSD):
        old = part.classification_head.module_list
        lite = isinstance(old[0], nn.Sequential)  # a depthwise and a 1 x 1 convolution in the place of one of 3 x 3
        channels = [(one[-1] if lite else one).in_channels for one in old]
        make: Any = partial(SSDLiteClassificationHead, norm_layer=nn.BatchNorm2d) if lite else SSDClassificationHead
        anchors = model.anchor_generator.num_anchors_per_location()
        new = part.classification_head = make(channels, anchors, outputs)
    else:
        old = part.classification_head.cls_logits
        anchors = old.out_channels // part.classification_head.num_classes
        new = nn.Conv2d(old.in_channels, anchors * outputs, kernel_size=3, padding=1)
        nn.init.normal_(new.weight, std=0.01)
        nn.init.constant_(new.bias, -math.log(99))  # type: ignore[arg-type]  every class begins at 1 %: Lin et al. 2017
        part.classification_head.cls_logits, part.classification_head.num_classes = new, outputs
    return list(new.parameters())


def found(model: nn.Module, images: Tensor) -> list[dict[str, Tensor]]:
    """What the detector finds in normalised images B x 3 x H x W: `boxes` n x 4 corners in pixels, `scores`, `labels`
    0..C-1, best first. In eval mode."""
    first = _background(model)
    return [{**result, "labels": result["labels"] - first} for result in model(images)]


def losses(model: nn.Module, images: Tensor, targets: Sequence[dict[str, Tensor]]) -> Tensor:
    """Sum of the detector's own losses; targets are `boxes` n x 4, n may be 0, and `labels` 0..C-1. Training mode."""
    first = _background(model)
    shifted = [{"boxes": target["boxes"], "labels": target["labels"] + first} for target in targets]
    return torch.stack([loss.float() for loss in model(images, shifted).values()]).sum()
