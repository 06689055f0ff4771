"""The trainings behind a race: arms of the protocol's fine-tuning, in one folder, images decoded once for all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from modelrank.data.images import ImageData
from modelrank.hub.model import PretrainedModel
from modelrank.keys import short
from modelrank.recommend import contestant
from modelrank.recommend.contestant import Found, Rules
from modelrank.truth.arm import Arm
from modelrank.truth.finetune import FineTuning
from modelrank.truth.grid import Point, label
from modelrank.truth.protocol import MakeTrainer, check_task
from modelrank.truth.tasks import TransferTask
from modelrank.types import ModelRankError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trainings:
    """folder: of the race; each model has one of its own in it, named after its identity. few: those of the images that
    heads on frozen features are fitted on."""

    models: Mapping[str, PretrainedModel]
    data: ImageData
    few: ImageData
    protocol: FineTuning
    rules: Rules
    trainer: MakeTrainer
    folder: Path
    cache: Path
    seed: int
    _decoded: dict[tuple[int, str, bool], ImageData] = field(default_factory=dict)
    _heads: dict[str, Tensor | None] = field(default_factory=dict)  # that trainings start from

    def advance(self, name: str, rung: int, before: Found | None) -> dict[int, dict[str, Any]]:
        """Train a model up to a rung, see `contestant.advance`."""
        return contestant.advance(self.rules, rung, before, self._arms(name, tested=False))

    def finish(self, name: str, lr: float, rung: int) -> tuple[dict[str, Any], nn.Module]:
        """The value on test (measured once, then read) and others beside it; and the network, in eval mode."""
        point = next(point for point in self.rules.points if point["lr"] == lr)
        make, steps = self._arms(name, tested=True), self.rules.rungs[rung]
        arm: Arm = make(point, **contestant.place(self.rules, rung))
        if not arm.holds(steps):  # a later stretch was cut off, and goes on from there if there is another budget
            arm = make(point, name=f"{label(point)}_{steps}")
        return arm.test(steps), arm.network(steps).network.eval()

    def _arms(self, name: str, *, tested: bool) -> Callable[..., Arm]:
        model = self.models[name]
        preprocessing = model.preprocessing.at(self.protocol.image_size)
        data = self.data if tested else replace(self.data, splits={s: self.data.splits[s] for s in ("train", "val")})
        if self.protocol.in_memory:
            place = (preprocessing.resize, preprocessing.interpolation, tested)
            data = self._decoded.get(place) or self._decoded.setdefault(
                place, self.protocol.decoded(data, preprocessing)
            )
        # val is looked at where trainings are compared and nowhere else: a look costs as much as ten steps
        protocol = replace(self.protocol, racing=None, curve=(), in_memory=False)
        folder = self.folder / short(model.identity(seed=self.seed))
        make = protocol.arms(model, data, trainer=self.trainer, folder=folder, cache=self.cache, seed=self.seed)

        def arm(point: Point, **place: str) -> Arm:
            return replace(make(point, **place), head=partial(self._head, name))

        return arm

    def _head(self, name: str) -> Tensor | None:
        """Fitted once for all trainings of a model."""
        if name not in self._heads:
            model = self.models[name]
            found = self.protocol.probed_head(model, self.few, trainer=self.trainer, cache=self.cache, seed=self.seed)
            self._heads[name] = found
        return self._heads[name]


def rules(protocol: object, data: ImageData, shares: Sequence[float], widths: Sequence[int]) -> Rules:
    """Of a race by this protocol: its steps, learning rates and margin. Where its head starts from the linear probe,
    that head alone is looked at first.

    ModelRankError: a protocol that trains nothing, a task that it is not for, shares that do not rise to 1.
    """
    if not isinstance(protocol, FineTuning):
        raise ModelRankError("stage=recommend fine-tunes: give a protocol that does (protocol=finetune_offline)")
    check_task(protocol.name, data, protocol.tasks)
    rising = bool(shares) and list(shares) == sorted(set(shares)) and shares[0] > 0 and shares[-1] == 1
    if not rising or len(widths) != len(shares) or min(widths) < 1:
        raise ModelRankError(
            f"race.shares={list(shares)}, race.widths={list(widths)}: give shares that rise to 1.0, and as many widths "
            "of 1 or more"
        )
    if len(protocol.weight_decays) != 1:
        raise ModelRankError(f"protocol={protocol.name}: a race is over learning rates, so give one of weight_decays")
    points = sorted(protocol.points(), key=lambda point: point["lr"])
    racing = protocol.racing
    head = protocol.probe is not None
    return Rules(
        rungs=[0] * head + [max(1, round(share * protocol.steps)) for share in shares],
        widths=[1] * head + list(widths),
        start=racing.start if racing else points[len(points) // 2]["lr"],
        margin=racing.margin if racing else 0.02,
        points=points,
        mode=TransferTask.mode,
        floor=racing is not None and racing.floor,
    )


def drawn(data: ImageData, protocol: FineTuning, *, train: int, each: int, val: int) -> tuple[ImageData, ImageData]:
    """What the race is run on, and of it what the features are read of. All images where there are few; of many,
    stratified: of train as many as the steps of a training can see, of val `val`; and `train` of train for features, or
    `each` a class where that is more."""
    seen = data.limited({"train": protocol.steps * protocol.batch_size, "val": val})
    few = seen.limited({"train": max(train, each * len(data.classes))})
    if few is not data:
        log.info(
            "of %d images of train %d are drawn from for training (no more are seen in %d steps) and %d for scores and "
            "heads; of %d of val %d",
            *(len(one.splits["train"]) for one in (data, seen)),
            protocol.steps,
            *(len(one.splits[name]) for one, name in ((few, "train"), (data, "val"), (seen, "val"))),
        )
    return seen, few
