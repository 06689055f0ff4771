import numpy as np
import pytest
import torch
from tests.scorers.golden import CASES, arrays, features

from modelrank.scorers.rankme import rankme
from modelrank.types import FeatureSet, ScorerNotApplicable


@pytest.mark.parametrize("case", CASES)
def test_is_the_entropy_of_the_singular_values(case):
    sigma = np.linalg.svd(arrays(case)["X"].astype(float), compute_uv=False)
    share = sigma / sigma.sum() + 1e-7
    assert rankme(features(case)).value == pytest.approx(np.exp(-np.sum(share * np.log(share))), rel=1e-5)


def test_orthogonal_columns_have_full_rank_and_labels_are_not_read():
    data = FeatureSet(torch.eye(8, 5), torch.full((8,), -1))
    assert rankme(data).value == pytest.approx(5, rel=1e-4)


def test_fewer_samples_than_dimensions():
    assert rankme(FeatureSet(torch.eye(4, 9), torch.zeros(4).long())).value == pytest.approx(4, rel=1e-4)


def test_zeros_are_said():
    with pytest.raises(ScorerNotApplicable, match="all features are 0"):
        rankme(FeatureSet(torch.zeros(4, 2), torch.arange(4)))
