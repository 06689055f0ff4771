"""TransRate, two forms.

Idea:
    Features that are rich as a whole and simple within each class: the coding rate of all less that of the classes.

Source:
    Huang et al., ICML 2022, 'Frustratingly Easy Transferability Estimation'.

Ours:
    Two incompatible forms are in use: different numbers on the same features, and different rankings, so say which. A
    determinant is taken on the smaller of the n x n and D x D sides.

Cost:
    N D^2 for Z + sum_c n_c D min(n_c, D); memory D^2. Reads chunks of rows and one class at a time.

Fails:
    Where a class has fewer samples than dimensions its rate is that of a few directions, and the difference is large
    whatever the labels: wide models are favoured, noise too, less by the normalised form. Where the features are so
    small that eps counts, it depends on their scale.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from modelrank.scorers.contract import scorer
from modelrank.scorers.linalg import Rows, chunks, class_counts, column_mean, gram, scatter
from modelrank.types import FeatureSet, Score, ScorerNotApplicable

Prepare = Callable[[Tensor], Tensor]


@scorer(streams=True)
def transrate(data: FeatureSet, *, eps: float = 1e-4) -> Score:
    """Parts `rate` and `class_rate` (mean over classes), in nats; value: their difference.

    Formula:
        R(F) = 1/2 log det(I + F^T F / (n eps)) of n rows F
        TransRate = R(Z) - 1/C sum_c R(Z_c),   Z centred by the overall mean; every class weighs the same

    Source:
        Huang et al., ICML 2022; the form of the Transfer-Learning-Library, and the one most tables use.
    """
    _check(eps)
    n, mean = len(data.features), column_mean(data)
    rate = _half_log_det(scatter(data) / (n * eps))
    rates = _class_rates(data, lambda rows: rows - mean, eps)
    parts = {"rate": rate, "class_rate": sum(rates) / len(rates)}
    return Score(parts["rate"] - parts["class_rate"], parts)


@scorer(streams=True)
def transrate_normalised(data: FeatureSet, *, eps: float = 1e-4) -> Score:
    """Parts `rz`, `rzy` (rates per dimension of the rank) and `rank`; value: rz - rzy.

    Formula:
        R(F) = 1/2 log det(I + F^T F / (n eps)) of n rows F
        (R(Z) - sum_c N_c / N R(Z_c)) / rank(Z),   rows of Z to unit length, centred, to unit length again

    Source:
        Huang et al., ICML 2022; the authors' released code, which divides by the rank of Z, so that wide models are not
        favoured for their width alone.
    """
    _check(eps)
    x, n = data.features, len(data.features)
    mean = sum(_unit(rows).sum(0) for _, rows in chunks(x, torch.float64)) / n

    def normalised(rows: Tensor) -> Tensor:
        return _unit(_unit(rows) - mean, least=1e-12)  # a difference of unit rows below that is rounding

    second = gram(normalised(rows) for _, rows in chunks(x, torch.float64)) / n
    eigenvalues = torch.linalg.eigvalsh(second)
    rank = int((eigenvalues > eigenvalues[-1] * len(eigenvalues) * torch.finfo(torch.float64).eps).sum())
    total = float(second.trace())  # 1, or less where rows are zero
    if rank == 0 or total == 0:
        raise ScorerNotApplicable("transrate_normalised: all samples point in the same direction")
    weights = class_counts(data).tolist()
    rates = _class_rates(data, normalised, eps * total)
    parts = {
        "rz": _half_log_det(second / (eps * total)) / rank,
        "rzy": sum(weight * rate for weight, rate in zip(weights, rates, strict=True)) / n / rank,
        "rank": float(rank),
    }
    return Score(parts["rz"] - parts["rzy"], parts)


def _check(eps: float) -> None:
    if eps <= 0:
        raise ValueError(f"eps must be above 0, got {eps}")


def _unit(rows: Tensor, least: float = 0.0) -> Tensor:
    """Rows of length 1; those of length `least` or less become 0."""
    length = rows.norm(dim=1, keepdim=True)
    return torch.where(length > least, rows / length, 0.0)


def _class_rates(data: FeatureSet, prepare: Prepare, eps: float) -> list[float]:
    """Coding rate of each class, in order."""
    by_class = data.targets.argsort(stable=True).split(class_counts(data).tolist())
    return [_coding_rate(data.features, members, prepare, eps) for members in by_class]


def _coding_rate(x: Rows, members: Tensor, prepare: Prepare, eps: float) -> float:
    n, d = len(members), x.shape[1]
    if n <= d:
        rows = prepare(x[members].double())
        return _half_log_det(rows @ rows.T / (n * eps))
    batches = (prepare(x[some].double()) for some in members.split(max(1, 2**22 // d)))
    return _half_log_det(gram(batches) / (n * eps))


def _half_log_det(matrix: Tensor) -> float:
    """1/2 log det(I + matrix) of a positive semi-definite matrix, which is left as it is."""
    shifted = matrix.clone()
    shifted.diagonal().add_(1.0)
    factor, failed = torch.linalg.cholesky_ex(shifted)
    if failed:  # a scale at which I is lost beside the rounding of the matrix
        return float(torch.linalg.eigvalsh(matrix).clamp(min=0).log1p().sum()) / 2
    return float(factor.diagonal().log().sum())
