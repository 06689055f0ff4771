"""PED: potential energy descent before a base scorer (SFDA or LogME).

Idea:
    Before the base scorer looks at the features, classes that overlap repel each other, as fine-tuning would pull them
    apart.

Formula:
    in coordinates standardised by general-domain features, class c has mean mu_c, radius R_c = sqrt(sum of variances)
    each step moves class i away from every class j along (mu_i - mu_j) / |mu_i - mu_j| by
        min(time_step^2 / 2 * constant * F, F),   F = max(0, nsigma (R_i + R_j) - |mu_i - mu_j|)
    at most 6 steps; one whose total movement is at most `exit_ratio` of the first one's is not made any more

Ours:
    Classes move as rigid bodies, so ours iterates on the C means and shifts the features once (the authors move all N
    samples in each step). Two classes with the very same mean have no direction and stay.

Source:
    Li et al., ICCV 2023, 'Exploring Model Transferability through the Lens of Potential Energy', and the authors' code.

Cost:
    N D + 6 C^2 D + the base scorer; memory: one shifted copy of the features.

Fails:
    Needs features of general-domain images (`dataset@general=...`). It moves classes by their labels, so it helps noise
    too. What the base scorer cannot score, it cannot either.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from modelrank.scorers.contract import scorer
from modelrank.scorers.linalg import chunks, class_moments, class_sums, compute_dtype
from modelrank.scorers.logme import logme
from modelrank.scorers.sfda import sfda
from modelrank.types import FeatureSet, Score

BASES = {"sfda": sfda, "logme": logme}


@scorer(needs={"features", "targets", "general"})
def ped(
    data: FeatureSet,
    *,
    base: str = "sfda",
    exit_ratio: float = 0.5,
    time_step: float = 0.1,
    nsigma: float = 0.6,
    constant: float = 1.0,
) -> Score:
    """The score of `base` (sfda or logme) on the repelled features.

    parts: those of the base, `steps` made and `first_movement`, both 0 where no classes overlap.
    """
    if base not in BASES:
        raise ValueError(f"base must be one of {', '.join(BASES)}, got {base!r}")
    assert data.general is not None
    general = data.general.double()
    scale = general.std(0, unbiased=False).clamp(min=1e-3)
    moments = class_moments(data)
    means = (moments.class_means - general.mean(0)) / scale
    radius = _radius(data, moments.class_means, moments.counts, scale)
    start, first, steps = means, 0.0, 0
    for _ in range(6):
        shift = _repel(means, radius, nsigma, constant * time_step**2 / 2)
        moved = float(shift.abs().sum())
        first = first or moved
        if moved <= exit_ratio * first:
            break
        means, steps = means + shift, steps + 1
    offset = ((means - start) * scale).to(compute_dtype(data.features))
    shifted = torch.empty(data.features.shape, dtype=offset.dtype, device=offset.device)
    for part, rows in chunks(data.features):
        torch.add(rows, offset[data.targets[part]], out=shifted[part])
    score = BASES[base](dataclasses.replace(data, features=shifted, memo={}))
    return Score(score.value, {**score.parts, "steps": float(steps), "first_movement": first})


def _radius(data: FeatureSet, class_means: Tensor, counts: Tensor, scale: Tensor) -> Tensor:
    """C square roots of the summed variances of a class in standardised coordinates."""
    sums = torch.zeros_like(counts)
    for part, rows in chunks(data.features, torch.float64):
        y = data.targets[part]
        sums += class_sums(((rows - class_means[y]) / scale).square().sum(1, keepdim=True), y, len(counts))[:, 0]
    return (sums / counts).sqrt()


def _repel(means: Tensor, radius: Tensor, nsigma: float, gain: float) -> Tensor:
    """C x D displacement of every class; sum_j g_ij (mu_i - mu_j) without a C x C x D array."""
    distance = torch.cdist(means, means, compute_mode="donot_use_mm_for_euclid_dist")
    overlap = (abs(nsigma) * (radius[:, None] + radius) - distance).clamp(min=0)
    pull = torch.where(distance > 0, torch.minimum(gain * overlap, overlap) / distance, 0.0)
    return pull.sum(1, keepdim=True) * means - pull @ means
