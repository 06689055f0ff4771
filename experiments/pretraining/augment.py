"""Random views of a whole batch of small images at once: crop, flip, colour, grey, by tensor operations.

The usual transforms work image by image on PIL images, at about 2000 views a second here; this makes 10 000.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

LUMINANCE = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Augmentation:
    """How strongly a view differs from its image; the defaults are SimCLR's for 32 px but for a larger smallest crop.

    smallest_crop: share of the image's area that a crop has at least, with sides in 3 : 4 to 4 : 3; 1 = no crop.
    flip:          whether half of the views are mirrored.
    jitter:        share of the views whose colours are changed: brightness, contrast and saturation by a factor in
                   1 +- the number given, hue by an angle of up to that part of the circle.
    grey:          share of the views without colour.
    """

    smallest_crop: float = 0.25
    flip: bool = True
    jitter: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    grey: float = 0.2

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """B x 3 x H x W in 0..1 to one random view of each, same shape and range; `generator` on the images' device."""
        return self._coloured(self._cropped(images, generator), generator)

    def _cropped(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count = len(images)
        area = _uniform(self.smallest_crop, 1.0, count, generator)
        ratio = _uniform(math.log(3 / 4), math.log(4 / 3), count, generator).exp() if self.smallest_crop < 1 else 1.0
        width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
        x = (1 - width) * _uniform(-1.0, 1.0, count, generator)
        y = (1 - height) * _uniform(-1.0, 1.0, count, generator)
        mirror = torch.where(_chosen(0.5 if self.flip else 0.0, count, generator), -1.0, 1.0)
        zero = torch.zeros_like(x)
        theta = torch.stack([torch.stack([width * mirror, zero, x], 1), torch.stack([zero, height, y], 1)], 1)
        grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
        return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)

    def _coloured(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """All changes of colour are one affine map of (r, g, b) an image; values that leave 0..1 are cut off."""
        count, device = len(images), images.device
        changed = _chosen(self.jitter, count, generator)
        factor = {
            name: torch.where(changed, _uniform(1 - span, 1 + span, count, generator), 1.0)
            for name, span in (
                ("brightness", self.brightness),
                ("contrast", self.contrast),
                ("saturation", self.saturation),
            )
        }
        angle = torch.where(changed, 2 * math.pi * _uniform(-self.hue, self.hue, count, generator), 0.0)
        saturation = torch.where(_chosen(self.grey, count, generator), 0.0, factor["saturation"])
        luminance = torch.tensor(LUMINANCE, device=device)
        matrix = _saturation(saturation, luminance) @ _hue_rotation(angle)
        mean = torch.einsum("c,bchw->b", luminance, images) / images[0, 0].numel()
        matrix = matrix * (factor["contrast"] * factor["brightness"])[:, None, None]
        offset = mean * (1 - factor["contrast"]) * factor["brightness"]
        mapped = torch.baddbmm(offset[:, None, None], matrix, images.flatten(2))
        return mapped.view_as(images).clamp(0, 1)


def _uniform(low: float, high: float, count: int, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator, device=generator.device)


def _chosen(share: float, count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator, device=generator.device) < share


def _saturation(factor: Tensor, luminance: Tensor) -> Tensor:
    """B x 3 x 3: mixes each pixel with its luminance; 0 leaves grey, 1 changes nothing."""
    identity = torch.eye(3, device=factor.device)
    return factor[:, None, None] * identity + (1 - factor)[:, None, None] * luminance.expand(3, 3)


def _hue_rotation(angle: Tensor) -> Tensor:
    """B x 3 x 3: rotation of the colours by `angle` around the axis of the greys (Rodrigues' formula)."""
    third = torch.full((3, 3), 1 / 3, device=angle.device)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=angle.device) / math.sqrt(3)
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    return cosine * torch.eye(3, device=angle.device) + sine * cross + (1 - cosine) * third
