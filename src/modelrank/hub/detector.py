"""Detectors for fine-tuning: a torchvision detector with a new class head, or a new one on an image network's maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD, SSDClassificationHead
from torchvision.models.detection.ssdlite import SSDLiteClassificationHead

from modelrank.hub.pyramid import DETECTORS, Pyramid
from modelrank.types import ModelRankError

LOWEST_SCORE, BOXES_PER_IMAGE = 0.01, 100  # of what is found; the same for all, as mAP depends on them


class Prepared(nn.Module):
    """In the place of torchvision's transform: images come normalised and of one size, boxes in pixels of that size."""

    def forward(self, images: Tensor, targets: Any = None) -> tuple[ImageList, Any]:
        return ImageList(images, [(images.shape[-2], images.shape[-1])] * len(images)), targets

    def postprocess(self, result: Any, image_shapes: Any, original_image_sizes: Any) -> Any:
        return result


@dataclass(frozen=True)
class NewHead:
    """What a network that is no detector is given: torchvision's SSD (Liu et al. 2016) on the network's own maps.

    One convolution from a map to classes and boxes, so little of it is new and what the network knows is used at once.
    With torchvision's FCOS on a new feature pyramid, 200 steps taught where objects are but not yet what they are
    (mobilenet_v2 on scenes_stamps: mAP@0.5 of 0.09 instead of 0.24).

    strides: of the network's maps that are used; those that it lacks are left out.
    sizes:   side of the boxes that each of these maps looks for, in shares of the image, and one more number: boxes
             also have the geometric mean of their size and the next. Besides squares there are boxes of 2:1 and 1:2.
    """

    strides: Sequence[int]
    sizes: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.sizes) != len(self.strides) + 1:
            raise ModelRankError(f"protocol.head.sizes={list(self.sizes)}: give one for each of strides, and one more")

    def on(self, network: nn.Module, outputs: int, size: int) -> tuple[SSD, list[nn.Parameter]]:
        backbone = NormalisedMaps(network, self.strides)
        places = [i for i, stride in enumerate(self.strides) if stride in backbone.strides]
        sizes = [self.sizes[i] for i in places] + [self.sizes[places[-1] + 1]]
        boxes = DefaultBoxGenerator([[2]] * len(places), scales=sizes)
        model = SSD(backbone, boxes, (size, size), outputs)
        return model, [*backbone.norms.parameters(), *model.head.parameters()]


class NormalisedMaps(nn.Module):
    """images -> the network's maps at the given strides, each brought to mean 0 and variance 1 within an image.

    Networks differ by orders of magnitude in the size of their features, and one rate of the head has to serve all.
    """

    def __init__(self, network: nn.Module, strides: Sequence[int]) -> None:
        super().__init__()
        self.pyramid = Pyramid(network)
        self.strides = self.pyramid.chosen(strides, "protocol.head.strides")
        self.out_channels = [self.pyramid.channels[stride] for stride in self.strides]
        self.norms = nn.ModuleList(nn.GroupNorm(1, channels) for channels in self.out_channels)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.pyramid(images)
        return {str(stride): norm(maps[stride]) for stride, norm in zip(self.strides, self.norms, strict=True)}


def detector(network: nn.Module, classes: int, head: NewHead, size: int) -> tuple[nn.Module, list[nn.Parameter]]:
    """A detector of `classes` kinds of objects with every layer trainable, and its new parameters.

    A torchvision detector keeps everything but the layer of its class scores; any other network gets `head`, for
    images of `size` pixels a side. Called through `losses` and `found`. Changes `network` in place. New layers start
    from the global generator.
    """
    if isinstance(network, DETECTORS):
        model, new = network, _new_class_head(network, classes + _background(network))
    else:
        model, new = head.on(network, classes + 1, size)
    model.transform = Prepared()  # type: ignore[assignment]  any of its interface will do
    last: Any = model.roi_heads if isinstance(model, FasterRCNN) else model
    last.score_thresh, last.detections_per_img = LOWEST_SCORE, BOXES_PER_IMAGE
    return model.requires_grad_(True), new


def _background(model: nn.Module) -> int:
    """1 where class 0 is 'nothing' (a softmax over classes), 0 where each class is a yes or no of its own."""
    return int(isinstance(model, FasterRCNN | SSD))


def _new_class_head(model: nn.Module, outputs: int) -> list[nn.Parameter]:
    """Put a new last layer of class scores into a torchvision detector; of SSD and SSDlite the whole class head."""
    part: Any = model.roi_heads if isinstance(model, FasterRCNN) else model.head
    if isinstance(model, FasterRCNN):
        for extra in ("mask", "keypoint"):  # of Mask and Keypoint R-CNN: the data has boxes only
            for name in ("roi_pool", "head", "predictor"):
                setattr(part, f"{extra}_{name}", None)
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
