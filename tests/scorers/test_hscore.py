import numpy as np
import pytest
import torch
from tests.scorers.golden import CASES, expected, features

from modelrank.scorers.hscore import hscore
from modelrank.types import FeatureSet, ScorerNotApplicable


@pytest.mark.parametrize("case", CASES)
def test_reference_value(case):
    assert hscore(features(case)).value == pytest.approx(expected(case, "hscore")["value"], rel=1e-9)


def test_with_few_samples_it_says_nothing():
    x = torch.randn(20, 50, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ScorerNotApplicable, match="20 samples of 50 dimensions give C - 1"):
        hscore(FeatureSet(x, torch.arange(20) % 4))
    twice = torch.randn(200, 250, generator=torch.Generator().manual_seed(1))
    twice[1] = twice[0]  # two images that are one: one direction less
    with pytest.raises(ScorerNotApplicable, match="200 samples of 250 dimensions"):
        hscore(FeatureSet(twice, torch.arange(200) % 4))
    narrow = torch.cat([x[:, :6], torch.zeros(20, 44)], 1)  # 6 directions, however many columns
    assert 0 < hscore(FeatureSet(narrow, torch.arange(20) % 4)).value < 3


def test_factorised_and_decomposed_agree():
    """A direction of almost no variance is told apart from none, whichever way the inverse is formed."""
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 5
    x = rng.normal(size=(400, 20)) + rng.normal(size=(5, 20))[labels]
    full = np.cov(x.T, bias=True)
    means = np.stack([x[labels == c].mean(0) for c in range(5)])
    between = np.cov(means.T, bias=True)
    wanted = np.trace(np.linalg.pinv(full) @ between)
    assert hscore(FeatureSet(torch.tensor(x), torch.tensor(labels))).value == pytest.approx(wanted, rel=1e-9)
    doubled = np.c_[x, x[:, :3]]  # singular: the eigenvectors are needed, and say the same
    assert hscore(FeatureSet(torch.tensor(doubled), torch.tensor(labels))).value == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("n", [200, 201, 202])
def test_a_few_samples_more_than_dimensions_say_nothing_either(n):
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(ScorerNotApplicable, match="whatever the features are"):
        hscore(FeatureSet(torch.randn(n, 200, generator=generator), torch.arange(n) % 4))
