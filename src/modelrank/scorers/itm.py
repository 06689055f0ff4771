"""ITM: implicit transferability modelling.

Idea:
    How the embedding would move under fine-tuning is imitated in a small latent space, and a linear classifier is
    trained on the moved embedding; its accuracy on held-out samples is the score.

Formula:
    standardised x -> linear map to C dimensions -> unit length z; for a batch of B with one-hot labels E
    Y = A (Z - E) + E,   A = I - (pull / B) Z Z^T,   pull = 0.5
    then a linear head and cross-entropy; AdamW, 500 steps of 256 samples; value = best hold-out accuracy of every 100

Ours:
    The authors' code is not public: the settings are those of a port, and there are no reference values. Held-out
    samples go through map and head without the pull, which uses labels. Hold-out, batches and starting weights come
    from the content of the samples and a seed of our own, not from their order, the classes' names or the global random
    state.

Source:
    Zheng et al., NeurIPS 2025, arXiv 2510.23145.

Cost:
    500 x 256 x D x C, whatever N; memory: one standardised copy of the features in float32.

Fails:
    The held-out fifth is all it sees: with 300 samples the value moves in steps of 1/60. The best of five looks at the
    hold-out is a little too good, the more so the fewer samples.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear, normalize, one_hot

from modelrank.scorers.contract import scorer
from modelrank.scorers.linalg import chunks, column_mean, deal_folds, image_count
from modelrank.types import FeatureSet, Score


@scorer()
def itm(
    data: FeatureSet,
    *,
    steps: int = 500,
    batch_size: int = 256,
    lr: float = 5e-3,
    weight_decay: float = 1e-2,
    pull: float = 0.5,
    evaluate_every: int = 100,
    seed: int = 0,
) -> Score:
    """Best hold-out accuracy, in 0..1; parts: the `last` one."""
    if min(steps, batch_size, evaluate_every) < 1 or lr <= 0:
        given = f"{steps}, {batch_size}, {evaluate_every} and {lr}"
        raise ValueError(f"steps, batch_size, evaluate_every and lr must be above 0, got {given}")
    order, labels = _content_order(data)
    x = _standardised(data)[order]
    held_out = deal_folds(data, min(5, image_count(data)), seed)[order] == 0
    train, y = x[~held_out], labels[~held_out]
    classes, random = int(labels.max()) + 1, torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:  # on the CPU: the same numbers on every device
        return ((2 * torch.rand(shape, generator=random) - 1) / shape[1] ** 0.5).to(x.device)

    mapping, head, bias = drawn(classes, x.shape[1]), drawn(classes, classes), torch.zeros(classes, device=x.device)
    weights = [w.requires_grad_() for w in (mapping, head, bias)]
    optimiser = torch.optim.AdamW(weights, lr=lr, weight_decay=weight_decay)
    queue, accuracies = torch.empty(0, dtype=torch.long), []
    for step in range(1, steps + 1):
        while len(queue) < batch_size:
            queue = torch.cat([queue, torch.randperm(len(train), generator=random)])
        batch, queue = queue[:batch_size].to(x.device), queue[batch_size:]
        with torch.enable_grad():
            z, target = normalize(linear(train[batch], mapping)), one_hot(y[batch], classes).to(x.dtype)
            towards = z - target
            moved = towards - pull / batch_size * z @ (z.T @ towards) + target  # A (Z - E) + E, never B x B
            optimiser.zero_grad()
            cross_entropy(linear(moved, head, bias), y[batch]).backward()
        optimiser.step()
        if step % evaluate_every == 0 or step == steps:
            logits = linear(normalize(linear(x[held_out], mapping)), head, bias)
            accuracies.append(float((logits.argmax(1) == labels[held_out]).double().mean()))
    return Score(max(accuracies), {"last": accuracies[-1]})


def _standardised(data: FeatureSet) -> Tensor:
    """Columns of mean 0 and deviation 1 in float32; constant columns are 0."""
    mean = column_mean(data)
    variance = sum((rows - mean).square().sum(0) for _, rows in chunks(data.features, torch.float64)) / len(
        data.features
    )
    deviation = torch.as_tensor(variance).sqrt()
    scale = torch.where(deviation > 1e-14 * mean.abs(), 1 / deviation, 0.0)
    return torch.cat([((rows - mean) * scale).float() for _, rows in chunks(data.features, torch.float64)])


def _content_order(data: FeatureSet) -> tuple[Tensor, Tensor]:
    """Samples by their distance from the mean, and their classes numbered by first appearance in that order."""
    mean = column_mean(data)
    order = torch.cat([(rows - mean).square().sum(1) for _, rows in chunks(data.features, torch.float64)]).argsort()
    labels = data.targets[order]
    first = torch.full((int(labels.max()) + 1,), len(labels), device=labels.device)
    first.scatter_reduce_(0, labels, torch.arange(len(labels), device=labels.device), "amin")
    return order, first.argsort().argsort()[labels]
