"""One pre-trained model: how to build it, where its weights come from, what it expects of an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from modelrank.hub.preprocessing import Preprocessing
from modelrank.keys import plain
from modelrank.types import Availability, ModelRankError


class Weights(Protocol):
    """A source of weights: says whether it has them, and puts them into a model that was just built."""

    def availability(self, cache: Path, name: str) -> Availability: ...

    def load_into(self, model: nn.Module, cache: Path) -> None: ...

    def identity(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class PretrainedModel:
    """A model of a hub.

    architecture: makes the untrained network, source head included where the weights have one.
    weights:      source of the weights; None means random (the control of a hub).
    family, pretraining, licence: words for the report.
    imagenet_accuracy: published top-1 accuracy of exactly these weights, a fraction; None where there is none.
    """

    name: str
    architecture: Callable[[], nn.Module]
    weights: Weights | None
    family: str
    pretraining: str
    licence: str
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    imagenet_accuracy: float | None = None

    def __post_init__(self) -> None:
        if self.imagenet_accuracy is not None and not 0 < self.imagenet_accuracy < 1:
            raise ModelRankError(
                f"model {self.name}: imagenet_accuracy {self.imagenet_accuracy} is no fraction in 0..1"
            )

    def availability(self, cache: Path) -> Availability:
        """Whether the weights are here or can be fetched; needs no network."""
        if self.weights is None:
            return Availability("weights", self.name, "present", "random numbers, made when the model is built")
        return self.weights.availability(cache, self.name)

    def load(self, cache: Path, *, seed: int = 0) -> nn.Module:
        """The network on the CPU in eval mode; fetches its weights when they are not in the cache.

        `seed` decides the weights of the random control and nothing else. The global generator is left as it was.
        Raises MissingAsset, or ModelRankError when the weights do not fit the architecture.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self.architecture()
            self._check_channels(model)
            if self.weights is None:
                _settle_batch_norm(model)
        if self.weights is not None:
            self.weights.load_into(model, Path(cache))
        return model.eval()

    def _check_channels(self, model: nn.Module) -> None:
        """Images have three channels here. A first layer of 12 or 48 sees blocks of pixels, so multiples of 3 pass."""
        first = next((layer for layer in model.modules() if isinstance(layer, nn.Conv2d)), None)
        if first is not None and first.in_channels % 3:
            raise ModelRankError(
                f"model {self.name}: its first layer takes images of {first.in_channels} channel(s), but images have 3 "
                "here, red, green and blue, grey ones too; take a network for colour images, or spread the weights of "
                "its first layer over three channels"
            )

    def identity(self, *, seed: int = 0) -> dict[str, Any]:
        """JSON-able content that decides the features: architecture, weights, preprocessing."""
        return {
            "architecture": plain(self.architecture, f"{self.name}.architecture"),
            "weights": {"random": seed, "batch_norm": "one batch of noise"}
            if self.weights is None
            else self.weights.identity(),
            "preprocessing": self.preprocessing.identity(),
        }


@torch.no_grad()
def _settle_batch_norm(model: nn.Module) -> None:
    """Batch norm's statistics from one batch of noise, so that the features of random weights are of ordinary size.

    With the untrained statistics (mean 0, variance 1) the signal fades from layer to layer: the features of a random
    MobileNetV2 are about 1e-8, which float16 stores as zeros.
    """
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 1.0
    model.train()(torch.randn(8, 3, 112, 112))
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum


def has_depthwise(network: nn.Module) -> bool:
    """Whether a convolution works on each channel by itself."""
    return any(isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1 for layer in network.modules())
