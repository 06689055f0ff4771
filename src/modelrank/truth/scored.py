"""Scores of other data sets, beside their accuracies: what each scorer is worth is learnt from both."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from filelock import FileLock

from modelrank.csv_file import read_text
from modelrank.root import resolve
from modelrank.truth.ledger import Asked
from modelrank.truth.published import plain_name
from modelrank.types import ModelRankError

log = logging.getLogger(__name__)

# 12 hex digits each; scorer_id: its settings and how large it saw the images. images: how many it was given.
IDS = ("model_id", "data_id", "scorer_id", "images")
COLUMNS = ("dataset", "model", "scorer", *IDS, "score")


def remember(path: str | Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Add rows of COLUMNS to the table, in the place of those with the same ids; under a lock and by renaming.

    Where the disk is full or read-only a warning says so: the scores are there all the same.
    """
    try:
        _add(Path(path), rows)
    except OSError as error:
        log.warning("these scores are not remembered for other data sets: cannot write %s: %s", path, error)


def _add(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        new = pd.DataFrame([{name: row[name] for name in COLUMNS} for row in rows], columns=list(COLUMNS))
        if path.exists() and path.stat().st_size:
            new = pd.concat([_read(path), new]).drop_duplicates(list(IDS), keep="last")
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        new.sort_values(list(COLUMNS[:3]), kind="stable").to_csv(temporary, index=False, lineterminator="\n")
        temporary.replace(path)


def rows(paths: Sequence[str | Path]) -> pd.DataFrame:
    """All rows of the files that exist, with COLUMNS; of those with the same ids the last. ModelRankError names a file
    that cannot be read."""
    tables = [_read(path) for path in map(resolve, paths) if path.exists() and path.stat().st_size]
    none = pd.DataFrame(columns=list(COLUMNS))
    return pd.concat(tables).drop_duplicates(list(IDS), keep="last") if tables else none


def recalled(
    asked: Asked, ids: Mapping[str, Mapping[str, str]], paths: Sequence[str | Path]
) -> dict[str, pd.DataFrame]:
    """data_id -> models of the hub x scorers, of every data set but the one asked for, NaN where not known.

    ids: model -> scorer -> its scorer_id; other settings of a scorer are another one. Where a scorer was given several
    numbers of images, that counts which it was given for most models, the largest of equals. Files that do not exist
    are passed over; ModelRankError names one that cannot be read.
    """
    known = rows(paths)
    other_name = known.dataset.map(plain_name) != plain_name(asked.dataset)
    known = known.loc[(known.data_id != asked.data_id) & other_name]
    wanted = pd.DataFrame(
        [(asked.models[name], one, name, scorer) for name, own in ids.items() for scorer, one in own.items()],
        columns=["model_id", "scorer_id", "name", "column"],
    )
    found = wanted.merge(known, on=["model_id", "scorer_id"])
    models = found.groupby(["data_id", "column", "images"])["name"].transform("nunique")
    found = found.assign(models=models).sort_values(["models", "images"]).reset_index(drop=True)
    chosen = found.groupby(["data_id", "column"]).images.transform("last")
    found = found.loc[found.images == chosen]
    return {
        str(data_id): group.pivot_table("score", "name", "column").reindex(list(asked.models))
        for data_id, group in found.groupby("data_id")
    }


def _read(path: Path) -> pd.DataFrame:
    try:
        table = read_text(path)
        images = table["images"].astype(int) if "images" in table else 0  # an earlier version did not say
        return table.assign(score=pd.to_numeric(table.score), images=images).loc[:, list(COLUMNS)]
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise ModelRankError(f"cannot read the table of scores {path}: {error}; mend or remove it") from error
