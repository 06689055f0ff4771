"""Accuracies that others published: tables found by names, as papers have no other identity, with their sources."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import normalize

import numpy as np
import pandas as pd

from modelrank.csv_file import read_text
from modelrank.memory.prior import mean_rank
from modelrank.root import resolve
from modelrank.types import ModelRankError, Truth

if TYPE_CHECKING:
    from modelrank.truth.ledger import Asked

COLUMNS = ("hub", "dataset", "model", "protocol", "metric", "accuracy", "source")
KEY = ("hub", "dataset", "model", "protocol")


def published(asked: Asked, *, path: str | Path, protocol: str, hub: str | None = None) -> Truth:
    """The numbers for the data set's name, of the hub's models by name. `protocol`: full, last_block or linear.

    hub: of the table, to take only its rows. ModelRankError: no number (the known ones are listed), numbers of several
    hubs, NaN, values outside 0..1.
    """
    table = published_rows(path)
    if hub is not None:
        table = table.loc[table.hub == hub]
    return truth_by_name(asked, table, path, protocol)


def truth_by_name(asked: Asked, table: pd.DataFrame, path: str | Path, protocol: str) -> Truth:
    """As `published`, from the rows that were read from `path`."""
    table = table.loc[table.model.isin(list(asked.models))]
    rows = table.loc[(table.dataset == asked.dataset) & (table.protocol == protocol)]
    if rows.empty:
        known = table[["protocol", "dataset"]].drop_duplicates().groupby("protocol").dataset.apply(", ".join)
        listing = "; ".join(f"{name}: {datasets}" for name, datasets in known.items())
        raise ModelRankError(
            f"no {protocol} accuracies on {asked.dataset} of this hub's models in {path} (known are "
            f"{listing or 'none'}); choose one of them, or go on with truth=none"
        )
    hubs = list(dict.fromkeys(rows.hub))
    if len(hubs) > 1:
        raise ModelRankError(
            f"{path} has {protocol} accuracies of these models on {asked.dataset} by several ways (hub "
            f"{', hub '.join(hubs)}), which are not to be compared; take those of one by truth.hub={hubs[0]}"
        )
    if rows.metric.nunique() != 1:
        raise ModelRankError(f"accuracies by different metrics in one table: {', '.join(rows.metric.unique())}")
    metric = str(rows.metric.iloc[0])
    if kind(metric) != kind(asked.metric):
        raise ModelRankError(
            f"{path} has values of {metric} on {asked.dataset}, where {asked.metric} is measured; if they are of that, "
            f"give its rows a column metric with {asked.metric}, else go on with truth=none"
        )
    alike = table.loc[(table.hub == hubs[0]) & (table.metric.map(kind) == kind(metric))]
    return Truth(
        dataset=asked.dataset,
        protocol=protocol,
        metric=metric,
        accuracy=dict(zip(rows.model, rows.accuracy, strict=True)),
        per_seed={},
        source="; ".join(dict.fromkeys(rows.source)),
        mean_rank_elsewhere=mean_rank_elsewhere(accuracies(alike, protocol), asked.dataset),
        match="names",
    )


def no_truth(asked: Asked) -> None:
    """`truth=none`: rank without comparing."""


def published_rows(path: str | Path) -> pd.DataFrame:
    """All published rows: hub, dataset, model, protocol, metric, accuracy, source."""
    path = resolve(path)
    try:
        rows = read_text(path)
    except (OSError, ValueError) as error:
        raise ModelRankError(f"cannot read the table of accuracies {path}: {error}") from error
    if missing := [column for column in COLUMNS if column not in rows]:
        raise ModelRankError(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(rows)}")
    rows["accuracy"] = pd.to_numeric(rows.accuracy, errors="coerce")
    rows = valid(rows, path)
    twice = rows.loc[rows.duplicated(list(KEY))]
    if len(twice):
        first = ", ".join(str(twice.iloc[0][column]) for column in KEY)
        raise ModelRankError(f"{path}: {len(twice)} rows are there twice, first ({first}); keep one of them")
    return rows


def valid(rows: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The rows; ModelRankError where an accuracy is missing or no fraction of 1."""
    values = rows["accuracy"].to_numpy(float)
    lowest = np.where(rows["metric"] == "r2", -np.inf, 0.0)  # of the metrics only R^2 has values below 0
    bad = rows.loc[~((values >= lowest) & (values <= 1))]
    if len(bad):
        first = bad.iloc[0]
        value = float(first.accuracy)
        raise ModelRankError(
            f"{path}: {len(bad)} accuracies are missing or no fraction of 1, first {value} of {first.model} "
            f"on {first.dataset}; {'percent? divide by 100, or ' if value > 1 else ''}mend or remove the row"
        )
    return rows


def accuracies(rows: pd.DataFrame, protocol: str) -> dict[str, dict[str, float]]:
    """data set -> model -> accuracy of one protocol, of one hub's rows."""
    chosen = rows.loc[rows.protocol == protocol]
    return {
        str(dataset): group.groupby("model").accuracy.mean().to_dict()
        for dataset, group in chosen.groupby("dataset", sort=False)
    }


def plain_name(dataset: str) -> str:
    """What tells a data set from the one asked for, where names have to: letters and digits, whatever their case and
    however they are encoded (file systems take accents apart)."""
    return "".join(character for character in normalize("NFKC", dataset).casefold() if character.isalnum())


def kind(metric: str) -> str:
    """Of the task that the metric belongs to: an order of classifiers is none of regressors."""
    return {"r2": "regression", "map": "detection", "map50": "detection"}.get(metric, "classification")


def mean_rank_elsewhere(tables: Mapping[str, Mapping[str, float]], dataset: str) -> dict[str, float]:
    """`mean_rank` over all data sets but this one; tables: data set -> model -> accuracy, see `accuracies`.

    It says nothing about the data set in question, so every scorer that looks at the images should beat it.
    """
    others = {other: accuracy for other, accuracy in tables.items() if plain_name(other) != plain_name(dataset)}
    return mean_rank(pd.DataFrame(others)).to_dict()
