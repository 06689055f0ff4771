import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, Ridge

from modelrank.data.images import ImageData, ImageSplit
from modelrank.truth.frozen import Fits, LinearProbe
from modelrank.truth.measure import measure


@pytest.fixture(scope="module")
def features():
    x, y = load_digits(return_X_y=True)
    return torch.tensor(x[:300] / 16), torch.tensor(y[:300])


@pytest.mark.parametrize("strength", [1.0, 100.0])
def test_logistic_regression_is_scikit_learns(features, strength):
    x, y = features
    weights = Fits(x, y, 10, "classification").fit(strength, iterations=300)
    theirs = LogisticRegression(C=1 / strength, tol=1e-8, max_iter=5000).fit(x, y)
    ours = (x @ weights[:-1] + weights[-1]).softmax(1)
    np.testing.assert_allclose(ours, theirs.predict_proba(x), atol=2e-4)
    again = Fits(x, y, 10, "classification").fit(strength, iterations=300, start=weights)
    np.testing.assert_allclose(again, weights, atol=1e-3)


def test_one_logistic_regression_an_output_and_more_columns_than_rows(features):
    x, digit = features
    x = x[:50]
    y = torch.stack([digit[:50] % 2 == 0, digit[:50] > 4], 1).double()
    weights = Fits(x, y, 2, "multilabel").fit(3.0, iterations=300)
    for k in range(2):  # the loss is averaged over the two outputs
        theirs = LogisticRegression(C=1 / 6.0, tol=1e-8, max_iter=5000).fit(x, y[:, k])
        np.testing.assert_allclose(x @ weights[:-1, k] + weights[-1, k], theirs.decision_function(x), atol=1e-3)


def test_ridge_is_scikit_learns(features):
    x, _ = features
    y = torch.stack([x[:, :8].sum(1), x[:, 8:].std(1)], 1)
    # mean over rows and columns: the sum of squares of K columns, divided by N K, against strength / 2N
    weights = Fits(x, y, 2, "regression").fit(3.0, iterations=500)
    theirs = Ridge(alpha=3.0, solver="cholesky").fit(x, y)
    np.testing.assert_allclose(x @ weights[:-1] + weights[-1], theirs.predict(x), atol=1e-6)


def test_measures_a_linear_probe(tmp_path, digits, model, trainer):
    protocol = LinearProbe("linear_probe", strengths=[0.01, 1.0, 1e4], image_size=None, batch_size=64, workers=0)
    row = measure(model, digits, protocol, trainer=trainer, cache=tmp_path)
    assert row["accuracy"] > 0.7  # random features of digits, chance is 0.1
    assert row["weight_decay"] in (0.01, 1.0)
    assert row["lr"] is None
    assert (row["n_train"], row["n_test"], row["image_size"]) == (400, 200, 8)
    assert measure(model, digits, protocol, trainer=None, cache=tmp_path) == row  # nothing is computed again


def test_seconds_are_the_same_where_the_features_were_kept(tmp_path, digits, model, trainer, monkeypatch):
    protocol = LinearProbe("linear_probe", strengths=[1.0], image_size=None, batch_size=64, workers=0)
    monkeypatch.setattr("time.process_time", lambda: 0.0)  # of the problems, which are solved each time
    found = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        folder.mkdir()
        found.append(protocol(model, digits, trainer=trainer, folder=folder, cache=tmp_path, seed=0).seconds)
    assert found[0] == found[1] > 0


def multilabel(digits: ImageData) -> ImageData:
    def split(old: ImageSplit) -> ImageSplit:
        labels = np.stack([old.targets % 2 == 0, old.targets > 4, old.targets % 3 == 0], 1).astype(np.int64)
        return ImageSplit(old.images, labels, old.ids)

    splits = {name: split(old) for name, old in digits.splits.items()}
    return replace(digits, task="multilabel", classes=("even", "large", "third"), metric="map11", splits=splits)


def test_multilabel(tmp_path, digits, model, trainer):
    protocol = LinearProbe("linear_probe", strengths=[0.1], image_size=None, batch_size=64, workers=0)
    row = measure(model, multilabel(digits), protocol, trainer=trainer, cache=tmp_path)
    assert row["metric"] == "map11"
    assert row["accuracy"] > 0.75


def test_no_warning_reaches_the_user(tmp_path, digits, model, trainer):
    protocol = LinearProbe("linear_probe", strengths=[1.0], image_size=None, batch_size=64, workers=0)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        measure(model, digits, protocol, trainer=trainer, cache=tmp_path)
    assert not [str(warning.message) for warning in seen if "workers" in str(warning.message)]
