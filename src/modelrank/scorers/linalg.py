"""Linear algebra that scorers share: chunked passes over the rows, moments, sums by class.

Shapes: N samples, D feature dimensions, C classes. Everything here reads the features chunk by chunk,
so that a half-precision or memory-mapped N x D tensor is never copied as a whole, and works on any device.

Compute dtype: float16 and bfloat16 are computed in float32, float32 and float64 as they are. Moments (sums over N) are
always float64: C x D and D x D arrays are small, and a cancellation such as total - between scatter needs the digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from modelrank.progress import Progress
from modelrank.types import FeatureSet, ScorerNotApplicable

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
    freed, and getting them anew costs more than a pass. A pass over a file shows its progress.
    """
    rows = max(1, (elements or 4 * CHUNK_ELEMENTS) // x.shape[1])
    with nullcontext() if isinstance(x, Tensor) else Progress("reading features", len(x), "rows") as shown:
        for start in range(0, len(x), rows):
            part = slice(start, min(start + rows, len(x)))
            yield part, x[part].to(dtype or compute_dtype(x))
            if shown is not None:
                shown.update(part.stop - part.start)


def centred(
    x: Rows, mean: Float[Tensor, " D"], elements: int | None = None
) -> Iterator[tuple[slice, Float[Tensor, "n D"]]]:
    """As `chunks`, less the mean and in its dtype; each is written over the one before, else two would be held at a
    time."""
    buffer = mean.new_empty(0)
    for part, rows in chunks(x, mean.dtype, elements):
        yield part, torch.sub(rows, mean, out=buffer.resize_(rows.shape))


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


def centroid_posterior(
    x: Rows,
    labels: Int64[Tensor, " N"],
    counts: Float[Tensor, " C"],
    means: Float[Tensor, "C D"],
    origin: Float[Tensor, " D"] | None = None,
) -> Float[Tensor, " N"]:
    """Posterior of each row's own class, where classes are Gaussians of identity covariance at their means (float64)
    with priors N_c / N: softmax over c of x . mu_c - |mu_c|^2 / 2 + log N_c / N.

    |x|^2 is the same for all classes and cancels. origin: taken from rows and means first (no posterior changes), since
    a large common offset would eat float32's digits. Cost N D C, rows in chunks.
    """
    dtype = compute_dtype(x)
    centres = means if origin is None else means - origin
    bias = ((counts / len(x)).log() - centres.square().sum(1) / 2).to(dtype)
    weights = centres.T.to(dtype)
    result = torch.empty(len(x), dtype=dtype, device=means.device)
    few = CHUNK_ELEMENTS // 4 * x.shape[1] // len(means) + x.shape[1]  # rows whose logits fit into a core's cache
    few = min(few, CHUNK_ELEMENTS)
    for part, rows in chunks(x, elements=few) if origin is None else centred(x, origin.to(dtype), few):
        result[part] = own_posterior(torch.addmm(bias, rows, weights), labels[part])
    return result


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
    """Mean of the features, float64.

    Eight rows at a time are added as they are, and their sums in float64: that costs no more digits than the features
    lost when they were rounded to float32, and takes half the time or less.
    """

    def compute() -> Tensor:
        total = torch.zeros(data.features.shape[1], dtype=torch.float64, device=data.features.device)
        for _, rows in chunks(data.features):
            eights = len(rows) // 8 * 8
            total += rows[:eights].unflatten(0, (-1, 8)).sum(1).sum(0, dtype=torch.float64)
            total += rows[eights:].sum(0, dtype=torch.float64)
        return total / len(data.features)

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


def nearest_centroid(data: FeatureSet) -> float:
    """Mean over samples of `centroid_posterior`, in 0..1."""

    def compute() -> float:
        moments = class_moments(data)
        found = centroid_posterior(data.features, data.targets, moments.counts, moments.class_means, moments.mean)
        return float(found.double().mean())

    return shared(data, "nearest centroid", compute)


def scatter(data: FeatureSet) -> Float[Tensor, "D D"]:
    """Sum of (x - mean)(x - mean)^T over all samples, float64. Cost N x D^2, one pass (and one for the mean)."""
    return _second_pass(data)[0]


def fourth_moment(data: FeatureSet) -> Float[Tensor, ""]:
    """Sum of |x - mean|^4 over all samples, float64, from the same pass as `scatter`; Ledoit-Wolf needs it."""
    return _second_pass(data)[1]


def _second_pass(data: FeatureSet) -> tuple[Tensor, Tensor]:
    def compute() -> tuple[Tensor, Tensor]:
        mean = column_mean(data)
        fourth = torch.zeros_like(mean[0])

        def seen() -> Iterator[Tensor]:
            for _, rows in centred(data.features, mean):
                fourth.add_(torch.linalg.vector_norm(rows, dim=1).pow(4).sum())
                yield rows

        return gram(seen()), fourth

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


def image_of(data: FeatureSet) -> Int64[Tensor, " N"]:
    """The image 0, 1, ... of each sample, numbered in the order of `data.image`; without it each has its own."""
    if data.image is None:
        return torch.arange(len(data.features), device=data.features.device)
    return torch.unique(data.image.to(data.features.device), return_inverse=True)[1]


def image_count(data: FeatureSet) -> int:
    """How many images the samples come from."""
    return len(data.features) if data.image is None else len(data.image.unique())


def deal_folds(data: FeatureSet, folds: int, seed: int) -> Int64[Tensor, " N"]:
    """The fold 0..folds-1 of each sample: stratified by class, even in size, drawn with `seed`.

    Samples are dealt in the order of a random projection of their features within a class, classes in the order of
    their least projection, so that neither the order of the samples nor the names of the classes matters. Without
    classes (other tasks) all samples count as one. Samples of one image go where the first of them goes, so the folds
    are then only about stratified and even.
    """

    def compute() -> Tensor:
        x = data.features
        direction = torch.from_numpy(np.random.default_rng(seed).normal(size=x.shape[1])).to(x.device)
        key = torch.cat([rows @ direction for _, rows in chunks(x, torch.float64)])
        order = key.argsort(stable=True)
        if data.kind == "classes":
            least = key.new_full((int(data.targets.max()) + 1,), torch.inf)
            least.scatter_reduce_(0, data.targets, key, "amin")
            order = order[least[data.targets[order]].argsort(stable=True)]
        first = order.new_full((images,), len(x))
        first.scatter_reduce_(0, image[order], torch.arange(len(x), device=x.device), "amin")
        return (first.argsort().argsort() % folds)[image]

    image, images = image_of(data), image_count(data)
    if images < 2:
        raise ScorerNotApplicable("folds need boxes of two images or more; these are all of one")
    if not 2 <= folds <= images:
        raise ValueError(f"folds must be 2 to the number of images ({images}), got {folds}")
    return shared(data, f"folds {folds} {seed}", compute)


def scatter_eigen(data: FeatureSet) -> tuple[Float[Tensor, " D"], Float[Tensor, "D D"]]:
    """Eigenvalues of the scatter, smallest first, and its eigenvectors, float64. Cost 9 D^3."""
    return shared(data, "scatter eigen", lambda: torch.linalg.eigh(scatter(data)))


def leading_eigen(data: FeatureSet, k: int) -> tuple[Float[Tensor, " k"], Float[Tensor, "D k"]]:
    """The k largest eigenvalues of the scatter, smallest first, and their eigenvectors, float64; where they are few, in
    a third of the time that all take. Found on the CPU."""

    def compute() -> tuple[Tensor, Tensor]:
        s = scatter(data)
        last = len(s) - 1
        found = scipy.linalg.eigh(s.numpy(force=True), subset_by_index=[last - k + 1, last])
        values, vectors = (torch.from_numpy(each).to(s.device) for each in found)
        return values, vectors

    return shared(data, f"scatter eigen {k}", compute)
