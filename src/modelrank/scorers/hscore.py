"""H-score: how much of the features' spread is spread between classes.

Idea:
    Features that a linear classifier can use have class means far apart in the directions in which the features vary
    little.

Formula:
    H = trace(pinv(cov(x)) cov(E[x | y])),   in 0..C-1

Source:
    Bao et al., ICIP 2019.

Cost:
    N D^2, and D^3 / 3 where every direction counts (a Cholesky factorisation), else 9 D^3 (eigenvectors).

Fails:
    Where the samples span N - 1 directions (N <= D, in general position) the features separate any labels, and the
    value is C - 1 whatever they are: not applicable. A little above N = D it is still mostly noise; `hscore_shrinkage`
    is not.
"""

from __future__ import annotations

import torch

from modelrank.scorers.contract import scorer
from modelrank.scorers.linalg import class_moments, scatter, scatter_eigen
from modelrank.types import FeatureSet, Score, ScorerNotApplicable

NEARLY = 0.99  # labels drawn at random give this share of C - 1 where the samples span this share of N - 1 directions


@scorer(streams=True)
def hscore(data: FeatureSet, *, rcond: float = 1e-15) -> Score:
    """The H-score in float64, in 0..C-1.

    rcond: directions with less than this share of the largest variance, and less than what float64 can tell from 0,
        count as having none.
    """
    n, d = data.features.shape
    moments = class_moments(data)
    centred = moments.class_means - moments.mean
    total, least = scatter(data), max(rcond, d * torch.finfo(torch.float64).eps)
    factor, failed = torch.linalg.cholesky_ex(total)
    if not failed and d < NEARLY * (n - 1):
        inverse = torch.cholesky_inverse(factor)
        # the least eigenvalue is at least 1 / |S^-1|, the largest at most |S|: all are kept, by a margin of 100
        if float(total.norm() * inverse.norm()) * least < 1e-2:
            return Score(float(moments.counts @ ((centred @ inverse) * centred).sum(1)))
    values, vectors = scatter_eigen(data)
    keep = values > float(values[-1]) * least
    if not bool(keep.any()):
        raise ScorerNotApplicable("hscore: the features are the same for every sample")
    if int(keep.sum()) >= NEARLY * (n - 1):  # less than n - 1: some images are there twice
        raise ScorerNotApplicable(
            f"hscore: {n} samples of {d} dimensions give C - 1 whatever the features are; take more images than "
            "dimensions, or hscore_shrinkage"
        )
    along = centred @ vectors[:, keep]
    return Score(float((moments.counts @ along.square() / values[keep]).sum()))
