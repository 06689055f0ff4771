"""What every scorer promises: the `@scorer` decorator checks what goes in and what comes out.

A scorer is a pure function `(data: FeatureSet, *, hyperparameters) -> Score`, higher is better. The decorator makes
the promises that are the same for all of them, so that a scorer's own file holds only its mathematics:

- hyper-parameters are of the types that its signature states, else `ModelRankError` naming the one that is not;
- the targets are of a kind that it reads, and what it needs is there, else `ScorerNotApplicable` with the reason;
- needed arrays, and boxes wherever they are given, have the right shape and are finite, else `ValueError` naming the
  array and the count;
- integer labels are refused below 0 and arrive as 0..C-1 in order of value, whatever gaps they had; multi-label
  columns that are constant and say nothing are dropped; regression targets arrive as N x K;
- the global random states (torch, numpy, random) are left as they were, gradients are off;
- the value is finite, else `ScorerNotApplicable`; `seconds` is filled in.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import numbers
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast, get_args, get_origin, get_type_hints, runtime_checkable

import numpy as np
import torch
from beartype import BeartypeConf
from beartype.door import is_bearable
from torch import Tensor

from modelrank.scorers.linalg import CHUNK_ELEMENTS, Rows, chunks, column_mean
from modelrank.types import FeatureSet, Kind, ModelRankError, Score, ScorerNotApplicable

# Arrays of the FeatureSet, or keys of its `facts`. Only what is named is checked: a scorer that reads the logits
# alone does not care about the features.
Need = Literal[
    "features", "targets", "logits", "boxes", "general", "parameters", "imagenet_accuracy", "mean_rank_elsewhere"
]
CLASSES: set[Kind] = {"classes"}
ANY: set[Kind] = set(get_args(Kind))
Combine = Callable[[Mapping[str, Score]], dict[str, float]]
# How to score many subsets of the rows for little: a function (data, row numbers of each subset, **hyperparameters);
# "components": on the rows of the strongest principal components, found once, for a value that does not change when the
# features are rotated, when columns of zeros are appended, and hardly when weak components are left out (a scorer that
# whitens, or adds up the logarithms of all spreads, is another scorer on them); "rows": as it is, for what is cheap.
OnSubsets = Callable[..., list[Score]] | Literal["components", "rows"]

BEYOND = 0.1  # how far numbers of boxes may lie outside 0..1: a slip of the hand, not another unit
_DECOMPOSITION_FAILS = (torch.linalg.LinAlgError, np.linalg.LinAlgError)  # pyright: ignore[reportPrivateImportUsage]
_NUMBERS = BeartypeConf(is_pep484_tower=True)  # an int is a float too
_FACTS = {
    "parameters": "the number of parameters",
    "imagenet_accuracy": "an ImageNet accuracy",
    "mean_rank_elsewhere": "the model's rank on other data sets",
}


@dataclass(frozen=True)
class ScorerFacts:
    """What the machinery must know of a scorer. `combine` turns the scores of a whole hub into its final values;
    one that `streams` passes over the rows of a feature file, the others are given all rows in memory; `on_subsets`
    says how subsets of the rows are scored for little, None that there is no such way, see scorers/subsets.py."""

    reads: frozenset[Kind]
    needs: frozenset[Need]
    combine: Combine | None = None
    streams: bool = False
    on_subsets: OnSubsets | None = None


@runtime_checkable
class Scorer(Protocol):
    facts: ScorerFacts

    def __call__(self, data: FeatureSet, /, **hyperparameters: Any) -> Score: ...


def scorer(
    *,
    reads: set[Kind] = CLASSES,
    needs: set[Need] | None = None,
    combine: Combine | None = None,
    streams: bool = False,
    on_subsets: OnSubsets | None = None,
) -> Callable[[Callable[..., Score]], Scorer]:
    """Make a scorer of a function. reads: the kinds of targets that it is for; needs: {"features", "targets"} where
    nothing else is said."""
    wanted = frozenset(needs) if needs is not None else frozenset[Need]({"features", "targets"})
    if unknown := (reads - ANY) | (wanted - set(get_args(Need))):
        raise ValueError(f"unknown kind or need: {sorted(unknown)}")
    facts = ScorerFacts(frozenset(reads), wanted, combine, streams, on_subsets)

    def decorate(function: Callable[..., Score]) -> Scorer:
        name = function.__name__

        @functools.wraps(function)
        def checked(data: FeatureSet, /, **hyperparameters: Any) -> Score:
            start = time.perf_counter()
            check_hyperparameters(checked, hyperparameters)
            with _random_states_kept(), torch.no_grad():
                ready = prepare(data, facts, name)
                try:
                    score = function(ready, **hyperparameters)
                except _DECOMPOSITION_FAILS as error:
                    raise ScorerNotApplicable(f"{name}: a decomposition of these features fails ({error})") from error
                if ready.features.is_cuda:
                    torch.cuda.synchronize(ready.features.device)  # else `seconds` is the time to queue the kernels
            if not math.isfinite(score.value):
                raise ScorerNotApplicable(f"{name} has no finite value on these features (it is {score.value})")
            return dataclasses.replace(score, value=float(score.value), seconds=time.perf_counter() - start)

        checked.facts = facts  # type: ignore[attr-defined]  functions have attributes, their type does not say so
        return cast(Scorer, checked)

    return decorate


def check_hyperparameters(fn: Callable[..., Score], given: Mapping[str, Any]) -> None:
    """ModelRankError for one that the scorer does not have, or that is not of the type that its signature states."""
    name, hints = fn.__name__, _hints(fn)
    with _random_states_kept():  # of a sequence one number is looked at, drawn at random
        fits = {key: is_bearable(value, hints.get(key, Any), conf=_NUMBERS) for key, value in given.items()}
    for key, value in given.items():
        if key not in hints:
            raise ModelRankError(f"{name} has no parameter {key}; it has {', '.join(hints) or 'none'}")
        if not fits[key]:
            wanted = str(inspect.signature(fn).parameters[key].annotation)
            choices = [repr(one) for hint in (hints[key], *get_args(hints[key])) for one in _choices(hint)]
            wanted = wanted if not choices else " or ".join(filter(None, [", ".join(choices), _beside(hints[key])]))
            raise ModelRankError(f"{name}: {key}={value!r} is not one of its values: {wanted}")


@functools.cache
def _hints(fn: Callable[..., Score]) -> dict[str, Any]:
    """Hyper-parameter -> its type; Any where the signature of a user's own scorer does not say."""
    try:
        known = get_type_hints(fn)
    except NameError:  # a name that is there for type checkers only
        known = {}
    return {key: known.get(key, Any) for key in [*inspect.signature(fn).parameters][1:]}


def _choices(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) is Literal else ()


def _beside(hint: Any) -> str:
    """The names of the plain types of a union, beside its choices."""
    return ", ".join(one.__name__ for one in get_args(hint) if isinstance(one, type))


def minmax(values: Mapping[str, float]) -> dict[str, float]:
    """Values over a hub brought to 0..1; all 0 where they are equal (or there is one model), for nothing is told."""
    low, high = min(values.values()), max(values.values())
    span = high - low
    return {model: (value - low) / span if span > 0 else 0.0 for model, value in values.items()}


def classes_and_boxes(scores: Mapping[str, Score]) -> dict[str, float]:
    """Detection: minmax(part `cls`) + minmax(part `reg`) over the hub. Without these parts each model's own value."""
    if not all({"cls", "reg"} <= set(score.parts) for score in scores.values()):
        return {model: score.value for model, score in scores.items()}
    cls = minmax({model: float(score.parts["cls"]) for model, score in scores.items()})
    reg = minmax({model: float(score.parts["reg"]) for model, score in scores.items()})
    return {model: cls[model] + reg[model] for model in scores}


def subset(data: FeatureSet, rows: Tensor, features: Tensor | None = None) -> FeatureSet:
    """Some of the samples, with an empty memo; classes that are not among them leave no gap in the labels.

    features: instead of these rows of `data.features`. General-domain features and facts stay.
    """
    rows = rows.to(data.targets.device)
    targets = data.targets[rows]
    if data.kind == "classes":
        targets = torch.unique(targets, return_inverse=True)[1]
    return dataclasses.replace(
        data,
        features=data.features[rows] if features is None else features,
        targets=targets,
        logits=None if data.logits is None else data.logits[rows],
        boxes=None if data.boxes is None else data.boxes[rows],
        image=None if data.image is None else data.image[rows],
        key="",
        memo={},
    )


def facts_of(fn: Callable[..., Score]) -> ScorerFacts:
    """The facts of a scorer, also through the functools.partial that Hydra makes of a YAML."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return cast(Scorer, fn).facts


def prepare(data: FeatureSet, facts: ScorerFacts, name: str) -> FeatureSet:
    """The data with targets in canonical form, sharing the memo; boxes, and arrays in `facts.needs`, were checked."""
    if data.kind not in facts.reads:
        raise ScorerNotApplicable(f"{name} is for {', '.join(sorted(facts.reads))} as targets, not for {data.task}")
    for need in sorted(facts.needs - {"features", "targets"}):
        if need in _FACTS:
            fact = data.facts.get(need)
            if fact is None:
                raise ScorerNotApplicable(f"{name} needs {_FACTS[need]}, which is not known for this model")
            if not isinstance(fact, numbers.Real):
                raise ValueError(f"facts: {need}={fact!r} is no number; {name} needs {_FACTS[need]}")
        elif getattr(data, need) is None:
            raise ScorerNotApplicable(f"{name} needs {need}, which this model or data set does not have")
    beside: set[Need] = set() if data.boxes is None else {"boxes"}  # some scorers take them where they are there
    for array in sorted(facts.needs & {"features", "logits", "general"} | beside):
        key = f"checked {array}"
        if key not in data.memo:  # once for all scorers of a run: the check reads every number
            _check_matrix(array, getattr(data, array), data)
            data.memo[key] = True
    if data.image is not None and data.image.shape != (len(data.features),):
        raise ValueError(f"image has shape {tuple(data.image.shape)}, features has {len(data.features)} rows")
    rows: Any = data.features
    if "features" in facts.needs and not isinstance(rows, Tensor):
        n, d = rows.shape
        if not facts.streams or n < d:  # with N < D all rows are less than the D x D numbers that a stream would hold
            data = dataclasses.replace(data, features=rows[:])
    if "targets" not in facts.needs:
        return data
    if "canonical targets" not in data.memo:
        data.memo["canonical targets"] = _canonical_targets(data)
    return dataclasses.replace(data, targets=data.memo["canonical targets"])


def _check_matrix(name: str, x: Rows, data: FeatureSet) -> None:
    if len(x.shape) != 2 or not x.dtype.is_floating_point:
        raise ValueError(f"{name} must be a matrix of floating numbers, got shape {tuple(x.shape)} of {x.dtype}")
    if x.shape[0] < 2 or x.shape[1] < 1:
        raise ValueError(f"{name} must have at least 2 rows and 1 column, got shape {tuple(x.shape)}")
    if name == "general":
        if x.shape[1] != data.features.shape[1]:
            raise ValueError(f"general has {x.shape[1]} columns, features has {data.features.shape[1]}")
    elif len(x) != len(data.features):
        raise ValueError(f"{name} has {len(x)} rows, features has {len(data.features)}")
    if name == "boxes" and x.shape[1] != 4:
        raise ValueError(f"boxes must be N x 4 (centre x, centre y, width, height), got shape {tuple(x.shape)}")
    if name == "features" and bool(column_mean(data).isfinite().all()):  # so all are; and the mean is there for others
        return
    bad = sum(_not_finite(rows) for _, rows in chunks(x, elements=CHUNK_ELEMENTS))
    if bad:
        raise ValueError(
            f"{name} holds {bad} NaN or infinite values of {x.shape[0] * x.shape[1]}; drop or mend these rows"
        )
    low, high = (float(edge) for edge in x[:].aminmax()) if name == "boxes" else (0, 1)
    if low < -BEYOND or high > 1 + BEYOND:
        raise ValueError(
            f"boxes must be within 0..1 (centre x, centre y, width, height), got {low:.4g} to {high:.4g}; "
            "divide pixels by the width and height of the image"
        )


def _not_finite(rows: Tensor) -> int:
    if bool(rows.sum().isfinite()):  # then they all are, and one reading was enough
        return 0
    return int(rows.numel() - rows.isfinite().sum())


def _canonical_targets(data: FeatureSet) -> Tensor:
    y, n = data.targets, len(data.features)
    if len(y) != n:
        raise ValueError(f"targets has {len(y)} rows, features has {n}")
    y = y.to(data.features.device)
    if data.kind == "classes":
        if y.ndim != 1 or y.is_floating_point():
            raise ValueError(f"targets must be N integers, got shape {tuple(y.shape)} of {y.dtype}")
        y = y.long()
        if int(y.min()) < 0:
            raise ValueError(
                f"targets holds {int((y < 0).sum())} labels below 0 (the least is {int(y.min())}): where they say that "
                "there is no label, drop these rows, and those of the features; else number the classes from 0"
            )
        values, canonical = torch.unique(y, return_inverse=True)
        if len(values) < 2:
            raise ValueError(f"targets holds one class only (label {int(values[0])}); a score needs two or more")
        return canonical
    if data.task == "multilabel":
        if y.ndim != 2 or not bool(((y == 0) | (y == 1)).all()):
            raise ValueError(f"multi-label targets must be N x C of 0 and 1, got shape {tuple(y.shape)} of {y.dtype}")
        y = y.long()
        y = y[:, (y.min(0).values == 0) & (y.max(0).values == 1)]
        if y.shape[1] == 0:
            raise ValueError("targets: no class has both positive and negative samples")
        return y
    y = y[:, None] if y.ndim == 1 else y
    if y.ndim != 2 or y.shape[1] < 1 or y.is_complex():
        raise ValueError(f"regression targets must be N x K numbers, got shape {tuple(y.shape)} of {y.dtype}")
    y = y.double()
    if bad := int((~y.isfinite()).sum()):
        raise ValueError(f"targets holds {bad} NaN or infinite values of {y.numel()}")
    if bool((y == y[0]).all()):
        raise ValueError("targets is the same for every sample; a score needs something to predict")
    return y


@contextmanager
def _random_states_kept() -> Iterator[None]:
    python, legacy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
