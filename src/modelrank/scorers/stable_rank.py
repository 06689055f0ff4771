"""Stable rank of the features, without labels.

Idea:
    As RankMe: many directions in use; unlike the rank it does not count directions that are only noise.

Formula:
    |X|_F^2 / |X|_2^2 = sum_k sigma_k^2 / sigma_1^2,   singular values of the features as they are (not centred)
    between 1 and min(N, D)

Source:
    Rudelson and Vershynin, J. ACM 2007.

Cost:
    N D^2 + D^3 (shared with rankme), memory D^2.

Fails:
    It looks at no label: noise of equal spread has the highest value. After a ReLU the common offset is the first
    singular value and decides alone.
"""

from __future__ import annotations

from modelrank.scorers.contract import ANY, scorer
from modelrank.scorers.rankme import singular_values
from modelrank.types import FeatureSet, Score


@scorer(reads=ANY, needs={"features"}, on_subsets="components")
def stable_rank(data: FeatureSet) -> Score:
    """Stable rank (no parameters)."""
    squares = singular_values(data).square()
    return Score(float(squares.sum() / squares[0]))
