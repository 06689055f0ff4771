import dataclasses

import numpy as np
import pytest
import torch

from modelrank.scorers import linalg
from modelrank.types import FeatureSet


def data(n=300, d=40, classes=5, seed=0, **changes) -> FeatureSet:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 5
    return FeatureSet(**{"features": torch.from_numpy(x), "targets": torch.arange(n) % classes} | changes)


def test_moments_by_the_definition():
    one = data()
    x = one.features.numpy()
    np.testing.assert_allclose(linalg.scatter(one), np.cov(x.T) * 299)
    centred = x - x.mean(0)
    np.testing.assert_allclose(linalg.fourth_moment(one), (centred**2).sum(1) @ (centred**2).sum(1))
    within = sum(np.cov(x[one.targets == c].T) * 59 for c in range(5))
    np.testing.assert_allclose(linalg.within_scatter(one), within, atol=1e-8)
    np.testing.assert_allclose(linalg.class_moments(one).class_means[2], x[one.targets == 2].mean(0))


def test_chunks_give_what_the_whole_gives(monkeypatch):
    whole = linalg.scatter(data()), linalg.class_moments(data()).class_means
    monkeypatch.setattr(linalg.chunks, "__defaults__", (None, 40 * 11))
    parts = linalg.scatter(data()), linalg.class_moments(data()).class_means
    torch.testing.assert_close(parts, whole)


def test_a_large_offset_costs_no_digits():
    one = data()
    far = dataclasses.replace(one, features=one.features + 1e7, memo={})
    torch.testing.assert_close(linalg.scatter(far), linalg.scatter(one), rtol=1e-6, atol=1e-3)


def test_shared_results_are_computed_once():
    one, calls = data(), []
    for _ in range(2):
        assert linalg.shared(one, "key", lambda: calls.append(1) or 7) == 7
    assert calls == [1]


def test_folds_are_even_stratified_and_seeded():
    one = data(n=103)
    fold = linalg.deal_folds(one, 5, seed=0)
    assert set(fold.bincount().tolist()) <= {20, 21}
    for label in range(5):
        assert set(fold[one.targets == label].bincount(minlength=5).tolist()) <= {4, 5}
    assert not torch.equal(fold, linalg.deal_folds(data(n=103), 5, seed=1))
    order = torch.randperm(103, generator=torch.Generator().manual_seed(0))
    renamed = FeatureSet(one.features[order], (4 - one.targets)[order])
    assert torch.equal(linalg.deal_folds(renamed, 5, seed=0), fold[order])
    with pytest.raises(ValueError, match="folds"):
        linalg.deal_folds(one, 1, seed=0)


def test_folds_keep_the_rows_of_an_image_together():
    one = data(n=120)
    image = torch.arange(120) % 40 * 7  # three rows each, numbers with gaps
    fold = linalg.deal_folds(dataclasses.replace(one, image=image), 4, seed=0)
    for number in image.unique():
        assert len(fold[image == number].unique()) == 1
    assert fold.bincount().tolist() == [30] * 4
    assert linalg.image_count(dataclasses.replace(one, image=image)) == 40
    with pytest.raises(ValueError, match=r"number of images \(2\), got 3"):
        linalg.deal_folds(dataclasses.replace(one, image=image % 2), 3, seed=0)


def test_few_eigenvectors_are_those_of_all():
    one = data()
    values, vectors = linalg.scatter_eigen(one)
    few, some = linalg.leading_eigen(one, 5)
    torch.testing.assert_close(few, values[-5:])
    torch.testing.assert_close((some * vectors[:, -5:]).sum(0).abs(), torch.ones(5, dtype=torch.float64))
