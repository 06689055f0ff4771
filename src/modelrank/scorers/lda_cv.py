"""Cross-validated accuracy of shrinkage linear discriminant analysis: a cheap probe, scale-free and without a grid.

Idea:
    What a linear classifier gets right on samples that it has not seen, by the one classifier that needs no training
    and no parameter.

Formula:
    argmax_c x^T S^-1 mu_c - 1/2 mu_c^T S^-1 mu_c + log pi_c,   accuracy over k folds
    S: within-class covariance of the training folds, shrunk to a multiple of the identity by Ledoit and Wolf (2004)

Ours:
    The training moments of a fold are the total ones less the fold's own, so that k folds cost two passes over the
    features instead of k. Folds are stratified and drawn from the content of the samples, not from their order.

Source:
    Not a published transferability score but a strong reference row; Ledoit and Wolf, J. Multivariate Analysis 2004.

Cost:
    2 N D^2 + k D^3 / 3; memory D^2.

Fails:
    One covariance for all classes, so classes that differ in shape rather than place look alike. It is the accuracy of
    a frozen probe: models that fine-tune better than they probe are put too low.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from modelrank.scorers.contract import scorer
from modelrank.scorers.linalg import (
    chunks,
    class_moments,
    class_sums,
    column_mean,
    deal_folds,
    gram,
    image_count,
    scatter,
)
from modelrank.types import FeatureSet, Score, ScorerNotApplicable


@scorer()
def lda_cv(data: FeatureSet, *, folds: int = 5, seed: int = 0) -> Score:
    """Accuracy over all samples, each held out once, in 0..1; parts: the mean `shrinkage` over the folds.

    A sample whose class is in no training fold (a singleton) counts as an error.
    """
    fold_of = deal_folds(data, min(folds, image_count(data)), seed)
    right, shrinkages = 0, []
    for fold in range(int(fold_of.max()) + 1):
        held_out = (fold_of == fold).nonzero()[:, 0]
        means, within, counts = _training_moments(data, held_out)
        strength, covariance = _shrunk(data, fold_of != fold, means, within, counts)
        shrinkages.append(strength)
        factor = torch.linalg.cholesky(covariance)
        coefficients = torch.cholesky_solve(means.T, factor).T
        intercept = (counts / counts.sum()).log() - 0.5 * (coefficients * means).sum(1)  # log 0 = -inf: never chosen
        for part, y in _rows(data, held_out):
            right += int((torch.addmm(intercept, part, coefficients.T).argmax(1) == y).sum())
    return Score(right / len(fold_of), {"shrinkage": sum(shrinkages) / len(shrinkages)})


def _rows(data: FeatureSet, chosen: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """(rows about the overall mean, labels) of some samples, by chunks, float64."""
    mean = column_mean(data)
    for some in chosen.split(max(1, 2**22 // data.features.shape[1])):
        yield data.features[some].double() - mean, data.targets[some]


def _training_moments(data: FeatureSet, held_out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """C x D means (about the overall mean), D x D within-class scatter and C counts of the samples not held out."""
    moments = class_moments(data)
    sums = (moments.class_means - moments.mean) * moments.counts[:, None]
    counts = moments.counts - torch.bincount(data.targets[held_out], minlength=len(moments.counts))

    def subtracted() -> Iterator[Tensor]:
        for rows, y in _rows(data, held_out):
            sums.sub_(class_sums(rows, y, len(counts)))
            yield rows

    square = scatter(data) - gram(subtracted())
    means = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp(min=1), 0.0)
    return means, square - (means * counts[:, None]).T @ means, counts


def _shrunk(data: FeatureSet, train: Tensor, means: Tensor, within: Tensor, counts: Tensor) -> tuple[float, Tensor]:
    """Ledoit-Wolf weight of the identity, and the covariance shrunk by it."""
    n, d = float(counts.sum()), len(within)
    covariance = within / n
    level = covariance.diagonal().mean()
    if level <= 1e-14 * scatter(data).diagonal().mean() / n or level == 0:
        raise ScorerNotApplicable("lda_cv: there is no spread inside the classes beside rounding errors")
    fourth = torch.zeros_like(level)
    for part, rows in chunks(data.features, torch.float64):
        residual = (rows - column_mean(data) - means[data.targets[part]]).square().sum(1)
        fourth += (residual.square() * train[part]).sum()
    norm = covariance.square().sum()
    distance = norm - d * level**2
    noise = (fourth / n - norm) / n
    weight = float((noise / distance).clamp(0, 1)) if distance > 0 else 1.0
    shrunk = (1 - weight) * covariance
    # never below 1e-10: duplicate columns leave zero eigenvalues that rounding may turn negative
    shrunk.diagonal().add_(max(weight, 1e-10) * level)
    return weight, shrunk
