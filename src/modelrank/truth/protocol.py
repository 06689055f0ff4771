"""What a protocol is: something that measures one model on one data set, by numbers that decide the result."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from typing import Protocol as Structural

from modelrank.types import ModelRankError

if TYPE_CHECKING:
    from modelrank.data.images import ImageData
    from modelrank.hub.model import PretrainedModel

MakeTrainer = Callable[..., Any]  # keyword arguments of pytorch_lightning.Trainer -> a Trainer


@dataclass(frozen=True)
class Training:
    """One stretch of training at one grid point, up to step `until`.

    curve:   [step, seconds, value on val] so far, the seconds of training alone, since its first step.
    failed:  why it was given up, or empty.
    seconds: of this stretch, the looks at val included.
    batch:   images that a step sees.
    """

    point: Mapping[str, float]
    until: int
    curve: Sequence[Sequence[float]]
    failed: str
    seconds: float
    batch: int


@dataclass(frozen=True)
class Outcome:
    """What one measurement found. Accuracies are values of the data set's metric; seconds are those of the
    CPU, all grid points together (on other devices, and of a pass that extracts features, those of the clock);
    n_train: images that the measured network has learnt from; `beside` are further values on the test split, for
    columns of their own."""

    accuracy: float
    val_accuracy: float
    learning_rate: float | None
    weight_decay: float
    seconds: float
    n_train: int
    image_size: int
    precision: str
    beside: Mapping[str, float] = field(default_factory=dict)
    trainings: Sequence[Training] = ()


class Protocol(Structural):
    """How ground truth is measured; `folder` keeps what is finished, so that a stopped measurement goes on."""

    @property
    def name(self) -> str: ...

    def numbers(self) -> dict[str, object]:
        """JSON-able content that decides the result."""
        ...

    def __call__(
        self, model: PretrainedModel, data: ImageData, *, trainer: MakeTrainer, folder: Path, cache: Path, seed: int
    ) -> Outcome: ...


def check_task(protocol: str, data: ImageData, tasks: Collection[str]) -> None:
    """ModelRankError unless the protocol is for the data set's task."""
    if data.task not in tasks:
        kinds = "detection: detection or detection_short; the others: finetune, finetune_short or linear_probe"
        raise ModelRankError(
            f"protocol={protocol} measures {', '.join(tasks)}, but {data.name} is {data.task}; choose another ({kinds})"
        )
