"""The order of a hub's models by one scorer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from modelrank.types import ModelRankError, Ranking, Score


def rank(
    scorer: str,
    scores: Mapping[str, Score],
    *,
    combine: Callable[[Mapping[str, Score]], Mapping[str, float]] | None = None,
    failed: Mapping[str, str] | None = None,
) -> Ranking:
    """Models from high to low score; equal scores in alphabetical order of the models, whatever order they came in.

    combine: where the value depends on the whole hub (min-max over its models), the function of all scores that gives
    it; the parts of each score are kept.
    Raises ModelRankError where no model has a score, ValueError where a value is not finite.
    """
    if not scores:
        reasons = "".join(f"\n  {model}: {reason}" for model, reason in (failed or {}).items())
        raise ModelRankError(f"{scorer} has no score for any model of the hub, so there is nothing to rank.{reasons}")
    values = {model: score.value for model, score in scores.items()} if combine is None else combine(scores)
    if bad := [model for model in scores if not math.isfinite(values[model])]:
        raise ValueError(f"{scorer} gave {values[bad[0]]} for {', '.join(bad)}; a score is finite or has a reason")
    order = sorted(scores, key=lambda model: (-values[model], model))
    return Ranking(scorer, {model: replace(scores[model], value=values[model]) for model in order}, dict(failed or {}))
