"""PACTran: PAC-Bayesian bounds of the transferred classifier, for three priors.

Source:
    Ding et al., ECCV 2022, arXiv 2203.05126, and the authors' code (google-research/pactran_metrics).

Ours:
    The source gives upper bounds of the loss, lower is better; ours are negated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy.optimize
import torch
from torch import Tensor

from modelrank.scorers.contract import scorer
from modelrank.scorers.linalg import chunks, class_counts, column_mean, compute_dtype, shared
from modelrank.types import FeatureSet, Score

ITERATIONS = 10
MOST, TOLERANCE = 20_000, 1e-12  # steps to the minimum; relative change of the loss that ends them
FLOOR = 1e-10  # added to probabilities before a logarithm, as in the source


@scorer()
def pactran_gaussian(
    data: FeatureSet,
    *,
    lda_factor: float = 1.0,
    s2_factors: Sequence[float] = (100.0, 10.0),
    iterations: int = 100,
    minimum: bool = False,
) -> Score:
    """Minus the bound for the first of `s2_factors`; parts: the fitted `loss` and all `bounds` (not negated).

    Idea:
        What a linear classifier on the features is sure to reach: its fitted loss, and how sharply it bends there.

    Formula:
        softmax regression on centred features, mean cross-entropy + |w|^2 / (2 lda_factor N), fitted by L-BFGS;
        bound = fitted loss + D C / (2 lda_factor N) s2 log(trace term),   s2 = s2_factor / D
        trace term = lda_factor N / (D C) x summed second derivatives at the solution

    Ours:
        Negated, so that higher is better. Starts at zero where the source draws a random start: the problem is convex
        and the source stops early, so that its own values move by up to 2e-3 with the seed. How early depends on the
        scale of the features (1797 digits: the value ends .008 from that of the minimum, at 100 times the scale .35),
        but it is what was published, so it is the default. `minimum=True` goes to the minimum of the loss, in float64:
        a few times the iterations. The bound itself depends on the scale all the same, by its prior.

    Cost:
        4 N D C an L-BFGS evaluation, at most 100 iterations, memory N x C.

    Fails:
        The penalty and the bound depend on the scale of the features. With N <= D the fitted loss is near 0 for noise
        too, and the width enters the bound: hubs of unequal widths are ordered by it.
    """
    if lda_factor <= 0 or len(s2_factors) < 1:
        raise ValueError(f"lda_factor must be above 0 and s2_factors not empty, got {lda_factor} and {s2_factors}")
    n, d = data.features.shape
    counts = class_counts(data)
    strength = lda_factor * n
    mean = column_mean(data).to(torch.float64 if minimum else compute_dtype(data.features))
    linear = _SoftmaxRegression(data, mean, len(counts), strength)
    start = np.zeros((d + 1) * len(counts))
    solver = scipy.optimize.minimize(
        linear.loss,
        start,
        jac=True,
        method="L-BFGS-B",
        tol=TOLERANCE if minimum else 1e-6,
        options={"maxiter": MOST, "maxfun": 2 * MOST} if minimum else {"maxiter": iterations},
    )
    size = d * len(counts)
    trace = linear.curvature(solver.x) * strength / size + 1e-10
    bounds = [float(solver.fun + 0.5 * size / strength * factor / d * np.log(trace)) for factor in s2_factors]
    return Score(-bounds[0], {"loss": float(solver.fun), "bounds": np.array(bounds)})


class _SoftmaxRegression:
    """Loss, gradient and summed diagonal of the Hessian at theta, (D + 1) x C flat: weights, then the intercepts."""

    def __init__(self, data: FeatureSet, mean: Tensor, classes: int, strength: float):
        self.data, self.mean, self.classes, self.strength = data, mean, classes, strength

    def _passes(self, theta: np.ndarray):
        """(centred rows, their labels, log posterior) by chunks."""
        weights = torch.from_numpy(theta).to(self.mean).view(-1, self.classes)
        for part, rows in chunks(self.data.features, self.mean.dtype):
            rows = rows - self.mean
            yield rows, self.data.targets[part], torch.log_softmax(torch.addmm(weights[-1], rows, weights[:-1]), 1)

    def loss(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        n, total = len(self.data.features), 0.0
        gradient = self.mean.new_zeros(len(self.mean) + 1, self.classes, dtype=torch.float64)
        for rows, y, log_posterior in self._passes(theta):
            total -= float(log_posterior.gather(1, y[:, None]).sum(dtype=torch.float64))
            error = log_posterior.exp_()
            error.scatter_add_(1, y[:, None], error.new_full((len(y), 1), -1.0))
            gradient[:-1] += rows.T @ error
            gradient[-1] += error.sum(0)
        weights = theta[: -self.classes]
        flat = (gradient / n).flatten().cpu().numpy()
        flat[: -self.classes] += weights / self.strength
        return total / n + 0.5 * float(weights @ weights) / self.strength, flat

    def curvature(self, theta: np.ndarray) -> float:
        total = len(self.mean) * self.classes / self.strength
        for rows, _, log_posterior in self._passes(theta):
            posterior = log_posterior.exp_()
            spread = (posterior - posterior.square()).sum(1, dtype=torch.float64)
            total += float((spread * (1 + rows.square().sum(1, dtype=torch.float64))).sum())
        return total


@scorer(needs={"targets", "logits"})
def pactran_dirichlet(data: FeatureSet, *, alpha: float = 1.0) -> Score:
    """Minus the bound with a Dirichlet prior over the target classes of each source class.

    Idea:
        As LEEP, from the source model's class probabilities, with a prior over which target class each source class
        stands for.

    Formula:
        a variational bound on the source probabilities s (N x S): 10 fixed-point iterations of
        q(z | x, y) = softmax(log s + psi(counts_yz) - psi(sum_y counts_yz)),   counts = prior + sum of q
        prior: alpha times the class frequencies

    Cost:
        40 N S, memory N x S in float64.

    Fails:
        As LEEP: needs a source classifier, and sees only what its classes tell apart.
    """
    prior = _prior(data, alpha)
    counts, divergence = _fixed_point(data, prior, lambda counts: torch.digamma(counts) - torch.digamma(counts.sum(0)))
    sources = counts.shape[1]
    before = sources * (torch.lgamma(prior.sum()) - torch.lgamma(prior).sum())
    after = (torch.lgamma(counts.sum(0)) - torch.lgamma(counts).sum(0)).sum()
    return Score((float(before - after) - divergence) / (len(data.targets) * len(prior)))


@scorer(needs={"targets", "logits"})
def pactran_gamma(data: FeatureSet, *, alpha: float = 1.0) -> Score:
    """Minus the bound with a Gamma prior over the rate of each target class in each source class.

    Idea:
        As `pactran_dirichlet`, with rates of the target classes in place of probabilities.

    Formula:
        a variational bound on the source probabilities s (N x S): 10 fixed-point iterations of
        q(z | x, y) = softmax(log s + psi(counts_yz)),   counts = prior + sum of q
        prior: alpha times the class frequencies

    Cost:
        40 N S, memory N x S in float64.

    Fails:
        As LEEP: needs a source classifier, and sees only what its classes tell apart.
    """
    prior = _prior(data, alpha)
    counts, divergence = _fixed_point(data, prior, torch.digamma)
    rate = counts.sum(0)
    n = len(data.targets)
    expected = sum((s @ rate).log().sum() for s in _by_class(data))
    fit = counts.shape[1] * torch.lgamma(prior).sum() - torch.lgamma(counts).sum()
    return Score(-(float(fit + expected) + divergence - n) / (n * len(prior)) - 1)


def _prior(data: FeatureSet, alpha: float) -> Tensor:
    """C pseudo-counts in proportion to the classes."""
    if alpha <= 0:
        raise ValueError(f"alpha must be above 0, got {alpha}")
    counts = class_counts(data).double()
    return alpha * counts / counts.sum() + FLOOR


def _by_class(data: FeatureSet) -> list[Tensor]:
    """For each class N_c x S probabilities of the source classes, float64; dirichlet and gamma share them."""

    def compute() -> list[Tensor]:
        assert data.logits is not None
        members = data.targets.argsort(stable=True).split(class_counts(data).tolist())
        return [torch.softmax(data.logits[some].double(), 1) for some in members]

    return shared(data, "source probabilities by class", compute)


def _fixed_point(data: FeatureSet, prior: Tensor, term: Callable[[Tensor], Tensor]) -> tuple[Tensor, float]:
    """C x S posterior counts and sum_i KL(q_i || s_i) after q = softmax(log s + term(counts)[y]), ITERATIONS times.

    The term is the same for all samples of a class: with weights w = exp(term - largest) of the source classes,
    q_iz = s_iz w_z / Z_i and Z = s w, so that the sums of q over a class are w (s^T 1/Z), and
    KL(q_i || s_i) = sum_z q_iz log w_z - log Z_i. An iteration is two matrix-vector products a class and no logarithm.
    """
    groups = _by_class(data)
    counts, sums, divergence = prior, torch.stack([s.sum(0) for s in groups]), 0.0
    for _ in range(ITERATIONS):
        counts = prior[:, None] + sums
        offset = term(counts)
        offset = offset - offset.max(1, keepdim=True).values
        weight, sums, divergence = offset.exp(), torch.zeros_like(sums), 0.0
        for c, s in enumerate(groups):
            # the source adds FLOOR to a probability before its logarithm: (s + FLOOR) w, by parts
            norm = s @ weight[c] + FLOOR * weight[c].sum()
            sums[c] = weight[c] * (s.T @ (1 / norm) + FLOOR * (1 / norm).sum())
            divergence += float(sums[c] @ offset[c] - norm.log().sum())
    return counts, divergence
