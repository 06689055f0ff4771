from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import average_precision_score, r2_score
from tests.scorers.golden import BOXES, CASES, DIGITS, features

from modelrank.scorers.itm import itm
from modelrank.scorers.lda_cv import lda_cv
from modelrank.scorers.linalg import deal_folds
from modelrank.scorers.linear_probe import linear_probe
from modelrank.types import FeatureSet, ScorerNotApplicable


def standardised(data):
    x = data.features.numpy()
    spread = x.std(0)
    return (x - x.mean(0))[:, spread > 0] / spread[spread > 0]


def held_out(data, fit):
    """Predictions of `fit(train rows)` for the rows of each fold, the folds of the scorer."""
    fold = deal_folds(data, 5, seed=0).numpy()
    return fold, np.concatenate([fit(fold != k, fold == k) for k in range(5)]), np.argsort(fold, kind="stable")


@pytest.mark.parametrize("case", [CASES[0], DIGITS])
@pytest.mark.parametrize("strength", [1.0, 0.01])
def test_accuracy_of_scikit_learn_on_the_same_folds(case, strength):
    data = features(case)
    x, y = standardised(data), data.targets.numpy()

    def fit(train, test):
        model = LogisticRegression(C=1 / (strength * train.sum()), max_iter=3000, tol=1e-8).fit(x[train], y[train])
        return model.predict(x[test])

    _, predicted, order = held_out(data, fit)
    mine = linear_probe(data, strengths=[strength])
    assert mine.value == pytest.approx(np.mean(predicted == y[order]), abs=1.5 / len(y))


def test_regression_is_ridge_regression():
    data = features(BOXES)
    data = FeatureSet(data.features, data.boxes, "regression")
    x, y = standardised(data), data.targets.numpy()
    _, predicted, order = held_out(
        data, lambda train, test: Ridge(0.1 * train.sum()).fit(x[train], y[train]).predict(x[test])
    )
    mine = linear_probe(data, strengths=[0.1])
    assert mine.value == pytest.approx(r2_score(y[order], predicted), abs=1e-4)


def test_multilabel_is_average_precision_of_logistic_regressions():
    data = features(BOXES)
    data = FeatureSet(data.features, (data.boxes > 0.5).long(), "multilabel")
    x, y = standardised(data), data.targets.numpy()

    def fit(train, test):
        models = [LogisticRegression(C=1 / train.sum(), max_iter=3000, tol=1e-8) for _ in y.T]
        return np.stack(
            [m.fit(x[train], c[train]).decision_function(x[test]) for m, c in zip(models, y.T, strict=True)], 1
        )

    _, predicted, order = held_out(data, fit)
    mine = linear_probe(data, strengths=[1.0])
    assert mine.value == pytest.approx(average_precision_score(y[order], predicted), abs=2e-3)


def test_the_best_strength_is_taken():
    score = linear_probe(features(BOXES), strengths=[1e-3, 10.0, 0.1])
    assert score.value == score.parts["skill"].max()
    assert score.parts["strength"] == [10.0, 0.1, 1e-3][int(score.parts["skill"].argmax())]


def test_recall_is_of_each_class_and_gives_both_accuracies():
    data = features(DIGITS)
    score, count = linear_probe(data, strengths=[0.1]), torch.bincount(data.targets).numpy()
    assert score.value == pytest.approx(float(score.parts["recall"] @ count / count.sum()))
    assert "recall" not in linear_probe(FeatureSet(data.features, data.features[:, :2], "regression")).parts


def test_refusals():
    data = features(CASES[0])
    with pytest.raises(ValueError, match="strengths"):
        linear_probe(data, strengths=[0.0])
    with pytest.raises(ScorerNotApplicable, match="same for every sample"):
        linear_probe(FeatureSet(torch.ones(10, 3), torch.arange(10) % 2))


def test_few_images_of_many_boxes_have_as_many_folds_as_there_are_images():
    data = features(CASES[0])
    image = torch.arange(len(data.features)) % 4
    boxed = replace(data, task="detection", image=image, memo={})
    assert 0 < linear_probe(boxed, strengths=[0.1]).value <= 1


@pytest.mark.parametrize("scorer", [linear_probe, lda_cv, itm])
def test_boxes_of_one_image_cannot_be_held_out(scorer):
    data = features(CASES[0])
    boxed = replace(data, task="detection", image=torch.zeros(len(data.features), dtype=torch.int64), memo={})
    with pytest.raises(ScorerNotApplicable, match="two images or more"):
        scorer(boxed)
