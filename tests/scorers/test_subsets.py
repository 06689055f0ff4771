from functools import partial

import numpy as np
import pytest
import torch
from scipy.special import softmax

from modelrank.ranking.stability import stability
from modelrank.scorers.disco import disco
from modelrank.scorers.gbc import gbc
from modelrank.scorers.hscore import hscore
from modelrank.scorers.knn import knn
from modelrank.scorers.leep import leep
from modelrank.scorers.lfc import lfc
from modelrank.scorers.logme import logme
from modelrank.scorers.ncc import ncc
from modelrank.scorers.ncti import ncti
from modelrank.scorers.nleep import nleep
from modelrank.scorers.pca import pca
from modelrank.scorers.reference import parameters
from modelrank.scorers.sfda import sfda
from modelrank.scorers.stable_rank import stable_rank
from modelrank.scorers.subsets import FEWER, subscores, too_dear
from modelrank.scorers.transrate import transrate
from modelrank.types import FeatureSet, Score


def images(n=200, seed=0, noise=1.0, classes=4, d=12) -> FeatureSet:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    centres = np.random.default_rng(99).normal(size=(classes, d))
    x = centres[labels] + noise * rng.normal(size=(n, d))
    return FeatureSet(torch.from_numpy(x), torch.from_numpy(labels))


def values(scorer, data, **settings):
    return np.array([score.value for score in subscores(scorer, data, **settings).scores])


def half(n, seed, resamples):
    """The subsets, drawn as the module says."""
    rng = np.random.default_rng(seed)
    return [np.sort(rng.choice(n, n // 2, replace=False)) for _ in range(resamples)]


def test_disco_on_subsets_is_the_formula_on_their_rows_in_the_same_components():
    data = images()
    z, labels = pca(data, 12, "randomised").scores.numpy(), data.targets.numpy()
    found = values(partial(disco, components=12, groups=3), data, resamples=10, seed=5)
    for value, rows in zip(found, half(200, 5, 10), strict=True):
        own, y = z[rows] - z[rows].mean(0), labels[rows]
        sigma = np.linalg.norm(own, axis=0)
        total = 0.0
        for group in np.split(np.arange(12), 3):
            means = np.stack([own[y == c][:, group].mean(0) for c in range(4)])
            distance = ((own[:, None, group] - means) ** 2).sum(2)
            posterior = softmax(-distance / 2 + np.log(np.bincount(y) / len(y)), axis=1)
            total += posterior[np.arange(len(y)), y].mean() * sigma[group].sum() / sigma.sum()
        assert value == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize(
    "settings", [{"covariance": "diagonal"}, {"sampling": {"hard": 0.5}}, {"rms_norm": 3.0}], ids=str
)
def test_disco_keeps_its_settings_on_subsets(settings):
    data = images(noise=2.0)
    scorer = partial(disco, components=12, groups=3, **settings)
    plain = values(partial(disco, components=12, groups=3), data, resamples=3)
    found = values(scorer, data, resamples=3)
    assert (found != plain).all()
    direct = [
        scorer(FeatureSet(data.features[rows], data.targets[rows])).value for rows in map(torch.tensor, half(200, 0, 3))
    ]
    assert found == pytest.approx(direct, abs=0.05)  # there, components of the subset's own


def test_other_scorers_are_run_on_fewer_subsets():
    data = images()
    found = values(knn, data, resamples=200)
    assert len(found) == FEWER
    rows = torch.tensor(half(200, 0, 1)[0])
    assert found[0] == knn(FeatureSet(data.features[rows], data.targets[rows])).value


@pytest.mark.parametrize("scorer", [ncc, logme, lfc, ncti, knn, gbc, stable_rank])
def test_wide_features_are_scored_in_their_components(scorer):
    """Of rank 20 and far from the origin: 128 components hold all there is, so the value is that of the rows."""
    narrow = images(d=20)
    turned = np.linalg.qr(np.random.default_rng(1).normal(size=(180, 180)))[0][:20]
    wide = FeatureSet(narrow.features @ torch.from_numpy(turned) + 0.3, narrow.targets)
    direct = [scorer(FeatureSet(wide.features[r], wide.targets[r])).value for r in map(torch.tensor, half(200, 0, 3))]
    assert values(scorer, wide)[:3] == pytest.approx(direct, rel=1e-5)


def test_why_a_scorer_has_no_interval():
    assert too_dear(disco) == too_dear(knn) == too_dear(leep) == ""
    for scorer in (partial(nleep, variance=0.5), transrate, hscore):  # on components the latter are other scorers
        assert "a full run" in too_dear(scorer)
    assert too_dear(parameters) == "looks at no image"


def test_the_same_seed_gives_the_same_subsets_for_every_model():
    def reads(data) -> list[list[float]]:
        seen = []

        class Spy:
            facts = knn.facts

            def __call__(self, part):
                seen.append(part.boxes[:, 0].tolist())
                return Score(0.0)

        marked = FeatureSet(data.features, data.targets, boxes=torch.arange(200.0)[:, None].expand(200, 4))
        subscores(Spy(), marked, seed=3)
        return seen

    assert reads(images(seed=0)) == reads(images(seed=1, noise=5.0, d=7))
    again = values(disco, images(), seed=3, resamples=20)
    assert (again == values(disco, images(), seed=3, resamples=20)).all()
    assert (again != values(disco, images(), seed=4, resamples=20)).any()


def test_random_state_and_memo_are_left_alone():
    data = images()
    before = torch.get_rng_state()
    disco(data)
    keys = set(data.memo)
    subscores(disco, data, resamples=5)
    assert set(data.memo) == keys  # one decomposition, that of the score itself
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("scorer", "n"), [(partial(disco, components=8, groups=4), 300), (knn, 300)], ids=["disco", "knn"]
)
def test_the_interval_holds_the_expected_score(scorer, n):
    """Over data sets drawn anew, a 90 % interval should hold the mean score of such data sets about nine times in
    ten; with 60 data sets fewer than 45 would be a fault."""
    sets = [images(n, seed, noise=2.0) for seed in range(60)]
    scores = [scorer(data).value for data in sets]
    inside = 0
    for data, value in zip(sets, scores, strict=True):
        drawn = subscores(scorer, data, resamples=40)
        found = stability({"m": value}, {"m": [s.value for s in drawn.scores]}, factor=drawn.factor, level=0.9)
        inside += found.low["m"] <= np.mean(scores) <= found.high["m"]
    assert inside >= 45


def test_large_sets_take_smaller_subsets_of_the_same_spread():
    data = images(5000, noise=2.0)
    drawn = subscores(partial(disco, components=8, groups=4), data, resamples=60)
    assert drawn.factor == pytest.approx((1000 / 4000) ** 0.5)
    halves = [
        disco(FeatureSet(data.features[rows], data.targets[rows]), components=8, groups=4).value
        for rows in map(torch.tensor, half(5000, 1, 60))
    ]
    spread = drawn.factor * np.std([score.value for score in drawn.scores])
    assert spread == pytest.approx(np.std(halves), rel=0.4)


def test_a_warning_is_not_said_again_for_each_subset():
    data = images(30, d=20)
    assert np.isfinite(values(partial(sfda, shrinkage=0.9), data)).all()  # of 15 images in 20 dimensions each


def test_too_few_resamples_are_refused():
    with pytest.raises(ValueError, match="at least 2"):
        subscores(disco, images(), resamples=1)


def test_images_are_drawn_not_their_rows():
    one = images(60)
    both = FeatureSet(one.features.repeat(2, 1), one.targets.repeat(2), image=torch.arange(60).repeat(2))
    np.testing.assert_allclose(values(ncc, both, resamples=6), values(ncc, one, resamples=6))  # all rows twice
    assert subscores(ncc, both).factor == subscores(ncc, one).factor
