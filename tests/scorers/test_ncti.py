import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from tests.scorers.golden import CASES, DIGITS, arrays, expected, features

from modelrank.scorers.ncti import ncti
from modelrank.types import FeatureSet, ScorerNotApplicable

PARTS = ("seli", "ncc", "vc")


@pytest.mark.parametrize("case", [case for case in CASES if case != DIGITS])
def test_reference_value(case):
    parts, reference = ncti(features(case)).parts, expected(case, "ncti")
    assert [parts[part] for part in PARTS] == pytest.approx([reference[part] for part in PARTS], rel=1e-6)


def by_scikit_learn(x, y, **settings):
    lda = LinearDiscriminantAnalysis(**settings)
    low = lda.fit_transform(x, y)
    posterior = lda.predict_proba(x)
    norms = sum(np.linalg.norm(posterior[y == c], "nuc") for c in range(y.max() + 1))
    return np.linalg.norm(low - low.mean(0), "nuc"), posterior[np.arange(len(y)), y].mean(), np.log(norms)


def test_where_the_published_code_differs():
    """The digits have 3 constant pixels: the last 3 of 64 components are rounding errors, which the published code
    scales up to unit variance and reads as features. Without them scikit-learn's LDA gives ours."""
    read = arrays(DIGITS)
    x, y = read["X"].astype(float), read["y"]
    parts = ncti(features(DIGITS)).parts
    ours = [parts[part] for part in PARTS]
    x = x[:, x.std(0) > 0] - x.mean(0)[x.std(0) > 0]
    assert x.shape[1] == 61
    scores = x @ np.linalg.svd(x, full_matrices=False)[2].T
    assert ours == pytest.approx(by_scikit_learn(scores, y), rel=1e-6)
    assert ours == pytest.approx([expected(DIGITS, "ncti")[part] for part in PARTS], rel=1e-3)


def test_shrunk_form_where_the_variances_are_small():
    read = arrays(CASES[0])
    x, y = 0.05 * read["X"].astype(float), read["y"]
    centred = x - x.mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    shrinkage = np.exp(-np.sum(s[:32] ** 2) / (len(x) - 1))
    assert shrinkage > 1e-6
    parts = ncti(features(CASES[0], features=torch.from_numpy(x))).parts
    reference = by_scikit_learn(u * s, y, solver="eigen", shrinkage=shrinkage)
    assert [parts[part] for part in PARTS] == pytest.approx(reference, rel=1e-6)


def test_over_a_hub_each_part_is_scaled():
    scores = {case: ncti(features(case)) for case in CASES}
    combined = ncti.facts.combine(scores)
    best = max(CASES, key=lambda case: scores[case].parts["seli"])
    assert best == "c2_relu_1200x256_C20"
    values = {part: [scores[case].parts[part] for case in CASES] for part in PARTS}
    scaled = {part: (np.array(v) - min(v)) / (max(v) - min(v)) for part, v in values.items()}
    np.testing.assert_allclose(list(combined.values()), scaled["seli"] + scaled["ncc"] - scaled["vc"])


def test_no_spread_inside_classes_is_said():
    labels = torch.arange(8) % 2
    with pytest.raises(ScorerNotApplicable, match="no spread"):
        ncti(FeatureSet(labels[:, None] * torch.tensor([[1.0, 2.0]]) * 100, labels))
