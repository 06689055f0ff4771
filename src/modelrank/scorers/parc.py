"""PARC: pairwise annotation representation comparison.

Idea:
    Pairs of samples that are far apart in the features should be far apart in the labels.

Formula:
    PARC = 100 x Spearman(d(x_i, x_j), d(y_i, y_j)) over pairs i < j,   d = 1 - Pearson correlation of two rows
    columns standardised first, labels one-hot

Ours:
    No principal components: with them the score depends on the components' signs, which no two libraries share. For one
    class a sample, d(y_i, y_j) has two values, so that only the ranks of d(x_i, x_j) inside 'same class' count. The
    authors' code gets these two values with rounding errors (0 and 1.1e-16 for two samples of the same class), which
    breaks the ties of the ranks by class number; ours are true ties. It moves the score by 0.02 to 1. Never N x N:
    blocks of rows are counted into 2^20 equal bins of the feature distance in -1..1, and Spearman's rho with mid-ranks
    is read off the histogram (error below 1e-8 beside a sorted one).

Source:
    Bolya et al., NeurIPS 2021, arXiv 2111.06977.

Cost:
    N^2 D / 2. Above `max_pairs` pairs the images are subsampled, seeded and in proportion to the classes.

Fails:
    All pairs count alike, and with many classes nearly all are of different ones. Standardising lifts dimensions that
    hold nothing but noise to the weight of the others.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modelrank.scorers.contract import scorer
from modelrank.scorers.linalg import compute_dtype
from modelrank.types import FeatureSet, Score, ScorerNotApplicable

BINS = 1 << 20
BLOCK = 256


@scorer()
def parc(data: FeatureSet, *, max_pairs: int = 50_000_000, seed: int = 0) -> Score:
    """Spearman correlation x 100. At most `max_pairs` pairs (50 million: all of 10 000 images) are looked at."""
    if max_pairs < 1:
        raise ValueError(f"max_pairs must be at least 1, got {max_pairs}")
    x, y = data.features, data.targets
    images = min(len(x), int((1 + (1 + 8 * max_pairs) ** 0.5) / 2))
    if images < len(x):
        chosen = _subsample(y, images, seed)
        x, y = x[chosen], y[chosen]
    same, every = _histograms(_unit_rows(x), y)
    pairs, alike = every.sum(), same.sum()
    rank = every.cumsum(0) - (every - 1) / 2  # mid-rank of each bin, from the most similar pair up
    centred = rank - (pairs + 1) / 2
    spread = (centred.square() * every).sum() * alike * (1 - alike / pairs)
    if spread == 0:
        raise ScorerNotApplicable(
            "parc has no rank correlation: all pairs of samples are equally far in features or labels"
        )
    return Score(100 * float(-(centred * same).sum() / spread.sqrt()), {"images": float(len(x)), "pairs": float(pairs)})


def _unit_rows(x: Tensor) -> Tensor:
    """Rows whose inner products are the Pearson correlations of the rows of `x` with its columns standardised."""
    dtype = compute_dtype(x)
    x = x.double()
    x = x - x.mean(0)
    deviation = x.square().mean(0).sqrt()
    constant = deviation <= 1e-14 * deviation.max()  # rounding is not variance
    x /= torch.where(constant, 1.0, deviation)
    x[:, constant] = 0
    x -= x.mean(1, keepdim=True)
    return torch.nn.functional.normalize(x, eps=1e-12).to(dtype)


def _histograms(rows: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(pairs of the same class, all pairs), each counted by feature distance."""
    counts = torch.zeros(2 * BINS, dtype=torch.long, device=rows.device)
    for start in range(0, len(rows), BLOCK):
        stop = min(start + BLOCK, len(rows))
        bins = (1 - rows[start:stop] @ rows[start:].T).mul_(BINS / 2).to(torch.int32).clamp_(0, BINS - 1)
        bins += BINS * (labels[start:stop, None] == labels[start:]).to(torch.int32)
        inside, after = bins[:, : stop - start], bins[:, stop - start :]
        i, j = torch.triu_indices(len(inside), len(inside), 1, device=rows.device)
        counts += torch.bincount(inside[i, j], minlength=2 * BINS)
        counts += torch.bincount(after.flatten(), minlength=2 * BINS)
    different, same = counts.double().split(BINS)
    return same, different + same


def _subsample(labels: Tensor, images: int, seed: int) -> Tensor:
    """Positions of `images` samples, each class in proportion: evenly spaced in a shuffled, class-sorted list."""
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).to(labels.device)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    return by_class[(torch.arange(images, device=labels.device) * len(labels)) // images]
