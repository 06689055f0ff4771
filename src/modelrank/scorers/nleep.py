"""NLEEP: LEEP on the clusters of a Gaussian mixture (Li et al., CVPR 2021, 'Ranking Neural Checkpoints').

Features are projected onto the principal components that keep 80 % of the variance; a mixture of 5 C Gaussians with
full covariances is fitted; its posteriors p(z | x) take the place of the source classes in LEEP:

    NLEEP = 1/N sum_i log sum_z P(y_i | z) p(z | x_i).

The mixture is scikit-learn's GaussianMixture in float64 (float32 fails on ill-conditioned clusters) with a fixed seed.
Its k-means start draws rows by their position, so unlike other scorers the value depends a little on the order of the
samples; so it does in every code we know. Ours takes the logarithm of eq. 2 (SFDA's copy does not) and, as the
published results, 5 components per class. Runs on the CPU.

Cost per EM iteration N x (5 C) x k^2 for k kept components, memory N x 5 C + 5 C x k^2: the slowest scorer here.
"""

from __future__ import annotations

import warnings

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from modelrank.scorers.contract import scorer
from modelrank.scorers.leep import log_expected_prediction
from modelrank.scorers.linalg import class_counts, pca, scatter, shared
from modelrank.types import FeatureSet, Score, ScorerNotApplicable


@scorer(tasks={"classification", "detection"})
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
    scores = pca(data, kept).scores.double().cpu().numpy()
    mixture = GaussianMixture(components, random_state=seed)
    with warnings.catch_warnings():  # an EM stopped at 100 iterations, or fewer distinct points than clusters
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            posterior = mixture.fit(scores).predict_proba(scores)
        except ValueError as error:  # the regularisation 1e-6 is absolute: features of a large scale defeat it
            raise ScorerNotApplicable(f"nleep: the mixture has no solution on these features ({error})") from error
    value = log_expected_prediction(torch.from_numpy(posterior), data.targets.cpu())
    return Score(value, {"dimensions": float(kept), "components": float(components)})
