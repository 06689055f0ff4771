"""k nearest neighbours: what the features are worth without any training.

Idea:
    Samples whose nearest neighbours are of their class are easy for any classifier.

Formula:
    mean_i [majority of y_j over the k nearest j != i = y_i],   Euclidean distance

Source:
    The textbook classifier; a reference row.

Cost:
    N^2 D, in blocks of rows: N x N is never held.

Fails:
    Dimensions of large spread decide the distance, whether they say anything or not. Twins in the data (the same
    picture twice) are each other's neighbours; images of several boxes are kept apart by their `image`.
"""

from __future__ import annotations

import torch

from modelrank.scorers.contract import scorer
from modelrank.scorers.linalg import column_mean, compute_dtype, image_of
from modelrank.types import FeatureSet, Score

BLOCK = 1 << 22  # distances held at a time


@scorer(on_subsets="components")
def knn(data: FeatureSet, *, k: int = 1) -> Score:
    """Leave-one-out accuracy (a fraction in 0..1) of a vote among the k nearest samples, Euclidean distance.

    All samples as near as the k-th vote, and a tie between m classes counts 1/m, so that the order of the samples
    decides nothing. k is at most N - 1. Samples of the same image are no neighbours.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    n, dtype = len(data.features), compute_dtype(data.features)
    x = data.features.to(dtype) - column_mean(data).to(dtype)  # |a|^2 - 2 a.b + |b|^2 cancels least around the mean
    norms, image = x.square().sum(1), image_of(data)
    one_hot = torch.nn.functional.one_hot(data.targets).to(dtype)
    slack = 8 * torch.finfo(dtype).eps  # of |a|^2 + |b|^2: distances that close are equal for all we can tell
    right = 0.0
    rows = max(1, BLOCK // n)
    for start in range(0, n, rows):
        part = torch.arange(start, min(start + rows, n), device=x.device)
        squares = norms + norms[part, None]
        distance = torch.addmm(squares, x[part], x.T, alpha=-2)
        distance[image[part, None] == image] = torch.inf
        kth = distance.kthvalue(min(k, n - 1), dim=1, keepdim=True).values
        kth.clamp_(max=torch.finfo(dtype).max / 2)  # where fewer than k samples are of other images
        votes = (distance <= kth + slack * squares).to(dtype) @ one_hot
        best = votes == votes.max(1, keepdim=True).values
        own = best.gather(1, data.targets[part, None]).squeeze(1)
        right += float((own / best.sum(1)).sum(dtype=torch.float64))
    return Score(right / n)
