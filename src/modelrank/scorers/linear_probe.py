"""Linear probe: cross-validated skill of a regularised linear model on frozen, standardised features.

Idea:
    If the network is kept as it is, how far does a linear classifier on its features get?

Formula:
    min_W  mean_i loss(x_i W + b, y_i) + strength / 2 |W|^2,   skill on the held-out folds, at the best strength
    classification, detection  cross-entropy, accuracy
    multilabel                 one logistic regression a class, mean average precision
    regression                 squared error, R^2

Ours:
    L-BFGS ends by its tolerance, in a quarter of the steps to the minimum; the skill is then within .002 of that of the
    minimum (1797 digits, 1200 samples of 20 classes). The features are standardised, so their scale changes nothing.

Source:
    The textbook baseline; a reference row.

Cost:
    N D min(N, D) once, then about 4 N D C a step, a dozen steps a fit, folds x strengths fits. Memory beyond twice the
    features: 20 D max(C, 256), the history of the fits that go side by side.

Fails:
    The strength is chosen by the folds that judge it, which flatters small sets a little. It is the frozen answer:
    models that fine-tune better than they probe are put too low.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from modelrank.linear import LOGITS, Loss, binary_cross_entropy, cross_entropy, fit, square
from modelrank.scorers.contract import ANY, scorer
from modelrank.scorers.linalg import column_mean, deal_folds, image_count, working
from modelrank.scorers.pca import pca
from modelrank.types import FeatureSet, Score, ScorerNotApplicable

COLUMNS = 256  # of a product, from where on more make it no faster
TOLERANCE = 1e-4  # of the loss per sample; 1e-7 takes twice as long and moves the accuracy by 0.001


@scorer(reads=ANY)
def linear_probe(
    data: FeatureSet,
    *,
    folds: int = 5,
    strengths: Sequence[float] = (10.0, 1.0, 1e-1, 1e-2, 1e-3),
    iterations: int = 50,
    seed: int = 0,
) -> Score:
    """Best cross-validated skill over the `strengths` of the L2 penalty; the strength is chosen by the same folds.

    classification and detection: multinomial logistic regression, accuracy; multilabel: one logistic regression a
    class, mean average precision; regression: ridge regression, R^2 averaged over the target columns.
    Loss per sample + strength / 2 |W|^2, intercept not penalised, by L-BFGS (at most `iterations` a fit), each fit
    started from that of the next larger strength. Features are standardised over all samples (no label is looked at)
    and constant ones left out. Folds are stratified and drawn with `seed`; at most one an image.

    parts: `strength` chosen, `skill` of each of the strengths from large to small, and of labels the `recall` of each
    class at the strength chosen, whose mean is the mean per-class accuracy.
    """
    if not strengths or min(strengths) <= 0:
        raise ValueError(f"strengths must be positive numbers, got {list(strengths)}")
    x, variance = _standardised_components(data)
    loss, predict, skill, targets, curvature = _problem(data, x.dtype)
    folds, outputs = min(folds, image_count(data)), int(targets.max()) + 1 if targets.ndim == 1 else targets.shape[1]
    fold = deal_folds(data, folds, seed)
    order, sizes = fold.argsort(stable=True), torch.bincount(fold, minlength=folds)
    x, targets = torch.cat([x, x.new_ones(len(x), 1)], 1)[order], targets[order]  # the last weight is the intercept
    ends = sizes.cumsum(0).tolist()
    own = [slice(end - size, end) for end, size in zip(ends, sizes.tolist(), strict=True)]  # the rows of each fold
    path = sorted(strengths, reverse=True)
    held_out: list[list[Tensor]] = [[] for _ in path]
    together = -(-COLUMNS // outputs)  # folds whose products are one: few classes alone make thin ones
    for group in torch.arange(folds).split(together):
        share = [(group != f).to(x) / (len(x) - sizes[group]) for f in range(folds)]  # of a row of fold f in each fit
        weight = x.new_zeros(x.shape[1], len(group), outputs)
        for strength, answers in zip(path, held_out, strict=True):
            penalty = x.new_full((x.shape[1], 1, 1), strength)
            penalty[-1] = 0
            weight = fit(
                x,
                targets,
                loss,
                parts=list(zip(own, share, strict=True)),
                penalty=penalty,
                curvature=curvature * variance[:, None, None],
                start=weight,
                iterations=iterations,
                tolerance=TOLERANCE,
            )
            for f, one in zip(group.tolist(), weight.unbind(1), strict=True):  # each by the fit that has not seen it
                answers += [predict(some @ one) for some in x[own[f]].split(max(1, LOGITS // outputs))]
    skills = torch.tensor([skill(torch.cat(answers), targets) for answers in held_out], dtype=torch.float64)
    best = int(skills.argmax())  # the first: the strongest penalty among equals
    parts = {"strength": path[best], "skill": skills.numpy()}
    if targets.ndim == 1:
        parts["recall"] = _recall(torch.cat(held_out[best]), targets).numpy()
    return Score(float(skills[best]), parts)


def _standardised_components(data: FeatureSet) -> tuple[Float[Tensor, "N r"], Float[Tensor, " r1"]]:
    """Standardised features in the basis of their principal components; the variance along each, and 1 for the ones.

    A rotation changes neither the penalty nor the fit, but along these axes the curvature of the loss is nearly
    diagonal and known, so that L-BFGS can start from it and needs a dozen steps instead of hundreds.
    """
    x = working(data.features)
    x = x - column_mean(data).to(x.dtype)
    spread = x.square().mean(0).sqrt()
    keep = spread > x.abs().amax() * torch.finfo(x.dtype).eps
    if not bool(keep.any()):
        raise ScorerNotApplicable("linear_probe: the features are the same for every sample")
    x = x[:, keep] / spread[keep]
    found = pca(dataclasses.replace(data, features=x, memo={}))
    variance = (found.singular_values.square() / len(x)).to(x.dtype)
    return found.scores, torch.cat([variance, variance.new_ones(1)])


Skill = Callable[[Tensor, Tensor], float]  # of predictions and targets


def _problem(data: FeatureSet, dtype: torch.dtype) -> tuple[Loss, Callable[[Tensor], Tensor], Skill, Tensor, float]:
    """Loss, prediction from logits, skill, targets (N labels, else N x C), the curvature of the loss at weight 0."""
    if data.task == "multilabel":
        return binary_cross_entropy, lambda z: z, _mean_average_precision, data.targets.to(dtype), 0.25
    if data.task == "regression":
        y = data.targets[:, data.targets.std(0, correction=0) > 0]
        y = ((y - y.mean(0)) / y.std(0, correction=0)).to(dtype)
        return square, lambda z: z, _r_squared, y, 1.0
    return cross_entropy, lambda z: z.argmax(1), _accuracy, data.targets, 1 / (int(data.targets.max()) + 1)


def _accuracy(predicted: Tensor, y: Tensor) -> float:
    return float((predicted == y).double().mean())


def _recall(predicted: Tensor, y: Tensor) -> Tensor:
    """Of the classes that are there, in their order."""
    _, label, count = y.unique(return_inverse=True, return_counts=True)
    return torch.bincount(label, weights=(predicted == y).double()) / count


def _r_squared(z: Tensor, y: Tensor) -> float:
    return float(1 - ((z - y).double().square().mean(0) / y.double().var(0, correction=0)).mean())


def _mean_average_precision(z: Tensor, y: Tensor) -> float:
    hits = y.gather(0, z.argsort(dim=0, descending=True, stable=True)).double()
    precision = hits.cumsum(0) / torch.arange(1, len(y) + 1, device=y.device)[:, None]
    return float(((precision * hits).sum(0) / hits.sum(0)).mean())
