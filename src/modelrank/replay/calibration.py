"""Whether what is predicted is true as often as is said: played on data sets whose answers are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from modelrank.memory.belief import Result, chance_nothing_better
from modelrank.replay.game import target
from modelrank.replay.hubs import Hub
from modelrank.replay.policies import Believing, choose

RESULTS = (0, 1, 2, 3, 5, 10)  # trainings to the end
LEVEL = 0.8  # of the intervals
POINT = 0.01  # a difference that matters
DRAWS = 500


def calibration(hub: Hub, policy: Believing, *, seed: int = 0) -> pd.DataFrame:
    """Rows hub, dataset, results, untrained, covered, sure, right, gap: each data set left out in turn.

    After so many `results` of trainings to the end, as `policy` chooses them: covered is the share of the `untrained`
    models whose value on val lies in its 80 % interval; sure is the predicted chance that none of them is better than
    the best found by more than a point, right (0 or 1) whether that is so, gap by how much the best of them is.
    """
    rows: list[dict[str, Any]] = []
    for dataset in map(str, hub.accuracy):
        known = target(hub, dataset)
        if known.elsewhere.isna().all(axis=None):
            continue
        seen = hub.seen.loc[known.models, dataset].to_numpy(dtype=float)
        posterior, rng = policy.belief(known).given(), np.random.default_rng(seed)
        untrained = np.ones(len(seen), dtype=bool)
        for count in range(min(RESULTS[-1] + 1, len(seen))):
            if count in RESULTS:
                low, high = posterior.interval(LEVEL)
                row = {"hub": hub.name, "dataset": dataset, "results": count, "untrained": int(untrained.sum())}
                row |= {"covered": float(((low <= seen) & (seen <= high))[untrained].mean())}
                if count:
                    best = seen[~untrained].max()
                    drawn = posterior.samples(DRAWS, rng)[:, untrained]
                    gap = float(seen[untrained].max() - best)
                    right = float(gap <= POINT + 1e-9)  # .92 is no more than a point above .91, but for the rounding
                    row |= {"sure": chance_nothing_better(drawn, best, POINT), "right": right, "gap": gap}
                rows.append(row)
            model = choose(posterior, untrained)
            posterior.add(Result(model, seen[model]))
            untrained[model] = False
    return pd.DataFrame(rows)


def calibrated(rows: pd.DataFrame, *, sure: float = 0.8) -> pd.DataFrame:
    """One row a hub, and one of all (each hub counted once): hub, covered, sure_cells, right.

    rows: of `calibration`. sure_cells: how often the predicted chance was at least `sure`; right: the share of these in
    which it was so.
    """
    said = rows.loc[rows.sure >= sure]
    table = pd.DataFrame(
        {
            "covered": rows.groupby("hub", sort=False).covered.mean(),
            "sure_cells": said.groupby("hub").size(),
            "right": said.groupby("hub").right.mean(),
        }
    ).reindex(rows.hub.unique())
    table["sure_cells"] = table.sure_cells.fillna(0)
    table.loc["all"] = [table.covered.mean(), table.sure_cells.sum(), table.right.mean()]
    return table.rename_axis("hub").reset_index()
