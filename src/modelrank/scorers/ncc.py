"""NCC: nearest-centroid posterior on the features as they are; one spectral component of DISCO without the spectrum.

Idea:
    How sure is a classifier that knows nothing but the class means of the right class?

Formula:
    mean_i P(y_i | x_i),   P(c | x) = softmax over c of -1/2 |x - mu_c|^2 + log(N_c / N)

Source:
    The classification part of DISCO with one group; equals the LDA part of ETran's released code.

Cost:
    N D C.

Fails:
    It depends on the scale of the features: times 10, every posterior is sharp. With N <= D the centroids, which hold
    the samples themselves, tell any labels.
"""

from __future__ import annotations

from modelrank.scorers.contract import scorer
from modelrank.scorers.linalg import nearest_centroid
from modelrank.types import FeatureSet, Score


@scorer(streams=True, on_subsets="components")
def ncc(data: FeatureSet) -> Score:
    """Mean over samples of the posterior of the true class, in 0..1 (no parameters)."""
    return Score(nearest_centroid(data))
