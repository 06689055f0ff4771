"""Linear models on the same rows, side by side: the losses, and L-BFGS along principal axes.

The scorer `linear_probe` fits its folds with it, the truth its probes and the heads that a fine-tuning starts from.

Shapes: n rows, D columns (the last one is ones where there is an intercept), F fits side by side, C outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

LOGITS = 1 << 20  # numbers n x F x C at a time

# A loss maps logits n x F x C, which it may overwrite, and targets (n labels, or n x C numbers) to its value n x F and
# its slope n x F x C.
Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def cross_entropy(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Of the labels y; its curvature at weight 0 is 1 / C."""
    log_p, at = z.log_softmax(2), y[:, None, None].expand(-1, z.shape[1], 1)
    loss = -log_p.gather(2, at).squeeze(2)
    return loss, log_p.exp_().scatter_add_(2, at, log_p.new_full((), -1).expand(at.shape))


def binary_cross_entropy(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Summed over the outputs, y in 0 and 1; its curvature at weight 0 is 1 / 4."""
    y = y[:, None]
    return (F.softplus(z) - z * y).sum(2), z.sigmoid() - y


def square(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Half the squared error, summed over the outputs; its curvature is 1."""
    z = z - y[:, None]
    return z.square().sum(2) / 2, z


def fit(
    x: Float[Tensor, "n D"],
    targets: Tensor,
    loss: Loss,
    *,
    parts: Sequence[tuple[slice, Float[Tensor, " F"]]],
    penalty: Float[Tensor, "D 1 1"],
    curvature: Float[Tensor, "D 1 1"],
    start: Float[Tensor, "D F C"],
    iterations: int,
    tolerance: float,
) -> Float[Tensor, "D F C"]:
    """The minimum of sum_i share_i loss_i + penalty / 2 W^2 for each fit, by at most `iterations` steps of L-BFGS.

    parts:     rows of x, and their share in each fit; rows of no share in any are not multiplied.
    penalty:   of each column; 0 for the ones, so that the intercept is free.
    curvature: of the loss along each column, about: what L-BFGS starts from. Along principal axes (a rotation changes
               neither the penalty nor the fit) the variance times the loss' own is nearly right, and a dozen steps do
               what else takes hundreds.
    tolerance: ends where no fit can gain more, in units of the objective.
    Cost: 4 n D F C a step; memory 20 D F C, the history, and LOGITS numbers.
    """
    rows = max(1, LOGITS // start[0].numel())
    parts = [(part, share) for part, share in parts if bool(share.any())]

    def objective(w: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = (penalty * w.square()).sum((0, 2)) / 2, penalty * w
        for part, share in parts:
            for some, y in zip(x[part].split(rows), targets[part].split(rows), strict=True):
                lost, slope = loss((some @ w.flatten(1)).unflatten(1, w.shape[1:]), y)
                value += (lost * share).sum(0)
                gradient.flatten(1).addmm_(some.T, slope.mul_(share[:, None]).flatten(1))
        return value, gradient

    return _lbfgs(objective, start, 1 / (curvature + penalty), iterations, tolerance)


def _lbfgs(
    objective: Callable[[Tensor], tuple[Tensor, Tensor]],
    w: Float[Tensor, "D F C"],
    inverse_curvature: Float[Tensor, "D 1 1"],
    iterations: int,
    tolerance: float,
    history: int = 10,
) -> Float[Tensor, "D F C"]:
    """L-BFGS (Nocedal and Wright, algorithm 7.4) on fits side by side: one matrix product serves them all.

    Each fit has its own history and step; the objective is strictly convex along every step taken, so that halving
    until it falls far enough is all the line search that is needed. Stops where no fit can gain more than tolerance.
    """

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum((0, 2))[:, None]  # F x 1

    value, gradient = objective(w)
    past: list[tuple[Tensor, Tensor, Tensor]] = []
    for _ in range(iterations):
        direction, alphas = gradient.clone(), []
        for s, y, rho in reversed(past):
            alphas.append(rho * dot(s, direction))
            direction.addcmul_(alphas[-1], y, value=-1)
        direction *= inverse_curvature
        if past:
            s, y, _ = past[-1]
            direction *= (dot(s, y) / dot(y, inverse_curvature * y).clamp(min=1e-30)).clamp(min=1e-6)
        for (s, y, rho), alpha in zip(past, reversed(alphas), strict=True):
            direction.addcmul_(alpha - rho * dot(y, direction), s)
        slope = dot(gradient, direction).squeeze(1)
        if bool((slope <= tolerance).all()):
            break
        step = torch.where(slope > tolerance, 1.0, 0.0)
        new_w = w - step[:, None] * direction
        new_value, new_gradient = objective(new_w)
        for _ in range(10):
            enough = new_value <= value - 1e-4 * step * slope + 4 * torch.finfo(w.dtype).eps * value.abs()
            if bool(enough.all()):
                break
            step = torch.where(enough, step, step / 2)
            new_w = w - step[:, None] * direction
            new_value, new_gradient = objective(new_w)
        s, y = new_w - w, new_gradient - gradient
        curve = dot(s, y)
        past.append((s, y, torch.where(curve > 0, 1 / curve.clamp(min=1e-30), 0.0)))
        past = past[-history:]
        w, value, gradient = new_w, new_value, new_gradient
    return w
