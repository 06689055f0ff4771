"""The nouns of the pipeline: hub x data set -> features -> scores -> ranking against truth.

Shapes: N samples, D feature dimensions, C target classes, S source classes, K target columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # `--help` and misspelt overrides must answer before torch is imported
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from torch import Tensor

Task = Literal["classification", "multilabel", "regression", "detection"]
Kind = Literal["classes", "labels", "numbers"]  # what scorers read: one class a row, several labels, or numbers
KINDS: Mapping[Task, Kind] = {
    "classification": "classes",
    "detection": "classes",  # of the objects, with their boxes beside
    "multilabel": "labels",
    "regression": "numbers",
}


class ModelRankError(Exception):
    """An error whose message tells the user what is wrong and the way out; printed without a traceback."""


class MissingAsset(ModelRankError):
    """Weights or images that are neither here nor to be fetched; says what, from where, and where to put it."""


class NotMeasured(ModelRankError):
    """No accuracy was measured on this data set (a practitioner's own, say); a ranking goes on without comparison."""


class ScorerNotApplicable(ModelRankError):
    """A scorer that has no value for this model and data set (no logits, wrong task, ...), with the reason."""


@dataclass(frozen=True)
class Availability:
    """Whether one asset (the weights of a model, the images of a data set, saved features and targets) can be had."""

    kind: Literal["weights", "images", "features", "targets"]
    name: str
    state: Literal["present", "fetchable", "missing"]
    where: str  # the path it has, the place it is fetched from, or the path where the user should put it


@dataclass(frozen=True)
class Boxes:
    """The objects of one image, marked by hand or found by a detector.

    corners: n x 4 float32, (left, top, right, bottom) in pixels of the image as `ImageSplit` gives it; the origin is
             the top left corner of its top left pixel, so a box over the whole of a W x H image is (0, 0, W, H).
             n may be 0.
    labels:  n int64, positions in the data set's `classes`.
    scores:  n float32 in 0..1, of found boxes; None for those marked by hand.
    """

    corners: np.ndarray
    labels: np.ndarray
    scores: np.ndarray | None = None


@dataclass(frozen=True)
class FeatureSet:
    """What a scorer sees of one model on one data set.

    features: N x D, floating; the input of the model's classifier (penultimate layer). In memory, or a
              `modelrank.features.file.FeatureFile`: rows that stay on disk until a scorer reads some of them.
    targets:  classification / detection: N integers, any values >= 0, gaps allowed;
              multilabel: N x C of 0 / 1; regression: N x K floating.
    logits:   N x S output of the source classifier, or None where the model has no source head.
    boxes:    N x 4 floating in 0..1 (centre x, centre y, width, height), detection only.
    image:    N integers, the image of each row where an image has several (detection); rows of one image are never
              parted: by folds, by subsets, or as a sample and its neighbour. None: each row is an image of its own.
    general:  M x D features of general-domain images (PED), or None.
    facts:    numbers known of the model without looking at its features
              (`parameters`, `imagenet_accuracy`, `mean_rank_elsewhere`); absent keys are unknown.
    key:      content key of the arrays, '' where they were given: sets with equal keys hold equal arrays.
    made_by:  versions of the libraries that made the features, '' where unknown; those of today may be others.
    seconds:  that the pass over the images took when they were made; NaN where unknown.
    memo:     intermediate results (moments, a decomposition) that several scorers share.
    """

    features: Tensor
    targets: Tensor
    task: Task = "classification"
    logits: Tensor | None = None
    boxes: Tensor | None = None
    image: Tensor | None = None
    general: Tensor | None = None
    facts: Mapping[str, float] = field(default_factory=dict)
    key: str = ""
    made_by: str = ""
    seconds: float = float("nan")
    memo: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def kind(self) -> Kind:
        return KINDS[self.task]


@dataclass(frozen=True, repr=False)
class Score:
    """The value of one scorer for one model (higher is better), its named parts, and the seconds it took.

    What several scorers of a run share (moments, a decomposition) counts for the first of them: to compare seconds, run
    each scorer alone.
    """

    value: float
    parts: Mapping[str, float | np.ndarray] = field(default_factory=dict)
    seconds: float = 0.0

    def to_frame(self) -> pd.DataFrame:
        """A row for `value` and one for each part, with as many columns (1, 2, ...) as the longest part has numbers."""
        import numpy as np
        import pandas as pd

        parts = {name: pd.Series(np.ravel(part)) for name, part in {"value": self.value, **self.parts}.items()}
        frame = pd.DataFrame(parts).T
        return frame.set_axis(frame.columns + 1, axis="columns")

    def plot(self, *parts: str, axes: Axes | None = None) -> Axes:
        """Draw parts with several numbers, a line each; by default the profile of a spectral score, `ratio` and `task`
        (a number a group, leading first), else all such parts. ModelRankError where there are none of these names."""
        import numpy as np

        profiles = {name: part for name, part in self.parts.items() if np.size(part) > 1}
        chosen = parts or [name for name in ("ratio", "task") if name in profiles] or list(profiles)
        unknown = [name for name in chosen if name not in profiles]
        if unknown or not chosen:
            what = f"part {unknown[0]!r}" if unknown else "part"
            drawn = ", ".join(profiles) or "none"
            raise ModelRankError(f"this score has no {what} to draw; parts with several numbers: {drawn}")
        axes = _axes(axes)
        for name in chosen:
            values = np.ravel(profiles[name])
            axes.plot(range(1, len(values) + 1), values, marker="o", label=name)
        axes.set_xlabel("group" if {*chosen} <= {"ratio", "task"} else "number")
        axes.locator_params(axis="x", integer=True)
        axes.legend(frameon=False)
        return axes

    def __repr__(self) -> str:
        return f"{self._head()}\n{_text(self.to_frame())}" if self.parts else self._head()

    def _repr_html_(self) -> str:
        return _html(self._head(), self.to_frame())

    def _head(self) -> str:
        return f"score {self.value:.4g} in {self.seconds:.2g} s"


@dataclass(frozen=True)
class Truth:
    """Accuracies (fractions in 0..1) of the hub's models after transfer to one data set, and where they come from."""

    dataset: str
    protocol: str
    metric: str
    accuracy: Mapping[str, float]  # model -> mean over seeds
    per_seed: Mapping[int, Mapping[str, float]]  # seed -> model -> accuracy; empty where only the mean is known
    source: str  # a CSV path and its commit, or a publication
    mean_rank_elsewhere: Mapping[str, float] = field(default_factory=dict)  # model -> mean rank on the other data sets
    match: Literal["ids", "names"] = "ids"  # whether the rows are of these very models and images, or bear their names
    unmatched: str = ""  # a sentence on rows that have the names asked for and are of something else, so not used
    seconds: Mapping[str, float] = field(default_factory=dict)  # model -> of measuring it, mean over seeds, where known

    def seeds(self) -> str:
        """How many each accuracy is the mean over: `2`, or `2 (a: 3)` where models differ; empty where unknown."""
        counts = {model: sum(model in found for found in self.per_seed.values()) for model in self.accuracy}
        if not self.per_seed:
            return ""
        usual = max(set(counts.values()), key=list(counts.values()).count)
        others = ", ".join(f"{model}: {count}" for model, count in counts.items() if count != usual)
        return f"{usual} ({others})" if others else str(usual)


@dataclass(frozen=True, repr=False)
class Ranking:
    """Models in order, best first, by one scorer."""

    scorer: str
    scores: Mapping[str, Score]  # insertion order = rank order; the hub-level value where the scorer has one
    failed: Mapping[str, str] = field(default_factory=dict)  # model -> reason

    @property
    def best(self) -> str:
        return next(iter(self.scores))

    def to_frame(self) -> pd.DataFrame:
        """A row a model, best first and those without a score last: model, score, the parts that are one number,
        seconds, reason (why there is no score); indexed by rank, which is missing without a score."""
        import numpy as np
        import pandas as pd

        rows: list[dict[str, Any]] = [
            {"model": model, "score": score.value}
            | {name: float(part) for name, part in score.parts.items() if np.ndim(part) == 0}
            | {"seconds": score.seconds, "reason": ""}
            for model, score in self.scores.items()
        ]
        rows += [{"model": model, "reason": reason} for model, reason in self.failed.items()]
        rank = pd.Index([*range(1, len(self.scores) + 1), *[pd.NA] * len(self.failed)], dtype="Int64", name="rank")
        return pd.DataFrame(rows, index=rank)

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw the scores as points, the best model on top."""
        names = [*self.scores][::-1]
        axes = _axes(axes)
        axes.plot([self.scores[name].value for name in names], range(len(names)), "o")
        axes.set_yticks(range(len(names)), names, parse_math=False)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.set_xlabel(self.scorer, parse_math=False)
        axes.grid(axis="x", alpha=0.3)
        return axes

    def __repr__(self) -> str:
        reasons = [f"not scored: {model}: {reason}" for model, reason in self.failed.items()]
        return "\n".join([self._head(), _text(self._shown()), *reasons])

    def _repr_html_(self) -> str:
        from html import escape

        reasons = [f"<p>not scored: {escape(model)}: {escape(reason)}</p>" for model, reason in self.failed.items()]
        return _html(self._head(), self._shown()) + "".join(reasons)

    def _head(self) -> str:
        return f"{len(self.scores)} {'model' if len(self.scores) == 1 else 'models'} by {self.scorer}, best first"

    def _shown(self) -> pd.DataFrame:
        """The frame without reasons and without parts that all models share (the settings of the scorer)."""
        frame = self.to_frame().iloc[: len(self.scores)].drop(columns="reason")
        same = [name for name in frame.columns[2:-1] if frame[name].nunique(dropna=False) == 1]
        return frame.drop(columns=same)


def _axes(given: Axes | None) -> Axes:
    """Those given, else of a new figure, which a notebook shows by itself."""
    if given is not None:
        return given
    from matplotlib import pyplot

    return pyplot.subplots(layout="constrained")[1]


def _text(frame: pd.DataFrame) -> str:
    return frame.to_string(float_format="{:.4g}".format, na_rep="", max_cols=12, index_names=False)


def _html(head: str, frame: pd.DataFrame) -> str:
    from html import escape

    table = frame.to_html(float_format="{:.4g}".format, na_rep="", max_cols=12, index_names=False, border=0)
    return f"<p>{escape(head)}</p>{table}"
