import numpy as np
import pytest
import torch
from tests.scorers.golden import CASES, arrays, expected, features

from modelrank.scorers.transrate import transrate, transrate_normalised
from modelrank.types import FeatureSet, ScorerNotApplicable


@pytest.mark.parametrize("case", CASES)
def test_reference_value(case):
    assert transrate(features(case)).value == pytest.approx(expected(case, "transrate")["value"], rel=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_normalised_reference_value(case):
    score, reference = transrate_normalised(features(case)), expected(case, "transrate_normalised")
    assert score.value == pytest.approx(reference["value"], rel=1e-6)
    assert score.parts["rz"] == pytest.approx(reference["rz"], rel=1e-6)
    assert score.parts["rzy"] == pytest.approx(reference["rzy"], rel=1e-6)


@pytest.mark.parametrize("columns", [5, 256])
def test_both_sides_of_the_determinant(columns):
    """A class has 19 to 104 samples: with 5 columns D x D matrices are taken, with 256 mostly n x n ones."""
    x, y = arrays(CASES[1])["X"].astype(float)[:, :columns], arrays(CASES[1])["y"]
    z = x - x.mean(0)

    def rate(rows, eps=1e-2):
        return 0.5 * np.linalg.slogdet(np.eye(columns) + rows.T @ rows / (len(rows) * eps))[1]

    reference = rate(z) - np.mean([rate(z[y == c]) for c in range(y.max() + 1)])
    value = transrate(features(CASES[1], features=torch.from_numpy(x)), eps=1e-2).value
    assert value == pytest.approx(reference, rel=1e-9)


def test_same_direction_is_said():
    same = torch.arange(1, 9)[:, None] * torch.tensor([[1.0, 2.0, 3.0]])
    with pytest.raises(ScorerNotApplicable, match="same direction"):
        transrate_normalised(FeatureSet(same, torch.arange(8) % 2))


def test_bad_parameter():
    for scorer in (transrate, transrate_normalised):
        with pytest.raises(ValueError, match="eps"):
            scorer(features(CASES[0]), eps=0.0)
