"""How well the scores of a hub's models agree with their measured accuracies on one data set.

tau_w, the field's measure, is `scipy.stats.weightedtau` with its defaults (Vigna, WWW 2015): Kendall's tau in which the
pair (i, j) weighs 1/(r_i + 1) + 1/(r_j + 1), r the rank from 0 = best, averaged over ranking by score and by accuracy.
It is computed here rather than by scipy because the interval needs it for a thousand resamples at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from modelrank.types import Truth

FEWEST_MODELS = 3  # two models agree or disagree, tau is +1 or -1 whatever the scorer
POINTS = ("tau_w", "tau", "pearson", "spearman", "pr_top1", "rel_at_1", "regret_at_1")
MEASURES = ("tau_w", "tau_w_low", "tau_w_high", *POINTS[1:])


def agreement(
    scores: Mapping[str, float], truth: Mapping[str, float], *, resamples: int = 1000, seed: int = 0
) -> dict[str, float | int | str]:
    """The agreement columns of `ranking.csv`, over the models that have both a score and an accuracy.

    Returns the `MEASURES`, `n_models`, `note`, and `winner` and `best`, the models with the highest score and accuracy
    (of equals the first by name). Where a measure has no value it is NaN, nothing is first (""), and `note` says why:
    fewer than 3 models, all scores equal, all accuracies equal. Ties among scores are counted in `note`.
    Raises ValueError naming the models where a score or an accuracy is NaN or infinite: rank correlations would
    otherwise return a normal-looking number.
    """
    models = sorted(scores.keys() & truth.keys())
    x, y = _finite("score", scores, models), _finite("accuracy", truth, models)
    result: dict[str, float | int | str] = dict.fromkeys(MEASURES, float("nan"))
    result |= {"n_models": len(models), "note": _unavailable(x, y), "winner": "", "best": ""}
    if result["note"]:
        return result
    low, high = tau_interval(x, y, resamples=resamples, seed=seed)
    tied = len(models) - len(np.unique(x))
    return result | {
        "tau_w": float(weighted_tau(x, y)),
        "tau_w_low": low,
        "tau_w_high": high,
        "tau": float(np.asarray(stats.kendalltau(x, y))[0]),
        "pearson": pearson(x, y),
        "spearman": pearson(stats.rankdata(x), stats.rankdata(y)),
        "pr_top1": pr_top(x, y, 1),
        "rel_at_1": rel_at(x, y, 1),
        "regret_at_1": regret_at(x, y, 1),
        "winner": models[int(np.argmax(x))],
        "best": models[int(np.argmax(y))],
        "note": f"{tied} of {len(models)} scores repeat another (ties)" if tied else "",
    }


def common_models(scores: Mapping[str, Collection[str]], truth: Collection[str]) -> list[str]:
    """The models on which scorers may be compared with one another: those measured ones that every scorer has.

    scores: scorer -> models that it has a value for. A scorer that has no more than half of what the one with most has
    would leave too little for the others: it is not counted, and has no place in comparisons.
    """
    known = {scorer: set(models) & set(truth) for scorer, models in scores.items()}
    most = max(map(len, known.values()), default=0)
    sets = [models for models in known.values() if 2 * len(models) > most]
    return sorted(set.intersection(*sets)) if sets else []


def weighted_tau(x: ArrayLike, y: ArrayLike, counts: ArrayLike | None = None) -> NDArray[np.float64]:
    """tau_w of x and y (each n), or of B resamples of the pairs given by how often each is drawn (counts: B x n).

    Returns a 0-d array, or B values; NaN where all x or all y are equal. Cost B n^2.

    A resample repeats models. The c_i copies of model i tie with one another, so they only meet other models, and they
    fill consecutive ranks, so they weigh together W_i = sum of 1/(r + 1) over those ranks. The weighted sum over pairs
    of copies is then sum_i W_i sum_j A_ij c_j for any symmetric A with zero diagonal: A = sign(dx) sign(dy) in the
    numerator, A = [dx != 0] and A = [dy != 0] in the denominator. No B x n x n array is needed.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    drawn = np.ones(len(x)) if counts is None else np.asarray(counts)
    sign_x, sign_y = _sign_of_differences(x), _sign_of_differences(y)
    matrices = (sign_x * sign_y, np.abs(sign_x), np.abs(sign_y))
    # best first by one, ties by the other; what ties in both may come in any order, as it has equal rows in A
    orders = (np.lexsort((y, x))[::-1], np.lexsort((x, y))[::-1])
    return np.asarray(sum(_tau_by_order(drawn, order, *matrices) for order in orders) / 2)


def tau_interval(
    x: ArrayLike, y: ArrayLike, *, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of tau_w, models resampled with replacement (seeded: each scorer gets the same resamples).

    Resamples in which all scores or all accuracies are equal have no tau_w and are left out; where that leaves fewer
    than half of them there is no interval (NaN, NaN). Trap: a perfect order has the interval [1, 1] at any n, so read
    it together with `null_level(n)`.
    """
    n = len(np.asarray(x))
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    values = weighted_tau(x, y, counts)
    values = values[np.isfinite(values)]
    if 2 * len(values) < resamples:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@lru_cache(maxsize=64)
def null_level(n: int, *, draws: int = 50_000, quantile: float = 0.95, seed: int = 0) -> float:
    """What tau_w random scores exceed in 5 % of cases with n models: 0.47 at 11, 0.45 at 12. NaN below 3 models."""
    if n < FEWEST_MODELS:
        return float("nan")
    by_accuracy = np.arange(n, dtype=np.int16)
    rank = np.random.default_rng(seed).permuted(np.tile(by_accuracy, (draws, 1)), axis=1)  # by score
    # concordant minus discordant pairs that item i is in, for every draw; draws x n at a time instead of draws x n x n
    net = np.stack([(np.sign(rank - rank[:, [i]]) * np.sign(by_accuracy - i)).sum(1) for i in range(n)], axis=1)
    weight = 1 / (np.arange(n) + 1)
    tau = (net * (weight[rank] + weight)).sum(1) / (2 * weight.sum() * (n - 1))
    return float(np.quantile(tau, quantile))


def ceiling(truth: Truth) -> float:
    """Mean tau_w between the accuracies of two seeds, over all pairs of seeds.

    No scorer can be expected to agree better with a single seed; the mean over seeds is less noisy than that.

    NaN where fewer than two seeds share 3 models with differing accuracies.
    """
    values = []
    for first, second in combinations(truth.per_seed.values(), 2):
        models = sorted(first.keys() & second.keys())
        a, b = _finite("accuracy", first, models), _finite("accuracy", second, models)
        if not _unavailable(a, b):
            values.append(float(weighted_tau(a, b)))
    return float(np.mean(values)) if values else float("nan")


def pearson(x: ArrayLike, y: ArrayLike) -> float:
    """Linear correlation of x and y (each n, neither constant); of ranks, it is Spearman's."""
    # scaled before it is centred and squared: scores such as a log-evidence of 1e200 must not overflow
    a, b = (v / np.abs(v).max() for v in (np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)))
    a, b = a - a.mean(), b - b.mean()
    return float(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1, 1))


def pr_top(scores: ArrayLike, accuracy: ArrayLike, k: int) -> float:
    """1 if the model ranked first is among the k most accurate, else 0; its mean over data sets is Pr(top-k)."""
    accuracy = np.asarray(accuracy)
    return float(accuracy[_first(scores, accuracy, 1)[0]] >= np.sort(accuracy)[::-1][min(k, len(accuracy)) - 1])


def rel_at(scores: ArrayLike, accuracy: ArrayLike, k: int) -> float:
    """Best accuracy among the k first ranked / best accuracy of all. NaN where either is negative (R^2 can be)."""
    accuracy = np.asarray(accuracy)
    best, found = accuracy.max(), accuracy[_first(scores, accuracy, k)].max()
    return float(found / best) if best > 0 and found >= 0 else float("nan")


def regret_at(scores: ArrayLike, accuracy: ArrayLike, k: int) -> float:
    """Best accuracy of all - best accuracy among the k first ranked: what following the scorer costs."""
    accuracy = np.asarray(accuracy)
    return float(accuracy.max() - accuracy[_first(scores, accuracy, k)].max())


def _first(scores: ArrayLike, accuracy: NDArray, k: int) -> NDArray[np.intp]:
    """Indices of the k first ranked. Equal scores are ordered against the scorer: no credit for a lucky tie."""
    return np.lexsort((accuracy, -np.asarray(scores)))[:k]


def _tau_by_order(drawn: NDArray, order: NDArray, concordance: NDArray, differ_x: NDArray, differ_y: NDArray):
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, int(drawn.sum(-1).max()) + 1))])
    last = np.cumsum(drawn[..., order], axis=-1).astype(np.intp)
    weights = np.empty(drawn.shape)
    weights[..., order] = harmonic[last] - harmonic[last - drawn[..., order].astype(np.intp)]

    def over_pairs(matrix: NDArray) -> NDArray:
        return (weights * (drawn @ matrix)).sum(-1)

    scale = np.sqrt(over_pairs(differ_x)) * np.sqrt(over_pairs(differ_y))
    return np.clip(over_pairs(concordance) / np.where(scale > 0, scale, np.nan), -1, 1)


def _sign_of_differences(values: NDArray) -> NDArray[np.float64]:
    # by comparison: a difference of two floats can overflow
    return (values[:, None] > values).astype(np.float64) - (values[:, None] < values)


def _finite(what: str, values: Mapping[str, float], models: list[str]) -> NDArray[np.float64]:
    array = np.array([values[model] for model in models], dtype=np.float64)
    if bad := [model for model, ok in zip(models, np.isfinite(array), strict=True) if not ok]:
        raise ValueError(f"the {what} of {', '.join(bad)} is NaN or infinite; leave such models out and say why")
    return array


def _unavailable(x: NDArray, y: NDArray) -> str:
    if len(x) < FEWEST_MODELS:
        return f"models with both a score and an accuracy: {len(x)}; agreement needs {FEWEST_MODELS}"
    if len(np.unique(x)) == 1:
        return "all models have the same score"
    return "all models have the same accuracy" if len(np.unique(y)) == 1 else ""
