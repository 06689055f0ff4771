"""RankMe: effective rank of the features, without labels.

Idea:
    Features that use many directions evenly can serve many tasks.

Formula:
    RankMe = exp(-sum_k p_k log p_k),   p_k = sigma_k / sum_j sigma_j + 1e-7
    over the min(N, D) singular values of the features as they are (not centred); between 1 and min(N, D)

Ours:
    The singular values are the roots of the eigenvalues of X^T X = scatter + N m m^T, which other scorers share; a
    value below 1e-8 of the largest is lost in rounding, and so is its share of the entropy.

Source:
    Garrido et al., ICML 2023, arXiv 2210.02885, eq. 3.

Cost:
    N D^2 + D^3, memory D^2.

Fails:
    It looks at no label, so noise, which fills all directions, has the highest value, and wide models go before narrow
    ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modelrank.scorers.contract import ANY, scorer
from modelrank.scorers.linalg import column_mean, scatter, shared
from modelrank.types import FeatureSet, Score, ScorerNotApplicable


@scorer(reads=ANY, needs={"features"})
def rankme(data: FeatureSet) -> Score:
    """Effective rank (no parameters)."""
    sigma = singular_values(data)
    share = sigma / sigma.sum() + 1e-7
    return Score(float(torch.exp(-(share * share.log()).sum())))


def singular_values(data: FeatureSet) -> Tensor:
    """The min(N, D) singular values of the uncentred features, largest first, float64."""

    def compute() -> Tensor:
        n, mean = len(data.features), column_mean(data)
        squares = torch.linalg.eigvalsh(scatter(data) + n * torch.outer(mean, mean)).flip(0)
        return squares[: min(data.features.shape)].clamp(min=0).sqrt()

    sigma = shared(data, "uncentred singular values", compute)
    if sigma[0] == 0:
        raise ScorerNotApplicable("all features are 0: they have no rank")
    return sigma
