"""The maps of a network at its strides, found in any image network or torchvision detector without naming layers."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.ssd import SSD

from modelrank.hub.penultimate import classifier
from modelrank.types import ModelRankError

DETECTORS = (FasterRCNN, RetinaNet, FCOS, SSD)
Maps = dict[int, Tensor]  # stride -> B x C x h x w, h about the height of the image / stride


class Pyramid(nn.Module):
    """images B x 3 x H x W -> maps by stride, a power of two, finest first.

    A torchvision detector gives what its backbone hands to its head (feature pyramid or extra layers). Of a
    classifier each map is the last at its stride: the output of the last module to finish before the resolution is
    halved, of those that run once in a pass, and at the coarsest stride the input of the classifier's pooling. In a
    MobileNet that is the expansion layer of the block that halves, as in SSDlite.

    Changes `network` in place: the classifier goes, nothing else runs without being used.
    size: side of the black image of the probing pass; SSD300 needs 300. Of several maps at one stride the last counts.
    Raises ModelRankError for a network without maps (a ViT).
    """

    def __init__(self, network: nn.Module, *, size: int = 320) -> None:
        super().__init__()
        detector = isinstance(network, DETECTORS)
        self.network = network.backbone if detector else network
        self.taps: dict[int, str] | None = None if detector else _taps(network, size)
        if not detector and (found := classifier(network)) is not None:
            parent, _, leaf = found[0].rpartition(".")
            setattr(network.get_submodule(parent), leaf, nn.Identity())
        image = torch.zeros(1, 3, size, size, device=next(network.parameters()).device)
        training = self.training
        with torch.no_grad():
            maps = self.eval()(image)
        self.train(training)
        self.channels = {stride: one.shape[1] for stride, one in maps.items()}

    def forward(self, images: Tensor) -> Maps:
        if self.taps is None:
            return {_stride(images, one): one for one in self.network(images).values()}
        maps: Maps = {}
        handles = [
            self.network.get_submodule(name).register_forward_hook(
                lambda module, inputs, output, stride=stride: maps.__setitem__(stride, output)
            )
            for stride, name in self.taps.items()
        ]
        try:
            self.network(images)
        finally:
            for handle in handles:
                handle.remove()
        return maps

    def chosen(self, strides: Sequence[int], key: str) -> list[int]:
        """Those of `strides` that the network has; ModelRankError naming the config key when it has none of them."""
        if found := [stride for stride in self.channels if stride in set(strides)]:
            return found
        raise ModelRankError(
            f"{key}={list(strides)}: {type(self.network).__name__} has no map at these strides; "
            f"it has {', '.join(map(str, self.channels))}"
        )


def _stride(images: Tensor, one: Tensor) -> int:
    # Networks without padding have maps a little smaller than the image / stride.
    return 2 ** max(0, round(math.log2(images.shape[-1] / one.shape[-1])))


def _taps(network: nn.Module, size: int) -> dict[int, str]:
    """stride -> name of the module whose output is the last map at that stride."""
    image = torch.zeros(1, 3, size, size, device=next(network.parameters()).device)
    head = classifier(network)
    inside_head = set(head[1].modules()) if head is not None else set[nn.Module]()
    found: OrderedDict[str, int] = OrderedDict()  # in the order in which modules finish
    runs: Counter[str] = Counter()
    ended = tokens = False  # tokens: since the last map the network went on with N x D numbers, as transformers do

    def note(name: str, output: object) -> None:
        nonlocal tokens
        runs[name] += 1
        if not isinstance(output, Tensor) or ended:
            return
        # Attention has four axes too, heads or windows among them: the image is a square, and it is one.
        if output.ndim == 4 and len(output) == 1 and output.shape[-2] == output.shape[-1] > 1:
            found.pop(name, None)
            found[name] = _stride(image, output)
            tokens = False
        elif output.ndim == 3 and output.shape[1] > 1:
            tokens = True

    def end(*_: object) -> None:
        nonlocal ended
        ended = True

    handles = [
        module.register_forward_hook(lambda module, inputs, output, name=name: note(name, output))
        for name, module in network.named_modules()
        if name and module not in inside_head and not isinstance(module, nn.modules.dropout._DropoutNd)
    ]
    handles += [head[1].register_forward_pre_hook(end)] if head is not None else []
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(image)
    except (AssertionError, RuntimeError, ValueError) as error:  # transformers of one size of images
        raise ModelRankError(f"{type(network).__name__} cannot be run on {size} x {size} pixels: {error}") from error
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    taps = {stride: name for name, stride in found.items() if runs[name] == 1}
    if not taps or tokens:
        raise ModelRankError(f"{type(network).__name__} has no maps to pool boxes from (a transformer on patches?)")
    return dict(sorted(taps.items()))
