import pytest
import torch
from tests.scorers.golden import CASES, DIGITS, features

from modelrank.scorers.itm import itm


def test_separable_classes_beat_permuted_ones():
    data = features(CASES[0])
    permuted = data.targets[torch.randperm(600, generator=torch.Generator().manual_seed(0))]
    assert itm(data).value > 0.98
    assert itm(features(CASES[0], targets=permuted)).value < 0.35


def test_order_names_and_global_seed_do_not_matter():
    data = features(DIGITS, torch.float32)
    order = torch.randperm(len(data.features), generator=torch.Generator().manual_seed(3))
    renamed = torch.tensor([7, 3, 30, 5, 0, 12, 9, 8, 1, 2])[data.targets]
    value = itm(data, steps=120).value
    torch.manual_seed(99)
    shuffled = features(DIGITS, features=data.features[order], targets=renamed[order])
    assert itm(shuffled, steps=120).value == pytest.approx(value, abs=0.01)  # sums are rounded in another order
    assert itm(data, steps=120).value == value


def test_last_evaluation_counts_also_between_the_hundreds():
    assert itm(features(CASES[0]), steps=30).parts["last"] == itm(features(CASES[0]), steps=30).value


def test_bad_parameter():
    with pytest.raises(ValueError, match="above 0"):
        itm(features(CASES[0]), steps=0)
