"""NCTI: neural collapse informed transferability.

Idea:
    A trained network's features collapse to one point a class. How far from that a pre-trained model already is on the
    target says how well it will transfer.

Formula:
    minmax(seli) + minmax(ncc) - minmax(vc) over the hub, of a linear discriminant analysis on 64 principal components
    seli  nuclear norm of the centred discriminant projections (N x (C - 1)): how rich the class geometry is
    ncc   mean posterior of the true class
    vc    log of the sum over classes of the nuclear norm of the class's N_c x C posteriors: variability in a class

Ours:
    As in the authors' code the LDA is whitened by an SVD with a rank tolerance of 1e-4 where s = exp(-sum of the 32
    largest variances) <= 1e-10, else by the covariance shrunk with s. Everything follows from the moments of the 64
    scores: no N x D decomposition beyond the PCA. The authors' PCA is randomised for wide features (scikit-learn's
    choice); ours is exact unless `solver` says otherwise.

Source:
    Wang et al., ICCV 2023, 'How Far Pre-trained Models Are from Neural Collapse on the Target Dataset Informs their
    Transferability'.

Cost:
    The PCA (N D^2 exact, 4 N D 74 randomised) + N C^2 for vc; memory N x 64.

Fails:
    The value is one of the hub: another model in it moves those of all. The threshold on s makes features of small
    scale go another way than those of large scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from modelrank.scorers.contract import minmax, scorer
from modelrank.scorers.linalg import class_counts, class_sums
from modelrank.scorers.pca import pca
from modelrank.types import FeatureSet, Score, ScorerNotApplicable

TOLERANCE = 1e-4  # of the authors' LDA: singular values below it are no direction


def combine(scores: Mapping[str, Score]) -> dict[str, float]:
    """minmax(seli) + minmax(ncc) - minmax(vc) over the models."""
    scaled = {
        part: minmax({model: float(score.parts[part]) for model, score in scores.items()})
        for part in ("seli", "ncc", "vc")
    }
    return {model: scaled["seli"][model] + scaled["ncc"][model] - scaled["vc"][model] for model in scores}


@scorer(combine=combine, on_subsets="components")
def ncti(data: FeatureSet, *, components: int = 64, solver: Literal["exact", "randomised"] = "exact") -> Score:
    """Parts `seli`, `ncc`, `vc`; value: seli + ncc - vc before any scaling, which only a hub can give."""
    n, counts = len(data.features), class_counts(data).double()
    projected = pca(data, components, solver)
    variances = projected.singular_values.double().square()
    # A component without variance (constant columns) holds rounding errors only. The authors' LDA scales these up to
    # unit variance and reads them as features.
    real = variances > variances[0] * max(data.features.shape) * torch.finfo(torch.float64).eps
    z, variances = projected.scores[:, real].double(), variances[real]
    z = z - z.mean(0)  # float32 scores are centred to seven digits only
    means = class_sums(z, data.targets, len(counts)) / counts[:, None]
    total = z.T @ z
    within = total - (means * counts[:, None]).T @ means
    shrinkage = max(math.exp(-float(variances[:32].sum()) / (n - 1)), 1e-10)
    if shrinkage <= 1e-10:
        projection, coefficients = _whitened(within, total, means, counts)
    else:
        projection, coefficients = _shrunk(within / n, total / n, means, shrinkage)
    projection = projection[:, : len(counts) - 1]
    # singular values of the centred projections from their Gram matrix, (C - 1) x (C - 1)
    seli = torch.linalg.eigvalsh(projection.T @ total @ projection).clamp(min=0).sqrt().sum()
    intercept = (counts / n).log() - 0.5 * (coefficients * means).sum(1)
    true, norms = 0.0, 0.0
    for label in range(len(counts)):
        posterior = torch.softmax(torch.addmm(intercept, z[data.targets == label], coefficients.T), 1)
        true += float(posterior[:, label].sum())
        norms += float(torch.linalg.svdvals(posterior).sum())
    parts = {"seli": float(seli), "ncc": true / n, "vc": math.log(norms)}
    return Score(parts["seli"] + parts["ncc"] - parts["vc"], parts)


def _whitened(within: Tensor, total: Tensor, means: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """(k x r projection, strongest discriminant first; C x k coefficients) of the LDA that scikit-learn calls 'svd'."""
    n = counts.sum()
    spread = within.diagonal()
    spread = torch.where(spread > 1e-13 * total.diagonal(), spread, torch.inf)  # else it is rounding, and no direction
    deviation = (spread / n).sqrt()
    values, vectors = torch.linalg.eigh(within / torch.outer(deviation, deviation) / n)
    kept = values > TOLERANCE**2
    if not bool(kept.any()):
        raise ScorerNotApplicable("ncti: there is no spread inside the classes")
    scaling = vectors[:, kept] / values[kept].sqrt() / deviation[:, None]
    # the scores are centred, so the means are deviations from the overall mean
    _, strength, vt = torch.linalg.svd((means * counts.sqrt()[:, None]) @ scaling, full_matrices=False)
    projection = scaling @ vt[strength > TOLERANCE * strength[0]].T
    return projection, (means @ projection) @ projection.T


def _shrunk(within: Tensor, total: Tensor, means: Tensor, shrinkage: float) -> tuple[Tensor, Tensor]:
    """The same with both covariances shrunk to a multiple of the identity; generalised eigenvectors by Cholesky."""

    def shrink(covariance: Tensor) -> Tensor:
        level = shrinkage * covariance.diagonal().mean()
        return (1 - shrinkage) * covariance + level * torch.eye(len(covariance)).to(covariance)

    inside = shrink(within)
    factor, failed = torch.linalg.cholesky_ex(inside)
    if failed:
        raise ScorerNotApplicable("ncti: there is no spread inside the classes")
    between = shrink(total) - inside
    half = torch.linalg.solve_triangular(factor, between, upper=False)
    symmetric = torch.linalg.solve_triangular(factor, half.T, upper=False)
    _, vectors = torch.linalg.eigh((symmetric + symmetric.T) / 2)
    projection = torch.linalg.solve_triangular(factor.T, vectors.flip(1), upper=True)
    return projection, torch.cholesky_solve(means.T, factor).T
