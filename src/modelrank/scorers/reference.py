"""Rows that look at no features, to stand beside every table: a scorer that does not beat them has shown nothing."""

from __future__ import annotations

from modelrank.scorers.contract import scorer
from modelrank.types import FeatureSet, Score


@scorer(tasks={"classification", "multilabel", "regression", "detection"}, needs={"parameters"})
def parameters(data: FeatureSet) -> Score:
    """The number of parameters of the model: larger is taken for better."""
    return Score(data.facts["parameters"])


@scorer(tasks={"classification", "multilabel", "regression", "detection"}, needs={"imagenet_accuracy"})
def imagenet_accuracy(data: FeatureSet) -> Score:
    """The model's published ImageNet accuracy."""
    return Score(data.facts["imagenet_accuracy"])


@scorer(tasks={"classification", "multilabel", "regression", "detection"}, needs={"mean_rank_elsewhere"})
def static_order(data: FeatureSet) -> Score:
    """Minus the model's mean rank (1 is best) by measured accuracy on the other data sets: no look at this one."""
    return Score(-data.facts["mean_rank_elsewhere"])
