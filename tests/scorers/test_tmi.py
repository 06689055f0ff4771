import numpy as np
import pytest
import torch
from scipy.spatial import KDTree
from scipy.special import digamma
from tests.scorers.golden import CASES, expected, features

from modelrank.scorers.tmi import tmi
from modelrank.types import FeatureSet, ScorerNotApplicable


@pytest.mark.parametrize("case", CASES)
def test_reference_value(case):
    assert tmi(features(case)).value == pytest.approx(expected(case, "tmi")["value"], rel=1e-6)


def test_blocks_and_small_classes():
    """1100 samples of one class make three blocks; a class of 3 and a singleton have no 3rd neighbour."""
    x = torch.randn(1104, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = torch.tensor([0] * 1100 + [1] * 3 + [2])
    score = tmi(FeatureSet(x, y), min_dist=1e-3)
    radius = KDTree(x[:1100].numpy()).query(x[:1100].numpy(), k=4, p=np.inf)[0][:, -1]
    entropy = digamma(1100) - digamma(3) + 3 * np.log(2 * radius).mean()
    assert score.value == pytest.approx(1100 / 1104 * entropy, rel=1e-9)
    assert score.parts["classes"] == 1


def test_only_small_classes_is_said():
    with pytest.raises(ScorerNotApplicable, match=r"more than k = 3 samples, the largest has 2"):
        tmi(FeatureSet(torch.eye(6), torch.arange(6) // 2))


def test_bad_parameter():
    with pytest.raises(ValueError, match="k must be"):
        tmi(features(CASES[0]), k=0)
