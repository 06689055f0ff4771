"""What was measured here as a hub to replay on, with the scores and learning curves of the same models and images."""

from __future__ import annotations

import pandas as pd

LOOKS = (0.1, 0.25, 0.5)  # shares of the steps of a measurement after which its curves can be looked at
CELL = ["dataset", "model"]
SEEN = ["model_id", "data_id"]  # what a score is of
RATE = ["lr", "weight_decay"]


def cells(measured: pd.DataFrame, scores: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Rows of `modelrank.replay.hubs.hub`, of the ledger's rows by one protocol: means over the seeds; where a data
    set's name stands for several (other images, other settings of the protocol), the one with most models.

    scores: rows of `modelrank.truth.scored.rows`; curves: of `modelrank.truth.curves.read`. Both by identity.
    """
    rows = measured.assign(seconds=pd.to_numeric(measured.seconds, errors="coerce"))
    rows = pd.concat([_largest(of_name) for _, of_name in rows.groupby("dataset")])
    parts = [pd.DataFrame(rows.groupby(CELL)[["accuracy", "val_accuracy", "seconds"]].mean())]
    scored = rows[[*CELL, *SEEN]].drop_duplicates().merge(scores[[*SEEN, "scorer", "score"]], on=SEEN)
    if len(scored):
        parts.append(pd.DataFrame(scored.pivot_table("score", CELL, "scorer").add_prefix("score:")))
    training = [*SEEN, "protocol_id", "seed"]
    drawn = rows[[*CELL, *training]].merge(curves[[*training, *RATE, "step", "value"]], on=training)
    if len(drawn):
        looked = pd.DataFrame([_looks(own) for _, own in drawn.groupby([*CELL, "seed"])])
        parts.append(pd.DataFrame(looked.groupby(CELL).mean()))
    return pd.concat(parts, axis=1).dropna(axis=1, how="all").reset_index()


def _largest(of_name: pd.DataFrame) -> pd.DataFrame:
    return max(of_name.groupby(["data_id", "protocol_id"]), key=lambda group: group[1].model.nunique())[1]


def _looks(own: pd.DataFrame) -> dict[str, object]:
    """at:SHARE of one measurement: the best value on val where all learning rates have got equally far on that share
    of its steps. The rates are those that it tried, though it tried some only because of others."""
    ends = own.groupby(RATE).step.max()
    row: dict[str, object] = {name: own[name].iloc[0] for name in CELL}
    for share in LOOKS:
        reached = own.loc[own.step <= share * ends.sum() / len(ends)]
        row[f"at:{share:g}"] = reached.loc[reached.step == reached.step.max(), "value"].max()
    return row
