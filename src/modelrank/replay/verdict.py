"""What the replay says of each policy over all data sets, with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from modelrank.ranking.compare import BEST, winners

RESAMPLES = 1000
AGAINST = "static order"
KEYS = ["budget", "amount", "hub", "dataset"]


def verdict(rows: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """One row a policy, budget and amount.

    rows: of `modelrank.replay.game.replay`. hubs, datasets: where it plays. relative: mean over the hubs, each counted
    once, of a hub's mean `relative`; low, high: its 95 % percentile interval, data sets drawn anew within each hub.
    against, against_low, against_high: the same of the difference to the static order on the same data sets (NaN where
    that does not play). rank: of the pick, mean.
    """
    base = rows.loc[rows.policy == AGAINST, [*KEYS, "relative"]].rename(columns={"relative": "base"})
    result: list[dict[str, Any]] = []
    cell = ["policy", "budget", "amount"]
    for _, own in rows.merge(base, on=KEYS, how="left").groupby(cell, sort=False):
        hubs = [hub for _, hub in own.groupby("hub", sort=False)]
        means = _means([hub.relative.to_numpy(dtype=float) for hub in hubs], seed)
        less = [(hub.relative - hub.base).dropna().to_numpy(dtype=float) for hub in hubs]
        differences = _means([hub for hub in less if len(hub)], seed)
        result.append(
            {**own.iloc[0][cell], "hubs": len(hubs), "datasets": len(own)}
            | dict(zip(("relative", "low", "high"), means, strict=True))
            | dict(zip(("against", "against_low", "against_high"), differences, strict=True))
            | {"rank": float(np.mean([hub["rank"].mean() for hub in hubs]))}
        )
    return pd.DataFrame(result)


def winners_of(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a hub and policy that orders the models before any result, and one of the accuracies (`BEST`): policy,
    hub, among (how many models there are), and what `modelrank.ranking.compare.winners` counts. rows: see `verdict`."""
    known = rows.loc[rows.winner != ""].drop_duplicates(["policy", "hub", "dataset"])
    models, result = rows.groupby("hub").models.max(), []
    for hub, of_hub in rows.drop_duplicates(["hub", "dataset"]).groupby("hub", sort=False):
        firsts = {BEST: dict(zip(of_hub.dataset, of_hub.best, strict=True))}
        for policy, own in known.loc[known.hub == hub].groupby("policy", sort=False):
            firsts[str(policy)] = dict(zip(own.dataset, own.winner, strict=True))
        facts = {"hub": hub, "among": models[hub]}
        result += [{"policy": policy} | facts | vars(winners(first)) for policy, first in firsts.items()]
    return pd.DataFrame(result)


def _means(hubs: list[NDArray[np.float64]], seed: int) -> tuple[float, float, float]:
    """The mean over hubs of a hub's mean, and the interval of that over resamples."""
    if not hubs:
        return float("nan"), float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    drawn = [
        rng.multinomial(len(hub), np.full(len(hub), 1 / len(hub)), size=RESAMPLES) @ hub / len(hub) for hub in hubs
    ]
    low, high = np.quantile(np.mean(drawn, axis=0), [0.025, 0.975])
    return float(np.mean([hub.mean() for hub in hubs])), float(low), float(high)
