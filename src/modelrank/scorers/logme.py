"""LogME: the evidence of a Bayesian linear model on the features.

Idea:
    A linear model of the labels, averaged over all its weights instead of fitted: features that explain the labels by
    few, strong directions have the largest evidence, and no cross-validation is needed.

Formula:
    y ~ N(F w, 1/beta),  w ~ N(0, 1/alpha);   LogME = max over alpha, beta of log p(y | F) / N, mean over target columns

Ours:
    With the singular value decomposition F = U S V^T everything depends on sigma = S^2, x = U^T y and |y|^2. These come
    from the D x D Gram matrix (or from the N x N one where N < D) in float64, so the features are read twice and never
    decomposed: with F^T F = V sigma V^T, x^2 = (V^T F^T y)^2 / sigma. The popular fixed-point form of the code leaves
    out -(D - k)/2 log(alpha) and so favours wide models where D > N; ours has all D terms.

    Two ways to the maximum. The authors' code starts at alpha = beta = 1 and stops after 11 updates, wherever it is; as
    1 means something only beside the scale of the features, its value changes when they are multiplied. It is the
    default, because it is what was published and what tables of LogME are made of; where it stops far from the maximum,
    a warning says so. `maximum=True` finds the maximum: with t = alpha / beta the best beta is n / q(t), where q(t) =
    sum of x^2 / (1 + sigma / t) + what no features explain, and one number is left to look for.

Source:
    You et al., ICML 2021 (and JMLR 2022); the updates of the authors' code (_fit_icml).

Cost:
    N min(N, D)^2 + min(N, D)^3 in float64.

Fails:
    No intercept: features and labels are not centred. As published it depends on the scale of the features where its
    updates end early. Rare classes: a column of nearly all 0 has a high evidence whatever the features are.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from modelrank.scorers.contract import ANY, classes_and_boxes, scorer
from modelrank.scorers.linalg import chunks, class_moments, scatter, shared
from modelrank.types import FeatureSet, Score, ScorerNotApplicable

BEYOND = 25.0  # e^-25 of the smallest eigenvalue is nothing beside it
STEP = 0.5  # of log t; the evidence changes over about 2, as 1 / (1 + sigma / t) does
SECTIONS, GOLDEN = 25, (math.sqrt(5) - 1) / 2  # to 1e-5 of log t, whose square is lost in evidence
FAR = 0.002  # from the maximum, in evidence per sample


@dataclass(frozen=True)
class _Spectrum:
    """Eigenvalues of F^T F that are not 0, and what is left of the targets along them."""

    sigma: Float[Tensor, " r"]
    x2: Float[Tensor, "r K"]  # squared U^T y
    y2: Float[Tensor, " K"]  # |y|^2
    samples: int
    dimensions: int


@scorer(
    reads=ANY,
    combine=classes_and_boxes,
    streams=True,
    on_subsets="components",
)
def logme(data: FeatureSet, *, iterations: int = 11, tolerance: float = 1e-2, maximum: bool = False) -> Score:
    """Mean over the target columns of the maximal log evidence per sample.

    classification: one column of 0 / 1 a class; multilabel: the columns as they are; regression: the columns as they
    are, no intercept. detection: parts `cls` (as classification) and `reg` (as regression, on the boxes), added after
    min-max over the hub; a single model's own value is their plain sum.
    iterations, tolerance: at most so many updates of alpha and beta, until alpha / beta moves by less than tolerance,
        relatively; 1e-2 and the evidence with the last update's sums is what the authors' code (_fit_icml) does.
    maximum: the maximum itself, to 1e-8 and the same for features of every scale, instead of these updates.

    parts: `evidence`, one number a column.
    Warns where the updates end more than 0.002 from the maximum.
    """

    def evidence_of(one: FeatureSet) -> Tensor:
        spectrum = _spectrum(one)
        return _largest(spectrum) if maximum else _published(spectrum, iterations, tolerance)

    if data.task != "detection":
        evidence = evidence_of(data)
        return Score(float(evidence.mean()), {"evidence": evidence.cpu().numpy()})
    if data.boxes is None:
        raise ScorerNotApplicable("logme: detection needs boxes, one row a sample")
    classes, boxes = replace(data, task="classification"), replace(data, task="regression", targets=data.boxes)
    cls, reg = evidence_of(classes), evidence_of(boxes)
    parts = {"cls": float(cls.mean()), "reg": float(reg.mean()), "evidence": torch.cat([cls, reg]).cpu().numpy()}
    return Score(parts["cls"] + parts["reg"], parts)


def _spectrum(data: FeatureSet) -> _Spectrum:
    n, d = data.features.shape
    one_hot = data.task == "classification"
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


def _largest(spectrum: _Spectrum) -> Float[Tensor, " K"]:
    """The maximum of each column: the best of a grid over log t, then golden sections between its neighbours.

    Far below the smallest sigma and far above the largest the evidence is constant, so that the grid, which is laid in
    units of sigma, holds every maximum; it may have several, hence no descent from one start.
    """
    n, sigma, x2 = spectrum.samples, spectrum.sigma, spectrum.x2
    outside = (spectrum.y2 - x2.sum(0)).clamp(min=0)

    def evidence(explained: Float[Tensor, "*grid K"], log_determinant: Tensor) -> Float[Tensor, "*grid K"]:
        return -(n * (2 * math.pi * (explained + outside) / n).log() + n + log_determinant) / (2 * n)

    def at(log_t: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        gain = sigma[:, None] / log_t.exp()
        return evidence((x2 / (1 + gain)).sum(0), gain.log1p().sum(0))

    low, high = float(sigma.min().log()) - BEYOND, float(sigma.max().log()) + BEYOND
    grid = torch.linspace(low, high, math.ceil((high - low) / STEP) + 1, dtype=sigma.dtype, device=sigma.device)
    gains = sigma / grid.exp()[:, None]  # the same t for all columns: one matrix product
    values = evidence((1 / (1 + gains)) @ x2, gains.log1p().sum(1, keepdim=True))
    best = values.argmax(0)
    left, right = grid[(best - 1).clamp(min=0)], grid[(best + 1).clamp(max=len(grid) - 1)]
    for _ in range(SECTIONS):
        width = GOLDEN * (right - left)
        first, second = right - width, left + width
        lower = at(first) < at(second)
        left, right = torch.where(lower, first, left), torch.where(lower, right, second)
    return torch.maximum(at((left + right) / 2), values.max(0).values)


def _published(spectrum: _Spectrum, iterations: int, tolerance: float) -> Float[Tensor, " K"]:
    """All columns side by side; one that has converged keeps its alpha and beta."""
    n, d = spectrum.samples, spectrum.dimensions
    sigma, x2, y2 = spectrum.sigma[:, None], spectrum.x2, spectrum.y2
    outside = (y2 - x2.sum(0)).clamp(min=0)  # what no combination of features explains
    alpha, beta = torch.ones_like(outside), torch.ones_like(outside)
    going = torch.ones_like(outside, dtype=torch.bool)
    for _ in range(iterations):
        t = alpha / beta
        gamma = (sigma / (sigma + t)).sum(0)
        m2 = (sigma * x2 / (t + sigma).square()).sum(0) + 1e-5
        res2 = (x2 / (1 + sigma / t).square()).sum(0) + outside + 1e-5
        alpha = torch.where(going, gamma / m2, alpha)
        beta = torch.where(going, (n - gamma) / res2, beta)
        going &= (alpha / beta - t).abs() > tolerance * t
        if not bool(going.any()):
            break
    log_determinant = (alpha + beta * sigma).log().sum(0) + (d - len(sigma)) * alpha.log()
    # alpha m2 + beta res2 = gamma + (n - gamma): with m2 and res2 of the last update, as in the authors' code
    found = (d * alpha.log() + n * beta.log() - log_determinant - n - n * math.log(2 * math.pi)) / (2 * n)
    best = _largest(spectrum)
    if abs(float((best - found).mean())) > FAR:
        warnings.warn(
            "logme: the updates of the published form end more than 0.002 from the largest evidence, at a value that "
            "depends on the scale of these features; maximum=true gives the largest",
            stacklevel=2,
        )
    return found
