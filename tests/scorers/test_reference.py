import pytest
import torch

from modelrank.scorers.reference import imagenet_accuracy, parameters, static_order
from modelrank.types import FeatureSet, ScorerNotApplicable


def model(**facts):
    return FeatureSet(torch.full((3, 2), torch.nan), torch.zeros(3), facts=facts)  # never looked at


def test_more_is_better():
    assert parameters(model(parameters=2e6)).value > parameters(model(parameters=1e6)).value
    assert imagenet_accuracy(model(imagenet_accuracy=0.8)).value > imagenet_accuracy(model(imagenet_accuracy=0.7)).value
    assert static_order(model(mean_rank_elsewhere=1.5)).value > static_order(model(mean_rank_elsewhere=4)).value


def test_what_is_not_known_is_said():
    with pytest.raises(ScorerNotApplicable, match="ImageNet accuracy, which is not known"):
        imagenet_accuracy(model())
