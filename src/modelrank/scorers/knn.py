"""k nearest neighbours: what the features are worth without any training.

Idea:
    Samples whose nearest neighbours are of their class are easy for any classifier.

Formula:
    mean_i [majority of y_j over the k nearest j != i = y_i],   Euclidean distance

Source:
    The textbook classifier; a reference row.

Cost:
    N^2 D multiplications and additions (each pair of samples once), in blocks: N x N is never held.

Fails:
    Dimensions of large spread decide the distance, whether they say anything or not. Twins in the data (the same
    picture twice) are each other's neighbours; images of several boxes are kept apart by their `image`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from modelrank.scorers.contract import scorer
from modelrank.scorers.linalg import column_mean, compute_dtype, image_of
from modelrank.types import FeatureSet, Score

BLOCK = 1 << 21  # distances held at a time
SPARE = 8  # neighbours kept beyond the k-th: as many may be as near as it is


@scorer(on_subsets="components")
def knn(data: FeatureSet, *, k: int = 1) -> Score:
    """Leave-one-out accuracy (a fraction in 0..1) of a vote among the k nearest samples, Euclidean distance.

    All samples as near as the k-th vote, and a tie between m classes counts 1/m, so that the order of the samples
    decides nothing. k is at most N - 1. Samples of the same image are no neighbours.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    n, dtype, y = len(data.features), compute_dtype(data.features), data.targets
    mean, image, k, classes = column_mean(data).to(dtype), image_of(data), min(k, n - 1), int(y.max()) + 1

    def centred(rows: slice | Tensor) -> Tensor:
        return data.features[rows].to(dtype) - mean  # |a|^2 - 2 a.b + |b|^2 cancels least around the mean

    norms = torch.cat([centred(rows).square().sum(1) for rows in _blocks(n)])

    def squares(rows: slice | Tensor, columns: slice) -> Tensor:
        """Squared distances, infinite within an image."""
        found = torch.addmm(norms[rows, None] + norms[columns], centred(rows), centred(columns).T, alpha=-2)
        return found.masked_fill_(image[rows, None] == image[columns], torch.inf)

    distance, neighbour = _nearest(squares, norms, min(k + SPARE, n - 1))
    kth = distance[:, k - 1].clamp(max=torch.finfo(dtype).max / 2)  # where fewer than k samples are of other images
    slack = 8 * torch.finfo(dtype).eps  # of |a|^2 + |b|^2: distances that close are equal for all we can tell
    more = distance[:, -1] <= kth + slack * (norms + norms.max())  # perhaps others are as near, beyond those kept
    right = 0.0
    for rows in (~more).nonzero().squeeze(1).split(max(1, BLOCK // classes)):
        near = distance[rows] <= kth[rows, None] + slack * (norms[rows, None] + norms[neighbour[rows]])
        votes = mean.new_zeros(len(rows), classes)
        right += _right(votes.scatter_add_(1, y[neighbour[rows]], near.to(dtype)), y[rows])
    for rows in more.nonzero().squeeze(1).split(isqrt(BLOCK)):
        votes = mean.new_zeros(len(rows), classes)
        for columns in _blocks(n):
            near = squares(rows, columns) <= kth[rows, None] + slack * (norms[rows, None] + norms[columns])
            votes.index_add_(1, y[columns], near.to(dtype))
        right += _right(votes, y[rows])
    return Score(right / n)


def _blocks(n: int) -> list[slice]:
    return [slice(start, min(start + isqrt(BLOCK), n)) for start in range(0, n, isqrt(BLOCK))]


def _nearest(
    squares: Callable[[slice, slice], Tensor], norms: Float[Tensor, " N"], kept: int
) -> tuple[Float[Tensor, "N kept"], Int64[Tensor, "N kept"]]:
    """Squared distances of the nearest samples of other images, from near to far, and which these are; infinite where
    there are no more. The distances between two blocks of samples are found once, for the neighbours of both."""
    distance = norms.new_full((len(norms), kept), torch.inf)
    neighbour = torch.zeros_like(distance, dtype=torch.int64)

    def merge(rows: slice, columns: slice, found: Tensor, dim: int) -> None:
        near, which = found.topk(min(kept, found.shape[dim]), dim, largest=False)
        near, which = (near, which) if dim else (near.T, which.T)
        distance[rows], order = torch.cat([distance[rows], near], 1).topk(kept, 1, largest=False)
        neighbour[rows] = torch.cat([neighbour[rows], which + columns.start], 1).gather(1, order)

    blocks = _blocks(len(norms))
    for i, rows in enumerate(blocks):
        for columns in blocks[i:]:
            found = squares(rows, columns)
            merge(rows, columns, found, 1)
            if columns != rows:
                merge(columns, rows, found, 0)
    return distance, neighbour


def _right(votes: Float[Tensor, "n C"], labels: Int64[Tensor, " n"]) -> float:
    """How many are right: one of m classes with the most votes counts 1/m."""
    best = votes == votes.max(1, keepdim=True).values
    return float((best.gather(1, labels[:, None]).squeeze(1) / best.sum(1)).sum(dtype=torch.float64))
