import math

import pytest
import torch
from tests.scorers.golden import CASES, expected, features

from modelrank.scorers.nce import nce
from modelrank.types import FeatureSet


@pytest.mark.parametrize("case", CASES)
def test_reference_value(case):
    assert nce(features(case)).value == pytest.approx(expected(case, "nce")["value"], rel=1e-6)


def test_bounds():
    logits = torch.eye(4)[[0, 0, 1, 1, 2, 2, 3, 3]]
    known = torch.tensor([0, 0, 1, 1, 0, 0, 1, 1])
    assert nce(FeatureSet(torch.zeros(8, 1), known, logits=logits)).value == 0  # the source class tells all
    unknown = torch.tensor([0, 1] * 4)
    assert nce(FeatureSet(torch.zeros(8, 1), unknown, logits=logits)).value == pytest.approx(-math.log(2))
