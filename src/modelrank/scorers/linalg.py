"""Linear algebra that scorers share: chunked passes over the rows, moments, principal components.

Shapes: N samples, D feature dimensions, C classes, k components. Everything here reads the features chunk by chunk,
so that a half-precision or memory-mapped N x D tensor is never copied as a whole, and works on any device.

Compute dtype: float16 and bfloat16 are computed in float32, float32 and float64 as they are. Moments (sums over N) are
always float64: C x D and D x D arrays are small, and a cancellation such as total - between scatter needs the digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from tqdm import tqdm

from modelrank.types import FeatureSet

T = TypeVar("T")


@runtime_checkable
class Rows(Protocol):
    """N x D floating numbers of which some rows at a time can be had: a tensor, or a file (see FeatureSet)."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> torch.dtype: ...
    def __len__(self) -> int: ...
    def __getitem__(self, rows: Any, /) -> Tensor: ...


CHUNK_ELEMENTS = 1 << 18  # 1 MB of float32: a centred chunk stays in a core's cache between two products


def shared(data: FeatureSet, key: str, fn: Callable[[], T]) -> T:
    """`fn()`, computed once for all scorers of the same data. Put every parameter that matters into `key`.

    A scorer that goes on with other features must not carry the memo over: `replace(data, features=..., memo={})`.
    """
    if key not in data.memo:
        data.memo[key] = fn()
    return data.memo[key]


def compute_dtype(x: Rows) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def working(x: Tensor) -> Tensor:
    """The whole tensor in its compute dtype (no copy when it has that already). Never write into the result."""
    return x.to(compute_dtype(x))


def chunks(
    x: Rows, dtype: torch.dtype | None = None, elements: int | None = None
) -> Iterator[tuple[slice, Float[Tensor, "n D"]]]:
    """Rows of `x` in order as (slice, rows in `dtype`, its compute dtype by default), about `elements` at a time.

    elements: 4 CHUNK_ELEMENTS where nothing is said: larger arrays go back to the system each time that they are
    freed, and getting them anew costs more than a pass. A pass over a file shows its progress after two seconds.
    """
    rows = max(1, (elements or 4 * CHUNK_ELEMENTS) // x.shape[1])
    with tqdm(
        total=len(x), desc="reading features", unit="row", delay=2, leave=False, disable=isinstance(x, Tensor)
    ) as bar:
        for start in range(0, len(x), rows):
            part = slice(start, min(start + rows, len(x)))
            yield part, x[part].to(dtype or compute_dtype(x))
            bar.update(part.stop - part.start)


def class_counts(data: FeatureSet) -> Int64[Tensor, " C"]:
    """Samples per class; the targets are canonical (0..C-1, none empty) inside a scorer."""
    return shared(data, "class counts", lambda: torch.bincount(data.targets))


def class_sums(x: Tensor, labels: Tensor, classes: int) -> Tensor:
    """C x D sums of the rows of each class, without an N x C matrix on a CPU."""
    if x.is_cuda:  # index_add_ adds in any order there: a product with one-hot rows is deterministic
        return torch.nn.functional.one_hot(labels, classes).to(x.dtype).T @ x
    return x.new_zeros(classes, x.shape[1]).index_add_(0, labels, x)


def own_posterior(logits: Float[Tensor, "n C"], labels: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
    """softmax(logits) at each row's label; fused, where exp of the far ones would crawl through denormal numbers."""
    return torch.nn.functional.cross_entropy(logits, labels, reduction="none").neg_().exp_()


@dataclass(frozen=True)
class ClassMoments:
    """First moments, float64."""

    counts: Float[Tensor, " C"]
    mean: Float[Tensor, " D"]
    class_means: Float[Tensor, "C D"]

    @property
    def between(self) -> Float[Tensor, "D D"]:
        """Sum over classes of N_c (mu_c - mu)(mu_c - mu)^T."""
        spread = (self.class_means - self.mean) * self.counts.sqrt()[:, None]
        return spread.T @ spread


def column_mean(data: FeatureSet) -> Float[Tensor, " D"]:
    """Mean of the features, float64."""

    def compute() -> Tensor:
        parts = chunks(data.features, elements=CHUNK_ELEMENTS)
        total = sum(rows.sum(0, dtype=torch.float64) for _, rows in parts)
        return torch.as_tensor(total) / len(data.features)

    return shared(data, "column mean", compute)


def class_moments(data: FeatureSet) -> ClassMoments:
    """Counts, mean and class means. Cost N x D."""

    def compute() -> ClassMoments:
        counts = class_counts(data).double()
        sums = torch.zeros(len(counts), data.features.shape[1], dtype=torch.float64, device=data.features.device)
        for part, rows in chunks(data.features, torch.float64, CHUNK_ELEMENTS):
            sums += class_sums(rows, data.targets[part], len(counts))
        return ClassMoments(counts, sums.sum(0) / len(data.features), sums / counts[:, None])

    return shared(data, "class moments", compute)


def scatter(data: FeatureSet) -> Float[Tensor, "D D"]:
    """Sum of (x - mean)(x - mean)^T over all samples, float64. Cost N x D^2, one pass (and one for the mean)."""
    return _second_pass(data)[0]


def fourth_moment(data: FeatureSet) -> Float[Tensor, ""]:
    """Sum of |x - mean|^4 over all samples, float64, from the same pass as `scatter`; Ledoit-Wolf needs it."""
    return _second_pass(data)[1]


def _second_pass(data: FeatureSet) -> tuple[Tensor, Tensor]:
    def compute() -> tuple[Tensor, Tensor]:
        x = data.features
        mean, fourth = column_mean(data), torch.zeros((), dtype=torch.float64, device=x.device)

        def centred() -> Iterator[Tensor]:
            for _, rows in chunks(x, torch.float64):
                rows = rows - mean
                fourth.add_(torch.linalg.vector_norm(rows, dim=1).pow(4).sum())
                yield rows

        return gram(centred()), fourth

    return shared(data, "scatter", compute)


def gram(batches: Iterable[Float[Tensor, "n D"]], block: int = 256) -> Float[Tensor, "D D"]:
    """Sum of rows^T rows over batches of rows (at least one), in their dtype.

    Only blocks on and above the diagonal are multiplied, about half of them, then mirrored.
    """
    total = None
    for rows in batches:
        total = rows.new_zeros(rows.shape[1], rows.shape[1]) if total is None else total
        for start in range(0, len(total), block):
            stop = start + block
            total[start:stop, start:].addmm_(rows[:, start:stop].T, rows[:, start:])
    assert total is not None
    return total.triu() + total.triu(1).T


def within_scatter(data: FeatureSet) -> Float[Tensor, "D D"]:
    """Sum over samples of (x - mu_class)(x - mu_class)^T = total - between, float64."""
    return shared(data, "within scatter", lambda: scatter(data) - class_moments(data).between)


def deal_folds(data: FeatureSet, folds: int, seed: int) -> Int64[Tensor, " N"]:
    """The fold 0..folds-1 of each sample: stratified by class, even in size, drawn with `seed`.

    Samples are dealt in the order of a random projection of their features within a class, classes in the order of
    their least projection, so that neither the order of the samples nor the names of the classes matters. Without
    classes (other tasks) all samples count as one.
    """

    def compute() -> Tensor:
        x = data.features
        direction = torch.from_numpy(np.random.default_rng(seed).normal(size=x.shape[1])).to(x.device)
        key = torch.cat([rows @ direction for _, rows in chunks(x, torch.float64)])
        order = key.argsort(stable=True)
        if data.task in ("classification", "detection"):
            least = key.new_full((int(data.targets.max()) + 1,), torch.inf)
            least.scatter_reduce_(0, data.targets, key, "amin")
            order = order[least[data.targets[order]].argsort(stable=True)]
        fold = torch.empty_like(order)
        fold[order] = torch.arange(len(x), device=x.device) % folds
        return fold

    if not 2 <= folds <= len(data.features):
        raise ValueError(f"folds must be 2 to the number of samples ({len(data.features)}), got {folds}")
    return shared(data, f"folds {folds} {seed}", compute)


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
        centred = x.double() - mean
        values, vectors = torch.linalg.eigh(centred @ centred.T)
        sigma = values.flip(0)[:k].clamp(min=0).sqrt()
        return Components((vectors.flip(1)[:, :k] * sigma).to(compute_dtype(x)), sigma)
    if (found := _leading(data, k)) is not None:
        return found
    values, vectors = scatter_eigen(data)
    scores = _project(data, vectors.flip(1)[:, :k].to(compute_dtype(x)), CHUNK_ELEMENTS)
    return Components(scores, values.flip(0)[:k].clamp(min=0).sqrt())


def scatter_eigen(data: FeatureSet) -> tuple[Float[Tensor, " D"], Float[Tensor, "D D"]]:
    """Eigenvalues of the scatter, smallest first, and its eigenvectors, float64. Cost 9 D^3."""
    return shared(data, "scatter eigen", lambda: torch.linalg.eigh(scatter(data)))


def _project(data: FeatureSet, basis: Float[Tensor, "D k"], elements: int) -> Float[Tensor, "N k"]:
    """Centred rows times the basis, about `elements` at a time."""
    mean = column_mean(data).to(basis.dtype)
    scores = torch.empty(len(data.features), basis.shape[1], dtype=basis.dtype, device=basis.device)
    for part, rows in _centred(data.features, mean, elements):
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
        return torch.linalg.eigh(gram(rows for _, rows in _centred(x, mean, 4 * CHUNK_ELEMENTS)))

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
    power = _power_iteration(_centred(x, mean, CHUNK_ELEMENTS), _drawn(mean, k + 10, seed))
    basis = _project(data, power, CHUNK_ELEMENTS // 2)
    del power
    q = _orthonormalise(basis)  # over the same memory
    _, sigma, vt = torch.linalg.svd(_triangle(_product(_centred(x, mean, CHUNK_ELEMENTS // 2), q, len(mean))))
    found = min(k, len(sigma))  # less than k where A has less rank: the others are zero
    rotation = torch.zeros(q.shape[1], k, dtype=dtype, device=x.device)
    rotation[:, :found] = vt[:found].T * sigma[:found]
    for part, rows in chunks(q, elements=CHUNK_ELEMENTS // 4):
        basis[part, :k] = rows @ rotation
    return Components(basis[:, :k], torch.cat([sigma[:found], sigma.new_zeros(k - found)]))


def _centred(x: Rows, mean: Float[Tensor, " D"], elements: int) -> Iterator[tuple[slice, Float[Tensor, "n D"]]]:
    """Rows less their mean by chunks, each written over the one before: else two would be held at a time."""
    buffer = mean.new_empty(0)
    for part, rows in chunks(x, mean.dtype, elements):
        yield part, torch.sub(rows, mean, out=buffer.resize_(rows.shape))


def _drawn(mean: Float[Tensor, " D"], width: int, seed: int) -> Float[Tensor, "D width"]:
    """The legacy generator and its order of drawing (row by row, float64): the published seed means these numbers."""
    return torch.from_numpy(np.random.RandomState(seed).normal(size=(len(mean), width))).to(mean)


def _power_iteration(centred: Iterable[tuple[slice, Tensor]], test: Float[Tensor, "D w"]) -> Float[Tensor, "D r"]:
    """An orthonormal basis of A^T A test; both products read a chunk once.

    Gives the same range as A A^T A test, but with the condition of A and not its cube: float32 keeps more of it.
    """
    power = torch.zeros_like(test)
    for _, rows in centred:
        power.addmm_(rows.T, rows @ test)
    return torch.linalg.qr(power).Q


def _product(centred: Iterable[tuple[slice, Tensor]], q: Float[Tensor, "N r"], dimensions: int) -> Tensor:
    """A^T Q, where A are the centred rows."""
    product = q.new_zeros(dimensions, q.shape[1])
    for part, rows in centred:
        product.addmm_(rows.T, q[part])
    return product


def _triangle(tall: Tensor) -> Tensor:
    """R with R^T R = tall^T tall, float64, by chunks of rows.

    float32: from the eigenvectors of the Gram matrix in float64, whose 16 digits hold the square of a condition that 7
    digits can tell. float64: by QR decompositions (TSQR), stable where the Gram matrix is not, but four times as slow.
    """
    parts = (rows for _, rows in chunks(tall, torch.float64, CHUNK_ELEMENTS // 8))
    if tall.dtype == torch.float32:
        values, vectors = torch.linalg.eigh(gram(parts))
        return (vectors * values.clamp(min=0).sqrt()).T.flip(0)
    r = tall.new_zeros(0, tall.shape[1])
    for rows in parts:
        r = torch.linalg.qr(torch.cat([r, rows]), mode="r").R
    return r


def _orthonormalise(y: Tensor) -> Tensor:
    """An orthonormal basis of the columns of `y`, written over `y`; fewer columns where `y` has less rank.

    Q = Y V / s with the singular values s and right vectors V of the triangle loses orthogonality in proportion to
    the condition of Y; what was lost is mended by doing it once more.
    """
    for _ in range(2):
        _, s, vt = torch.linalg.svd(_triangle(y))
        rank = max(1, int((s > s[0] * torch.finfo(y.dtype).eps).sum()))
        inverse = vt[:rank].T / s[:rank].clamp(min=torch.finfo(torch.float64).tiny)
        for part, rows in chunks(y, torch.float64, CHUNK_ELEMENTS // 4):
            y[part, :rank] = (rows @ inverse).to(y.dtype)
        y = y[:, :rank]
        if s[rank - 1] > s[0] * 1e-6:
            break
    return y
