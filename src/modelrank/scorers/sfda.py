"""SFDA: self-challenging Fisher discriminant analysis.

Idea:
    A discriminant analysis of the features, made harder where it is unsure: samples that are not clearly of their class
    are mixed with the others' means, and the analysis has to tell them once more.

Formula:
    1. S = (1 - l) S_W + l (tr S_W / D) I,   l = max(exp(-5 lambda_max(S_W)), 1e-10),   S_W within-class covariance
       P(c | x) = softmax_c(x^T S^-1 mu_c - 1/2 mu_c^T S^-1 mu_c + log pi_c)
    2. ConfMix: x' = p x + (1 - p) m_out(y),   p the true class's entry of softmax(P), m_out the mean of the others'
    3. step 1 once more on x' (same l);   value = mean_i P(y_i | x'_i), without a logarithm

Ours:
    The authors' generalised eigenvectors V satisfy V V^T = S^-1, so one Cholesky factorisation replaces their
    eigen-decomposition. lambda_max comes from the authors' six matrix-vector products with the row sums of S_W as the
    start: where it is small, the score depends on that estimate. Everything is computed about the overall mean, which
    changes nothing and keeps the digits.

Source:
    Shao et al., ECCV 2022, arXiv 2207.03036, and the authors' code.

Cost:
    Three chunked passes over the features (moments, moments after mixing, posterior): 2 N D^2 + D^3, memory D^2.

Fails:
    With N <= D the samples of a class can be brought to one point, and only the shrinkage keeps the value below 1: a
    warning says so, and where it is 1 to six digits, which it then is for random features too, it is not applicable.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

from modelrank.scorers.contract import scorer
from modelrank.scorers.linalg import chunks, class_moments, class_sums, gram, within_scatter
from modelrank.types import FeatureSet, Score, ScorerNotApplicable


@scorer(streams=True)
def sfda(data: FeatureSet, *, shrinkage: float | None = None) -> Score:
    """Mean posterior of the true class after ConfMix, in 0..1. `shrinkage` in 0..1 replaces the adaptive l."""
    if shrinkage is not None and not 0 < shrinkage <= 1:
        raise ValueError(f"shrinkage must lie above 0 and at most at 1, got {shrinkage}")
    moments, n, labels = class_moments(data), len(data.features), data.targets
    classes = len(moments.counts)
    priors = moments.counts / n
    means = moments.class_means - moments.mean
    within = within_scatter(data) / n
    strength = max(math.exp(-5 * _largest_eigenvalue(within)), 1e-10) if shrinkage is None else shrinkage
    first = _discriminant(means, within, priors, strength)
    others = (means.sum(0) - means) / (classes - 1)

    def mixed() -> Iterator[tuple[Tensor, Tensor]]:
        for part, rows in chunks(data.features, torch.float64):
            rows, y = rows - moments.mean, labels[part]
            posterior = first(rows)
            # softmax of the posterior, at the true class
            weight = torch.exp(posterior.gather(1, y[:, None]) - posterior.logsumexp(1, keepdim=True))
            yield y, others[y] + weight * (rows - others[y])

    sums = torch.zeros_like(means)

    def summed() -> Iterator[Tensor]:
        for y, rows in mixed():
            sums.add_(class_sums(rows, y, classes))
            yield rows

    square = gram(summed())
    mixed_means = sums / moments.counts[:, None]
    mixed_within = (square - sums.T @ mixed_means) / n
    second = _discriminant(mixed_means, mixed_within, priors, strength)
    total = sum(second(rows).gather(1, y[:, None]).sum() for y, rows in mixed())
    value, d = float(total) / n, data.features.shape[1]
    if n <= d:
        if value > 1 - 1e-6:
            raise ScorerNotApplicable(
                f"sfda: {n} samples of {d} dimensions are separated whatever the features are (the value is 1); take "
                "more images than dimensions, or lda_cv"
            )
        warnings.warn(f"sfda: {n} samples of {d} dimensions: the shrinkage decides most of the value", stacklevel=2)
    return Score(value, {"shrinkage": strength})


def _largest_eigenvalue(matrix: Tensor) -> float:
    x = y = matrix.sum(1)
    for _ in range(3):
        y = _unit(matrix @ x)
        x = _unit(matrix @ y)
    return float(x @ matrix @ y)


def _unit(vector: Tensor) -> Tensor:
    norm = vector.norm()
    return vector / norm if norm > 0 else vector  # row sums of 0: no direction to follow, an eigenvalue of 0


def _discriminant(means: Tensor, within: Tensor, priors: Tensor, strength: float):
    """x -> class posteriors of linear discriminant analysis with a shrunk within-class covariance."""
    level = float(within.diagonal().mean())
    if level <= 0:  # no spread inside the classes (all samples alike, or one a class): nothing to whiten by
        level = 1.0
    shrunk = (1 - strength) * within
    shrunk.diagonal().add_(strength * level)
    factor, failed = torch.linalg.cholesky_ex(shrunk)
    if failed:  # rounding made a zero eigenvalue negative by more than the shrinkage: it has that as a lower bound
        values, vectors = torch.linalg.eigh(shrunk)
        coefficients = (means @ vectors / values.clamp(min=strength * level)) @ vectors.T
    else:
        coefficients = torch.cholesky_solve(means.T, factor).T
    intercept = priors.log() - 0.5 * (coefficients * means).sum(1)
    return lambda x: torch.softmax(torch.addmm(intercept, x, coefficients.T), 1)
