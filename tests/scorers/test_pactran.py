from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from tests.scorers.golden import CASES, expected, features

from modelrank.scorers.pactran import pactran_dirichlet, pactran_gamma, pactran_gaussian
from modelrank.types import ScorerNotApplicable


@pytest.mark.parametrize("case", CASES)
def test_gaussian_reference_value(case):
    score, reference = pactran_gaussian(features(case)), expected(case, "pactran_gaussian[lda_factor=1]")
    assert score.value == pytest.approx(-reference["value"], rel=5e-3)  # negated: the source is 'lower is better'
    assert score.parts["bounds"] == pytest.approx([reference["value"], reference["second_s2"]], rel=5e-3)
    assert score.parts["loss"] == pytest.approx(reference["pac_opt"], rel=5e-3)


def test_gaussian_fits_the_regularised_softmax_regression():
    data = features(CASES[0])
    x, y = data.features.numpy(), data.targets.numpy()
    model = LogisticRegression(C=1.0, tol=1e-8, max_iter=2000).fit(x - x.mean(0), y)  # C = lda_factor
    log_posterior = model.predict_log_proba(x - x.mean(0))[np.arange(len(y)), y]
    loss = -log_posterior.mean() + 0.5 * np.sum(model.coef_**2) / len(y)
    assert pactran_gaussian(data, iterations=2000).parts["loss"] == pytest.approx(loss, rel=2e-3)


@pytest.mark.parametrize("case", CASES)
def test_dirichlet_reference_value(case):
    value = pactran_dirichlet(features(case)).value
    assert value == pytest.approx(-expected(case, "pactran_dirichlet")["value"], rel=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_gamma_reference_value(case):
    assert pactran_gamma(features(case)).value == pytest.approx(-expected(case, "pactran_gamma")["value"], rel=1e-6)


def test_float32_is_close():
    exact, single = pactran_gaussian(features(CASES[0])), pactran_gaussian(features(CASES[0], torch.float32))
    assert single.value == pytest.approx(exact.value, rel=5e-3)


def test_bad_parameters_and_needs():
    with pytest.raises(ValueError, match="lda_factor"):
        pactran_gaussian(features(CASES[0]), lda_factor=0.0)
    for scorer in (pactran_dirichlet, pactran_gamma):
        with pytest.raises(ValueError, match="alpha"):
            scorer(features(CASES[0]), alpha=0.0)
        with pytest.raises(ScorerNotApplicable, match="logits"):
            scorer(features(CASES[0], logits=None))


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_the_minimum_is_where_the_slope_is_nothing(scale):
    data = features(CASES[0])
    data = replace(data, features=data.features[:, :8] * scale, memo={})
    found, published = pactran_gaussian(data, minimum=True).parts, pactran_gaussian(data).parts
    x, y, n = data.features.double().numpy(), data.targets.numpy(), len(data.targets)
    known = LogisticRegression(C=1.0, solver="newton-cg", tol=1e-9, max_iter=500).fit(x - x.mean(0), y)
    loss = log_loss(y, known.predict_proba(x - x.mean(0))) + (known.coef_**2).sum() / (2 * n)
    assert found["loss"] == pytest.approx(loss, rel=1e-7)
    assert found["loss"] < published["loss"]
