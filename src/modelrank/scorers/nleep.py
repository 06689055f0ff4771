"""NLEEP: LEEP on the clusters of a Gaussian mixture.

Idea:
    LEEP for models without a source classifier: the clusters that the features fall into take the place of the source
    classes.

Formula:
    NLEEP = 1/N sum_i log sum_z P(y_i | z) p(z | x_i)
    p(z | x): posteriors of a mixture of 5 C Gaussians with full covariances on the principal components that keep 80 %
    of the variance

Ours:
    The mixture is fitted as scikit-learn's GaussianMixture does it with a fixed seed (k-means start, regularisation
    1e-6, at most 100 iterations, tolerance 1e-3), in float64: float32 fails on ill-conditioned clusters. Ours leaves
    samples with a posterior below 1e-12 out of a component's moments, which halves the time. Ours takes the logarithm
    of eq. 2 (SFDA's copy does not) and, as the published results, 5 components per class. EM ends by its tolerance,
    near one of many maxima; the scale of the features enters by the regularisation alone (1797 digits at a hundredth
    of the scale: 2e-5).

Source:
    Li et al., CVPR 2021, 'Ranking Neural Checkpoints'.

Cost:
    Per EM iteration N x (5 C) x k^2 for k kept components, memory N x 5 C + 5 C x k^2: the slowest scorer here.

Fails:
    Fewer than 5 C samples: not applicable. Few samples a cluster: each fits its own, and the likelihood is that of the
    training data. The k-means start draws rows by their position, so unlike other scorers the value depends a little on
    the order of the samples; so it does in every code we know.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from modelrank.scorers.contract import scorer
from modelrank.scorers.leep import log_expected_prediction
from modelrank.scorers.linalg import class_counts, scatter, shared
from modelrank.scorers.pca import pca
from modelrank.types import FeatureSet, Score, ScorerNotApplicable


@scorer()
def nleep(data: FeatureSet, *, variance: float = 0.8, component_ratio: int = 5, seed: int = 123) -> Score:
    """LEEP on `component_ratio` x C mixture components; the parts say how many dimensions and components there were.

    variance: share of the variance that the kept principal components explain together, in 0..1.
    """
    if not 0 < variance < 1:
        raise ValueError(f"variance must lie between 0 and 1, got {variance}")
    components = component_ratio * len(class_counts(data))
    if len(data.features) < components:
        raise ScorerNotApplicable(
            f"nleep fits {components} Gaussians ({component_ratio} a class) and has {len(data.features)} samples only"
        )
    spectrum = shared(data, "scatter spectrum", lambda: torch.linalg.eigvalsh(scatter(data)).flip(0).clamp(min=0))
    if spectrum[0] == 0:
        raise ScorerNotApplicable("nleep has no principal component: all samples have the same features")
    kept = int((spectrum.cumsum(0) / spectrum.sum() <= variance).sum()) + 1
    scores = pca(data, kept).scores.double()
    posterior = _mixture_posterior(scores, components, seed)
    value = log_expected_prediction(posterior, data.targets)
    return Score(value, {"dimensions": float(kept), "components": float(components)})


def _mixture_posterior(x: Tensor, components: int, seed: int) -> Tensor:
    """N x components posteriors of a Gaussian mixture with full covariances fitted to N x k rows by EM."""
    random = np.random.RandomState(seed)  # the generator that scikit-learn makes of a seed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than clusters
        labels = KMeans(components, random_state=random).fit(x.cpu().numpy()).labels_
    posterior = torch.nn.functional.one_hot(torch.from_numpy(labels).long().to(x.device), components).double()
    fitted, previous = _maximise(x, posterior), -math.inf
    for _ in range(100):
        posterior, likelihood = _expect(x, fitted)
        fitted = _maximise(x, posterior)
        if abs(likelihood - previous) < 1e-3:
            break
        previous = likelihood
    return _expect(x, fitted)[0]


def _maximise(x: Tensor, posterior: Tensor) -> list[tuple[float, Tensor, Tensor]]:
    """(log weight, mean, Cholesky factor of the covariance) of each component."""
    fitted = []
    for column in posterior.T:
        rows = column > 1e-12
        weight, mass = column[rows], float(column.sum()) + 10 * torch.finfo(torch.float64).eps
        mean = weight @ x[rows] / mass
        centred = (x[rows] - mean) * weight.sqrt()[:, None]
        covariance = centred.T @ centred / mass
        covariance.diagonal().add_(1e-6)
        factor, failed = torch.linalg.cholesky_ex(covariance)
        if failed:
            raise ScorerNotApplicable("nleep: a covariance is singular, the scale of the features hides 1e-6 from it")
        fitted.append((math.log(mass / len(x)), mean, factor))
    return fitted


def _expect(x: Tensor, fitted: list[tuple[float, Tensor, Tensor]]) -> tuple[Tensor, float]:
    """Posteriors and the mean log likelihood."""
    joint = x.new_empty(len(x), len(fitted))
    identity = torch.eye(x.shape[1]).to(x)
    for k, (log_weight, mean, factor) in enumerate(fitted):
        whitening = torch.linalg.solve_triangular(factor, identity, upper=False).T
        distance = torch.addmm(-(mean @ whitening), x, whitening).square_().sum(1)
        constant = log_weight - float(factor.diagonal().log().sum()) - 0.5 * x.shape[1] * math.log(2 * math.pi)
        joint[:, k] = constant - 0.5 * distance
    norm = joint.logsumexp(1, keepdim=True)
    return (joint - norm).exp_(), float(norm.mean())
