"""Principal components of the features of one model: exact, or randomised with a published seed.

Shapes as in `linalg`: N samples, D feature dimensions, k components.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from modelrank.scorers.linalg import (
    CHUNK_ELEMENTS,
    Rows,
    centred,
    chunks,
    column_mean,
    compute_dtype,
    gram,
    leading_eigen,
    scatter_eigen,
    shared,
)
from modelrank.types import FeatureSet

FAR_FROM_SINGULAR = 1e3  # a condition that costs float32 three digits of its seven


@dataclass(frozen=True)
class Components:
    """Principal components, strongest first.

    scores: N x k centred features in the basis of the components; column j has the norm singular_values[j].
    """

    scores: Float[Tensor, "N k"]
    singular_values: Float[Tensor, " k"]  # float64


def pca(data: FeatureSet, components: int | None = None, solver: str = "exact", seed: int = 1919) -> Components:
    """The first `components` principal components (all where None), fewer where N or D has no more.

    exact: eigenvectors of the D x D scatter, or of the N x N Gram matrix where N < D (cost min(N, D)^2 max(N, D)).
    A few strong components of float32 features are found in float32, the others in float64 (see `_leading`).
    randomised: Halko et al. 2011, algorithm 4.3, as scikit-learn's PCA(svd_solver="randomized", iterated_power=1)
    draws it (same seed, same test matrix, 10 oversamples), cost 4 N D (k + 10). Unlike scikit-learn the test matrix
    multiplies the columns also where N < D: drawn for the rows, the result would depend on the order of samples.
    """
    if solver not in ("exact", "randomised"):
        raise ValueError(f"solver must be 'exact' or 'randomised', got {solver!r}")
    n, d = data.features.shape
    k = min(n, d) if components is None else min(components, n, d)
    if k < 1:
        raise ValueError(f"components must be at least 1, got {components}")
    key = f"pca {solver} {k} {seed if solver == 'randomised' else ''}"
    return shared(data, key, lambda: _randomised(data, k, seed) if solver == "randomised" else _exact(data, k))


def _exact(data: FeatureSet, k: int) -> Components:
    x = data.features
    mean = column_mean(data)
    if len(x) < x.shape[1]:
        rows = x.double() - mean
        values, vectors = torch.linalg.eigh(rows @ rows.T)
        sigma = values.flip(0)[:k].clamp(min=0).sqrt()
        return Components((vectors.flip(1)[:, :k] * sigma).to(compute_dtype(x)), sigma)
    if (found := _leading(data, k)) is not None:
        return found
    values, vectors = scatter_eigen(data) if k > x.shape[1] // 4 else leading_eigen(data, k)
    scores = _project(data, vectors.flip(1)[:, :k].to(compute_dtype(x)), CHUNK_ELEMENTS)
    return Components(scores, values.flip(0)[:k].clamp(min=0).sqrt())


def _project(data: FeatureSet, basis: Float[Tensor, "D k"], elements: int) -> Float[Tensor, "N k"]:
    """Centred rows times the basis, about `elements` at a time."""
    mean = column_mean(data).to(basis.dtype)
    scores = torch.empty(len(data.features), basis.shape[1], dtype=basis.dtype, device=basis.device)
    for part, rows in centred(data.features, mean, elements):
        torch.mm(rows, basis, out=scores[part])
    return scores


def _leading(data: FeatureSet, k: int) -> Components | None:
    """A few strong components of features that are no float64, with products in float32: three times as fast.

    The eigenvectors of a scatter in float32 are mixed a little, by 1e-7 of the largest eigenvalue over the gap between
    two. Ten more than wanted are kept; what was mixed among them is undone by turning the scores to their own principal
    axes, in float64 (Rayleigh and Ritz), which leaves an error of second order. None where too many are wanted, or one
    so weak (1e-3 of the strongest) that this is no longer small.
    """
    x = data.features
    if compute_dtype(x) == torch.float64 or k + 10 > x.shape[1] // 4:
        return None

    def compute() -> tuple[Tensor, Tensor]:
        mean = column_mean(data).float()
        return torch.linalg.eigh(gram(rows for _, rows in centred(x, mean, 4 * CHUNK_ELEMENTS)))

    values, vectors = shared(data, "scatter eigen float32", compute)
    if not float(values[-k]) > 1e-3 * float(values[-1]):
        return None
    scores = _project(data, vectors.flip(1)[:, : k + 10], CHUNK_ELEMENTS)
    values, rotation = torch.linalg.eigh(gram(rows for _, rows in chunks(scores, torch.float64)))
    return Components(scores @ rotation.flip(1)[:, :k].float(), values.flip(0)[:k].clamp(min=0).sqrt())


def _randomised(data: FeatureSet, k: int, seed: int) -> Components:
    """Beside the N x (k + 10) numbers one D x (k + 10) matrix and half a chunk of rows are held at a time."""
    x, dtype = data.features, compute_dtype(data.features)
    mean = column_mean(data).to(dtype)
    rows, offset = _less_offset(x, mean)
    power = _power_iteration(rows(), offset, _normal(len(mean), k + 10, seed).to(mean))
    basis = torch.empty(len(x), power.shape[1], dtype=dtype, device=mean.device)
    shift = -(offset @ power)
    for part, some in rows():
        torch.addmm(shift, some, power, out=basis[part])
    del power
    q, root = _orthonormalise(basis)  # over the same memory
    sigma, vt = _spectrum(_product(rows(), offset, q), root)
    found = min(k, len(sigma))  # less than k where A has less rank: the others are zero
    rotation = torch.zeros(q.shape[1], k, dtype=dtype, device=x.device)
    rotation[:, :found] = root @ (vt[:found].T * sigma[:found])
    for part, some in chunks(q, elements=CHUNK_ELEMENTS // 4):
        basis[part, :k] = some @ rotation
    return Components(basis[:, :k], torch.cat([sigma[:found], sigma.new_zeros(k - found)]))


def _less_offset(
    x: Rows, mean: Float[Tensor, " D"]
) -> tuple[Callable[[], Iterator[tuple[slice, Tensor]]], Float[Tensor, " D"]]:
    """Chunks of rows, and what is to be subtracted from each row to have the centred ones.

    Where the mean is not much longer than the rows' distance from it, rows come as they are, and the mean is taken off
    their products: writing centred rows costs a quarter of the products, and float32 loses a factor of two, not more.
    Else rows come centred, and nothing is to be subtracted.
    """
    some = x[torch.arange(0, len(x), max(1, len(x) // 64))].to(mean.dtype)
    if float(mean.square().sum()) <= 4 * float((some - mean).square().sum(1).mean()):
        copies = not isinstance(x, Tensor) or x.dtype != mean.dtype
        return lambda: chunks(x, mean.dtype, CHUNK_ELEMENTS if copies else 8 * CHUNK_ELEMENTS), mean
    return lambda: centred(x, mean, CHUNK_ELEMENTS // 2), torch.zeros_like(mean)


@lru_cache(maxsize=2)  # a hub has few widths, and drawing takes as long as a product of 1000 rows
def _normal(dimensions: int, width: int, seed: int) -> Float[Tensor, "D width"]:
    """The legacy generator and its order of drawing (row by row, float64): the published seed means these numbers."""
    return torch.from_numpy(np.random.RandomState(seed).normal(size=(dimensions, width)))


def _power_iteration(
    rows: Iterable[tuple[slice, Tensor]], offset: Float[Tensor, " D"], test: Float[Tensor, "D w"]
) -> Float[Tensor, "D r"]:
    """An orthonormal basis of A^T A test, A being the rows less the offset; both products read a chunk once.

    Gives the same range as A A^T A test, but with the condition of A and not its cube: float32 keeps more of it.
    """
    power, total, shift = torch.zeros_like(test), test.new_zeros(test.shape[1]), -(offset @ test)
    for _, some in rows:
        along = torch.addmm(shift, some, test)
        total += along.sum(0)
        power.addmm_(some.T, along)
    return torch.linalg.qr(power.addr_(offset, total, alpha=-1)).Q


def _product(
    rows: Iterable[tuple[slice, Tensor]], offset: Float[Tensor, " D"], q: Float[Tensor, "N r"]
) -> Float[Tensor, "D r"]:
    """A^T Q, A being the rows less the offset."""
    product = q.new_zeros(len(offset), q.shape[1])
    for part, some in rows:
        product.addmm_(some.T, q[part])
    return product.addr_(offset, q.sum(0), alpha=-1)


def _spectrum(
    tall: Float[Tensor, "D r"], root: Float[Tensor, "r s"] | None = None
) -> tuple[Float[Tensor, " k"], Float[Tensor, "s s"]]:
    """Singular values, largest first, and right singular vectors (rows) of tall @ root, float64, by chunks.

    float32: from the eigenvectors of the Gram matrix in float64, whose 16 digits hold the square of a condition that 7
    digits can tell. float64: by QR decompositions (TSQR), stable where the Gram matrix is not, but four times as slow.
    """
    parts = (rows for _, rows in chunks(tall, torch.float64, CHUNK_ELEMENTS // 4))
    if tall.dtype == torch.float32:
        moments = gram(parts)
        values, vectors = torch.linalg.eigh(moments if root is None else root.T @ moments @ root)
        return values.flip(0).clamp(min=0).sqrt(), vectors.T.flip(0)
    r = tall.new_zeros(0, tall.shape[1])
    for rows in parts:
        r = torch.linalg.qr(torch.cat([r, rows]), mode="r").R
    return torch.linalg.svd(r if root is None else r @ root)[1:]


def _orthonormalise(y: Float[Tensor, "N r"]) -> tuple[Float[Tensor, "N s"], Float[Tensor, "s t"]]:
    """Y' and W, float64, so that the columns of Y' W are an orthonormal basis of those of `y`; Y' W need not be formed.

    Y' = Y and W = R^-1 with the Cholesky factor R of Y^T Y. Where `y` is nearly short of rank: Y' = Y V / s, written
    over `y`, with the singular values s and right vectors V, fewer columns where `y` has less rank. This loses
    orthogonality in proportion to the condition of Y; W mends what was lost. Cost 2 N r^2, or 6.
    """
    inverse, condition = _inverse_root(y)
    if condition < FAR_FROM_SINGULAR:
        return y, inverse
    for part, rows in chunks(y, torch.float64, CHUNK_ELEMENTS // 4):
        y[part, : inverse.shape[1]] = (rows @ inverse).to(y.dtype)
    y = y[:, : inverse.shape[1]]
    return y, _inverse_root(y)[0]


def _inverse_root(y: Tensor) -> tuple[Float[Tensor, "r k"], float]:
    """W, float64, with orthonormal Y W; the condition of Y, where R is used that of its diagonal."""
    if y.dtype == torch.float32:
        parts = (rows for _, rows in chunks(y, torch.float64, CHUNK_ELEMENTS // 4))
        factor, failed = torch.linalg.cholesky_ex(gram(parts), upper=True)
        least, most = factor.diagonal().aminmax()
        if not failed and least > 1e-5 * most:
            one = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
            return torch.linalg.solve_triangular(factor, one, upper=True), float(most / least)
    s, vt = _spectrum(y)
    rank = max(1, int((s > s[0] * torch.finfo(y.dtype).eps).sum()))
    return vt[:rank].T / s[:rank].clamp(min=torch.finfo(torch.float64).tiny), float(s[0] / s[rank - 1])
