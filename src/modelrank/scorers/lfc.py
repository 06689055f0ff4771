"""LFC: label-feature correlation.

Idea:
    Samples of one class should be similar to each other in the features, and to no others.

Formula:
    correlation, over all N x N entries (diagonal included), of K = X X^T and Y (+1 same class, -1 else), each centred
    by its mean

Ours:
    Never N x N. With class counts n_c, class means mu_c, overall mean m, scatter S = sum (x - m)(x - m)^T, q = sum
    n_c^2

        LFC = sum_c n_c^2 (|mu_c|^2 - |m|^2) / sqrt( q (1 - q / N^2) (|S|_F^2 + 2 N m^T S m) ),

    since sum K Y = 2 sum_c |n_c mu_c|^2 - sum K and |X^T X|_F^2 = |S|_F^2 + 2 N m^T S m + (sum K / N)^2. Exact, also
    where the published code draws 45 000 samples.

Source:
    Deshpande et al., 2021, 'A linearized framework and a new benchmark for model selection for fine-tuning', arXiv
    2102.00084.

Cost:
    N D^2 (the shared scatter), memory D^2.

Fails:
    Inner products of features as they are: a common offset, as after a ReLU, or a few dimensions of large spread hide
    the classes.
"""

from __future__ import annotations

from modelrank.scorers.contract import scorer
from modelrank.scorers.linalg import class_moments, scatter
from modelrank.types import FeatureSet, Score, ScorerNotApplicable


@scorer(on_subsets="components")
def lfc(data: FeatureSet) -> Score:
    """Correlation in -1..1 (no parameters)."""
    moments, spread = class_moments(data), scatter(data)
    n, mean = len(data.features), moments.mean
    squares = moments.counts.square()
    # |mu_c|^2 - |m|^2 = (mu_c - m) . (mu_c + m): no difference of large numbers
    gain = ((moments.class_means - mean) * (moments.class_means + mean)).sum(1)
    features = spread.square().sum() + 2 * n * (mean @ spread @ mean)
    labels = squares.sum() * (1 - squares.sum() / n**2)
    if features <= 0:
        raise ScorerNotApplicable("lfc has no correlation: all samples have the same features")
    return Score(float((squares * gain).sum() / (labels.sqrt() * features.sqrt())))
