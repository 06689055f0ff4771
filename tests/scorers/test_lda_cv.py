import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf
from tests.scorers.golden import CASES, DIGITS, features

from modelrank.scorers.lda_cv import lda_cv
from modelrank.scorers.linalg import deal_folds
from modelrank.types import FeatureSet, ScorerNotApplicable


@pytest.mark.parametrize("case", [CASES[1], DIGITS])
def test_is_k_classifiers_fitted_from_scratch(case):
    data = features(case)
    x, y, folds = data.features.numpy(), data.targets.numpy(), deal_folds(data, 4, 0).numpy()
    right, weights = 0, []
    for fold in range(4):
        train = folds != fold
        means = np.stack([x[train & (y == c)].mean(0) for c in range(y.max() + 1)])
        priors = np.bincount(y[train]) / train.sum()
        within = LedoitWolf(assume_centered=True).fit(x[train] - means[y[train]])
        weights.append(within.shrinkage_)
        inverse = np.linalg.inv(within.covariance_)
        scores = x[~train] @ inverse @ means.T - 0.5 * np.sum(means @ inverse * means, 1) + np.log(priors)
        right += np.sum(scores.argmax(1) == y[~train])
    score = lda_cv(data, folds=4)
    assert score.value == pytest.approx(right / len(y), abs=1e-12)
    assert score.parts["shrinkage"] == pytest.approx(np.mean(weights), rel=1e-6)


def test_scale_does_not_matter():
    data = features(DIGITS)
    assert lda_cv(features(DIGITS, features=1e-6 * data.features)).value == lda_cv(data).value


def test_singletons_count_as_errors():
    x = torch.cat([features(CASES[0]).features, torch.zeros(100, 64, dtype=torch.float64)])
    y = torch.cat([features(CASES[0]).targets, torch.arange(100, 200)])
    assert lda_cv(FeatureSet(x, y)).value <= 600 / 700


def test_no_spread_inside_classes_is_said():
    with pytest.raises(ScorerNotApplicable, match="no spread"):
        lda_cv(FeatureSet((torch.arange(20) % 2)[:, None].float(), torch.arange(20) % 2))
