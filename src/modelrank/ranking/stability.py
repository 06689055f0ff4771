"""Would other images have given the same order? Intervals and the chance of the first, from scores of subsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Stability:
    """low, high: the interval of each model's score; first_is_best: probability that the model ranked first is best."""

    low: Mapping[str, float]
    high: Mapping[str, float]
    first_is_best: float

    def interval(self, model: str) -> tuple[float | None, float | None]:
        """(None, None) for a model without draws."""
        return self.low.get(model), self.high.get(model)


def stability(
    values: Mapping[str, float], draws: Mapping[str, Sequence[float]], *, factor: float = 1.0, level: float = 0.95
) -> Stability:
    """values: model -> score on all images. draws: model -> its scores on subsets, the same subsets for each model.

    A draw counts as values[model] + factor (draw - mean of its model's draws). The interval is the normal one around
    the value (a standard deviation needs fewer draws than a quantile); the probability is the share of subsets on
    which no model exceeds the one with the highest value, so that what moves all models together cancels.
    Raises ValueError where models differ in the number of draws, or have fewer than two.
    """
    models = list(values)
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    if set(draws) != set(models) or len({len(draws[model]) for model in models}) != 1 or len(draws[models[0]]) < 2:
        raise ValueError("every model needs the same number of draws, two or more")
    centre = np.array([values[model] for model in models])
    drawn = np.array([draws[model] for model in models], dtype=float)
    moved = centre[:, None] + factor * (drawn - drawn.mean(1, keepdims=True))
    half = stats.norm.ppf(0.5 + level / 2) * moved.std(1, ddof=1)
    first = int(centre.argmax())
    return Stability(
        dict(zip(models, (centre - half).tolist(), strict=True)),
        dict(zip(models, (centre + half).tolist(), strict=True)),
        float((moved[first] >= moved.max(0)).mean()),
    )
