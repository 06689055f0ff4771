"""The Python API: `modelrank.score` and `modelrank.rank` on arrays that you have already."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from modelrank import build
from modelrank.features.file import FeatureFile
from modelrank.ranking import order
from modelrank.root import CONF
from modelrank.scorers.contract import check_hyperparameters, facts_of
from modelrank.targets import read_targets
from modelrank.types import FeatureSet, ModelRankError, Ranking, Score, ScorerNotApplicable, Task

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def score(
    name: str,
    features: ArrayLike | Tensor | Path | str,
    targets: ArrayLike | Tensor,
    *,
    logits: ArrayLike | Tensor | None = None,
    boxes: ArrayLike | Tensor | None = None,
    image: ArrayLike | Tensor | None = None,
    general: ArrayLike | Tensor | None = None,
    task: Task | None = None,
    facts: Mapping[str, float] | None = None,
    **hyperparameters: Any,
) -> Score:
    """How well one pre-trained model is expected to transfer, by its features of the target data; higher is better.

    name: a scorer, that is, the name of a file in conf/scorer; its hyper-parameters come from that file, those given
        here replace them.
    features: N x D, numpy or torch, any floating type (or integers, taken as float32), any device; never changed.
        Or the path of a .safetensors file (of the feature store, or any with a tensor `features`) or .npy file, which
        may be larger than memory: disco, logme, hscore, hscore_shrinkage, sfda, gbc, transrate and ncc read it in
        chunks, the other scorers whole.
    targets: N or N x 1 labels, whole numbers >= 0 with or without a dot, booleans, text, a pandas column
        (classification; detection when `boxes` is given); N x C of 0 and 1 (multilabel); N or N x K floating numbers
        (regression). `task` says so where that guess is wrong: see `targets.read_targets`.
    logits: N x S output of the model's source classifier. boxes: N x 4 in 0..1 (centre x, centre y, width, height).
    image: N integers, the image of each row where several come from one; folds and neighbours keep them together.
    general: M x D features of general-domain images. facts: numbers known of the model, such as
        {"parameters": 11_689_512, "imagenet_accuracy": 0.698}.

    Raises ModelRankError for an unknown scorer or hyper-parameter, ValueError for arrays that cannot be scored
    (shapes, NaN, one class, labels below 0), ScorerNotApplicable where this scorer has no value for such data.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> labels = np.repeat([0, 1, 2], 20)
    >>> features = rng.normal(size=(60, 8)) + 3 * np.eye(3, 8)[labels]
    >>> round(modelrank.score("disco", features, labels, components=8, groups=2).value, 2)
    0.75
    """
    if not isinstance(name, str):
        raise ModelRankError(
            f"the first argument is a {type(name).__name__}; give the scorer's name first: score('disco', features, "
            "targets)"
        )
    bound = _scorer(name, hyperparameters)
    return bound(_data(features, targets, task, logits=logits, boxes=boxes, image=image, general=general, facts=facts))


def rank(
    features: Mapping[str, ArrayLike | Tensor | Path | str],
    targets: ArrayLike | Tensor,
    scorer: str = "disco",
    *,
    logits: Mapping[str, ArrayLike | Tensor] | None = None,
    boxes: ArrayLike | Tensor | None = None,
    image: ArrayLike | Tensor | None = None,
    general: Mapping[str, ArrayLike | Tensor] | None = None,
    task: Task | None = None,
    facts: Mapping[str, Mapping[str, float]] | None = None,
    **hyperparameters: Any,
) -> Ranking:
    """Models from best to worst for one target data set.

    features: model -> N x D or a path (D may differ between models), rows in the order of `targets`. logits, general
    and facts: the same by model, models without may be left out. The other arguments are those of `score`.
    A model that cannot be scored stands in `failed` with its reason. Raises ModelRankError where none can.
    """
    if not isinstance(features, Mapping):
        raise ValueError(f"features is a {type(features).__name__}; give a mapping, name of a model -> its features")
    if not features:
        raise ValueError("features is empty; give a mapping, name of a model -> its features")
    bound = _scorer(scorer, hyperparameters)
    for given, what in ((logits, "logits"), (general, "general"), (facts, "facts")):
        if unknown := set(given or {}) - set(features):
            raise ValueError(f"{what} names models that features does not: {', '.join(sorted(unknown))}")
    scores: dict[str, Score] = {}
    failed: dict[str, str] = {}
    for model, matrix in features.items():
        try:
            data = _data(
                matrix,
                targets,
                task,
                logits=(logits or {}).get(model),
                boxes=boxes,
                image=image,
                general=(general or {}).get(model),
                facts=(facts or {}).get(model),
            )
            scores[model] = bound(data)
        except (ScorerNotApplicable, ValueError) as reason:
            failed[model] = str(reason)
    return order.rank(scorer, scores, combine=facts_of(bound).combine, failed=failed)


@cache  # reading and making one takes 5 ms, as long as scoring few samples
def _bound(name: str) -> partial[Score]:
    """The scorer with the hyper-parameters of its YAML."""
    files = {file.stem: file for file in sorted((CONF / "scorer").glob("*.yaml"))}

    def spec(one: str) -> DictConfig | None:  # some files are sets of scorers
        found = cast(DictConfig, OmegaConf.load(files[one]))
        return found if one in found.get("scorers", {}) else None

    wanted = spec(name) if name in files else None
    if wanted is None:
        raise ModelRankError(f"there is no scorer {name!r}; choose one of {', '.join(filter(spec, files))}")
    return cast("partial[Score]", build.scorers(wanted)[name])


def _scorer(name: str, hyperparameters: Mapping[str, Any]) -> Callable[[FeatureSet], Score]:
    if not isinstance(name, str):
        raise ModelRankError(f"scorer={name!r}: give the name of one scorer; several are ranked by one call each")
    bound = _bound(name)
    check_hyperparameters(bound.func, hyperparameters)
    return partial(bound, **hyperparameters)


def _data(
    features: ArrayLike | Tensor | Path | str,
    targets: ArrayLike | Tensor,
    task: Task | None,
    *,
    logits: ArrayLike | Tensor | None,
    boxes: ArrayLike | Tensor | None,
    image: ArrayLike | Tensor | None,
    general: ArrayLike | Tensor | None,
    facts: Mapping[str, float] | None,
) -> FeatureSet:
    if not isinstance(facts, Mapping | None):
        raise ValueError(f"facts={facts!r}: give a mapping, name of a fact -> its number")
    x = _features(features)
    y, found = read_targets(targets, task, boxes=boxes is not None)

    def beside(what: str, array: ArrayLike | Tensor | None) -> Tensor | None:
        return None if array is None else _floating(what, array).to(x.device)

    placed = beside("boxes", boxes)
    return FeatureSet(
        x,
        torch.from_numpy(y),
        found,
        logits=beside("logits", logits),
        boxes=placed,
        image=None if image is None else _tensor("image", image).to(x.device),
        general=beside("general", general),
        facts=dict(facts or {}),
    )


def _features(features: ArrayLike | Tensor | Path | str) -> Tensor:
    if isinstance(features, str | Path):
        try:
            return cast(Tensor, FeatureFile(features))  # it has all of a tensor that a scorer looks at
        except OSError as error:
            raise ValueError(f"the features {features} cannot be read: {error.strerror or error}") from error
    return _floating("features", features)


def _floating(name: str, array: ArrayLike | Tensor) -> Tensor:
    x = _tensor(name, array)
    return x if x.is_floating_point() else x.float()


def _tensor(name: str, array: ArrayLike | Tensor) -> Tensor:
    if isinstance(array, Tensor):
        if array.layout != torch.strided or array.is_quantized or array.is_complex():
            kind = f"{array.dtype}, {array.layout}"
            raise ValueError(f"{name} must be a dense tensor of real numbers, got {kind}; give .to_dense(), or floats")
        return array.detach()
    if np.ma.is_masked(array):
        raise ValueError(f"{name} is masked in {int(np.ma.count_masked(array))} places; drop or fill these rows")
    x = np.asarray(array)
    if x.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold numbers, got {x.dtype}")
    if x.dtype.kind in "biu":
        x = x.astype(np.int64)
    if x.dtype.kind == "f" and x.dtype.itemsize > 8:
        x = x.astype(np.float64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # and we never write
        return torch.from_numpy(np.ascontiguousarray(x.astype(x.dtype.newbyteorder("="), copy=False)))
