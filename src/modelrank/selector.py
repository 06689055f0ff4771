"""Choosing a model's features as a step of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from modelrank.api import rank
from modelrank.types import ModelRankError, Ranking

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from torch import Tensor


class ModelSelector(TransformerMixin, BaseEstimator):
    """Features of several models in, those of the model that ranks first out.

    scorer: a scorer, as for `modelrank.rank`; hyperparameters: those that replace its own.

    After `fit`: `ranking_`, and `best_`, the model ranked first.

    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> rng = np.random.default_rng(0)
    >>> labels = np.repeat([0, 1, 2], 20)
    >>> hub = {"noise": rng.normal(size=(60, 8)), "good": rng.normal(size=(60, 4)) + 3 * np.eye(3, 4)[labels]}
    >>> modelrank.ModelSelector("logme").fit(hub, labels).best_
    'good'
    >>> make_pipeline(modelrank.ModelSelector(), LogisticRegression()).fit(hub, labels).score(hub, labels) > 0.9
    True
    """

    def __init__(self, scorer: str = "disco", hyperparameters: Mapping[str, Any] | None = None) -> None:
        self.scorer = scorer
        self.hyperparameters = hyperparameters

    def fit(self, X: Mapping[str, ArrayLike | Tensor], y: ArrayLike | Tensor, **beside: Any) -> ModelSelector:
        """X: model -> N x D; y: the targets; beside: the other arguments of `modelrank.rank` (logits, boxes, ...)."""
        self.ranking_: Ranking = rank(X, y, self.scorer, **beside, **(self.hyperparameters or {}))
        self.best_: str = self.ranking_.best
        return self

    def transform(self, X: Mapping[str, ArrayLike | Tensor]) -> ArrayLike | Tensor:
        """The features of the model that was ranked first, as they are given."""
        check_is_fitted(self)
        if self.best_ not in X:
            raise ModelRankError(f"no features of {self.best_}, which was ranked first; given: {', '.join(X)}")
        return X[self.best_]
