"""`truth=import`: accuracies from a file of yours become part of the memory, and are the truth of what they are of."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
from filelock import FileLock

from modelrank.csv_file import read_text
from modelrank.truth import ledger
from modelrank.truth.ledger import IDS, Asked
from modelrank.truth.published import COLUMNS, KEY, published_rows, truth_by_name, valid
from modelrank.types import ModelRankError, NotMeasured, Truth

log = logging.getLogger(__name__)

LEAST = ("dataset", "model", "accuracy")


def imported(
    asked: Asked, *, file: str | Path, paths: Sequence[str | Path], ledger_table: str | Path, named_table: str | Path
) -> Truth:
    """Take the rows of `file` into the memory; the truth for what is asked, where they or the ledgers `paths` hold it.

    file: a CSV. With the columns of a ledger (model_id, data_id, protocol_id, seed; as another user's measured.csv has
    them) its rows are matched by identity, and go into `ledger_table`. Else it needs dataset, model and accuracy
    (0..1); its rows are matched by name, and go into `named_table`; hub (the file's name), protocol (not stated),
    metric (accuracy), source (the file's name) and seed (runs are averaged) may be given. Imported again, the file's
    rows take the place of all that it had before.

    NotMeasured: nothing on the data set asked for (the memory has the rows all the same). ModelRankError names the file
    and what is wrong with it, or that it holds accuracies by several protocols.
    """
    path = Path(file).expanduser().absolute()  # of where the user is, not of the project
    try:
        table = read_text(path)
    except (OSError, ValueError) as error:
        raise ModelRankError(f"cannot read the table of accuracies {path}: {error}") from error
    if table.empty:
        raise ModelRankError(f"{path} has no rows; give one for each accuracy: {', '.join(LEAST)}")
    if {*IDS, "seed"} <= set(table):
        rows = ledger.rows([path])
        rows = rows.loc[rows.model_id != ""]
        ledger.take(ledger_table, path)
        log.info("%d accuracies of %s imported from %s", len(rows), _extent(rows), path)
        return ledger.measured(asked, paths=[*paths, ledger_table])
    rows = _by_name(path, table)
    own = rows.loc[rows.dataset.eq(asked.dataset) & rows.model.isin(list(asked.models))]
    truth = _of_file(asked, rows, own, path) if len(own) else None
    _add(Path(named_table), rows, path)
    log.info("%d accuracies of %s imported from %s", len(rows), _extent(rows), path)
    if truth:
        return truth
    lacking = f"{path} has no accuracies of {_some(asked.models)} on {asked.dataset}; {_has(rows, asked)}"
    try:
        truth = ledger.measured(asked, paths=[*paths, ledger_table])
    except NotMeasured as error:
        raise NotMeasured(f"{lacking}; {error}") from error
    log.warning("%s; the truth is what was measured here", lacking)
    return truth


def _of_file(asked: Asked, rows: pd.DataFrame, own: pd.DataFrame, path: Path) -> Truth:
    """own: of the rows of the file those that are asked for."""
    several = own[["hub", "protocol"]].drop_duplicates()
    if len(several) > 1:
        named = "; ".join(f"hub {hub}, protocol {protocol}" for hub, protocol in several.to_numpy().tolist())
        raise ModelRankError(
            f"{path} has accuracies of these models on {asked.dataset} by several ways ({named}), which are not to be "
            "compared; keep the rows of one of them in the file"
        )
    there = rows.loc[rows.dataset == asked.dataset, "model"]
    if others := [name for name in there if name not in asked.models]:
        log.warning("%s: not in the hub, so not used on %s: %s", path, asked.dataset, _some(others))
    if without := [name for name in asked.models if name not in set(there)]:
        log.warning("%s: no accuracy on %s of %s", path, asked.dataset, _some(without))
    return truth_by_name(asked, rows.loc[rows.hub == several.iloc[0].hub], path, several.iloc[0].protocol)


def _by_name(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    rows = table.rename(columns=str.strip).apply(lambda cells: cells.str.strip())
    if missing := [column for column in LEAST if column not in rows]:
        raise ModelRankError(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(rows)}")
    given = {"hub": path.stem, "protocol": "not stated", "metric": "accuracy", "source": path.name}
    rows = rows.assign(**{name: value for name, value in given.items() if name not in rows})
    rows["accuracy"] = pd.to_numeric(rows.accuracy, errors="coerce")
    rows = valid(rows, path)
    if len(twice := rows.loc[rows.duplicated([*KEY, *({"seed"} & set(rows))])]):
        first = ", ".join(str(twice.iloc[0][column]) for column in KEY)
        raise ModelRankError(
            f"{path}: {len(twice)} rows are there twice, first ({first}); keep one of them, or give runs a column seed"
        )
    if len(mixed := rows.loc[rows.groupby(["hub", "dataset", "protocol"]).metric.transform("nunique") > 1]):
        raise ModelRankError(
            f"{path} has accuracies on {mixed.dataset.iloc[0]} by different metrics ({_some(mixed.metric)}), which are "
            "not to be compared; keep one of them, or give each a hub of its own"
        )
    rows["accuracy"] = rows.groupby(list(KEY)).accuracy.transform("mean")  # over the seeds
    return rows.drop_duplicates(list(KEY)).loc[:, list(COLUMNS)]


def _add(table: Path, rows: pd.DataFrame, path: Path) -> None:
    """In the place of all rows of this file, and of files of its name that are no longer there: it was moved.

    Of two files that give the same hub's model an accuracy the later one counts; a warning says so.
    Under a lock and by renaming, as the ledger is written."""
    rows = rows.assign(file=str(path.resolve()))
    table.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(table.with_name(f".{table.name}.lock")):
        if table.exists():
            old = published_rows(table)
            old = old.reindex(columns=rows.columns, fill_value="")
            there = old.file.map(lambda file: Path(file).is_file())
            moved = (old.hub == path.stem) & (path.stem in set(rows.hub)) & ~there
            old = old.loc[(old.file != rows.file.iloc[0]) & ~moved]
            again = old.merge(rows[list(KEY)])
            if len(again):
                log.warning(
                    "%s takes the place of %d accuracies of %s on %s; a column hub of another name keeps both",
                    path, len(again), _some(again.file), _some(again.dataset),
                )  # fmt: skip
            rows = pd.concat([old, rows]).drop_duplicates(list(KEY), keep="last")
        temporary = table.with_name(f".{table.name}.{os.getpid()}.tmp")
        rows.to_csv(temporary, index=False, lineterminator="\n")
        temporary.replace(table)


def _has(rows: pd.DataFrame, asked: Asked) -> str:
    own = rows.loc[rows.dataset == asked.dataset, "model"]
    return f"its models there are {_some(own)}" if len(own) else f"its data sets are {_some(rows.dataset)}"


def _some(names: Iterable[str]) -> str:
    """The first ten names; how many more there are."""
    listed = list(dict.fromkeys(names))
    return ", ".join(listed[:10]) + (f" and {len(listed) - 10} more" if len(listed) > 10 else "")


def _extent(rows: pd.DataFrame) -> str:
    return f"{rows.model.nunique()} models on {rows.dataset.nunique()} data sets"
