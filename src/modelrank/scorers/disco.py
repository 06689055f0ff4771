"""DISCO: transferability from the spectral components of the features.

Idea:
    The singular value decomposition Z = U S V^T of the centred features is cut into groups of consecutive singular
    values. Each group g is judged alone by how well its component Z_g = U_g S_g V_g^T solves the target task, and the
    value is the sum of the groups' task scores weighted by their share of the singular values.

Formula:
    S_DISCO = sum_g S_task^g S_ratio^g,   S_ratio^g = sum of sigma in group g / sum of all sigma

    classification  S_task^g = mean_i P(y_i | z_i^g),
                    log P(c | z) = -1/2 (z - mu_c)^T Lambda_c^-1 (z - mu_c) + log(N_c / N) + constant
    regression      S_task^g = -mean over samples and columns of (b - U_g U_g^T b)^2
    detection       minmax(S_cls) + minmax(S_reg) over the hub, on the classes and on the boxes

Ours:
    Z_g differs from columns of the principal component scores P = U S only by a rotation (V_g), which changes neither a
    nearest-centroid posterior with rotation-invariant covariance nor a least-squares fit. So the N x D matrices Z_g are
    never formed: group g is the N x s block P_g, s = components / groups.

Source:
    Zhang et al., AAAI 2025, arXiv 2412.19085; the defaults are those of the authors' code (128 components by a
    randomised decomposition, 8 groups, Lambda the identity).

Cost:
    4 N D (components + 10) + N C components; memory beyond the features N (components + 10).

Fails:
    As published it depends on the scale of the features, which differs between networks: large norms make every
    posterior sharp. `rms_norm` removes the scale. With few samples for the dimensions the class means hold the samples
    themselves, and noise looks separable. For detection the min-max gives S_reg the weight of S_cls however little the
    models differ in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from modelrank.scorers.contract import ANY, classes_and_boxes, prepare, scorer, subset
from modelrank.scorers.linalg import CHUNK_ELEMENTS, centroid_posterior, chunks, class_sums, own_posterior
from modelrank.scorers.pca import pca
from modelrank.types import FeatureSet, Score, ScorerNotApplicable

Covariance = Literal["identity", "shared", "diagonal", "per_class"]
Weighting = Literal["ratio", "uniform", "energy"] | int


def on_subsets(
    data: FeatureSet,
    subsets: Sequence[Tensor],
    *,
    components: int = 128,
    solver: str = "randomised",
    sampling: Mapping[str, float] | None = None,
    seed: int = 1919,
    **settings: Any,
) -> list[Score]:
    """DISCO of each subset of the rows in the principal components of all rows: one decomposition for all subsets.

    Centred anew, with the singular values, class means and priors that the subset has along these components. What is
    left out is the turning of the components themselves. Cost per subset of n rows: n components C / groups.
    """
    z = pca(data, components, solver, seed).scores
    scores = []
    for rows in subsets:
        part = subset(data, rows, features=z[rows])
        if sampling is not None:
            part = _sampled(part, part.features, sampling, seed)
        part = prepare(part, disco.facts, "disco")  # a subset may lack a class that the whole has
        own = part.features - part.features.mean(0)
        sigma = own.double().square().sum(0).sqrt()
        scores.append(_judge(part, own, sigma, **settings))
    return scores


@scorer(
    reads=ANY,
    combine=classes_and_boxes,
    streams=True,
    on_subsets=on_subsets,
)
def disco(
    data: FeatureSet,
    *,
    components: int = 128,
    groups: int = 8,
    solver: Literal["randomised", "exact"] = "randomised",
    covariance: Covariance = "identity",
    weighting: Weighting = "ratio",
    rms_norm: float | None = None,
    sampling: Mapping[str, float] | None = None,
    centre_targets: bool = False,
    seed: int = 1919,
) -> Score:
    """S_DISCO, in 0..1 for classes; the defaults are the published settings.

    components, groups: at most min(N, D) components are used, at most one group a component; where the groups do not
        divide the components, the leading groups have one more. `parts` says how many were used.
    solver, seed: see `scorers.pca`; "randomised" with seed 1919 is the published form.
    covariance: of the class-conditional Gaussians within a group. "identity" is published; "shared" and "diagonal"
        are pooled within classes; "per_class" is each class's own, drawn towards the pooled one with the weight
        s / (s + N_c), and brings the log-determinant into the posterior.
    weighting: groups weigh by their share of the singular values, all the same, or by the share of squared ones; an
        integer is one group alone, 1 the leading one.
    rms_norm: the identity posterior depends on the scale of the features. A number scales the kept components so that
        the root mean square norm of a sample is that number; None keeps the scale, as published.
    sampling: score only a fraction of each class, at least one sample. {"hard": fraction}: those with the lowest
        posterior of their own class under a linear discriminant analysis of all samples in the kept components.
        {"random": fraction}: drawn by `seed` from the rows in their order, for comparison.
    centre_targets: regression on centred columns cannot fit a constant. False keeps the targets as they are, as in
        the published formula: the value is lower by the mean square of the targets' means, a number that is the same
        for every model. True subtracts the means first, as if an intercept was fitted.

    classification: S^g = mean over samples of the posterior of the true class, softmax over c of
        -1/2 (z - mu_c)^T Lambda_c^-1 (z - mu_c) + log(N_c / N).
    multilabel: each class is a two-class problem, present or absent; S^g = mean over classes of the average of the two
        mean posteriors (over the samples that have the class, and over those that do not), so that rare classes count.
    regression: S^g = -mean over samples and columns of (b - U_g U_g^T b)^2.
    detection: parts `cls` (on the classes) and `reg` (on the boxes), added after min-max over the hub;
        a single model's own value is their plain sum.

    parts: `task` and `ratio` (one number a group), `singular_values`, `components`, `groups`.
    """
    if sampling is not None:
        data = _sampled(data, pca(data, components, solver, seed).scores, sampling, seed)
    found = pca(data, components, solver, seed)
    return _judge(
        data,
        found.scores,
        found.singular_values,
        groups=groups,
        covariance=covariance,
        weighting=weighting,
        rms_norm=rms_norm,
        centre_targets=centre_targets,
    )


def _judge(
    data: FeatureSet,
    z: Float[Tensor, "N k"],
    sigma: Float[Tensor, " k"],
    *,
    groups: int = 8,
    covariance: Covariance = "identity",
    weighting: Weighting = "ratio",
    rms_norm: float | None = None,
    centre_targets: bool = False,
) -> Score:
    """The score from the component scores z and their norms sigma; `data` gives the targets."""
    if groups < 1:
        raise ValueError(f"groups must be at least 1, got {groups}")
    if rms_norm is not None and not rms_norm > 0:
        raise ValueError(f"rms_norm must be above 0, or None for the features' own scale, got {rms_norm}")
    if not float(sigma.sum()) > 0:
        raise ScorerNotApplicable("disco: the features are the same for every sample")
    scale = 1.0 if rms_norm is None else rms_norm / float(sigma.square().sum() / len(z)) ** 0.5
    blocks = torch.arange(len(sigma)).tensor_split(min(groups, len(sigma)))
    columns = [slice(int(block[0]), int(block[-1]) + 1) for block in blocks]
    share = _share(sigma, columns, weighting)

    def total(task: list[float]) -> float:
        return sum(t * r for t, r in zip(task, share, strict=True))

    parts: dict = {
        "ratio": torch.tensor(share, dtype=torch.float64).numpy(),
        "singular_values": sigma.cpu().numpy(),
        "components": float(len(sigma)),
        "groups": float(len(columns)),
    }
    if data.task == "regression":
        task = [_fit(z[:, g], sigma[g], data.targets, centre_targets, sigma[0]) for g in columns]
        return Score(total(task), {"task": torch.tensor(task).double().numpy(), **parts})
    if data.task == "multilabel":
        task = [_balanced(z[:, g] * scale, data.targets, covariance) for g in columns]
        return Score(total(task), {"task": torch.tensor(task).double().numpy(), **parts})
    task = _group_posteriors(z, columns, scale, data.targets, covariance)
    parts["task"] = torch.tensor(task).double().numpy()
    if data.task == "classification":
        return Score(total(task), parts)
    if data.boxes is None:
        raise ScorerNotApplicable("disco: detection needs boxes, one row a sample")
    boxes = [_fit(z[:, g], sigma[g], data.boxes.double(), centre_targets, sigma[0]) for g in columns]
    parts |= {"cls": total(task), "reg": total(boxes), "task_reg": torch.tensor(boxes).double().numpy()}
    return Score(total(task) + total(boxes), parts)


def _share(sigma: Float[Tensor, " k"], columns: list[slice], weighting: Weighting) -> list[float]:
    """The weight of each group; they sum to 1."""
    if isinstance(weighting, int):
        if not 1 <= weighting <= len(columns):
            raise ValueError(f"weighting={weighting}: there are the groups 1 to {len(columns)}")
        return [float(g == weighting) for g in range(1, len(columns) + 1)]
    if weighting == "uniform":
        return [1 / len(columns)] * len(columns)
    weight = {"ratio": sigma, "energy": sigma.square()}[weighting]
    return [float(weight[g].sum() / weight.sum()) for g in columns]


def _group_posteriors(
    z: Float[Tensor, "N k"], columns: list[slice], scale: float, labels: Tensor, covariance: Covariance
) -> list[float]:
    """Mean posterior of the true class for each group."""
    size, classes = columns[0].stop, int(labels.max()) + 1
    if covariance != "identity" or size * len(columns) != z.shape[1]:
        return [float(true_posterior(z[:, g] * scale, labels, covariance).mean()) for g in columns]
    # All groups go through one batched product: with few samples calls, not numbers, take the time.
    counts, means = _class_means(z, labels)
    grouped_means = means.mul_(scale).unflatten(1, (-1, size)).transpose(0, 1)  # G x C x s
    bias = (counts / len(z)).log() - grouped_means.square().sum(2) / 2
    bias, centres = bias.to(z.dtype)[:, None], (grouped_means.mT * scale).to(z.dtype)
    total = torch.zeros(len(columns), dtype=torch.float64, device=z.device)
    for part, rows in chunks(z, elements=CHUNK_ELEMENTS // 2 * size // classes):
        logits = torch.baddbmm(bias, rows.unflatten(1, (-1, size)).transpose(0, 1), centres)  # G x n x C
        own = own_posterior(logits.flatten(0, 1), labels[part].repeat(len(columns)))
        total += own.unflatten(0, (len(columns), -1)).sum(1, dtype=torch.float64)
    return (total / len(z)).tolist()


def _class_means(z: Float[Tensor, "N s"], labels: Int64[Tensor, " N"]) -> tuple[Float[Tensor, " C"], Tensor]:
    """Samples and means C x s of each class, float64."""
    counts = torch.bincount(labels).double()
    sums = z.new_zeros(len(counts), z.shape[1], dtype=torch.float64)
    for part, rows in chunks(z, torch.float64, CHUNK_ELEMENTS // 4):
        sums += class_sums(rows, labels[part], len(counts))
    return counts, sums / counts[:, None]


def true_posterior(
    z: Float[Tensor, "N s"], labels: Int64[Tensor, " N"], covariance: Covariance = "identity"
) -> Float[Tensor, " N"]:
    """Posterior of each sample's own class under Gaussian classes with priors N_c / N; labels 0..C-1, none empty."""
    n = len(z)
    counts, means = _class_means(z, labels)
    prior = (counts / n).log()
    if covariance in ("shared", "diagonal"):
        spread = z.double().T @ z.double() - (means * counts[:, None]).T @ means
        root = _whitener(spread / n, diagonal=covariance == "diagonal")
        z, means = (z.double() @ root).to(z.dtype), means @ root
    if covariance == "per_class":
        return _per_class_posterior(z, labels, means, counts, prior)
    return centroid_posterior(z, labels, counts, means)


def _per_class_posterior(z: Tensor, labels: Tensor, means: Tensor, counts: Tensor, prior: Tensor) -> Tensor:
    n, s = z.shape
    centred = z.double() - means[labels]
    own = class_sums(torch.einsum("ni,nj->nij", centred, centred).reshape(n, -1), labels, len(counts))
    pooled = own.sum(0) / n
    towards = (s / (s + counts))[:, None]
    mixed = ((1 - towards) * own / counts[:, None] + towards * pooled).reshape(-1, s, s)
    roots = torch.stack([_whitener(one) for one in mixed])  # C x s x s
    half_logdet = torch.linalg.slogdet(roots).logabsdet  # of Lambda^-1/2, so + 1/2 log det Lambda^-1
    result = z.new_empty(n)
    rows = max(1, CHUNK_ELEMENTS // (len(counts) * s))
    for start in range(0, n, rows):
        part = slice(start, start + rows)
        white = (z[part].double() - means[:, None]) @ roots  # C x n x s
        logits = prior + half_logdet - white.square().sum(2).T / 2
        result[part] = own_posterior(logits, labels[part]).to(z.dtype)
    return result


def _whitener(covariance: Tensor, diagonal: bool = False) -> Tensor:
    """W with W W^T = covariance^-1; directions without spread count as the least spread that can be told from 0."""
    if diagonal:
        covariance = covariance.diagonal().diag()
    values, vectors = torch.linalg.eigh(covariance)
    least = float(values[-1]) * 1e-6
    if not least > 0:
        return torch.eye(len(values), dtype=covariance.dtype, device=covariance.device)
    return vectors * values.clamp(min=least).rsqrt()


def _balanced(z: Tensor, targets: Tensor, covariance: Covariance) -> float:
    per_class = []
    for has in targets.T:
        posterior = true_posterior(z, has, covariance)
        per_class.append((posterior[has == 1].mean() + posterior[has == 0].mean()) / 2)
    return float(torch.stack(per_class).mean())


def _fit(z: Tensor, sigma: Tensor, targets: Float[Tensor, "N K"], centre: bool, largest: Tensor) -> float:
    """-mean (b - U U^T b)^2 = -(|b|^2 - |U^T b|^2) / (N K) with U = z / sigma: no pseudo-inverse is formed."""
    b = targets - targets.mean(0) if centre else targets
    tell = sigma > largest * torch.finfo(z.dtype).eps * 10  # a direction of rounding noise fits nothing
    fitted = ((z[:, tell].double() / sigma[tell]).T @ b).square().sum()
    return -float(b.square().sum() - fitted) / b.numel()


def _sampled(data: FeatureSet, z: Float[Tensor, "N k"], sampling: Mapping[str, float], seed: int) -> FeatureSet:
    """A fraction of each class: the samples that are hardest to tell by the scores z, or random ones."""
    (kind, fraction), *more = sampling.items() if sampling else [("", 0.0)]
    if more or kind not in ("hard", "random") or not 0 < fraction <= 1:
        raise ValueError(f"sampling must be {{hard: f}} or {{random: f}} with 0 < f <= 1, got {dict(sampling)}")
    if data.kind != "classes":
        raise ScorerNotApplicable(f"disco: samples are taken from each class, so not for {data.task}")
    if kind == "hard":
        order = true_posterior(z, data.targets, "shared")
    else:
        order = torch.rand(len(z), generator=torch.Generator().manual_seed(seed)).to(z.device)
    keep = []
    for label in range(int(data.targets.max()) + 1):
        mine = (data.targets == label).nonzero().squeeze(1)
        most = max(1, round(fraction * len(mine)))
        keep.append(mine[order[mine].argsort(stable=True)[:most]])
    return subset(data, torch.cat(keep).sort().values)
