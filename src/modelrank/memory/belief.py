"""What is thought of the accuracies of a hub's models on one data set, and what each result changes in it.

Accuracy of model m = location + scale x z_m, z ~ Normal(mean, covariance). Location and scale belong to the data set and
are unknown too: some sets are easy, on some the models hardly differ. The scale is summed out over a grid, so intervals
have the heavier tails that few results deserve. A training stopped at a share r of its steps has a location of its own
(what is still to be gained) and noise about z that fades as r goes to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]

SCALES = 9  # points of the grid over the log of the scale, out to 2.5 standard deviations
CURVE_NOISE = 0.5  # sd of z seen at a share r of the training, over sqrt(1 / r - 1): rank correlation .55 at a tenth


class Result(NamedTuple):
    """The value on val (or the accuracy) of a model after a share (0..1] of its training; noise: sd of its error."""

    model: int
    value: float
    share: float = 1.0
    noise: float = 0.0


@dataclass(frozen=True)
class Belief:
    """mean, covariance: of z, N and N x N for N models.
    location, location_sd: in units of accuracy. log_scale, log_scale_sd: of the accuracy that one unit of z makes.
    """

    mean: Array
    covariance: Array
    location: float
    location_sd: float
    log_scale: float
    log_scale_sd: float

    def given(self, results: Sequence[Result]) -> Predicted:
        """The accuracies of all models, given what was found. Cost SCALES x (k^3 + N k^2) for k results."""
        steps = np.linspace(-2.5, 2.5, SCALES)
        scale = np.exp(self.log_scale + steps * self.log_scale_sd)[:, None]
        weight = -0.5 * steps**2
        prior = self.location + scale * self.mean
        diagonal = scale**2 * np.diag(self.covariance) + self.location_sd**2
        if not results:
            return Predicted(self, scale[:, 0], _normalised(weight), prior, diagonal, None)
        seen = np.array([result.model for result in results])
        share = np.array([result.share for result in results])
        noise = np.array([result.noise for result in results])
        same = (share[:, None] == share) & (share < 1)  # one further unknown location for each share below 1
        blur = CURVE_NOISE**2 * (1 / share - 1)
        squares = scale[:, :, None] ** 2
        among = squares * (self.covariance[np.ix_(seen, seen)] + np.diag(blur))
        among = among + self.location_sd**2 * (1 + same) + np.diag(noise**2 + 1e-12)
        across = squares * self.covariance[:, seen] + self.location_sd**2
        left = np.array([result.value for result in results]) - prior[:, seen]
        factor = np.linalg.cholesky(among)
        white = np.linalg.solve(factor, left[:, :, None])[:, :, 0]
        weight = weight - 0.5 * (white**2).sum(1) - np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(1)
        spread = np.linalg.solve(factor, across.transpose(0, 2, 1))  # scales x k x N
        mean = prior + np.einsum("gk,gkn->gn", white, spread)
        variance = np.maximum(diagonal - (spread**2).sum(1), 0.0)
        return Predicted(self, scale[:, 0], _normalised(weight), mean, variance, spread)


@dataclass(frozen=True)
class Predicted:
    """A mixture over the grid of scales (G) of normal distributions over the accuracies of N models.

    weight: G; means, variances: G x N; spread: G x k x N, what the results took off the covariance.
    """

    belief: Belief
    scale: Array
    weight: Array
    means: Array
    variances: Array
    spread: Array | None

    @property
    def mean(self) -> Array:
        return self.weight @ self.means

    @property
    def sd(self) -> Array:
        return np.sqrt(np.maximum(self.weight @ (self.variances + self.means**2) - self.mean**2, 0.0))

    def improvement(self, best: float) -> Array:
        """Expected improvement on `best` by training each model to the end, in units of accuracy."""
        sd = np.sqrt(np.maximum(self.variances, 1e-18))
        gap = (self.means - best) / sd
        return self.weight @ (sd * (gap * ndtr(gap) + np.exp(-0.5 * gap**2) / np.sqrt(2 * np.pi)))

    def interval(self, level: float) -> tuple[Array, Array]:
        """Central interval of each model's accuracy, of the mixture itself."""
        return self._quantile((1 - level) / 2), self._quantile((1 + level) / 2)

    def samples(self, count: int, rng: np.random.Generator) -> Array:
        """count x N accuracies drawn together, so that what models share is shared. Cost N^3."""
        belief, drawn = self.belief, []
        for scale, mean, spread, times in zip(
            self.scale,
            self.means,
            [None] * len(self.scale) if self.spread is None else self.spread,
            rng.multinomial(count, self.weight),
            strict=True,
        ):
            if not times:
                continue
            covariance = scale**2 * belief.covariance + belief.location_sd**2
            if spread is not None:
                covariance = covariance - spread.T @ spread
            values, vectors = np.linalg.eigh(covariance)
            root = vectors * np.sqrt(np.maximum(values, 0.0))
            drawn.append(mean + rng.standard_normal((times, len(mean))) @ root.T)
        return np.concatenate(drawn)

    def _quantile(self, q: float) -> Array:
        sd = np.sqrt(np.maximum(self.variances, 1e-18))
        low, high = (self.means - 8 * sd).min(0), (self.means + 8 * sd).max(0)
        for _ in range(50):  # the mixture's distribution function has no inverse in closed form
            middle = (low + high) / 2
            below = self.weight @ ndtr((middle - self.means) / sd) < q
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return (low + high) / 2


def _normalised(log_weight: Array) -> Array:
    weight = np.exp(log_weight - log_weight.max())
    return weight / weight.sum()
