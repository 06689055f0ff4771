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
from modelrank.scorers.linalg import CHUNK_ELEMENTS, chunks, class_moments, own_posterior
from modelrank.types import FeatureSet, Score


@scorer(tasks={"classification", "detection"}, streams=True, on_subsets="components")
def ncc(data: FeatureSet) -> Score:
    """Mean over samples of the posterior of the true class, in 0..1 (no parameters)."""
    moments = class_moments(data)
    means = moments.class_means - moments.mean  # centred: a large common offset would eat float32's digits
    bias = (moments.counts / len(data.features)).log() - means.square().sum(1) / 2
    total = moments.mean.new_zeros(())
    rows_at_once = CHUNK_ELEMENTS * data.features.shape[1] // len(means) + data.features.shape[1]
    for part, rows in chunks(data.features, elements=min(rows_at_once, 4 * CHUNK_ELEMENTS)):
        logits = (rows - moments.mean.to(rows.dtype)) @ means.T.to(rows.dtype) + bias.to(rows.dtype)
        total += own_posterior(logits, data.targets[part]).sum()
    return Score(float(total / len(data.features)))
