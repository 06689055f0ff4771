import pytest
from tests.scorers.golden import CASES, expected, features

from modelrank.scorers.ncc import ncc


@pytest.mark.parametrize("case", CASES)
def test_equals_the_lda_of_etran(case):
    assert ncc(features(case)).value == pytest.approx(expected(case, "etran_lda")["value"], rel=1e-9)
