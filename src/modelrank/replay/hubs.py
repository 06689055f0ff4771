"""Tables to replay choices on: the accuracies of a hub's models on several data sets, and what is known beside them.

A hub is one CSV of rows (dataset, model, accuracy) and, where known, these columns:
val_accuracy   what a search may see; accuracy is what it is judged by. Where it lacks, a search sees accuracy.
seconds        what the training cost; where it lacks, the median of the data set. Without any, every training costs 1.
score:NAME     the value of a scorer, higher is better.
at:SHARE       the value after a share (0..1) of the training.
any other      a fact of the model, a number or a word: parameters, imagenet_accuracy, family, pretraining, ...
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from modelrank.csv_file import read_csv
from modelrank.replay.measured import cells
from modelrank.types import ModelRankError

ROW = ("dataset", "model", "accuracy")
NUMBERS = ("parameters", "imagenet_accuracy")  # facts that policies go by


@dataclass(frozen=True)
class Hub:
    """accuracy, seen, cost: models x data sets, NaN where not measured; `seen` is what a search is told.
    scores: data set -> models x scorers. curves: share of the training -> models x data sets, ascending, without 1.
    facts: models x metadata.
    """

    name: str
    modality: str
    accuracy: pd.DataFrame
    seen: pd.DataFrame
    cost: pd.DataFrame
    scores: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    curves: Mapping[float, pd.DataFrame] = field(default_factory=dict)
    facts: pd.DataFrame = field(default_factory=pd.DataFrame)


def read(path: str | Path, *, modality: str = "", models: pd.DataFrame | None = None) -> Hub:
    """The hub of one CSV (or .csv.gz). models: further facts, one row a model name.

    ModelRankError: unreadable, a column missing, a cell twice, or no number where there must be one.
    """
    path = Path(path)
    try:
        rows = read_csv(path, text=("dataset", "model"))
    except (OSError, ValueError) as error:
        raise ModelRankError(f"cannot read the hub {path}: {error}") from error
    return hub(rows, path.name.removesuffix(".gz").removesuffix(".csv"), modality=modality, models=models)


def hub(rows: pd.DataFrame, name: str, *, modality: str = "", models: pd.DataFrame | None = None) -> Hub:
    """As `read`, from rows."""
    if lacking := [column for column in ROW if column not in rows]:
        raise ModelRankError(
            f"the hub {name} lacks the columns {', '.join(lacking)}; it has {', '.join(map(str, rows))}"
        )
    if len(unnamed := rows.loc[rows[["dataset", "model"]].isna().any(axis=1)]):
        raise ModelRankError(f"the hub {name}: {len(unnamed)} rows lack their model or data set; name or remove them")
    twice = rows.loc[rows.duplicated(["dataset", "model"])]
    if len(twice):
        raise ModelRankError(f"the hub {name} has {twice.iloc[0].model} on {twice.iloc[0].dataset} twice; keep one row")
    numbers = [column for column in rows if column in ("accuracy", "val_accuracy", "seconds") or ":" in str(column)]
    for column in [*numbers, *(fact for fact in NUMBERS if fact in rows)]:
        given = rows[column] if column == "accuracy" else rows[column].dropna()
        values = pd.Series(pd.to_numeric(given, errors="coerce"), dtype=float)
        if len(bad := given.loc[values.isna()]):
            raise ModelRankError(f"the hub {name}: a value in {column} is no number ({bad.iloc[0]}); mend it")
        least, most = (0, np.inf) if column == "seconds" else (-np.inf, 1 if _is_accuracy(str(column)) else np.inf)
        if len(beyond := values.loc[(values < least) | (values > most)]):
            row = rows.loc[beyond.index].iloc[0]
            raise ModelRankError(
                f"the hub {name}: {column} is {row[column]} for {row.model} on {row.dataset}; "
                + ("give accuracies as fractions of 1 (percent? divide by 100)" if most == 1 else "no time is below 0")
            )
    curves = _shares(rows, name)
    table = rows.assign(dataset=rows.dataset.astype(str), model=rows.model.astype(str))
    accuracy = _wide(table, "accuracy")
    cost = _wide(table, "seconds") if "seconds" in rows else accuracy.notna().astype(float)
    cost = cost.where(cost > 0)  # less than the clock shows is not for nothing
    scorers = [column for column in map(str, rows.columns) if column.startswith("score:")]
    scores = {
        str(dataset): pd.DataFrame({name[6:]: group[name].to_numpy(dtype=float) for name in scorers}, group.model)
        for dataset, group in table.groupby("dataset", sort=False)
        if scorers
    }
    used = {*ROW, *numbers, "metric", "source"}
    facts = pd.DataFrame(table.groupby("model", sort=False).first()).loc[:, [name for name in rows if name not in used]]
    if models is not None:
        facts = facts.join(models.loc[:, models.columns.difference(facts.columns)])
    return Hub(
        name=name,
        modality=modality,
        accuracy=accuracy,
        seen=_wide(table, "val_accuracy").fillna(accuracy) if "val_accuracy" in rows else accuracy,
        cost=cost.fillna(cost.median()).fillna(1.0),
        scores=scores,
        curves={share: _wide(table, _column(rows, share)) for share in curves},
        facts=facts.reindex(accuracy.index).dropna(axis=1, how="all"),
    )


def shipped(
    folder: Path, published: pd.DataFrame, measured: pd.DataFrame, scores: pd.DataFrame, curves: pd.DataFrame
) -> list[Hub]:
    """Every CSV of `folder` beside sources.csv and models.csv, and the hubs in tables of published (protocol full) and
    measured accuracies (rows of the ledger) with at least three data sets. scores, curves: see `measured.cells`."""
    models = read_csv(folder / "models.csv", text=("model",)).set_index("model").drop(columns="source")
    modality = read_csv(folder / "sources.csv").set_index("hub").modality.to_dict()
    files = sorted(path for path in folder.glob("*.csv*") if path.name not in ("sources.csv", "models.csv"))
    names = [path.name.removesuffix(".gz").removesuffix(".csv") for path in files]
    found = [
        read(path, modality=modality.get(name, ""), models=models) for path, name in zip(files, names, strict=True)
    ]
    full = published.loc[published.protocol == "full"]
    for name, rows in full.groupby("hub"):
        found.append(hub(rows[[*ROW]], str(name), modality="images", models=models))
    for name, rows in measured.groupby("protocol"):
        found.append(hub(cells(rows, scores, curves), f"measured: {name}", modality="images", models=models))
    return [one for one in found if one.accuracy.shape[1] >= FEWEST]


FEWEST = 3  # data sets: with one left out, two are left to remember


def _is_accuracy(column: str) -> bool:
    return column in ("accuracy", "val_accuracy") or column.startswith("at:")


def _shares(rows: pd.DataFrame, name: str) -> list[float]:
    """Of the columns at:SHARE, ascending."""
    shares = []
    for column in map(str, rows.columns):
        if not column.startswith("at:"):
            continue
        with suppress(ValueError):
            if 0 < float(column[3:]) < 1:
                shares.append(float(column[3:]))
                continue
        raise ModelRankError(f"the hub {name}: the column {column} is no at:SHARE, a share between 0 and 1")
    return sorted(shares)


def _wide(rows: pd.DataFrame, value: str) -> pd.DataFrame:
    return rows.pivot(index="model", columns="dataset", values=value).astype(float)


def _column(rows: pd.DataFrame, share: float) -> str:
    return next(column for column in map(str, rows.columns) if column.startswith("at:") and float(column[3:]) == share)


def chosen(hubs: Sequence[Hub], names: Sequence[str]) -> list[Hub]:
    """Those named, in that order; all where nothing is named."""
    by_name = {one.name: one for one in hubs}
    if twice := [name for name, count in Counter(one.name for one in hubs).items() if count > 1]:
        raise ModelRankError(
            f"two hubs are called {twice[0]}, as rows go by their name; call the file of yours otherwise"
        )
    if unknown := [name for name in names if name not in by_name]:
        raise ModelRankError(f"no hub {', '.join(unknown)} to replay; known are {', '.join(by_name)}")
    return [by_name[name] for name in names] if names else list(hubs)
