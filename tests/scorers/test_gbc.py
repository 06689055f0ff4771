import math

import pytest
import torch
from tests.scorers.golden import CASES, expected, features

from modelrank.scorers.gbc import gbc
from modelrank.types import FeatureSet


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("gaussian_type", ["spherical", "diagonal"])
def test_reference_value(case, gaussian_type):
    value = gbc(features(case), gaussian_type=gaussian_type, components=64).value
    assert value == pytest.approx(expected(case, f"gbc[{gaussian_type},components=64]")["value"], rel=1e-6)


def test_two_classes_by_hand():
    x = torch.tensor([[0.0], [2.0], [4.0], [8.0]])  # means 1 and 6, variances 1 and 4
    distance = 25 / 2.5 / 8 + 0.5 * (math.log(2.5) - 0.5 * math.log(4))
    assert gbc(FeatureSet(x, torch.tensor([0, 0, 1, 1]))).value == pytest.approx(-2 * math.exp(-distance), rel=1e-6)


def test_bad_parameter():
    with pytest.raises(ValueError, match="gaussian_type"):
        gbc(features(CASES[0]), gaussian_type="full")
