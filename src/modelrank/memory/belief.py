"""What is thought of the accuracies of a hub's models on one data set, and what each result changes in it.

Accuracy of model m = location + scale x z_m, z ~ Normal(mean, covariance). Location and scale belong to the data set
and are unknown too: some sets are easy, on some the models hardly differ. The scale is summed out over a grid, so
intervals have the heavier tails that few results deserve.

A training that is looked at before its end, at a share r of its steps, shows z with noise that fades as r goes to 1,
and shifted by what all models still have to gain. Both are a random walk in 1 / r - 1, told backwards from the end: of
two looks at one training, the later says all that the earlier one did.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr

Array = NDArray[np.float64]

SCALES = 7  # points of the grid over the log of the scale, out to 2.5 standard deviations
CURVE_NOISE = 0.5  # sd of z seen at a share r of the training, over sqrt(1 / r - 1): rank correlation .55 at a tenth
TO_GAIN = 1.0  # sd of what all models have yet to gain at r, over sqrt(1 / r - 1), in units of z
# How much wider the intervals of models not yet trained to the end must be after so many that were, so that 80 % ones
# hold 80 %: the best are tried first, so what is left is unlike what was seen. Fitted on the hubs of stage=replay, each
# counted once; by the factors of the other hubs alone the coverage of a hub is .80 on average at every number.
STRETCH = {0: 1.04, 1: 1.02, 2: 1.18, 3: 1.34, 5: 1.68, 7: 1.86, 10: 1.78, 15: 1.86}
# Log odds that nothing left is better, from the log odds among the draws: of the many models left the luckiest draw is
# too good. Fitted and checked in the same way.
SURE = (0.83, 0.61)
# Correlation of the errors of values on the same images: of two models (.44 to .66, the means of four sets, by
# experiments/truth/val_errors.py), and of one model at two steps (assumed).
SAME_IMAGES, SAME_MODEL = 0.5, 0.8
JITTER = 1e-10  # squares of accuracies: keeps the factor regular where a model is looked at twice


class Result(NamedTuple):
    """The value on val (or the accuracy) of a model, by its number, after a share (0..1] of its training; noise: sd of
    the value's error, as few images give it. The images are those of the other results."""

    model: int
    value: float
    share: float = 1.0
    noise: float = 0.0


@dataclass(frozen=True)
class Belief:
    """Before anything is trained. mean: of z, N for N models. Its covariance is loadings loadings' + diag(own), with
    loadings N x F, and own, N, the variance that no other data set tells of.
    location, location_sd: in units of accuracy. log_scale, log_scale_sd: of the accuracy that one unit of z makes.
    """

    mean: Array
    loadings: Array
    own: Array
    location: float
    location_sd: float
    log_scale: float
    log_scale_sd: float

    def given(self, results: Iterable[Result] = ()) -> Posterior:
        """What is thought after these results."""
        posterior = Posterior(self)
        for result in results:
            posterior.add(result)
        return posterior


class Posterior:
    """The accuracies of N models after k results: a mixture, over the grid of G scales, of normal distributions.

    weight: G. means, variances: G x N, of the accuracy at the end of the training.
    """

    def __init__(self, belief: Belief) -> None:
        steps = np.linspace(-2.5, 2.5, SCALES)
        self.belief = belief
        self.scale: Array = np.exp(belief.log_scale + steps * belief.log_scale_sd)[:, None]
        self.log_weight: Array = -0.5 * steps**2
        self.means: Array = belief.location + self.scale * belief.mean
        self.variances: Array = self.scale**2 * ((belief.loadings**2).sum(1) + belief.own) + belief.location_sd**2
        self.results: list[Result] = []
        self._surprises = np.zeros((SCALES, 0))  # what results differed by from what was expected of them, whitened
        n = len(belief.mean)
        self._inverse = np.zeros((SCALES, 8, 8))  # of the Cholesky factor of the results' covariance, grown by doubling
        self._spread = np.zeros((SCALES, 8, n))  # that inverse times the covariance of results and models

    def add(self, result: Result) -> None:
        """Learn from one result. Cost G x (k^2 + k N)."""
        k, scale2 = len(self.results), self.scale[:, 0] ** 2
        if k == self._inverse.shape[1]:
            self._inverse = np.pad(self._inverse, ((0, 0), (0, k), (0, k)))
            self._spread = np.pad(self._spread, ((0, 0), (0, k), (0, 0)))
        belief = self.belief
        towards = belief.loadings @ belief.loadings[result.model]
        towards[result.model] += belief.own[result.model]
        left = 1 / result.share - 1
        now = scale2 * (towards[result.model] + left * (CURVE_NOISE**2 + TO_GAIN**2)) + belief.location_sd**2
        inverse, spread = self._inverse[:, :k, :k], self._spread[:, :k]
        others = np.array([other.model for other in self.results], dtype=int)
        shared = np.minimum(np.array([1 / other.share - 1 for other in self.results]), left)
        before = towards[others] + shared * (TO_GAIN**2 + CURVE_NOISE**2 * (others == result.model))
        errors = result.noise * np.array([other.noise for other in self.results]) * _alike(others, result.model)
        before = scale2[:, None] * before + belief.location_sd**2 + errors
        white = (inverse @ before[:, :, None])[:, :, 0]
        alone = np.sqrt(np.maximum(now + max(result.noise**2, JITTER) - (white**2).sum(1), JITTER))
        across = self.scale**2 * towards + belief.location_sd**2
        row = (across - (white[:, None] @ spread)[:, 0]) / alone[:, None]
        expected = belief.location + self.scale[:, 0] * belief.mean[result.model] + (white * self._surprises).sum(1)
        surprise = (result.value - expected) / alone
        self.means = self.means + surprise[:, None] * row
        self.variances = np.maximum(self.variances - row**2, 0.0)
        self.log_weight = self.log_weight - 0.5 * surprise**2 - np.log(alone)
        self._spread[:, k] = row
        self._inverse[:, k, :k] = -(white[:, None] @ inverse)[:, 0] / alone[:, None]
        self._inverse[:, k, k] = 1 / alone
        self._surprises = np.column_stack([self._surprises, surprise])
        self.results.append(result)

    @property
    def true_values(self) -> Array:
        """What each result is expected to be without its error, k: drawn towards what the others and the belief say,
        the more so the larger its noise. Of a model's end it is that model's `mean`."""
        k = len(self.results)
        weights = np.einsum("gji,gj->gi", self._inverse[:, :k, :k], self._surprises)
        errors = self._covariance_of_errors() @ (self.weight @ weights)
        return np.array([result.value for result in self.results]) - errors

    def _covariance_of_errors(self) -> Array:
        """k x k."""
        models = np.array([result.model for result in self.results], dtype=int)
        correlation = _alike(models[:, None], models)
        np.fill_diagonal(correlation, 1.0)
        noise = np.array([result.noise for result in self.results])
        return noise[:, None] * noise * correlation

    def improvement(self, best: float) -> Array:
        """Expected improvement on `best` by training each model to the end, in units of accuracy."""
        sd = np.sqrt(np.maximum(self.variances, 1e-18))
        gap = (self.means - best) / sd
        return self.weight @ (sd * (gap * ndtr(gap) + np.exp(-0.5 * gap**2) / np.sqrt(2 * np.pi)))

    @property
    def weight(self) -> Array:
        weight = np.exp(self.log_weight - self.log_weight.max())
        return weight / weight.sum()

    @property
    def mean(self) -> Array:
        """Expected accuracy at the end of the training, N."""
        return self.weight @ self.means

    @property
    def sd(self) -> Array:
        return np.sqrt(np.maximum(self.weight @ (self.variances + self.means**2) - self.mean**2, 0.0))

    def interval(self, level: float) -> tuple[Array, Array]:
        """Central interval of each model's accuracy, N and N: of the mixture, stretched as the replay taught."""
        mean, stretch = self.mean, self._stretch()
        low, high = self._quantile((1 - level) / 2), self._quantile((1 + level) / 2)
        return mean + stretch * (low - mean), mean + stretch * (high - mean)

    def _stretch(self) -> Array:
        """1 for models trained to the end, for the others by how many these are: see STRETCH."""
        ended = sorted({result.model for result in self.results if result.share == 1})
        stretch = np.full(len(self.belief.mean), np.interp(len(ended), list(STRETCH), list(STRETCH.values())))
        stretch[ended] = 1.0
        return stretch

    def samples(self, count: int, rng: np.random.Generator) -> Array:
        """count x N accuracies at the end of the training, drawn together: what models share is shared in each draw.

        Drawn before the results, then moved by what the results differ from those drawn with them (Matheron's rule).
        Cost count x N x (F + k).
        """
        belief, k, drawn = self.belief, len(self.results), []
        seen = np.array([result.model for result in self.results], dtype=int)
        left = np.array([1 / result.share - 1 for result in self.results])
        walk = np.minimum(left[:, None], left) * (TO_GAIN**2 + CURVE_NOISE**2 * (seen[:, None] == seen))
        walk = np.linalg.cholesky(walk + 1e-9 * np.eye(k))
        values = np.array([result.value for result in self.results])
        error = np.linalg.cholesky(self._covariance_of_errors() + JITTER * np.eye(k))
        for grid, times in enumerate(rng.multinomial(count, self.weight)):
            z = belief.mean + rng.standard_normal((times, belief.loadings.shape[1])) @ belief.loadings.T
            z += rng.standard_normal(z.shape) * np.sqrt(belief.own)
            location = belief.location + belief.location_sd * rng.standard_normal((times, 1))
            accuracy = location + self.scale[grid] * z
            shown = accuracy[:, seen] + self.scale[grid] * (rng.standard_normal((times, k)) @ walk.T)
            shown += rng.standard_normal(shown.shape) @ error.T
            white = (values - shown) @ self._inverse[grid, :k, :k].T
            drawn.append(accuracy + white @ self._spread[grid, :k])
        return np.concatenate(drawn)

    def _quantile(self, q: float) -> Array:
        sd, weight = np.sqrt(np.maximum(self.variances, 1e-18)), self.weight
        low, high = (self.means - 8 * sd).min(0), (self.means + 8 * sd).max(0)
        for _ in range(40):  # the mixture's distribution function has no inverse in closed form
            middle = (low + high) / 2
            below = weight @ ndtr((middle - self.means) / sd) < q
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return (low + high) / 2


def _alike(models: NDArray[np.int_], other: NDArray[np.int_] | int) -> Array:
    """Correlation of the errors of two results, by their models."""
    return np.where(models == other, SAME_MODEL, SAME_IMAGES)


def chance_nothing_better(drawn: Array, best: Array | float, point: float) -> float:
    """The chance that no model is better than `best` by more than `point`, calibrated on the replay (see SURE).

    drawn: count x models, of `Posterior.samples`; best: a value, or one a draw (that of the pick).
    """
    right = (drawn.max(1) <= best + point).sum()
    odds = (right + 0.5) / (len(drawn) - right + 0.5)  # one draw more or less is no certainty
    return float(expit(SURE[0] + SURE[1] * np.log(odds)))
