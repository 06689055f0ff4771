"""Nearest-centroid posterior on the features as they are; one spectral component of DISCO without the spectrum."""

from __future__ import annotations

from modelrank.scorers.contract import scorer
from modelrank.scorers.linalg import CHUNK_ELEMENTS, chunks, class_moments, own_posterior
from modelrank.types import FeatureSet, Score


@scorer(tasks={"classification", "detection"}, streams=True, on_subsets="components")
def ncc(data: FeatureSet) -> Score:
    """Mean over samples of the posterior of the true class: softmax over c of -1/2 |x - mu_c|^2 + log(N_c / N).

    The value depends on the scale of the features. Equals the LDA part of ETran's released code. Cost N D C.
    """
    moments = class_moments(data)
    means = moments.class_means - moments.mean  # centred: a large common offset would eat float32's digits
    bias = (moments.counts / len(data.features)).log() - means.square().sum(1) / 2
    total = moments.mean.new_zeros(())
    rows_at_once = CHUNK_ELEMENTS * data.features.shape[1] // len(means) + data.features.shape[1]
    for part, rows in chunks(data.features, elements=min(rows_at_once, 4 * CHUNK_ELEMENTS)):
        logits = (rows - moments.mean.to(rows.dtype)) @ means.T.to(rows.dtype) + bias.to(rows.dtype)
        total += own_posterior(logits, data.targets[part]).sum()
    return Score(float(total / len(data.features)))
