import pytest
import torch
from tests.scorers.golden import CASES, expected, features

from modelrank.scorers.hscore import hscore
from modelrank.types import FeatureSet


@pytest.mark.parametrize("case", CASES)
def test_reference_value(case):
    assert hscore(features(case)).value == pytest.approx(expected(case, "hscore")["value"], rel=1e-9)


def test_with_few_samples_it_says_that_it_says_nothing():
    x = torch.randn(20, 50, generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match="20 samples of 50 dimensions"):
        value = hscore(FeatureSet(x, torch.arange(20) % 4)).value
    assert value == pytest.approx(3)
