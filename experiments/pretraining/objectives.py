"""What an encoder is pre-trained to do: supervised, rotation, SimCLR, MoCo, BYOL, SwAV, Barlow Twins.

Losses and projection heads of the last five are those of the library lightly, which nothing else needs.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from experiments.pretraining.augment import Augmentation
from torch import Tensor, nn
from torch.nn import functional

from modelrank.types import ModelRankError

Embed = Callable[[nn.Module, Tensor], Tensor]  # encoder, images B x 3 x H x W -> features B x D, float32


class Objective(nn.Module, ABC):
    """A loss on random views of a batch; its parameters (heads, prototypes) are trained with the encoder's.

    views: how many views of each image the loss takes.
    augmentation: what makes a view of an image.
    Subclasses take (encoder, dimension D of its features, number of classes) and their own settings by keyword.
    """

    views: ClassVar[int] = 2

    def __init__(self, augmentation: Augmentation) -> None:
        super().__init__()
        self.augmentation = augmentation

    @abstractmethod
    def loss(self, encoder: nn.Module, views: Sequence[Tensor], labels: Tensor, embed: Embed) -> Tensor:
        """Mean loss of a batch, a scalar."""

    def after_step(self, encoder: nn.Module) -> None:
        """What follows the optimiser's step."""


class Supervised(Objective):
    """Cross-entropy of a linear layer on the classes; the layer is thrown away afterwards."""

    views = 1

    def __init__(self, encoder: nn.Module, dimension: int, classes: int, *, augmentation: Augmentation) -> None:
        super().__init__(augmentation)
        self.head = nn.Linear(dimension, classes)

    def loss(self, encoder: nn.Module, views: Sequence[Tensor], labels: Tensor, embed: Embed) -> Tensor:
        return functional.cross_entropy(self.head(embed(encoder, views[0])), labels)


class Rotation(Objective):
    """By which multiple of 90 degrees was the image turned (Gidaris et al. 2018)? A quarter of the batch each."""

    views = 1

    def __init__(self, encoder: nn.Module, dimension: int, classes: int, *, augmentation: Augmentation) -> None:
        super().__init__(augmentation)
        self.head = nn.Linear(dimension, 4)

    def loss(self, encoder: nn.Module, views: Sequence[Tensor], labels: Tensor, embed: Embed) -> Tensor:
        parts = [views[0][turns::4].rot90(turns, (2, 3)) for turns in range(4)]
        turned = torch.cat([torch.full((len(part),), turns) for turns, part in enumerate(parts)])
        return functional.cross_entropy(self.head(embed(encoder, torch.cat(parts))), turned.to(labels.device))


class SimCLR(Objective):
    """Two views of an image are to be told from the other images of the batch (Chen et al. 2020)."""

    def __init__(
        self,
        encoder: nn.Module,
        dimension: int,
        classes: int,
        *,
        augmentation: Augmentation,
        hidden: int,
        outputs: int,
        temperature: float,
    ) -> None:
        super().__init__(augmentation)
        losses, heads = lightly()
        self.head = heads.SimCLRProjectionHead(dimension, hidden, outputs)
        self.contrast = losses.NTXentLoss(temperature)

    def loss(self, encoder: nn.Module, views: Sequence[Tensor], labels: Tensor, embed: Embed) -> Tensor:
        first, second = (self.head(embed(encoder, view)) for view in views)
        return self.contrast(first, second)


class Momentum(Objective):
    """Objectives with a second encoder and head, the target, that follow the trained ones slowly.

    momentum: share of the target that stays in each step.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module, augmentation: Augmentation, momentum: float) -> None:
        super().__init__(augmentation)
        self.momentum = momentum
        self.head = head
        self.target_encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.target_head = copy.deepcopy(head).requires_grad_(False)

    @torch.no_grad()
    def target(self, view: Tensor, embed: Embed) -> Tensor:
        return self.target_head(embed(self.target_encoder, view))

    @torch.no_grad()
    def after_step(self, encoder: nn.Module) -> None:
        for target, trained in ((self.target_encoder, encoder), (self.target_head, self.head)):
            for old, new in zip(target.parameters(), trained.parameters(), strict=True):
                old.lerp_(new, 1 - self.momentum)


class MoCo(Momentum):
    """A view is to be told from a queue of earlier images, as the target encoder saw them (He et al. 2020).

    Batches are not shuffled between devices for batch normalisation: there is one device.
    """

    def __init__(
        self,
        encoder: nn.Module,
        dimension: int,
        classes: int,
        *,
        augmentation: Augmentation,
        hidden: int,
        outputs: int,
        temperature: float,
        queue: int,
        momentum: float,
    ) -> None:
        losses, heads = lightly()
        super().__init__(encoder, heads.MoCoProjectionHead(dimension, hidden, outputs), augmentation, momentum)
        self.contrast = losses.NTXentLoss(temperature, memory_bank_size=(queue, outputs))
        bank = self.contrast.memory_bank
        for name in ("bank", "bank_ptr"):  # lightly leaves them out of checkpoints: a resumed run would lose its queue
            bank.register_buffer(name, getattr(bank, name), persistent=True)

    def loss(self, encoder: nn.Module, views: Sequence[Tensor], labels: Tensor, embed: Embed) -> Tensor:
        return self.contrast(self.head(embed(encoder, views[0])), self.target(views[1], embed))


class BYOL(Momentum):
    """The target's projection of one view is predicted from the other view, without negatives (Grill et al. 2020)."""

    def __init__(
        self,
        encoder: nn.Module,
        dimension: int,
        classes: int,
        *,
        augmentation: Augmentation,
        hidden: int,
        outputs: int,
        momentum: float,
    ) -> None:
        losses, heads = lightly()
        super().__init__(encoder, heads.BYOLProjectionHead(dimension, hidden, outputs), augmentation, momentum)
        self.prediction = heads.BYOLPredictionHead(outputs, hidden, outputs)
        self.similarity = losses.NegativeCosineSimilarity()

    def loss(self, encoder: nn.Module, views: Sequence[Tensor], labels: Tensor, embed: Embed) -> Tensor:
        predicted = [self.prediction(self.head(embed(encoder, view))) for view in views]
        wanted = [self.target(view, embed) for view in views]
        return (self.similarity(predicted[0], wanted[1]) + self.similarity(predicted[1], wanted[0])) / 2


class SwAV(Objective):
    """The cluster of one view is predicted from the other; clusters share the batch evenly (Caron et al. 2020).

    frozen: steps at the beginning in which the prototypes stay as they are.
    """

    def __init__(
        self,
        encoder: nn.Module,
        dimension: int,
        classes: int,
        *,
        augmentation: Augmentation,
        hidden: int,
        outputs: int,
        prototypes: int,
        temperature: float,
        frozen: int,
    ) -> None:
        super().__init__(augmentation)
        losses, heads = lightly()
        self.head = heads.SwaVProjectionHead(dimension, hidden, outputs)
        self.prototypes = heads.SwaVPrototypes(outputs, prototypes)
        self.swap = losses.SwaVLoss(temperature)
        self.frozen = frozen
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    def loss(self, encoder: nn.Module, views: Sequence[Tensor], labels: Tensor, embed: Embed) -> Tensor:
        self.prototypes.normalize()
        self.prototypes.requires_grad_(int(self.step) >= self.frozen)
        projected = [functional.normalize(self.head(embed(encoder, view)), dim=1) for view in views]
        return self.swap([self.prototypes(view) for view in projected], []).squeeze()

    def after_step(self, encoder: nn.Module) -> None:
        self.step += 1


class BarlowTwins(Objective):
    """Projections of two views are to agree dimension by dimension and not between dimensions (Zbontar et al. 2021).

    redundancy: weight of the correlations between dimensions.
    """

    def __init__(
        self,
        encoder: nn.Module,
        dimension: int,
        classes: int,
        *,
        augmentation: Augmentation,
        hidden: int,
        outputs: int,
        redundancy: float,
    ) -> None:
        super().__init__(augmentation)
        losses, heads = lightly()
        self.head = heads.BarlowTwinsProjectionHead(dimension, hidden, outputs)
        self.twins = losses.BarlowTwinsLoss(redundancy)

    def loss(self, encoder: nn.Module, views: Sequence[Tensor], labels: Tensor, embed: Embed) -> Tensor:
        first, second = (self.head(embed(encoder, view)) for view in views)
        return self.twins(first, second)


def lightly() -> tuple[Any, Any]:
    """lightly's losses and heads; ModelRankError where it is not installed."""
    try:
        import lightly.loss
        import lightly.models.modules.heads
    except ImportError as error:
        raise ModelRankError(
            "this objective needs the library lightly: pip install 'modelrank[pretrain]' "
            "(objective=supervised and objective=rotation do without)"
        ) from error
    return lightly.loss, lightly.models.modules.heads
