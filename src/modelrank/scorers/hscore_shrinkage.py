"""H-score with a shrunk covariance.

Idea:
    As `hscore`, with a covariance that is trusted only as far as N samples of D dimensions allow.

Formula:
    trace(S_a^-1 (1 - a) cov(E[x | y])),   S_a = (1 - a) S + a trace(S) / D I,   a by Ledoit and Wolf (2004)

Source:
    Ibrahim et al., 'Newer is not always better', ECML-PKDD 2022.

Cost:
    N D^2 + D^3, float64.

Fails:
    Wide, noisy features are shrunk to a multiple of the identity (a = 1), which gives 0 whatever little they hold.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from modelrank.scorers.contract import scorer
from modelrank.scorers.linalg import class_moments, fourth_moment, scatter_eigen
from modelrank.types import FeatureSet, Score, ScorerNotApplicable


@scorer(streams=True)
def hscore_shrinkage(data: FeatureSet) -> Score:
    """The shrunk H-score; part: `shrinkage`, the weight a in 0..1."""
    n, d = data.features.shape
    moments = class_moments(data)
    values, vectors = scatter_eigen(data)
    variances = values.clamp(min=0) / n
    if not float(variances[-1]) > 0:
        raise ScorerNotApplicable("hscore_shrinkage: the features are the same for every sample")
    weight = ledoit_wolf(variances, fourth_moment(data), n)
    shrunk = (1 - weight) * variances + weight * variances.mean()
    least = float(shrunk.max()) * d * torch.finfo(torch.float64).eps  # weight 0 leaves constant directions
    along = (moments.class_means - moments.mean) @ vectors
    between = (moments.counts @ along.square()) / (n - 1)
    value = (1 - weight) * (between / shrunk)[shrunk > least].sum()
    return Score(float(value), {"shrinkage": float(weight)})


def ledoit_wolf(variances: Float[Tensor, " D"], fourth: Float[Tensor, ""], samples: int) -> Tensor:
    """The shrinkage weight (Ledoit and Wolf 2004) from the covariance's eigenvalues and the sum of |x - mean|^4."""
    distance = (variances - variances.mean()).square().sum()
    noise = (fourth / samples - variances.square().sum()) / samples
    return (noise / distance.clamp(min=torch.finfo(torch.float64).tiny)).clamp(0, 1)
