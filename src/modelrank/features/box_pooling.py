"""Features of the objects in images: the maps of a network pooled over each box, one row a box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from modelrank.data.boxes import box_rows, detection_batch, evaluation
from modelrank.data.images import ImageSplit, TransformedImages
from modelrank.features.extraction import Plan
from modelrank.hub.preprocessing import Preprocessing
from modelrank.hub.pyramid import Pyramid
from modelrank.types import ModelRankError

Reduce = Literal["mean", "max", "none"]


@dataclass(frozen=True)
class BoxPooling:
    """Which maps are pooled over a box, and how; `extraction.boxes` in the config.

    layer:   strides of the maps, those that a network lacks are left out; the rows of all maps are put side by side.
    grid:    RoIAlign (He et al. 2017) reads grid x grid cells of a box, each by a number of points that grows with it.
    reduce:  mean or max over the cells, or none: all cells side by side, which keeps where in the box something is.
    """

    layer: Sequence[int]
    grid: int
    reduce: Reduce

    def __post_init__(self) -> None:
        strides = self.layer if isinstance(self.layer, Sequence) else []
        if not strides or any(not isinstance(stride, int) or stride < 1 for stride in strides):
            raise ModelRankError(f"extraction.boxes.layer={self.layer}: give strides in pixels, for example [8,16,32]")
        if self.grid < 1 or self.reduce not in get_args(Reduce):
            raise ModelRankError(
                f"extraction.boxes.grid={self.grid}, reduce={self.reduce}: give a grid of 1 or more cells a side, "
                f"and one of {', '.join(get_args(Reduce))}"
            )

    def identity(self) -> dict[str, Any]:
        """JSON-able content, for cache keys."""
        return {**asdict(self), "layer": sorted(self.layer)}


class BoxFeatures(nn.Module):
    """images B x 3 x H x W and B tensors n x 4 of corners in their pixels -> features M x D, M boxes in order.

    Changes `network` in place: its classifier goes (see `hub.pyramid`).
    """

    def __init__(self, network: nn.Module, pooling: BoxPooling) -> None:
        super().__init__()
        self.pyramid, self.pooling = Pyramid(network), pooling
        self.strides = self.pyramid.chosen(pooling.layer, "extraction.boxes.layer")

    def forward(self, images: Tensor, boxes: Sequence[Tensor]) -> Tensor:
        maps, grid = self.pyramid(images), self.pooling.grid
        rows = []
        for stride in self.strides:
            one = maps[stride].contiguous()
            # Maps of networks without padding are a little smaller than the image / stride.
            scale = one.shape[-1] / images.shape[-1]
            cells = roi_align(one, list(boxes), grid, spatial_scale=scale, aligned=True).flatten(2)
            rows.append({"mean": cells.mean(2), "max": cells.amax(2), "none": cells.flatten(1)}[self.pooling.reduce])
        return torch.cat(rows, 1)


def over_boxes(
    network: nn.Module, splits: Sequence[ImageSplit], preprocessing: Preprocessing, pooling: BoxPooling
) -> Plan:
    """One row a box; images without objects are not looked at. ModelRankError where none has any."""
    labels, corners, image = (torch.from_numpy(rows) for rows in box_rows(splits))
    if not len(labels):
        raise ModelRankError("no object is marked in any of the scored images, so there is nothing to take features of")
    transform = evaluation(
        (preprocessing.size, preprocessing.size),
        mean=preprocessing.mean,
        std=preprocessing.std,
        interpolation=preprocessing.interpolation,
    )
    images = TransformedImages(splits, transform)
    first = torch.searchsorted(image, torch.arange(len(images)))
    task = BoxExtraction(BoxFeatures(network, pooling), first)
    return Plan(images, task, {"targets": labels, "boxes": corners, "image": image}, detection_batch)


class BoxExtraction(pl.LightningModule):
    """Batches (B images of one size, B targets with `boxes`, index B) to (row numbers M, features M x D, None).

    first: number of the first row of each image.
    """

    def __init__(self, extractor: BoxFeatures, first: Tensor) -> None:
        super().__init__()
        self.extractor = extractor.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] torch's stub
        self.first = first

    def predict_step(self, batch: Sequence[Any], batch_idx: int) -> tuple[Tensor, Tensor, None]:
        images, targets, index = batch
        boxes = [target["boxes"] for target in targets]
        features = self.extractor(torch.stack(list(images)).to(memory_format=torch.channels_last), boxes)
        starts = self.first[index.cpu()].tolist()
        rows = [torch.arange(start, start + len(own)) for own, start in zip(boxes, starts, strict=True)]
        return torch.cat(rows), features, None
