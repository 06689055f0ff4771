import numpy as np
import pytest
from tests.scorers.golden import CASES, arrays, features

from modelrank.scorers.rankme import rankme
from modelrank.scorers.stable_rank import stable_rank


@pytest.mark.parametrize("case", CASES)
def test_is_frobenius_over_spectral(case):
    x = arrays(case)["X"].astype(float)
    reference = np.linalg.norm(x) ** 2 / np.linalg.norm(x, 2) ** 2
    assert stable_rank(features(case)).value == pytest.approx(reference, rel=1e-9)


def test_shares_its_decomposition_with_rankme():
    data = features(CASES[0])
    rankme(data)
    sigma = data.memo["uncentred singular values"]
    stable_rank(data)
    assert data.memo["uncentred singular values"] is sigma
