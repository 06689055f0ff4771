"""LEEP: log expected empirical prediction.

Idea:
    The source model's own classes say something of the target classes, if the model is near to the task: how likely are
    the labels, given its predictions?

Formula:
    theta_i = softmax(logits_i) over S source classes z;   P(y, z) = mean_i [y_i = y] theta_i(z)
    LEEP = 1/N sum_i log sum_z P(y_i | z) theta_i(z)          (<= 0, higher is better)

Ours:
    Ours takes the logarithm (some code leaves it out), and a source class of zero mass contributes nothing where the
    division 0 / 0 of the popular code gives NaN.

Source:
    Nguyen et al., ICML 2020, arXiv 2002.12462, eq. 2.

Cost:
    N S time, C S memory beyond the logits.

Fails:
    Needs a source classifier, so self-supervised models and headless files have no value. It looks at logits, not at
    the features that are fine-tuned: what the source classes do not tell apart is not seen.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modelrank.scorers.contract import scorer
from modelrank.scorers.linalg import chunks, class_sums
from modelrank.types import FeatureSet, Score


@scorer(needs={"targets", "logits"}, on_subsets="rows")
def leep(data: FeatureSet) -> Score:
    """Mean log likelihood of the labels under the source model's own classes (no parameters)."""
    assert data.logits is not None
    return Score(log_expected_prediction(torch.softmax(data.logits.double(), 1), data.targets))


def log_expected_prediction(theta: Tensor, labels: Tensor) -> float:
    """LEEP of N x S probabilities (rows sum to 1, float64) with labels 0..C-1."""
    joint = theta.new_zeros(int(labels.max()) + 1, theta.shape[1])
    for part, rows in chunks(theta):
        joint += class_sums(rows, labels[part], len(joint))
    mass = joint.sum(0)
    conditional = joint / torch.where(mass > 0, mass, 1.0)
    # An own class always has mass where theta_i has: the sum is at least theta_i(z)^2 / mass(z) > 0 for some z.
    total = sum((rows * conditional[labels[part]]).sum(1).log().sum() for part, rows in chunks(theta))
    return float(total) / len(theta)
