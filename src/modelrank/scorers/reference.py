"""Rows that look at no features, to stand beside every table: a scorer that does not beat them has shown nothing."""

from __future__ import annotations

from modelrank.scorers.contract import ANY, scorer
from modelrank.types import FeatureSet, Score


@scorer(reads=ANY, needs={"parameters"})
def parameters(data: FeatureSet) -> Score:
    """The number of parameters of the model.

    Idea:
        Larger is taken for better.

    Formula:
        how many numbers the network learns, as it was published

    Source:
        A reference row.

    Cost:
        None.

    Fails:
        Within a family it is a good guess, which is what makes it a bar; across families it says little.
    """
    return Score(data.facts["parameters"])


@scorer(reads=ANY, needs={"imagenet_accuracy"})
def imagenet_accuracy(data: FeatureSet) -> Score:
    """The model's published ImageNet accuracy.

    Idea:
        What is better at home is taken for better elsewhere.

    Formula:
        top-1 accuracy on ImageNet, as published with the weights

    Source:
        A reference row; the numbers are in conf/model, with their source.

    Cost:
        None.

    Fails:
        Known for classifiers of ImageNet only. On targets unlike ImageNet it says little.
    """
    return Score(data.facts["imagenet_accuracy"])


@scorer(reads=ANY, needs={"mean_rank_elsewhere"})
def static_order(data: FeatureSet) -> Score:
    """Minus the model's mean rank (1 is best) by measured accuracy on the other data sets.

    Idea:
        What was good elsewhere is taken for good here: no look at this data set.

    Formula:
        -mean over the other data sets of the model's rank by accuracy

    Source:
        A reference row; the critique of this field's benchmarks asks for it (arXiv 2510.06448).

    Cost:
        None, beside having fine-tuned these models on other data sets.

    Fails:
        A model that was never measured has no rank. A target unlike all the others is ordered as they are.
    """
    return Score(-data.facts["mean_rank_elsewhere"])
