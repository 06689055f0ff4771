"""LogME: the evidence of a Bayesian linear model on the features (You et al., ICML 2021; all D terms of it).

Per target column y: y ~ N(F w, 1/beta), w ~ N(0, 1/alpha); alpha and beta maximise the evidence. With the singular
value decomposition F = U S V^T everything depends on sigma = S^2, x = U^T y and |y|^2. These come from the D x D
Gram matrix (or from the N x N one where N < D) in float64, so the features are read twice and never decomposed:
with F^T F = V sigma V^T, x^2 = (V^T F^T y)^2 / sigma.

The popular fixed-point form of the code leaves out -(D - k)/2 log(alpha) and so favours wide models where D > N.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from modelrank.scorers.contract import scorer
from modelrank.scorers.linalg import chunks, class_moments, scatter, shared
from modelrank.types import FeatureSet, Score, ScorerNotApplicable


@dataclass(frozen=True)
class _Spectrum:
    """Eigenvalues of F^T F that are not 0, and what is left of the targets along them."""

    sigma: Float[Tensor, " r"]
    x2: Float[Tensor, "r K"]  # squared U^T y
    y2: Float[Tensor, " K"]  # |y|^2
    samples: int
    dimensions: int


@scorer(tasks={"classification", "multilabel", "regression", "detection"}, streams=True)
def logme(data: FeatureSet, *, iterations: int = 11, tolerance: float = 1e-2) -> Score:
    """Mean over the target columns of the maximal log evidence per sample.

    classification and detection: one column of 0 / 1 a class; multilabel: the columns as they are; regression: the
    columns as they are, no intercept. For regression on boxes give the boxes as targets with task "regression".
    iterations, tolerance: at most so many updates of alpha and beta, until alpha / beta moves by less than tolerance,
        relatively; 1e-2 and the evidence with the last update's sums is what the authors' code (_fit_icml) does.

    parts: `evidence`, one number a column. Cost N min(N, D)^2 + min(N, D)^3 in float64.
    """
    spectrum = _spectrum(data)
    evidence = torch.stack(
        [_evidence(spectrum, column, iterations, tolerance) for column in range(spectrum.x2.shape[1])]
    )
    return Score(float(evidence.mean()), {"evidence": evidence.cpu().numpy()})


def _spectrum(data: FeatureSet) -> _Spectrum:
    n, d = data.features.shape
    one_hot = data.task in ("classification", "detection")
    if n < d:
        targets = torch.nn.functional.one_hot(data.targets) if one_hot else data.targets
        targets = targets.double()
        features = data.features.double()
        sigma, u = shared(data, "gram eigen", lambda: torch.linalg.eigh(features @ features.T))
        x2, y2 = (u.T @ targets).square(), targets.square().sum(0)
        keep = sigma > float(sigma[-1]) * n * torch.finfo(torch.float64).eps
    else:
        moments = class_moments(data) if one_hot else None
        if moments is not None:  # F^T y of a 0 / 1 column is the sum of the features of its class
            fty, y2, mean = moments.class_means.T * moments.counts, moments.counts, moments.mean
        else:
            targets = data.targets.double()
            fty, mean = _products(data.features, targets)
            y2 = targets.square().sum(0)
        sigma, v = shared(data, "second moment eigen", lambda: torch.linalg.eigh(scatter(data) + n * mean.outer(mean)))
        keep = sigma > float(sigma[-1]) * d * torch.finfo(torch.float64).eps
        x2 = (v.T @ fty).square() / sigma.clamp(min=torch.finfo(torch.float64).tiny)[:, None]
    if not bool(keep.any()):
        raise ScorerNotApplicable("logme: all features are 0")
    return _Spectrum(sigma[keep], x2[keep], y2, n, d)


def _products(features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    fty = targets.new_zeros(features.shape[1], targets.shape[1])
    total = targets.new_zeros(features.shape[1])
    for part, rows in chunks(features, torch.float64):
        fty += rows.T @ targets[part]
        total += rows.sum(0)
    return fty, total / len(features)


def _evidence(spectrum: _Spectrum, column: int, iterations: int, tolerance: float) -> Tensor:
    n, d = spectrum.samples, spectrum.dimensions
    sigma, x2, y2 = spectrum.sigma, spectrum.x2[:, column], spectrum.y2[column]
    outside = (y2 - x2.sum()).clamp(min=0)  # what no combination of features explains
    alpha = beta = torch.ones((), dtype=torch.float64, device=sigma.device)

    for _ in range(iterations):
        t = alpha / beta
        gamma = (sigma / (sigma + t)).sum()
        m2 = (sigma * x2 / (t + sigma).square()).sum() + 1e-5
        res2 = (x2 / (1 + sigma / t).square()).sum() + outside + 1e-5
        alpha, beta = gamma / m2, (n - gamma) / res2
        if abs(alpha / beta - t) <= tolerance * t:
            break
    log_determinant = (alpha + beta * sigma).log().sum() + (d - len(sigma)) * alpha.log()
    # alpha m2 + beta res2 = gamma + (n - gamma): with m2 and res2 of the last update, as in the authors' code
    return (d * alpha.log() + n * beta.log() - log_determinant - n - n * math.log(2 * math.pi)) / (2 * n)
