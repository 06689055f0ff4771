"""What the user's targets are: classes, several labels a sample, or numbers; by scikit-learn's `type_of_target`."""

from __future__ import annotations

import numbers
import warnings
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from modelrank.types import Task

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from torch import Tensor


def read_targets(targets: ArrayLike | Tensor, task: Task | None, *, boxes: bool = False) -> tuple[np.ndarray, Task]:
    """The targets as the scorers take them (see `types.FeatureSet`), and their task; `task` replaces the guess.

    One column is N labels or N numbers. Whole numbers, floating ones too (0.0, 1.0: a table's column that once held a
    gap), booleans, strings and pandas' categoricals are classes, or with `boxes` those of objects; N x C of 0 and 1
    are several labels a sample; other floating numbers are a regression's. ValueError for missing values, for what is
    neither text nor numbers, and for several columns of whole numbers, which may be either.

    A warning says so where numbers are taken for classes and these have fewer than two samples on average, or, where
    they leave gaps as quantities do, fewer than three; and where every row of several labels holds exactly one.
    """
    if task is not None and task not in get_args(Task):
        raise ValueError(
            f"task={task!r}: give one of {', '.join(get_args(Task))}, or None for what the targets look like"
        )
    y = _values(targets)
    if not y.size:
        raise ValueError(f"targets are empty, of shape {y.shape}; give one for each row of the features")
    if y.ndim not in (1, 2):
        raise ValueError(f"targets are of shape {y.shape}; give N labels or numbers, or N x C")
    if y.ndim == 2 and y.shape[1] == 1 and task != "multilabel":
        y = y[:, 0]
    if task is None:
        task = _guess(y, boxes)
        if task == "classification" and y.dtype.kind != "U" and (found := len(np.unique(y))) > max(_many(y), 2):
            warnings.warn(
                f"targets are whole numbers, so they are taken for {found} classes of {len(y)} samples; if they are "
                "quantities, say task='regression'",
                stacklevel=4,
            )
        if task == "multilabel" and bool((y.sum(1) == 1).all()):
            warnings.warn(
                f"targets hold exactly one 1 in each of {len(y)} rows, and are taken for labels of which a sample may "
                "have several; if the 1 marks its class, give targets.argmax(1), else say task='multilabel'",
                stacklevel=4,
            )
    if task == "regression":
        if y.dtype.kind == "U":
            raise ValueError("targets are text, and task='regression' wants numbers")
        return y.astype(np.float64) if y.dtype.kind == "i" else y, task
    if y.ndim == 2 and task != "multilabel":
        raise ValueError(
            f"targets are of shape {y.shape}, and task={task!r} wants one class a sample; if a 1 in a row marks "
            "its class, give targets.argmax(1)"
        )
    if y.dtype.kind == "U":
        return np.unique(y, return_inverse=True)[1].reshape(y.shape).astype(np.int64), task
    if not _whole(y):
        raise ValueError(f"task={task!r} wants whole numbers or text as targets; they hold {_odd(y)}")
    return y.astype(np.int64), task


def _guess(y: np.ndarray, boxes: bool) -> Task:
    if y.ndim == 1:
        return ("detection" if boxes else "classification") if y.dtype.kind == "U" or _whole(y) else "regression"
    if y.dtype.kind != "U" and bool(((y == 0) | (y == 1)).all()):
        return "multilabel"
    if y.dtype.kind == "U" or _whole(y):
        raise ValueError(
            f"targets are {y.shape[1]} columns of {'text' if y.dtype.kind == 'U' else 'whole numbers'}, which may be "
            "several classes a sample or several quantities: give 0 and 1 for each class, or say task='regression'"
        )
    return "regression"


def _many(y: np.ndarray) -> float:
    """Classes above which whole numbers look like quantities."""
    gaps = float(y.max() - y.min() + 1) > len(np.unique(y))
    return len(y) / (3 if gaps else 2)


def _whole(y: np.ndarray) -> bool:
    return y.dtype.kind == "i" or bool(np.isfinite(y).all() and (y == np.floor(y)).all())


def _odd(y: np.ndarray) -> Any:
    return y[~(np.isfinite(y) & (y == np.floor(y)))][0]


def _values(targets: ArrayLike | Tensor) -> np.ndarray:
    """int64, floating, or text; any shape."""
    if hasattr(targets, "detach"):
        targets = targets.detach().cpu()  # pyright: ignore[reportAttributeAccessIssue] a tensor
        targets = targets.float() if targets.dtype.itemsize == 2 and targets.is_floating_point() else targets
    y = np.asarray(targets)
    if isinstance(targets, np.ma.MaskedArray):
        _refuse_missing(int(np.ma.count_masked(targets)), y)
    if y.dtype.kind == "O":
        y = _of_objects(y)
    if y.dtype.kind in "biu":
        return y.astype(np.int64)
    if y.dtype.kind == "f":
        _refuse_missing(int(np.isnan(y).sum()), y)
        if count := int(np.isinf(y).sum()):
            raise ValueError(f"targets: {count} of {y.size} are infinite; drop these rows, and those of the features")
        return y.astype(np.float64 if y.dtype.itemsize > 4 else np.float32)
    if y.dtype.kind in "UST":
        return y.astype(str)
    raise ValueError(f"targets must hold numbers or text, got {y.dtype}")


def _of_objects(y: np.ndarray) -> np.ndarray:
    """Of pandas' columns: text, numbers that may be missing, categories."""
    flat = y.reshape(-1).tolist()
    missing = (one is None or str(one) in ("<NA>", "nan", "NaT") for one in flat if not isinstance(one, str))
    _refuse_missing(sum(missing), y)
    kinds = {str if isinstance(one, str) else type(one) for one in flat}
    if odd := sorted(kind.__name__ for kind in kinds if not issubclass(kind, str | numbers.Real | np.bool_)):
        raise ValueError(f"targets must hold numbers or text, got {', '.join(odd)}")
    if str in kinds and len(kinds) > 1:
        raise ValueError(f"targets mix text and {', '.join(sorted(kind.__name__ for kind in kinds - {str}))}")
    return np.array(flat).reshape(y.shape)


def _refuse_missing(count: int, y: np.ndarray) -> None:
    if count:
        raise ValueError(f"targets: {count} of {y.size} are missing; drop these rows, and those of the features")
