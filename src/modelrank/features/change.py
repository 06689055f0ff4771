"""How much the spectral components of features change when the network is fine-tuned (DISCO, AAAI 2025, analysis).

Group g of the centred features Z (N x D) is Z_g = U_g S_g V_g^T, the part of Z along a run of consecutive right
singular vectors. Before and after fine-tuning each have their own decomposition. Signs and rotations within a group
leave Z_g as it is, but its limits are places in the order of the singular values: where two singular values change
places across a limit, Z_g and Z'_g share less although the network has hardly changed. So C_F is given beside what it
is without any change of the network (`resampled`), and what it would be if the two had nothing in common (`unrelated`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Spectrum:
    """Centred features in their own principal components, strongest first, float64.

    scores: N x k, U S; basis: D x k, V. Z_g = scores[:, g] basis[:, g]^T.
    """

    scores: Float[Tensor, "N k"]
    basis: Float[Tensor, "D k"]

    def in_basis(self, basis: Float[Tensor, "D k"]) -> Spectrum:
        """The part of the features along another basis."""
        return Spectrum(self.scores @ (self.basis.T @ basis), basis)


def spectrum(features: Float[Tensor, "N D"], components: int | None = None) -> Spectrum:
    """Exact, by the eigenvectors of the smaller Gram matrix. Cost min(N, D)^2 max(N, D).

    components: how many are kept, all where None; never more than have spread.
    """
    if features.ndim != 2 or min(features.shape) < 1 or not torch.isfinite(features).all():
        raise ValueError(f"features must be finite and N x D, got {tuple(features.shape)}")
    centred = features.double() - features.double().mean(0)
    wide = centred.shape[0] < centred.shape[1]
    values, vectors = torch.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    values, vectors = values.flip(0), vectors.flip(1)
    kept = int((values > values[0] * 1e-12).sum()) if values[0] > 0 else 0
    if not kept:
        raise ValueError("the features are the same for every sample")
    kept = min(kept, components or kept)
    vectors = vectors[:, :kept]
    if not wide:
        return Spectrum(centred @ vectors, vectors)
    sigma = values[:kept].sqrt()
    return Spectrum(vectors * sigma, centred.T @ vectors / sigma)


def groups_of(components: int, groups: int) -> list[slice]:
    """Runs of consecutive components, as DISCO cuts them: the leading groups have one more where they do not divide."""
    blocks = torch.arange(components).tensor_split(min(groups, components))
    return [slice(int(block[0]), int(block[-1]) + 1) for block in blocks]


@dataclass(frozen=True)
class Change:
    """Of each group, relative to the norm of Z_g before.

    own:       C_F^g = |Z_g - Z'_g| / |Z_g|, each with its own decomposition (Frobenius norms).
    fixed:     |(Z - Z') V_g V_g^T| / |Z_g|: along the directions of Z, whatever the order of the new singular values.
    unrelated: what `own` would be if Z_g and Z'_g were orthogonal, sqrt(1 + |Z'_g|^2 / |Z_g|^2).
    """

    own: list[float]
    fixed: list[float]
    unrelated: list[float]


def change(
    before: Float[Tensor, "N D"], after: Float[Tensor, "N D"], *, components: int = 128, groups: int = 8
) -> Change:
    """Of the features of the same images, row by row. ValueError where the shapes differ.

    No N x D component is formed: with P = U S, <Z_g, Z'_g> = sum of (P_g^T P'_g) * (V_g^T V'_g).
    """
    if before.shape != after.shape:
        raise ValueError(
            f"features of the same images are compared, got {tuple(before.shape)} and {tuple(after.shape)}"
        )
    old, new = spectrum(before), spectrum(after)
    kept = min(components, old.scores.shape[1], new.scores.shape[1])
    columns = groups_of(kept, groups)
    moved = new.in_basis(old.basis)
    norms = [float(old.scores[:, g].norm()) for g in columns]
    return Change(
        own=_distances(old, new, columns),
        fixed=[float((old.scores[:, g] - moved.scores[:, g]).norm()) / n for g, n in zip(columns, norms, strict=True)],
        unrelated=[
            (1 + float(new.scores[:, g].norm()) ** 2 / n**2) ** 0.5 for g, n in zip(columns, norms, strict=True)
        ],
    )


def resampled(
    features: Float[Tensor, "N D"], *, components: int = 128, groups: int = 8, draws: int = 5, seed: int = 0
) -> list[float]:
    """`Change.own` of each group without any change: the same features, cut by the basis of bootstrapped images.

    Mean over `draws`. What is above it is change of the network; what is not may be the cut alone.
    """
    old = spectrum(features)
    generator = torch.Generator().manual_seed(seed)
    columns = groups_of(min(components, old.scores.shape[1]), groups)
    found = []
    for _ in range(draws):
        rows = torch.randint(len(features), (len(features),), generator=generator)
        # Within the span of the features, so that k x k is decomposed; the rest of D has nothing in it.
        drawn = spectrum(old.scores[rows.to(old.scores.device)]).basis
        lost = old.scores.shape[1] - drawn.shape[1]  # directions of few images that were not drawn
        basis = old.basis @ torch.nn.functional.pad(drawn, (0, lost))
        found.append(_distances(old, old.in_basis(basis), columns))
    return torch.tensor(found).mean(0).tolist()


def _distances(old: Spectrum, new: Spectrum, columns: Sequence[slice]) -> list[float]:
    distances = []
    for g in columns:
        one, other = old.scores[:, g], new.scores[:, g]
        shared = (one.T @ other * (old.basis[:, g].T @ new.basis[:, g])).sum()
        squared = one.square().sum() + other.square().sum() - 2 * shared
        distances.append(float(squared.clamp(min=0).sqrt() / one.norm()))
    return distances
