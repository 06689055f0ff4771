"""TMI: transferability by intra-class feature variance, as an entropy.

Idea:
    Classes whose features still vary leave room for fine-tuning: the entropy of the features given the class, higher is
    taken for better.

Formula:
    H(X | Y) by the k-nearest-neighbour estimator of Kozachenko and Leonenko under the maximum norm; for a class of n
    samples in D dimensions, r_i the distance of sample i from its k-th nearest of the class, at least `min_dist`
    h_c = psi(n) - psi(k) + D / n sum_i log(2 r_i),     TMI = mean over classes of (n_c / N) h_c

Ours:
    The mean over classes, a constant 1 / C within a data set, and min_dist = 1 are the authors' code. A class with at
    most k samples has no estimate and is left out (the authors count a class of one as 0 and leave the others out).

Source:
    Xu and Kang, ICCV 2023, 'Fast and Accurate Transferability Measurement by Evaluating Intra-class Feature Variance'.

Cost:
    sum_c n_c^2 D in blocks (memory: block x n_c); few large classes are slow.

Fails:
    min_dist makes the score depend on the scale of the features: where neighbours are nearer than 1, it is a constant
    times D. Wide models go before narrow ones. It does not ask whether the classes can be told.
"""

from __future__ import annotations

import torch

from modelrank.scorers.contract import scorer
from modelrank.scorers.linalg import class_counts, working
from modelrank.types import FeatureSet, Score, ScorerNotApplicable

BLOCK = 512


@scorer()
def tmi(data: FeatureSet, *, k: int = 3, min_dist: float = 1.0) -> Score:
    """Conditional entropy in nats; parts: how many `classes` have an estimate."""
    if k < 1 or min_dist <= 0:
        raise ValueError(f"k must be at least 1 and min_dist above 0, got {k} and {min_dist}")
    n, d = data.features.shape
    counts = class_counts(data).tolist()
    entropies = []
    for members, size in zip(data.targets.argsort(stable=True).split(counts), counts, strict=True):
        if size <= k:
            continue
        x = working(data.features[members])
        log_radius = 0.0
        for block in x.split(BLOCK):
            # the nearest of a sample is itself: its k-th neighbour is the (k + 1)-th smallest distance
            radius = torch.cdist(block, x, p=float("inf")).kthvalue(k + 1, dim=1).values
            log_radius += float((2 * radius.double().clamp(min=min_dist)).log().sum())
        psi = torch.digamma(torch.tensor([float(size), float(k)], dtype=torch.float64))
        entropies.append(size / n * (float(psi[0] - psi[1]) + d / size * log_radius))
    if not entropies:
        raise ScorerNotApplicable(f"tmi needs a class with more than k = {k} samples, the largest has {max(counts)}")
    return Score(sum(entropies) / len(entropies), {"classes": float(len(entropies))})
