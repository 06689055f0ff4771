"""ETran: energy-based transferability estimation, its parts, and two ways to take them together.

Source:
    Gholami et al., ICCV 2023, arXiv 2308.02027, and the authors' code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from modelrank.scorers.contract import ANY, minmax, scorer
from modelrank.scorers.linalg import chunks, nearest_centroid, shared
from modelrank.types import FeatureSet, Score, ScorerNotApplicable

WEIGHTS = {"energy": 0.15, "lda": 0.85, "regression": 1.0}  # the authors' weights of the two classification parts


@scorer(reads=ANY, needs={"features", "logits"}, on_subsets="rows")
def etran_energy(data: FeatureSet, *, percent: float = 0.5, tail: str = "bot") -> Score:
    """Mean energy of the `percent` % of samples with the lowest (`bot`) or highest (`top`) energy.

    Idea:
        How far the least familiar images lie from what the source model knows; no label is looked at.

    Formula:
        mean over the 0.5 % of samples with the lowest value (at least one) of log sum_z exp(logit_z)     (eq. 3)

    Cost:
        N S.

    Fails:
        It depends on the scale of the logits alone where the models are equally sure, and 0.5 % of a small set is one
        image. Needs a source classifier.
    """
    assert data.logits is not None
    return Score(energy(data.logits, percent, tail))


@scorer(on_subsets="components")
def etran_lda(data: FeatureSet) -> Score:
    """Mean posterior of the true class under identity covariance, in 0..1 (no parameters).

    Idea:
        A Fisher discriminant of the target classes: how sure is it of the right one?

    Formula:
        mean_i P(y_i | x_i),   P(c | x) = softmax_c(x^T mu_c - |mu_c|^2 / 2 + log pi_c)

    Ours:
        The authors take orthonormal eigenvectors V of a matrix that is not symmetric with a solver for symmetric ones;
        V V^T = I then, so the value equals the posterior of the nearest centroid with identity covariance. Ours says so
        and needs no decomposition.

    Cost:
        N D + N C D.

    Fails:
        As `ncc`, which it equals: it depends on the scale of the features, and with N <= D centroids tell any labels.
    """
    return Score(nearest_centroid(data))


@scorer(reads={"classes", "numbers"}, needs={"features", "targets"})
def etran_regression(data: FeatureSet) -> Score:
    """Minus the mean squared error of boxes (detection) or targets (regression); fitted without an intercept.

    Idea:
        How well do the features explain the numbers, by least squares?

    Formula:
        -mean (b - U U^T b)^2,   U the left singular vectors of the features

    Cost:
        N D min(N, D).

    Fails:
        With N <= D anything is explained and the value is 0 up to rounding, so wide models go first. It is not
        cross-validated, and without an intercept the mean of the targets must be explained too.
    """
    return Score(least_squares(data))


def combine(scores: Mapping[str, Score]) -> dict[str, float]:
    """Weighted sum over the parts, each scaled to 0..1 over the models."""
    parts = next(iter(scores.values())).parts
    scaled = {part: minmax({model: float(score.parts[part]) for model, score in scores.items()}) for part in parts}
    return {model: sum(WEIGHTS[part] * scaled[part][model] for part in parts) for model in scores}


@scorer(
    needs={"features", "targets", "logits"},
    combine=combine,
    on_subsets="components",
)
def etran(data: FeatureSet, *, percent: float = 0.5) -> Score:
    """Parts `energy` (of the logits), `lda` and, for detection, `regression`; a single model's own value is their raw
    weighted sum.

    Idea:
        Two things at once: is the target familiar to the source model, and are its classes told apart?

    Formula:
        0.15 minmax(energy) + 0.85 minmax(lda) over the hub, plus minmax(regression) for detection
        (`etran_energy`, `etran_lda`, `etran_regression`)

    Cost:
        N S + N C D; for detection N D min(N, D) besides.

    Fails:
        The value is one of the hub: the worst and the best model set the scale of all others. What its parts fail at.
    """
    assert data.logits is not None
    return _both(data, data.logits, percent)


@scorer(combine=combine)
def etran_features(data: FeatureSet, *, percent: float = 0.5) -> Score:
    """As `etran` with the energy of the features; needs no source head.

    Idea:
        For hubs whose models have no source head: the authors' script passes the *features* as logits, for every model.

    Formula:
        0.15 minmax(energy of the features) + 0.85 minmax(lda) over the hub, plus minmax(regression) for detection

    Cost:
        N D + N C D; for detection N D min(N, D) besides.

    Fails:
        As `etran`; and log sum exp of features is a matter of their largest number.
    """
    return _both(data, data.features, percent)


def _both(data: FeatureSet, logits: Tensor, percent: float) -> Score:
    parts = {"energy": energy(logits, percent, "bot"), "lda": nearest_centroid(data)}
    if data.task == "detection":
        parts["regression"] = least_squares(data)
    return Score(sum(WEIGHTS[part] * value for part, value in parts.items()), parts)


def energy(logits: Tensor, percent: float, tail: str) -> float:
    """Mean log-sum-exp of one tail of the samples; N x S logits."""
    if not 0 < percent <= 100 or tail not in ("bot", "top"):
        raise ValueError(f"percent must lie in 0..100 and tail be 'bot' or 'top', got {percent} and {tail!r}")
    energies = torch.cat([rows.logsumexp(1) for _, rows in chunks(logits, torch.float64)]).sort().values
    samples = percent * len(energies) / 100  # the authors round down at the bottom and up at the top
    if tail == "bot":
        return float(energies[: max(1, math.floor(samples + 1e-9))].mean())  # 0.29 % of 10 000 is 28.999999999999996
    return float(energies[-max(1, math.ceil(samples - 1e-9)) :].mean())


def least_squares(data: FeatureSet) -> float:
    """-mean (b - U U^T b)^2 with U the left singular vectors: the pseudo-inverse without forming it."""
    target = data.boxes if data.kind == "classes" else data.targets
    if target is None:
        raise ScorerNotApplicable("etran's regression part needs boxes, which this data set does not have")
    return shared(data, f"least squares {data.kind}", lambda: _residual(data.features.double(), target))


def _residual(features: Tensor, target: Tensor) -> float:
    left, sigma, _ = torch.linalg.svd(features, full_matrices=False)
    left = left[:, sigma > sigma[0] * max(features.shape) * torch.finfo(torch.float64).eps]
    target = target.to(left)
    return -float((target - left @ (left.T @ target)).square().mean())
