import numpy as np
import pytest
import scipy.linalg
import torch
from tests.scorers.golden import CASES, arrays, expected, features

from modelrank.scorers.sfda import sfda
from modelrank.types import FeatureSet, ScorerNotApplicable


@pytest.mark.parametrize("case", CASES)
def test_reference_value(case):
    score, reference = sfda(features(case)), expected(case, "sfda")
    assert score.value == pytest.approx(reference["value"], rel=1e-6)
    assert score.parts["shrinkage"] == pytest.approx(reference["shrinkage"][0], rel=1e-6)


def test_first_step_is_the_generalised_eigenproblem():
    """With one class's posterior near 1, ConfMix keeps samples apart; check the discriminant itself by eigenvectors."""
    x, y = arrays(CASES[0])["X"].astype(float), arrays(CASES[0])["y"]
    strength = 0.1

    def posterior(x):
        means = np.stack([x[y == c].mean(0) for c in range(5)])
        priors = np.bincount(y) / len(y)
        within = sum(p * np.cov(x[y == c].T, bias=True) for c, p in enumerate(priors))
        within = (1 - strength) * within + strength * np.trace(within) / len(within) * np.eye(len(within))
        _, v = scipy.linalg.eigh(np.cov(x.T, bias=True), within)
        scores = x @ v @ v.T @ means.T - 0.5 * np.sum((means @ v) ** 2, 1) + np.log(priors)
        return scipy.special.softmax(scores, 1), means

    first, means = posterior(x)
    weight = scipy.special.softmax(first, 1)[np.arange(len(y)), y][:, None]
    others = (means.sum(0) - means) / 4
    second, _ = posterior(weight * x + (1 - weight) * others[y])
    value = sfda(features(CASES[0]), shrinkage=strength).value
    assert value == pytest.approx(second[np.arange(len(y)), y].mean(), rel=1e-9)


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_no_spread_inside_classes(spread):
    labels = torch.arange(6) % 2
    data = FeatureSet(torch.full((6, 3), 2.0) + spread * labels[:, None], labels)
    value = sfda(data).value
    assert 0.5 <= value <= 1
    assert (value == pytest.approx(0.5)) == (spread == 0)


def test_random_features_of_more_dimensions_than_images_do_not_score_1():
    x = 3 * torch.randn(60, 200, generator=torch.Generator().manual_seed(0))
    data = FeatureSet(x, torch.arange(60) % 4)
    with pytest.raises(ScorerNotApplicable, match="60 samples of 200 dimensions"):
        sfda(data)
    with pytest.warns(UserWarning, match="60 samples of 200 dimensions: the shrinkage decides"):
        assert sfda(data, shrinkage=0.9).value < 1 - 1e-6


def test_bad_parameter():
    with pytest.raises(ValueError, match="shrinkage"):
        sfda(features(CASES[0]), shrinkage=0.0)
