import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from tests.scorers.golden import CASES, features
from tests.scorers.test_linalg import data

from modelrank.scorers import linalg
from modelrank.scorers.pca import pca


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_randomised_components_are_those_of_scikit_learn(case, dtype):
    mine = pca(features(case, dtype), 32, "randomised")
    x = features(case, dtype).features.numpy()
    reference = PCA(32, svd_solver="randomized", random_state=1919, iterated_power=1)
    scores = reference.fit_transform(x)
    rtol = 1e-5 if dtype == torch.float32 else 1e-10
    np.testing.assert_allclose(mine.singular_values, reference.singular_values_, rtol=rtol)
    strong = np.abs(scores).max()
    np.testing.assert_allclose(mine.scores.abs(), np.abs(scores), atol=strong * rtol * 50)


@pytest.mark.parametrize("solver", ["exact", "randomised"])
@pytest.mark.parametrize(("n", "d"), [(300, 40), (30, 200)])
def test_components_by_singular_values(solver, n, d):
    mine = pca(data(n, d), None if solver == "exact" else 300, solver)
    x = data(n, d).features
    sigma = torch.linalg.svdvals(x - x.mean(0))
    torch.testing.assert_close(mine.singular_values, sigma, rtol=1e-8, atol=1e-5)
    torch.testing.assert_close(mine.scores.T @ mine.scores, sigma.square().diag(), rtol=1e-8, atol=1e-6)


def test_randomised_components_survive_a_steep_spectrum_in_single_precision():
    u = torch.linalg.qr(torch.randn(500, 60, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q
    u = torch.linalg.qr(u - u.mean(0)).Q
    sigma = torch.logspace(4, 0, 60, dtype=torch.float64)
    found = pca(data(500, 60, features=(u * sigma).float()), 40, "randomised")
    torch.testing.assert_close(found.singular_values, sigma[:40], rtol=2e-3, atol=0)


def test_chunks_give_what_the_whole_gives(monkeypatch):
    whole = pca(data(), 10, "randomised")
    monkeypatch.setattr("modelrank.scorers.pca.CHUNK_ELEMENTS", 40 * 7)
    monkeypatch.setattr(linalg.chunks, "__defaults__", (None, 40 * 11))
    parts = pca(data(), 10, "randomised")
    torch.testing.assert_close(parts.singular_values, whole.singular_values)
    torch.testing.assert_close(parts.scores.abs(), whole.scores.abs())


def test_leading_components_in_single_precision_are_those_in_double():
    x = data(500, 120).features
    single, double = pca(data(features=x.float(), n=500), 12), pca(data(features=x, n=500), 12)
    assert single.scores.dtype == torch.float32
    torch.testing.assert_close(single.singular_values, double.singular_values, rtol=1e-6, atol=0)
    sign = (single.scores.double() * double.scores).sum(0).sign()
    largest = float(double.scores.abs().max())
    torch.testing.assert_close(single.scores.double() * sign, double.scores, rtol=0, atol=1e-4 * largest)
