"""Stable rank of the features, without labels: |X|_F^2 / |X|_2^2 = sum_k sigma_k^2 / sigma_1^2 (Rudelson and Vershynin,
J. ACM 2007), singular values of the features as they are (not centred). Between 1 and min(N, D); unlike the rank it
does not count directions that are only noise. Cost N D^2 + D^3 (shared with rankme), memory D^2.
"""

from __future__ import annotations

from modelrank.scorers.contract import scorer
from modelrank.scorers.rankme import singular_values
from modelrank.types import FeatureSet, Score


@scorer(tasks={"classification", "multilabel", "regression", "detection"}, needs={"features"}, on_subsets="components")
def stable_rank(data: FeatureSet) -> Score:
    """Stable rank (no parameters)."""
    squares = singular_values(data).square()
    return Score(float(squares.sum() / squares[0]))
