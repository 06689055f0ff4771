"""The layer that feeds a model's classifier, found in any image network without naming it."""

from __future__ import annotations

import inspect
from collections import OrderedDict

import torch
from torch import Tensor, nn

from modelrank.types import ModelRankError


def classifier(model: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d] | None:
    """Name and module of the source classifier, None for a model without one.

    Image networks register their layers in the order of use, so the classifier is the last module that owns
    parameters, provided that it is a linear layer or a 1 x 1 convolution (SqueezeNet). A headless network ends in a
    normalisation layer or in a larger convolution instead. Models of timm name their head, and it is looked for there
    only. ModelRankError for several heads (distilled DeiT): each has features of its own.
    """
    named = getattr(model, "get_classifier", None)
    head = named() if inspect.ismethod(named) else model
    if not isinstance(head, nn.Module):
        raise ModelRankError(
            f"{type(model).__name__} has {len(head)} heads, each with features of its own, so it has no one "
            "penultimate layer; take a variant with one head (of DeiT, one that is not distilled)"
        )
    owners = [(name, module) for name, module in model.named_modules() if any(True for _ in module.parameters(False))]
    if not owners:
        raise ValueError(f"{type(model).__name__} has no parameters, so it has no features either")
    inside = set(head.modules())
    name, last = next(((name, module) for name, module in reversed(owners) if module in inside), ("", None))
    if isinstance(last, nn.Linear) or (isinstance(last, nn.Conv2d) and last.kernel_size == (1, 1)):
        return name, last
    return None


class Pooled(nn.Module):
    """B x D x H x W or B x T x D (tokens) to B x D by the mean over positions; B x D stays."""

    def forward(self, features: Tensor) -> Tensor:
        if features.ndim == 4:
            return features.mean(dim=(2, 3))
        if features.ndim == 3:
            return features.mean(dim=1)
        return features


class FeatureExtractor(nn.Module):
    """images B x 3 x H x W -> (features B x D, logits B x S or None).

    The features are the input of the classifier, mean over space where it is a convolution; a model without a
    classifier gives its own output, pooled. The logits are what `model` returns, bit for bit: it runs once, unchanged,
    with a hook on its classifier.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.pool = Pooled()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        if (found := classifier(self.model)) is None:
            return self.pool(self.model(images)), None
        inputs: list[Tensor] = []
        with found[1].register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0])):
            logits = self.model(images)
        if len(inputs) != 1:
            raise ValueError(
                f"classifier {found[0]} of {type(self.model).__name__} ran {len(inputs)} times in one pass: "
                "its features are not defined"
            )
        return self.pool(inputs[0]), logits


def replace_head(model: nn.Module, outputs: int, *, size: int = 224) -> nn.Module:
    """The model with a new linear layer D -> outputs on its penultimate features, every layer trainable.

    Changes `model` in place: its classifier becomes an identity (what SqueezeNet does after its 1 x 1 convolution,
    ReLU and mean, leaves features as they are). The new layer takes PyTorch's default initialisation from the global
    generator. `size`: side of the images in pixels that the model accepts, used for one probing pass over a headless
    model to learn D.
    """
    dimension = feature_dimension(model, size=size)
    if (found := classifier(model)) is not None:
        parent, _, leaf = found[0].rpartition(".")
        setattr(model.get_submodule(parent), leaf, nn.Identity())
    model.requires_grad_(True)
    layers = OrderedDict(backbone=model, pool=Pooled(), head=nn.Linear(dimension, outputs))
    return nn.Sequential(layers).train(model.training)


def feature_dimension(model: nn.Module, *, size: int = 224) -> int:
    """D, the width of the penultimate features: read off the classifier, else by one pass over a black image."""
    if (found := classifier(model)) is not None:
        return found[1].in_features if isinstance(found[1], nn.Linear) else found[1].in_channels
    training = model.training
    image = torch.zeros(1, 3, size, size, device=next(model.parameters()).device)
    with torch.no_grad():
        features = Pooled()(model.eval()(image))  # in eval mode, so running statistics stay
    model.train(training)
    return features.shape[1]
