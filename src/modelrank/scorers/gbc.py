"""GBC: Gaussian Bhattacharyya coefficient.

Idea:
    Each class is a Gaussian; where those of different classes overlap, they will be hard to tell.

Formula:
    GBC = - sum_{c != c'} exp(-D_B(c, c')),   over all ordered pairs of classes
    D_B = 1/8 sum_d (mu_cd - mu_c'd)^2 / s_d + 1/2 [log s - 1/2 log s_c - 1/2 log s_c'],   s = (s_c + s_c') / 2

Ours:
    diagonal: one variance a dimension, the bracket summed over dimensions. spherical: the mean variance, the bracket
    counted *once*, not D times: so in the authors' code, and so here. Variances are at least 1e-4, as there. Features
    wider than `components` are first projected onto their principal components (64 in the paper).

Source:
    Pandy et al., CVPR 2022, arXiv 2111.12780.

Cost:
    The PCA + N k + C^2 k for k components; memory N k.

Fails:
    Many classes: the sum over pairs is governed by the few that overlap most. The floor of the variances ties it to the
    scale of the features where these are small. One variance a class says nothing of directions.
"""

from __future__ import annotations

import torch

from modelrank.scorers.contract import scorer
from modelrank.scorers.linalg import chunks, class_counts, class_sums
from modelrank.scorers.pca import pca
from modelrank.types import FeatureSet, Score

LEAST_VARIANCE = 1e-4


@scorer(streams=True, on_subsets="components")
def gbc(data: FeatureSet, *, gaussian_type: str = "spherical", components: int = 64) -> Score:
    """Minus the overlap of the classes, at most 0. `gaussian_type` is spherical or diagonal."""
    if gaussian_type not in ("spherical", "diagonal"):
        raise ValueError(f"gaussian_type must be 'spherical' or 'diagonal', got {gaussian_type!r}")
    z = data.features if data.features.shape[1] <= components else pca(data, components).scores
    counts = class_counts(data).double()[:, None]
    means = sum(class_sums(rows, data.targets[part], len(counts)) for part, rows in chunks(z, torch.float64)) / counts
    variances = torch.zeros_like(means)
    for part, rows in chunks(z, torch.float64):
        y = data.targets[part]
        variances += class_sums((rows - means[y]).square(), y, len(counts))
    variances = (variances / counts).clamp(min=LEAST_VARIANCE)
    if gaussian_type == "spherical":
        variances = variances.mean(1, keepdim=True)
    overlap = torch.zeros((), dtype=torch.float64, device=z.device)
    for c in range(len(means) - 1):
        pooled = (variances[c] + variances[c + 1 :]) / 2
        distance = ((means[c] - means[c + 1 :]).square() / pooled).sum(1) / 8
        volume = pooled.log() - (variances[c].log() + variances[c + 1 :].log()) / 2
        overlap += 2 * torch.exp(-distance - volume.sum(1) / 2).sum()
    return Score(-float(overlap))
