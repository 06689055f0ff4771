import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, r2_score

from modelrank.truth.metrics import METRICS, sampling_error


def in_batches(metric, predictions, targets, size=7):
    for p, t in zip(predictions.split(size), targets.split(size), strict=True):
        metric.update(p, t)
    return float(metric.compute())


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 5, (60,), generator=generator)
    outputs = torch.randn(60, 6, generator=generator) + 2 * torch.nn.functional.one_hot(targets, 6)
    outputs[:3, 5] = 9
    return outputs, targets  # class 5 is predicted now and then but never occurs


def test_accuracy(logits):
    outputs, targets = logits
    value = in_batches(METRICS["accuracy"](6), outputs, targets)
    assert value == pytest.approx(accuracy_score(targets, outputs.argmax(1)), abs=1e-6)


def test_mean_per_class_accuracy_ignores_classes_that_never_occur(logits):
    outputs, targets = logits
    assert (outputs.argmax(1) == 5).any()
    value = in_batches(METRICS["mean_per_class_accuracy"](6), outputs, targets)
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        expected = balanced_accuracy_score(targets, outputs.argmax(1))
    assert value == pytest.approx(expected, abs=1e-9)


def direct_map11(probabilities, targets):
    """The VOC 2007 development kit's loop, threshold after threshold."""
    values = []
    for p, t in zip(probabilities.T, targets.T, strict=True):
        if not t.any():
            continue
        chosen = [p >= threshold for threshold in np.unique(p)]
        recall = np.array([(c & (t == 1)).sum() / t.sum() for c in chosen])
        precision = np.array([(c & (t == 1)).sum() / c.sum() for c in chosen])
        values.append(np.mean([precision[recall >= r / 10].max(initial=0) for r in range(11)]))
    return np.mean(values)


@pytest.mark.parametrize("seed", range(4))
def test_eleven_point_map_against_a_direct_computation(seed):
    rng = np.random.default_rng(seed)
    targets = (rng.random((50, 4)) < 0.2).astype(int)
    targets[:, 3] = 0  # a label without a positive image
    probabilities = np.round(rng.random((50, 4)) * 0.8 + 0.2 * targets, 2)  # rounding makes ties
    value = in_batches(METRICS["map11"](4), torch.tensor(probabilities), torch.tensor(targets))
    assert value == pytest.approx(direct_map11(probabilities, targets), abs=1e-6)


def test_eleven_point_map_is_not_one_at_recall_zero():
    metric = METRICS["map11"](1)
    metric.update(torch.tensor([[0.9], [0.8], [0.1]]), torch.tensor([[0], [1], [0]]))  # best precision is 1/2
    assert float(metric.compute()) == pytest.approx(0.5)


def test_r2():
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(40, 2, generator=generator)
    outputs = targets + 0.3 * torch.randn(40, 2, generator=generator)
    assert in_batches(METRICS["r2"](2), outputs, targets) == pytest.approx(r2_score(targets, outputs), abs=1e-5)


@pytest.mark.parametrize(("metric", "value"), [("accuracy", 0.8), ("mean_per_class_accuracy", 0.8)])
def test_error_of_a_value_is_its_spread_over_drawn_images(metric, value):
    rng, targets = np.random.default_rng(0), np.repeat([0, 1], [450, 50])
    found = []
    for _ in range(2000):
        right = rng.random(500) < value
        found.append(right.mean() if metric == "accuracy" else np.mean([right[:450].mean(), right[450:].mean()]))
    assert sampling_error(metric, value, targets) == pytest.approx(np.std(found), rel=0.06)


@pytest.mark.parametrize("r2", [0.1, 0.5, 0.9])
def test_error_of_r2(r2):
    rng, found = np.random.default_rng(0), []
    for _ in range(2000):
        guess = rng.standard_normal(500) * np.sqrt(r2)
        truth = guess + rng.standard_normal(500) * np.sqrt(1 - r2)
        found.append(1 - np.square(truth - guess).sum() / np.square(truth - truth.mean()).sum())
    assert sampling_error("r2", r2, np.zeros(500)) == pytest.approx(np.std(found), rel=0.25)
    assert sampling_error("r2", -0.5, np.zeros(500)) > 0


def test_images_that_are_alike_count_as_one():
    """A typeface is read right in all its letters or in none."""
    rng = np.random.default_rng(0)
    typefaces = np.repeat(np.arange(50), 10)
    found = [np.repeat(rng.random(50) < 0.8, 10).mean() for _ in range(2000)]
    assert sampling_error("accuracy", 0.8, np.zeros(500), typefaces) == pytest.approx(np.std(found), rel=0.06)
    alone = sampling_error("accuracy", 0.8, np.zeros(500), np.arange(500))
    assert alone == sampling_error("accuracy", 0.8, np.zeros(500))
