import pytest
import torch
from sklearn.covariance import LedoitWolf
from tests.scorers.golden import CASES, expected, features

from modelrank.scorers.hscore_shrinkage import hscore_shrinkage
from modelrank.types import FeatureSet


@pytest.mark.parametrize("case", CASES)
def test_reference_value(case):
    assert hscore_shrinkage(features(case)).value == pytest.approx(
        expected(case, "hscore_shrinkage")["value"], rel=1e-9
    )


@pytest.mark.parametrize(("n", "d"), [(200, 10), (20, 50)])
def test_the_shrinkage_is_that_of_scikit_learn(n, d):
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * torch.linspace(1, 5, d)
    score = hscore_shrinkage(FeatureSet(x, torch.arange(n) % 4))
    assert score.parts["shrinkage"] == pytest.approx(LedoitWolf().fit(x).shrinkage_, rel=1e-9)
