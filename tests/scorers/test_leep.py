import math

import pytest
import torch
from tests.scorers.golden import CASES, expected, features

from modelrank.scorers.leep import leep
from modelrank.types import FeatureSet


@pytest.mark.parametrize("case", CASES)
def test_reference_value(case):
    assert leep(features(case)).value == pytest.approx(expected(case, "leep")["value"], rel=1e-6)


def test_a_source_class_without_mass_contributes_nothing():
    data = features(CASES[0])
    absent = torch.full((len(data.features), 2), -1e5, dtype=torch.float64)  # probability underflows to 0
    wider = features(CASES[0], logits=torch.cat([absent, data.logits], 1))
    assert leep(wider).value == pytest.approx(leep(data).value, rel=1e-12)


def test_two_samples_by_hand():
    # theta = (3/4, 1/4), (1/4, 3/4); P(y|z) = theta here, so that each sample has likelihood 9/16 + 1/16
    logits = torch.tensor([[math.log(3), 0.0], [0.0, math.log(3)]])
    data = FeatureSet(torch.zeros(2, 1), torch.tensor([0, 1]), logits=logits)
    assert leep(data).value == pytest.approx(math.log(10 / 16), rel=1e-6)
