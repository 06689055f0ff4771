import dataclasses

import numpy as np
import pytest
import torch
from tests.scorers.golden import BOXES, CASES, arrays, expected, features

from modelrank.scorers.etran import etran, etran_energy, etran_features, etran_lda, etran_regression
from modelrank.types import FeatureSet, ScorerNotApplicable

FORMS = {"value": {}, "top": {"tail": "top"}, "percent10_bot": {"percent": 10.0}, "all_samples": {"percent": 100.0}}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("form", FORMS)
def test_energy_reference_value(case, form):
    value = etran_energy(features(case), **FORMS[form]).value
    assert value == pytest.approx(expected(case, "etran_energy")[form], rel=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_energy_of_the_features_as_the_authors_script_has_it(case):
    part = etran_features(features(case, logits=None)).parts["energy"]
    assert part == pytest.approx(expected(case, "etran_energy")["on_features"], rel=1e-6)


def test_energy_takes_at_least_one_sample():
    data = FeatureSet(torch.zeros(3, 2), torch.arange(3), logits=torch.tensor([[3.0, 0], [1, 0], [2, 0]]))
    assert etran_energy(data).value == pytest.approx(np.log(np.e + 1))


@pytest.mark.parametrize("case", CASES)
def test_lda_reference_value(case):
    assert etran_lda(features(case)).value == pytest.approx(expected(case, "etran_lda")["value"], rel=1e-6)


def test_regression_reference_value():
    data = features(BOXES, task="detection")
    assert etran_regression(data).value == pytest.approx(expected(BOXES, "etran_regression")["value"], rel=1e-6)


def test_regression_is_the_pseudo_inverse_also_with_duplicate_columns():
    read = arrays(BOXES)
    x, boxes = read["X"].astype(float), read["boxes"].astype(float)
    x = np.concatenate([x, x[:, :3], np.zeros((len(x), 1))], 1)
    data = features(BOXES, task="regression", features=torch.from_numpy(x), targets=torch.from_numpy(boxes))
    reference = -np.mean((boxes - x @ np.linalg.pinv(x) @ boxes) ** 2)
    assert etran_regression(data).value == pytest.approx(reference, rel=1e-6)


def test_over_a_hub_every_part_is_scaled_before_it_is_weighted():
    scores = {case: etran(features(case)) for case in CASES[:3]}
    combined = etran.facts.combine(scores)

    def scaled(part):
        values = np.array([score.parts[part] for score in scores.values()])
        return (values - values.min()) / (values.max() - values.min())

    np.testing.assert_allclose(list(combined.values()), 0.15 * scaled("energy") + 0.85 * scaled("lda"))


def test_detection_adds_the_regression_part():
    data = features(BOXES, task="detection")
    worse = dataclasses.replace(data, features=data.features[:, :8], memo={})
    combined = etran.facts.combine({"a": etran(data), "b": etran(worse)})
    assert set(etran(data).parts) == {"energy", "lda", "regression"}
    assert combined["a"] == pytest.approx(1.85)  # the same logits: no difference in energy
    assert combined["b"] == 0


def test_needs_are_said():
    with pytest.raises(ScorerNotApplicable, match="logits"):
        etran(features(CASES[0], logits=None))
    with pytest.raises(ScorerNotApplicable, match="boxes"):
        etran_regression(features(CASES[0], task="detection", boxes=None))
    with pytest.raises(ValueError, match="percent"):
        etran_energy(features(CASES[0]), percent=0.0)


@pytest.mark.parametrize(
    ("percent", "n", "samples"), [(0.05, 20_000, 10), (0.29, 10_000, 29), (0.5, 1234, 6), (0.01, 50, 1)]
)
def test_percent_is_taken_as_it_is(percent, n, samples):
    logits = torch.arange(n, dtype=torch.float64)[:, None]
    value = etran_energy(FeatureSet(torch.zeros(n, 1), torch.arange(n) % 2, logits=logits), percent=percent).value
    assert value == pytest.approx((samples - 1) / 2)
