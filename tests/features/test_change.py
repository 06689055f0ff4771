import numpy as np
import pytest
import torch

from modelrank.features.change import change, groups_of, resampled, spectrum


def made(n=60, d=20, seed=0, fall=0.8):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(n, d)) * fall ** np.arange(d) @ np.linalg.qr(rng.normal(size=(d, d)))[0])


def components_by_svd(x, columns):
    u, s, v = np.linalg.svd(x.numpy() - x.numpy().mean(0), full_matrices=False)
    return [u[:, g] * s[g] @ v[g] for g in columns]


@pytest.mark.parametrize("shape", [(60, 20), (15, 40)])
def test_against_the_components_written_out(shape):
    x, y = made(*shape), made(*shape, seed=0) + 0.1 * made(*shape, seed=1)
    found = change(x, y, components=10, groups=3)
    columns = groups_of(10, 3)
    assert [(g.start, g.stop) for g in columns] == [(0, 4), (4, 7), (7, 10)]
    old, new = components_by_svd(x, columns), components_by_svd(y, columns)
    norm = np.linalg.norm
    np.testing.assert_allclose(found.own, [norm(a - b) / norm(a) for a, b in zip(old, new, strict=True)], rtol=1e-8)
    unrelated = [np.sqrt(1 + (norm(b) / norm(a)) ** 2) for a, b in zip(old, new, strict=True)]
    np.testing.assert_allclose(found.unrelated, unrelated, rtol=1e-8)
    v = np.linalg.svd(x.numpy() - x.numpy().mean(0), full_matrices=False)[2]
    gap = (x - x.mean(0) - y + y.mean(0)).numpy()
    fixed = [norm(gap @ v[g].T) / norm(a) for g, a in zip(columns, old, strict=True)]
    np.testing.assert_allclose(found.fixed, fixed, rtol=1e-8)


def test_no_change_is_zero_and_a_scale_is_read_off():
    x = made()
    assert max(change(x, x).own) < 1e-6
    assert max(change(x, x + 3).own) < 1e-6, "features are centred"
    np.testing.assert_allclose(change(x, 1.5 * x).own, 0.5, rtol=1e-6)
    np.testing.assert_allclose(change(x, -x).own, 2, rtol=1e-6)


def test_a_component_that_leaves_its_group_counts_in_own_and_not_in_fixed():
    u, _, v = torch.linalg.svd(made() - made().mean(0), full_matrices=False)
    strength = torch.linspace(20, 1, 20).double()
    x = u * strength @ v
    strength[9], strength[10] = strength[10] - 0.2, strength[9] + 0.2  # across the limit of two groups of ten
    found = change(x, u * strength @ v, groups=2)
    for own, fixed in zip(found.own, found.fixed, strict=True):
        assert own > 5 * fixed > 0


def test_unrelated_features_reach_the_level_that_says_so():
    rng = np.random.default_rng(0)
    x, y = (torch.from_numpy(rng.normal(size=(400, 300))) for _ in range(2))
    found = change(x, y, components=16, groups=2)
    np.testing.assert_allclose(found.own, found.unrelated, rtol=0.01)


def test_resampling_moves_components_that_lie_close_and_not_those_apart():
    apart = made(n=500, fall=0.3, d=6)
    assert max(resampled(apart, components=4, groups=4)) < 0.3
    close = made(n=500, fall=1.0, d=6)
    assert min(resampled(close, components=4, groups=4)) > 0.4
    assert resampled(apart, seed=3) == resampled(apart, seed=3) != resampled(apart, seed=4)


def test_resampling_few_images():
    values = resampled(made(n=6, d=40), groups=8)
    assert len(values) == 5
    assert max(values) < 1.5


def test_bad_features_are_refused():
    with pytest.raises(ValueError, match="same images"):
        change(made(), made(n=59))
    with pytest.raises(ValueError, match="same for every sample"):
        spectrum(torch.ones(5, 3))
    with pytest.raises(ValueError, match="finite"):
        spectrum(torch.full((5, 3), torch.nan))
