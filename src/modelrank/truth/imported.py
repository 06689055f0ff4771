"""`truth=import`: accuracies from a file of yours become part of the memory, and are the truth of what they are of."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from filelock import FileLock

from modelrank.truth import ledger
from modelrank.truth.ledger import IDS, Asked
from modelrank.truth.published import COLUMNS, KEY, published, published_rows, valid
from modelrank.types import ModelRankError, Truth

log = logging.getLogger(__name__)

LEAST = ("dataset", "model", "accuracy")


def imported(
    asked: Asked, *, file: str | Path, paths: Sequence[str | Path], ledger_table: str | Path, named_table: str | Path
) -> Truth:
    """Take the rows of `file` into the memory; the truth for what is asked, where they or the ledgers `paths` hold it.

    file: a CSV. With the columns of a ledger (model_id, data_id, protocol_id, seed; as another user's measured.csv has
    them) its rows are matched by identity, and go into `ledger_table`. Else it needs dataset, model and accuracy
    (0..1); its rows are matched by name, and go into `named_table`; hub (the file's name), protocol (full), metric
    (accuracy) and source (the file's name) may be given. Imported again, rows take the place of those with the same
    hub, data set, model and protocol.

    NotMeasured: nothing on the data set asked for (the memory has the rows all the same). ModelRankError names the file
    and what is wrong with it, or that it holds accuracies by several protocols.
    """
    path = Path(file).expanduser().absolute()  # of where the user is, not of the project
    try:
        columns = set(pd.read_csv(path, nrows=0).columns)
    except (OSError, ValueError) as error:
        raise ModelRankError(f"cannot read the table of accuracies {path}: {error}") from error
    if {*IDS, "seed"} <= columns:
        rows = ledger.rows([path])
        rows = rows.loc[rows.model_id != ""]
        ledger.take(ledger_table, path)
    else:
        rows = _by_name(path, columns)
        _add(Path(named_table), rows)
    log.info("%d accuracies of %s imported from %s", len(rows), _extent(rows), path)
    own = rows.loc[rows.dataset.eq(asked.dataset) & rows.model.isin(list(asked.models))]
    if {*IDS, "seed"} <= columns or own.empty:
        return ledger.measured(asked, paths=[*paths, ledger_table])
    several = own[["hub", "protocol"]].drop_duplicates()
    if len(several) > 1:
        named = "; ".join(f"hub {one.hub}, protocol {one.protocol}" for one in several.itertuples())
        raise ModelRankError(
            f"{path} has accuracies of these models on {asked.dataset} by several ways ({named}), which are not to be "
            "compared; keep the rows of one of them in the file"
        )
    return published(asked, path=named_table, protocol=several.iloc[0].protocol, hub=several.iloc[0].hub)


def _by_name(path: Path, columns: set[str]) -> pd.DataFrame:
    if missing := [column for column in LEAST if column not in columns]:
        raise ModelRankError(f"{path} lacks the columns {', '.join(missing)}")
    rows = pd.read_csv(path, dtype=dict.fromkeys((*KEY, "metric", "source"), str), keep_default_na=False)
    rows["accuracy"] = pd.to_numeric(rows.accuracy, errors="coerce")
    given = {"hub": path.stem, "protocol": "full", "metric": "accuracy", "source": path.name}
    rows = valid(rows.assign(**{name: value for name, value in given.items() if name not in rows}), path)
    if len(twice := rows.loc[rows.duplicated(list(KEY))]):
        first = ", ".join(str(twice.iloc[0][column]) for column in KEY)
        raise ModelRankError(f"{path}: {len(twice)} rows are there twice, first ({first}); keep one of them")
    return rows.loc[:, list(COLUMNS)]


def _add(table: Path, rows: pd.DataFrame) -> None:
    """Under a lock and by renaming, as the ledger is written."""
    table.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(table.with_name(f".{table.name}.lock")):
        if table.exists():
            rows = pd.concat([published_rows(table), rows]).drop_duplicates(list(KEY), keep="last")
        temporary = table.with_name(f".{table.name}.{os.getpid()}.tmp")
        rows.to_csv(temporary, index=False, lineterminator="\n")
        temporary.replace(table)


def _extent(rows: pd.DataFrame) -> str:
    return f"{rows.model.nunique()} models on {rows.dataset.nunique()} data sets"
