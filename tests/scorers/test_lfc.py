import numpy as np
import pytest
import torch
from tests.scorers.golden import CASES, arrays, expected, features

from modelrank.scorers.lfc import lfc
from modelrank.types import FeatureSet, ScorerNotApplicable


@pytest.mark.parametrize("case", CASES)
def test_reference_value(case):
    assert lfc(features(case)).value == pytest.approx(expected(case, "lfc")["value"], rel=1e-6)


def test_closed_form_is_the_correlation_of_all_pairs():
    x, y = arrays(CASES[1])["X"][:300].astype(float) + 5, arrays(CASES[1])["y"][:300]
    labels = np.where(y[:, None] == y, 1.0, -1.0)
    reference = np.corrcoef((x @ x.T).ravel(), labels.ravel())[0, 1]
    assert lfc(FeatureSet(torch.from_numpy(x), torch.from_numpy(y))).value == pytest.approx(reference, rel=1e-9)


def test_no_spread_is_said():
    with pytest.raises(ScorerNotApplicable, match="same features"):
        lfc(FeatureSet(torch.ones(6, 3), torch.arange(6) % 2))
