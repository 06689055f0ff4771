import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from tests.scorers.golden import BOXES, CASES, EXPECTED, expected, features

from modelrank.scorers.logme import logme
from modelrank.types import FeatureSet, ScorerNotApplicable


@pytest.mark.parametrize("case", CASES)
def test_reference_value(case):
    assert logme(features(case)).value == pytest.approx(expected(case, "logme")["value"], rel=1e-9)


def test_reference_value_in_single_precision():
    value = logme(features(CASES[0], torch.float32)).value
    assert value == pytest.approx(EXPECTED[CASES[0]]["logme"]["value"], rel=1e-6)


def test_reference_value_of_regression():
    data = features(BOXES)
    data = FeatureSet(data.features, data.boxes, "regression")
    assert logme(data).value == pytest.approx(EXPECTED[BOXES]["logme_regression"]["value"], rel=1e-9)


def log_evidence(f, y, alpha, beta):
    """log N(y; 0, 1/beta I + 1/alpha F F^T) per sample, by the definition."""
    covariance = np.eye(len(f)) / beta + f @ f.T / alpha
    return -(np.linalg.slogdet(2 * math.pi * covariance)[1] + y @ np.linalg.solve(covariance, y)) / 2 / len(f)


def multiplied(data, factor):
    return replace(data, features=data.features * factor, memo={})


def skewed(n, d, shift, seed=5):
    rng = np.random.default_rng(seed)
    y = rng.choice(5, n, p=[0.6, 0.2, 0.1, 0.07, 0.03])
    f = np.maximum(rng.normal(size=(n, d)) + shift * rng.normal(size=(5, d))[y], 0)
    return FeatureSet(torch.from_numpy(f), torch.from_numpy(y))


@pytest.mark.parametrize(("n", "d", "shift"), [(200, 40, 1.0), (200, 512, 0.5), (120, 120, 0.0)])
def test_the_maximum_is_that_of_an_independent_search_at_every_scale(n, d, shift):
    data = skewed(n, d, shift)
    f, columns = data.features.numpy(), np.eye(5)[data.targets.numpy()]
    columns = columns[:, columns.any(0)]
    kernel = np.linalg.eigh(f @ f.T)
    best = []
    for column in columns.T:
        along = (kernel[1].T @ column) ** 2

        def loss(p, along=along):
            variance = np.maximum(kernel[0], 0) / np.exp(p[0]) + 1 / np.exp(p[1])
            return (np.log(2 * math.pi * variance).sum() + (along / variance).sum()) / 2 / n

        starts = ([0, 0], [5, 2], [-5, 2], [12, 1], [-12, 1])
        options = {"maxiter": 4000, "xatol": 1e-9, "fatol": 1e-13}
        best.append(-min(minimize(loss, start, method="Nelder-Mead", options=options).fun for start in starts))
    found = [logme(multiplied(data, factor), maximum=True).value for factor in (1e-4, 0.01, 1, 100, 1e4)]
    np.testing.assert_allclose(found, np.mean(best), atol=1e-8)


def test_the_published_updates_say_so_where_they_end_far_from_the_maximum():
    data = skewed(200, 512, 0.5)
    with pytest.warns(UserWarning, match=r"more than 0\.002 from the largest evidence.*maximum=true"):
        far = logme(multiplied(data, 100)).value
    best = logme(data, maximum=True).value
    assert abs(far - best) > 0.002
    near = features(CASES[0])
    assert logme(near).value == pytest.approx(logme(near, maximum=True).value, abs=1e-4)  # and no warning


@pytest.mark.parametrize(("n", "d"), [(60, 12), (25, 70)])
def test_it_is_the_largest_evidence(n, d):
    rng = np.random.default_rng(0)
    f = rng.normal(size=(n, d)) + 0.5
    y = f @ rng.normal(size=d) + rng.normal(size=n) * 3
    data = FeatureSet(torch.from_numpy(f), torch.from_numpy(y), "regression")
    found = logme(data, iterations=1000, tolerance=1e-10).value
    grid = [log_evidence(f, y, a, b) for a in np.logspace(-2, 2, 81) for b in np.logspace(-2, 2, 81)]
    assert found == pytest.approx(max(grid), abs=2e-3)
    assert found >= max(grid) - 1e-5


def test_multilabel_is_the_mean_over_the_columns():
    data = features(CASES[0])
    columns = torch.nn.functional.one_hot(data.targets)
    multilabel = logme(FeatureSet(data.features, columns, "multilabel"))
    assert multilabel.value == pytest.approx(logme(data).value, rel=1e-9)
    assert multilabel.parts["evidence"].shape == (5,)


def test_features_of_zero_have_no_evidence():
    with pytest.raises(ScorerNotApplicable, match="0"):
        logme(FeatureSet(torch.zeros(10, 3), torch.arange(10) % 2))


def test_detection_is_the_evidence_of_the_classes_and_that_of_the_boxes():
    data = features(BOXES, task="detection")
    score = logme(data)
    assert score.parts["cls"] == pytest.approx(expected(BOXES, "logme")["value"], rel=1e-9)
    assert score.parts["reg"] == pytest.approx(EXPECTED[BOXES]["logme_regression"]["value"], rel=1e-9)
    assert score.value == score.parts["cls"] + score.parts["reg"]
    assert logme(features(BOXES, task="detection", dtype=torch.float32)).value == pytest.approx(score.value, rel=1e-5)
    with pytest.raises(ScorerNotApplicable, match="boxes"):
        logme(features(BOXES, task="detection", boxes=None))
