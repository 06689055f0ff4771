from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from tests.scorers.golden import CASES, EXPECTED, features

from modelrank.scorers import knn as module
from modelrank.scorers.knn import knn
from modelrank.types import FeatureSet


@pytest.mark.parametrize("case", CASES)
def test_reference_value(case):
    percent = EXPECTED[case]["knn[k=1]"]["float64"]["value"]  # ours is a fraction
    assert knn(features(case), k=1).value == pytest.approx(percent / 100, rel=1e-12)


def test_a_vote_of_five_and_small_blocks(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 1000)
    data = features(CASES[0])
    near = NearestNeighbors(n_neighbors=5).fit(data.features).kneighbors(return_distance=False)
    right = []
    for votes, label in zip(data.targets.numpy()[near], data.targets.tolist(), strict=True):
        counts = np.bincount(votes, minlength=5)
        right.append((counts[label] == counts.max()) / (counts == counts.max()).sum())
    assert knn(data, k=5).value == pytest.approx(np.mean(right))


def test_equally_near_samples_share_the_vote():
    x = torch.tensor([[0.0], [1.0], [-1.0], [10.0], [10.5], [11.0]])
    y = torch.tensor([0, 0, 1, 1, 1, 1])
    # 0 has two neighbours at distance 1, one of its class; -1 has only the 0 near; the rest is clear
    assert knn(FeatureSet(x, y), k=1).value == pytest.approx((0.5 + 1 + 0 + 3) / 6)


def test_more_equally_near_samples_than_are_kept():
    x = torch.tensor([0.0] * 30 + [5.0] * 3)[:, None]
    y = torch.tensor([0] * 12 + [1] * 18 + [2] * 3)
    # of the 30 at one place the other 29 vote: 11 to 18 for class 0, 12 to 17 for class 1
    assert knn(FeatureSet(x, y)).value == pytest.approx((18 + 3) / 33)


def test_one_row_far_away_makes_no_ties_of_the_others():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 300)
    x = rng.normal(size=(300, 64)) + 0.6 * rng.normal(size=(5, 64))[labels]
    x[0] *= 3e3 / np.linalg.norm(x[0])
    data = FeatureSet(torch.from_numpy(x), torch.from_numpy(labels))
    in_single = replace(data, features=data.features.float())
    assert knn(in_single).value == pytest.approx(knn(data).value, abs=1e-9)


def test_k_beyond_the_samples_and_below_one():
    data = FeatureSet(torch.arange(4.0)[:, None], torch.tensor([0, 0, 0, 1]))
    assert knn(data, k=100).value == pytest.approx(3 / 4)
    with pytest.raises(ValueError, match="k must"):
        knn(data, k=0)


def test_rows_of_one_image_are_no_neighbours():
    x = torch.tensor([[0.0], [0.1], [1.0], [1.1]])
    data = FeatureSet(x, torch.tensor([0, 0, 1, 1]))
    assert knn(data).value == 1
    assert knn(replace(data, image=torch.tensor([5, 5, 9, 9]))).value == 0
    assert knn(replace(data, image=torch.tensor([5, 9, 5, 9])), k=3).value == 0.5  # only two are left to vote
    assert knn(replace(data, image=torch.tensor([5, 5, 5, 5]))).value == 0.5  # none is left: chance
