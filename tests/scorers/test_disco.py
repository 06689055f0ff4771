import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from tests.scorers.golden import BOXES, CASES, DIGITS, EXPECTED, features

from modelrank.scorers.contract import classes_and_boxes
from modelrank.scorers.disco import disco, on_subsets, true_posterior
from modelrank.types import FeatureSet, Score, ScorerNotApplicable

ENTRIES = [
    (case, components)
    for case in CASES
    for components in (32, 64, 128)
    if "value" in EXPECTED[case][f"disco[components={components}]"]
]


@pytest.mark.parametrize(("case", "components"), ENTRIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_reference_value(case, components, dtype):
    reference = EXPECTED[case][f"disco[components={components}]"]
    reference = reference["float64"] if dtype == torch.float64 else reference
    score = disco(features(case, dtype), components=components)
    # three constant columns of the digits leave the last components to rounding
    tolerance = 5e-4 if case == DIGITS and components == 64 else 2e-5
    assert score.value == pytest.approx(reference["value"], rel=tolerance)
    np.testing.assert_allclose(score.parts["task"], reference["ncc"], rtol=0, atol=2.5e-3 if tolerance > 1e-4 else 5e-6)
    np.testing.assert_allclose(score.parts["ratio"], reference["ratio"], rtol=0, atol=tolerance)


def clusters(n=80, d=20, classes=3, seed=0) -> FeatureSet:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    x = rng.normal(size=(n, d)) * np.linspace(3, 0.3, d) + rng.normal(size=(classes, d))[labels]
    return FeatureSet(torch.from_numpy(x), torch.from_numpy(labels))


def spectral_components(data, groups):
    """Z_g = U_g S_g V_g^T as N x D matrices and the singular values, by the definition."""
    x = data.features.numpy()
    u, sigma, vt = np.linalg.svd(x - x.mean(0), full_matrices=False)
    blocks = np.array_split(np.arange(len(sigma)), groups)
    return [(u[:, b] * sigma[b]) @ vt[b] for b in blocks], [sigma[b] for b in blocks]


def test_classification_by_the_definition():
    data = clusters()
    labels, total, weights = data.targets.numpy(), 0.0, 0.0
    for z, sigma in zip(*spectral_components(data, 4), strict=True):
        density = np.stack(
            [multivariate_normal(z[labels == c].mean(0), np.eye(20)).pdf(z) * np.mean(labels == c) for c in range(3)],
            axis=1,
        )
        posterior = density / density.sum(1, keepdims=True)
        total += posterior[np.arange(80), labels].mean() * sigma.sum()
        weights += sigma.sum()
    score = disco(data, components=20, groups=4, solver="exact")
    assert score.value == pytest.approx(total / weights, rel=1e-9)


@pytest.mark.parametrize("centre", [False, True])
def test_regression_by_the_pseudo_inverse(centre):
    rng = np.random.default_rng(1)
    b = rng.uniform(size=(80, 4))
    data = FeatureSet(clusters().features, torch.from_numpy(b), "regression")
    b = b - b.mean(0) if centre else b
    fits, shares = [], []
    for z, sigma in zip(*spectral_components(data, 4), strict=True):
        fits.append(-np.mean((b - z @ np.linalg.pinv(z) @ b) ** 2))
        shares.append(sigma.sum())
    score = disco(data, components=20, groups=4, solver="exact", centre_targets=centre)
    assert score.value == pytest.approx(np.average(fits, weights=shares), rel=1e-6)


def test_the_mean_of_the_targets_moves_every_model_alike():
    b = torch.rand(80, 4, generator=torch.Generator().manual_seed(0)) + 0.5
    gaps = [
        disco(data, centre_targets=True).value - disco(data).value
        for seed in (0, 1)
        for data in [FeatureSet(clusters(seed=seed).features, b, "regression")]
    ]
    assert gaps[0] == pytest.approx(gaps[1], rel=1e-6)
    assert gaps[0] == pytest.approx(float(b.double().mean(0).square().mean()), rel=1e-6)


def test_detection_adds_both_tasks_over_the_hub():
    score = disco(features(BOXES, task="detection"))
    regression = features(BOXES, task="regression")
    regression = disco(FeatureSet(regression.features, regression.boxes, "regression"))
    assert score.parts["cls"] == pytest.approx(disco(features(BOXES)).value)
    assert score.parts["reg"] == pytest.approx(regression.value)
    hub = {
        "a": Score(0.0, {"cls": 0.2, "reg": -3.0}),
        "b": Score(0.0, {"cls": 0.4, "reg": -1.0}),
        "c": Score(0.0, {"cls": 0.3, "reg": -1.5}),
    }
    assert classes_and_boxes(hub) == pytest.approx({"a": 0.0, "b": 2.0, "c": 0.5 + 0.75})
    with pytest.raises(ScorerNotApplicable, match="boxes"):
        disco(features(BOXES, task="detection", boxes=None))


def test_other_tasks_are_not_combined():
    assert classes_and_boxes({"a": Score(0.3, {"ratio": 1.0}), "b": Score(0.1)}) == {"a": 0.3, "b": 0.1}


def test_multilabel_is_the_mean_of_balanced_two_class_problems():
    data = clusters()
    targets = torch.stack([data.targets == 0, data.targets != 1], 1).long()
    score = disco(FeatureSet(data.features, targets, "multilabel"), components=20, groups=1, solver="exact")
    x = data.features - data.features.mean(0)
    wanted = []
    for has in targets.T:
        p = true_posterior(x, has)
        wanted.append(float(p[has == 1].mean() + p[has == 0].mean()) / 2)
    assert score.value == pytest.approx(np.mean(wanted))


def test_shared_covariance_is_linear_discriminant_analysis():
    data = clusters(d=6)
    reference = LinearDiscriminantAnalysis(solver="svd").fit(data.features, data.targets)
    wanted = reference.predict_proba(data.features)[np.arange(80), data.targets]
    # scikit-learn divides the scatter by N - C, we (as maximum likelihood does) by N
    z = data.features * np.sqrt(77 / 80)
    np.testing.assert_allclose(true_posterior(data.features, data.targets, "shared") > 0.5, wanted > 0.5)
    assert float(true_posterior(z, data.targets, "shared").mean()) == pytest.approx(wanted.mean(), rel=5e-3)


def test_per_class_covariance_tends_to_quadratic_discriminant_analysis():
    data = clusters(n=6000, d=4)
    wanted = QuadraticDiscriminantAnalysis().fit(data.features, data.targets).predict_proba(data.features)
    found = true_posterior(data.features, data.targets, "per_class")
    np.testing.assert_allclose(found, wanted[np.arange(6000), data.targets], atol=5e-3)


def test_shared_and_diagonal_covariance_do_not_depend_on_the_scale():
    data = clusters()
    big = FeatureSet(data.features * 1e4, data.targets)
    for covariance in ("shared", "diagonal", "per_class"):
        assert disco(big, covariance=covariance).value == pytest.approx(disco(data, covariance=covariance).value)
    assert disco(big).value > disco(data).value + 0.01


def test_rms_norm_takes_the_scale_out():
    data = clusters()
    big = FeatureSet(data.features * 1e4, data.targets)
    assert disco(big, rms_norm=10.0).value == pytest.approx(disco(data, rms_norm=10.0).value)
    norm = float((data.features - data.features.mean(0)).square().sum(1).mean().sqrt())
    assert disco(data, rms_norm=norm, solver="exact").value == pytest.approx(disco(data, solver="exact").value)


@pytest.mark.parametrize(("n", "d"), [(200, 20), (20, 200)])
def test_fewer_dimensions_or_samples_than_components(n, d):
    score = disco(clusters(n=n, d=d), components=128, groups=8)
    assert score.parts["components"] == 20
    assert score.parts["groups"] == 8
    assert len(score.parts["singular_values"]) == 20
    assert score.parts["ratio"].sum() == pytest.approx(1)


def test_components_that_the_groups_do_not_divide_are_all_used():
    data = clusters()
    score = disco(data, components=19, groups=4, solver="exact")
    sigma = torch.linalg.svdvals(data.features - data.features.mean(0))[:19]
    np.testing.assert_allclose(score.parts["ratio"], [part.sum() / sigma.sum() for part in sigma.split([5, 5, 5, 4])])


def test_weighting():
    data = clusters()
    parts = disco(data, solver="exact").parts
    assert disco(data, weighting="uniform", solver="exact").value == pytest.approx(parts["task"].mean())
    energy = [block.sum() for block in np.array_split(parts["singular_values"] ** 2, 8)]
    assert disco(data, weighting="energy", solver="exact").value == pytest.approx(
        np.average(parts["task"], weights=energy)
    )


def test_a_number_as_weighting_is_that_group_alone():
    data = clusters()
    task = disco(data, solver="exact").parts["task"]
    alone = [disco(data, weighting=g, solver="exact").value for g in range(1, 9)]
    np.testing.assert_allclose(alone, task, rtol=1e-6)  # parts went through float32
    for wrong in (0, 9):
        with pytest.raises(ValueError, match="weighting"):
            disco(data, weighting=wrong)


def test_hard_examples_lower_the_score_and_keep_every_class():
    data = clusters(n=300)
    assert disco(data, sampling={"hard": 1.0}).value == pytest.approx(disco(data).value)
    hard = disco(data, sampling={"hard": 0.3})
    rng = np.random.default_rng(0)
    kept = np.concatenate([rng.permutation(np.flatnonzero(data.targets == c))[:30] for c in range(3)])
    drawn = disco(FeatureSet(data.features[kept], data.targets[kept]))
    assert hard.value < drawn.value
    rare = FeatureSet(data.features, torch.where(torch.arange(300) == 7, 9, data.targets))
    assert 0 < disco(rare, sampling={"hard": 0.01}).value < 1


def test_random_samples_are_seeded_and_easier_than_hard_ones():
    data = clusters(n=300)
    drawn = disco(data, sampling={"random": 0.3})
    assert drawn.value == disco(data, sampling={"random": 0.3}).value != disco(data, sampling={"random": 0.4}).value
    assert disco(data, sampling={"hard": 0.3}).value < drawn.value
    assert disco(data, sampling={"random": 1.0}).value == pytest.approx(disco(data).value)


def test_wrong_hyperparameters():
    for wrong in (
        {"components": 0},
        {"groups": 0},
        {"sampling": {"hard": 1.5}},
        {"sampling": {"easy": 0.5}},
        {"sampling": {}},
        {"sampling": {"hard": 0.5, "random": 0.5}},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            disco(clusters(), **wrong)


def test_a_subset_with_one_class_has_no_value_and_labels_that_it_lacks_do_not_count():
    generator = torch.Generator().manual_seed(0)
    features, rare = torch.randn(60, 8, generator=generator), torch.zeros(60, dtype=torch.long)
    rare[:3] = 1
    with pytest.raises(ValueError, match="one class only"):
        on_subsets(FeatureSet(features, rare), [torch.arange(10, 40)])
    labels = torch.stack([rare, torch.arange(60) % 2], 1)
    (score,) = on_subsets(FeatureSet(features, labels, "multilabel"), [torch.arange(10, 40)])
    assert 0 < score.value < 1
