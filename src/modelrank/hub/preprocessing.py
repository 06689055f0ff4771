"""What a model expects of an image: size, crop, interpolation, mean and standard deviation of the RGB channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from modelrank.settings import check_number
from modelrank.types import ModelRankError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """From a PIL RGB image to a float32 tensor 3 x size x size, channels in the order R, G, B.

    size:   side of the square that the model sees, in pixels.
    resize: length of the short side before the centre crop, in pixels; an image of any size, smaller ones too, is
            resized to it, so a 32-pixel image loses the same margin as a photograph.
    mean, std: of the channels scaled to 0..1. A network trained on 0..255 minus a mean m has mean = m / 255 and
            std = 1 / 255. Models trained on B, G, R have the swap folded into their first convolution instead.
    """

    size: int = 224
    resize: int = 256
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD

    def __post_init__(self) -> None:
        for key in ("size", "resize"):
            check_number(f"preprocessing.{key}", getattr(self, key), least=1, whole=True)
        if self.size > self.resize:
            raise ModelRankError(f"preprocessing: needs 0 < size <= resize, got size={self.size}, resize={self.resize}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ModelRankError(f"preprocessing: mean {self.mean} and std {self.std} must be 3 numbers, std positive")
        for key in ("mean", "std"):  # lists of a YAML become tuples: comparable, hashable, JSON-able
            object.__setattr__(self, key, tuple(float(value) for value in getattr(self, key)))

    def at(self, size: int | None) -> Preprocessing:
        """The same rule at another size (the margin is scaled in proportion); None keeps the model's own."""
        check_number("image_size", size, least=1, whole=True, null=True)
        return self if size is None else replace(self, size=size, resize=round(self.resize * size / self.size))

    def evaluation(self) -> Callable[[Image], Tensor]:
        """Resize, centre crop, scale, normalise: the same image always gives the same tensor."""
        return v2.Compose(
            [v2.Resize(self.resize, InterpolationMode(self.interpolation)), v2.CenterCrop(self.size), *self._tensor()]
        )

    def crop(self, pixels: np.ndarray) -> np.ndarray:
        """The middle of an image (H x W x 3) whose short side is `resize`, as `evaluation` cuts it; a view."""
        height, width = pixels.shape[:2]
        top, left = round((height - self.size) / 2), round((width - self.size) / 2)
        return pixels[top : top + self.size, left : left + self.size]

    def normalise(self, pixels: Tensor) -> Tensor:
        """What `evaluation` does with cropped pixels, on any device.

        B x H x W x 3 uint8 to B x 3 x H x W float32, channels last in memory.
        Bit for bit what `evaluation` gives for each image.
        """
        scaled = v2.functional.to_dtype(pixels.permute(0, 3, 1, 2), torch.float32, scale=True)
        return v2.functional.normalize(scaled, list(self.mean), list(self.std), inplace=True)

    def training(self, smallest_crop: float = 0.08, *, mirror: bool = True) -> Callable[[Image], Tensor]:
        """Random resized crop and horizontal flip, from torch's global generator.

        smallest_crop: share of the image's area that a crop has at least; it has at most all of it.
        mirror: False leaves out the flip, for targets that a mirrored image does not have.
        """
        crop = v2.RandomResizedCrop(
            self.size, scale=(smallest_crop, 1.0), interpolation=InterpolationMode(self.interpolation)
        )
        flip = [v2.RandomHorizontalFlip()] if mirror else []
        return v2.Compose([crop, *flip, *self._tensor()])

    def identity(self) -> dict[str, Any]:
        """JSON-able content, for cache keys."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    def _tensor(self) -> list[torch.nn.Module]:
        scaled = v2.ToDtype(torch.float32, scale=True)
        return [v2.ToImage(), scaled, v2.Normalize(list(self.mean), list(self.std)), v2.ToPureTensor()]
