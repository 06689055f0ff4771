"""Which of two scorers ranks better, over data sets; the same measure (tau_w, say) of each on each data set."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

FEWEST_DATASETS = 3
BEST = "measured best"  # in the place of a scorer: what the accuracies name first


@dataclass(frozen=True)
class Comparison:
    """Scorer A against scorer B over the data sets on which both have a value.

    difference:  mean of A - B.
    wins, draws, losses: data sets on which A is above, equal to, below B.
    p_value:     two-sided Wilcoxon signed-rank test; NaN below 3 data sets, 1 where A equals B everywhere.
                 With n data sets it cannot go below 2 / 2^n, so under 6 data sets nothing is significant at 5 %.
    probability: that the mean of A is above that of B when the data sets are resampled; equality counts half.
    """

    datasets: int
    difference: float
    wins: int
    draws: int
    losses: int
    p_value: float
    probability: float


def compare(a: Mapping[str, float], b: Mapping[str, float], *, resamples: int = 10_000, seed: int = 0) -> Comparison:
    """Paired comparison of two scorers; a, b: data set -> value (higher is better), NaN where there is none."""
    datasets = [name for name in sorted(a.keys() & b.keys()) if math.isfinite(a[name]) and math.isfinite(b[name])]
    # rounded: .7 - .6 and .8 - .7 are the same difference, and Wilcoxon ranks them
    difference = np.round([a[name] - b[name] for name in datasets], 12)
    n, wins, losses = len(datasets), int((difference > 0).sum()), int((difference < 0).sum())
    if n < FEWEST_DATASETS:
        mean = float(difference.mean()) if n else math.nan
        return Comparison(n, mean, wins, n - wins - losses, losses, math.nan, math.nan)
    p_value = float(np.asarray(stats.wilcoxon(difference))[1]) if difference.any() else 1.0
    drawn = np.random.default_rng(seed).choice(difference, size=(resamples, n)).sum(axis=1).round(12)
    probability = float((drawn > 0).mean() + (drawn == 0).mean() / 2)
    return Comparison(n, float(difference.mean()), wins, n - wins - losses, losses, p_value, probability)


def average_ranks(values: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Mean rank of each scorer (1 = best, equals share a rank) over the data sets on which every scorer has a value.

    values: scorer -> data set -> value. Returns scorer -> mean rank, best first; NaN where no data set has them all.
    """
    scorers = list(values)
    shared = sorted(set.intersection(*(set(row) for row in values.values()))) if scorers else []
    table = np.array([[values[s][d] for s in scorers] for d in shared], dtype=np.float64).reshape(-1, len(scorers))
    table = table[np.isfinite(table).all(axis=1)]
    if not len(table):
        return dict.fromkeys(scorers, math.nan)
    means = stats.rankdata(-table, axis=1).mean(axis=0)
    return {scorers[i]: float(means[i]) for i in np.argsort(means, kind="stable")}


def critical_difference(scorers: int, datasets: int, *, level: float = 0.05) -> float:
    """Average ranks closer than this do not differ at `level` (Nemenyi test; Demsar, JMLR 2006)."""
    q = stats.studentized_range.ppf(1 - level, scorers, np.inf) / math.sqrt(2)
    return float(q * math.sqrt(scorers * (scorers + 1) / (6 * datasets)))


@dataclass(frozen=True)
class Winners:
    """Of data sets, each with the model that is first on it: how many models that are, and the one on most of them."""

    datasets: int
    models: int
    commonest: str
    times: int


def winners(first: Mapping[str, str]) -> Winners:
    """How many different models a scorer names first; first: data set -> model. A scorer that always names the same
    one agrees with the truth where that one is good, whatever it sees of the data."""
    counts = Counter(first.values())
    commonest, times = counts.most_common(1)[0] if counts else ("", 0)
    return Winners(len(first), len(counts), commonest, times)
