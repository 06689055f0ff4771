"""Tables of accuracies after transfer: read, checked and extended, every number with its provenance."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock
from scipy.stats import rankdata

from modelrank.types import ModelRankError, NotMeasured, Truth

ROW = ("dataset", "model", "protocol", "seed")  # what makes a measured row unique; measured again = replaced
SHIPPED = Path(__file__).parents[3]  # relative paths in conf/truth start here, wherever the user's shell stands


def measured(paths: Sequence[str | Path], dataset: str, protocol: str) -> Truth:
    """Accuracies that this project measured: mean over the seeds of each model.

    paths: CSVs with the columns of `modelrank.truth.measure`; of two rows for the same data set, model, protocol and
    seed the one in the later file wins, so that a user's own measurement replaces the shipped one.
    NotMeasured: nothing for this data set and protocol (the known ones are listed). ModelRankError: NaN, values outside
    0..1, duplicates, or rows of one table that were measured by different versions of the protocol.
    """
    table = measured_rows(paths)
    rows = _choose(table, dataset, protocol, NotMeasured, way_out="measure them with stage=finetune")
    if rows.protocol_hash.nunique() > 1:
        models = rows.groupby("protocol_hash").model.unique().map(", ".join).to_dict()
        raise ModelRankError(
            f"the {protocol} accuracies on {dataset} were measured by different versions of the protocol "
            f"({models}); measure the older ones again with stage=finetune"
        )
    per_seed: dict[int, dict[str, float]] = {}
    for seed, model, accuracy in sorted(zip(rows.seed, rows.model, rows.accuracy, strict=True)):
        per_seed.setdefault(int(seed), {})[model] = float(accuracy)
    commits = ", ".join(sorted(set(rows.commit.dropna().astype(str)))) or "unknown"
    files = ", ".join(dict.fromkeys(rows.file))
    return Truth(
        dataset=dataset,
        protocol=protocol,
        metric=_only(rows.metric),
        accuracy=rows.groupby("model").accuracy.mean().to_dict(),
        per_seed=per_seed,
        source=f"{files}, measured at commit {commits}",
        fingerprints=frozenset(rows["data_fingerprint"].astype(str)) if "data_fingerprint" in rows else frozenset(),
        mean_rank_elsewhere=mean_rank_elsewhere(accuracies(_of_the_kind(table, _only(rows.metric)), protocol), dataset),
    )


def published(path: str | Path, dataset: str, protocol: str, hub: str | None = None) -> Truth:
    """Accuracies that others published. `protocol`: full, last_block or linear. Errors as for `measured`.

    hub: take only the rows of that hub; by default all models with a number for this data set.
    """
    table = published_rows(path)
    if hub is not None:
        table = table.loc[table.hub == hub]
    rows = _choose(table, dataset, protocol, ModelRankError, way_out="choose one of them, or go on with truth=none")
    return Truth(
        dataset=dataset,
        protocol=protocol,
        metric=_only(rows.metric),
        accuracy=dict(zip(rows.model, rows.accuracy, strict=True)),
        per_seed={},
        source="; ".join(dict.fromkeys(rows.source)),
        mean_rank_elsewhere={
            model: rank
            for name in dict.fromkeys(rows.hub)
            for model, rank in mean_rank_elsewhere(accuracies(table.loc[table.hub == name], protocol), dataset).items()
        },
    )


def no_truth() -> None:
    """`truth=none`: rank without comparing."""


def measured_rows(paths: Sequence[str | Path]) -> pd.DataFrame:
    """All measured rows of the files that exist, later files winning, with the column `file`."""
    existing = [path for path in map(resolve, paths) if path.exists()]
    if not existing:
        raise NotMeasured(
            f"no measured accuracies: none of {', '.join(map(str, paths))} exists; measure them with stage=finetune"
        )
    tables = [_read(path, (*ROW, "metric", "accuracy", "commit", "protocol_hash"), ROW) for path in existing]
    return pd.concat(tables, ignore_index=True).drop_duplicates(list(ROW), keep="last")


def published_rows(path: str | Path) -> pd.DataFrame:
    """All published rows: hub, dataset, model, protocol, metric, accuracy, source."""
    return _read(
        resolve(path),
        ("hub", "dataset", "model", "protocol", "metric", "accuracy", "source"),
        ("hub", "dataset", "model", "protocol"),
    )


def accuracies(rows: pd.DataFrame, protocol: str) -> dict[str, dict[str, float]]:
    """data set -> model -> mean accuracy of one protocol, of `measured_rows` or `published_rows` (one hub's)."""
    chosen = rows.loc[rows.protocol == protocol]
    return {
        str(dataset): group.groupby("model").accuracy.mean().to_dict()
        for dataset, group in chosen.groupby("dataset", sort=False)
    }


def mean_rank_elsewhere(tables: Mapping[str, Mapping[str, float]], dataset: str) -> dict[str, float]:
    """The static order of a hub: each model's mean rank by accuracy over all data sets but this one; 1 = best.

    tables: data set -> model -> accuracy, see `accuracies`. Ties share their mean rank. A model that a table lacks is
    ranked by the others. Says nothing about `dataset`, so every scorer that looks at the images should beat it.
    """
    ranks: dict[str, list[float]] = {}
    for other, accuracy in tables.items():
        if other != dataset:
            for model, rank in zip(accuracy, rankdata([-value for value in accuracy.values()]), strict=True):
                ranks.setdefault(model, []).append(float(rank))
    return {model: float(np.mean(values)) for model, values in ranks.items()}


def append_rows(path: str | Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Add rows to a CSV, in the place of those with the same data set, model, protocol and seed.

    Under a lock and by renaming: no reader sees half a table, no two processes lose each other's rows.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        new = pd.DataFrame([{key: "" if value is None else str(value) for key, value in row.items()} for row in rows])
        if path.exists():  # everything as text: rewriting the file must not touch the digits of older rows
            old = pd.read_csv(path, dtype=str, keep_default_na=False)
            keys, fresh = (pd.MultiIndex.from_frame(table.loc[:, list(ROW)]) for table in (old, new))
            new = pd.concat([old.loc[~keys.isin(fresh)], new], ignore_index=True).fillna("")
        new = new.sort_values([*ROW], kind="stable")
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        new.to_csv(temporary, index=False, lineterminator="\n")
        temporary.replace(path)


def resolve(path: str | Path) -> Path:
    """A relative path of a config counts from the project's root."""
    return SHIPPED / Path(path).expanduser()  # an absolute path stays as it is


def _read(path: Path, columns: Sequence[str], key: Sequence[str]) -> pd.DataFrame:
    """A CSV whose columns are there, whose accuracies are fractions and whose keys are unique; else ModelRankError."""
    try:
        rows = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise ModelRankError(f"cannot read the table of accuracies {path}: {error}") from error
    if missing := [column for column in columns if column not in rows]:
        raise ModelRankError(f"{path} lacks the columns {', '.join(missing)}")
    values = np.asarray(pd.to_numeric(rows["accuracy"], errors="coerce"), dtype=float)
    lowest = np.where(rows["metric"] == "r2", -np.inf, 0.0)  # of the metrics only R^2 has values below 0
    bad = rows.loc[~((values >= lowest) & (values <= 1))]
    if len(bad):
        first = bad.iloc[0]
        raise ModelRankError(
            f"{path}: {len(bad)} accuracies are missing or no fraction of 1, first {first.accuracy!r} of {first.model} "
            f"on {first.dataset}; mend or remove the row"
        )
    twice = rows.loc[rows.duplicated(list(key))]
    if len(twice):
        first = ", ".join(str(twice.iloc[0][column]) for column in key)
        raise ModelRankError(f"{path}: {len(twice)} rows are there twice, first ({first}); keep one of them")
    return rows.assign(file=path.name)


def _choose(rows: pd.DataFrame, dataset: str, protocol: str, error: type[ModelRankError], way_out: str) -> pd.DataFrame:
    chosen = rows.loc[(rows.dataset == dataset) & (rows.protocol == protocol)]
    if chosen.empty:
        known = rows[["protocol", "dataset"]].drop_duplicates().groupby("protocol").dataset.apply(", ".join)
        listing = "; ".join(f"{name}: {datasets}" for name, datasets in known.items())
        raise error(f"no {protocol} accuracies on {dataset} (known are {listing or 'none'}); {way_out}")
    twice = chosen.loc[chosen.duplicated([column for column in ("model", "seed") if column in chosen])]
    if len(twice):
        raise ModelRankError(
            f"{twice.iloc[0].model} has two {protocol} accuracies on {dataset} in different hubs; name the hub"
        )
    return chosen


def _of_the_kind(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Regression apart from the rest: a protocol serves both, but an order of classifiers is none of regressors."""
    return table.loc[(table.metric == "r2") == (metric == "r2")]


def _only(metric: pd.Series) -> str:
    if metric.nunique() != 1:
        raise ModelRankError(f"accuracies by different metrics in one table: {', '.join(metric.unique())}")
    return str(metric.iloc[0])
