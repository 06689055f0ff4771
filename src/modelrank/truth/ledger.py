"""The ledger of truth: measured accuracies, each found by what it is of, never by what it is called.

A row is one measurement: of a model (architecture, weights, preprocessing), on a data set (source images, their split
and choice, the metric), by a protocol (all numbers that decide the result), with a seed. These four identify it; the
names beside them are labels. A row whose names are those asked for while its ids are not is of something else.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd
from filelock import FileLock

from modelrank.csv_file import read_text
from modelrank.keys import short
from modelrank.memory.prior import mean_rank
from modelrank.packages import writable
from modelrank.root import resolve
from modelrank.truth.published import kind, plain_name, valid
from modelrank.types import ModelRankError, NotMeasured, Truth

if TYPE_CHECKING:
    from modelrank.data.images import ImageData
    from modelrank.hub.model import PretrainedModel
    from modelrank.truth.protocol import Protocol

log = logging.getLogger(__name__)

IDS = ("model_id", "data_id", "protocol_id")  # 12 hex digits each
ROW = (*IDS, "seed")  # what makes a row unique; measured again = replaced
NAMES = ("dataset", "model", "protocol")
CELL = (*NAMES, "seed")
DIGEST = "digest"  # column: `short` of the other cells of the row that are not empty, as text
OTHER = {  # what a row with the right names and another id is
    "protocol_id": "by other settings of {protocol}",
    "data_id": "on other images named {dataset}",
    "model_id": "of other weights with the same name",
}


def model_id(model: PretrainedModel) -> str:
    """Of its architecture, weights and preprocessing. Random weights are told apart by the seed of a row."""
    return short(model.identity())


def data_id(data: ImageData) -> str:
    """Of the images of every split, their targets, and what a measurement makes of them."""
    return short({"images": data.fingerprint, "metric": data.metric, "mirror": data.mirror})


def protocol_id(protocol: Protocol) -> str:
    """Changes whenever a number of the protocol does."""
    return short({"kind": type(protocol).__name__, **protocol.numbers()})


@dataclass(frozen=True)
class Asked:
    """Whose accuracies are wanted: of these models, on this data set, by this protocol. models: name -> id. metric: of
    the data set; `data_id` tells it from others."""

    models: Mapping[str, str]
    dataset: str
    data_id: str
    protocol: str
    protocol_id: str
    metric: str = "accuracy"

    @classmethod
    def of(cls, models: Collection[PretrainedModel], data: ImageData, protocol: Protocol) -> Self:
        ids = {model.name: model_id(model) for model in models}
        return cls(ids, data.name, data_id(data), protocol.name, protocol_id(protocol), data.metric)


def measured(asked: Asked, *, paths: Sequence[str | Path]) -> Truth:
    """The accuracies that were measured of exactly what is asked for: mean over the seeds of each model.

    paths: CSVs with the columns of `modelrank.truth.measure`; of two rows with the same ids and seed the one in the
    later file wins. NotMeasured: there is none, with what there is under the same names. ModelRankError: see `rows`.
    """
    table = rows(paths)
    named = table.loc[
        (table.dataset == asked.dataset) & (table.protocol == asked.protocol) & table.model.isin(list(asked.models))
    ]
    same = table.loc[(table.data_id == asked.data_id) & (table.protocol_id == asked.protocol_id)]
    chosen = same.loc[same.model_id.isin(list(asked.models.values()))]
    others = _others(named.drop(index=chosen.index, errors="ignore"), asked)
    if chosen.empty:
        raise NotMeasured(
            f"no {asked.protocol} accuracies of these models on {asked.dataset}"
            + (f" ({others})" if others else _known(table.loc[table.protocol == asked.protocol]))
            + "; stage=finetune measures them, truth=import takes yours"
        )
    elsewhere = table.loc[
        (table.protocol_id == asked.protocol_id)
        & (table.data_id != asked.data_id)
        & (table.dataset.map(plain_name) != plain_name(asked.dataset))
        & (table.metric.map(kind) == kind(chosen.metric.iloc[0]))
    ]
    tables = {
        name: _means(_by_model(_largest(group, asked), asked))
        for name, group in elsewhere.groupby(elsewhere.dataset.map(plain_name), sort=False)
    }
    return truth_of(chosen, asked, mean_rank_elsewhere=mean_rank(pd.DataFrame(tables)).to_dict(), unmatched=others)


def truth_of(
    chosen: pd.DataFrame,
    asked: Asked | None = None,
    *,
    mean_rank_elsewhere: Mapping[str, float] | None = None,
    unmatched: str = "",
) -> Truth:
    """Rows of one data set and protocol as a Truth, under the names that the models have in `asked`, or their own."""
    if asked is None:
        labels = chosen.iloc[-1]
        ids = dict(zip(chosen.model, chosen.model_id, strict=True))
        asked = Asked(ids, labels.dataset, labels.data_id, labels.protocol, labels.protocol_id)
    if len(chosen[["data_id", "protocol_id"]].drop_duplicates()) > 1:
        raise ModelRankError("rows of several data sets or protocols are no truth; choose by data_id and protocol_id")
    found = _by_model(chosen, asked)
    seeds = sorted({seed for values in found.values() for seed in values})
    commits = ", ".join(sorted({commit for commit in chosen.commit if commit})) or "unknown"
    return Truth(
        dataset=asked.dataset,
        protocol=asked.protocol,
        metric=str(chosen.metric.iloc[0]),
        accuracy=_means(found),
        per_seed={seed: {model: values[seed] for model, values in found.items() if seed in values} for seed in seeds},
        source=f"{', '.join(dict.fromkeys(chosen.file))}, measured at commit {commits}{_unvouched(chosen)}",
        mean_rank_elsewhere=mean_rank_elsewhere or {},
        unmatched=unmatched,
        seconds=_seconds(chosen, asked),
    )


def _seconds(chosen: pd.DataFrame, asked: Asked) -> dict[str, float]:
    """name in the hub -> seconds that its measurement took with all its learning rates, mean over the seeds."""
    if "seconds" not in chosen:
        return {}
    known = chosen.assign(seconds=pd.to_numeric(chosen["seconds"], errors="coerce")).dropna(subset=["seconds"])
    of = {identity: list(own) for identity, own in known.groupby("model_id")["seconds"]}
    return {name: float(np.mean(of[identity])) for name, identity in asked.models.items() if identity in of}


def rows(paths: Sequence[str | Path]) -> pd.DataFrame:
    """All measured rows of the files that exist, with the column `file`; later files win. Text but for the numbers
    `seed`, `accuracy`, `val_accuracy`, `lr`, `weight_decay`.

    NotMeasured: no file exists. ModelRankError names the file and the row: accuracies that are missing or no fraction
    of 1, rows that are there twice or do not fit their digest, columns that lack. Rows without ids (of an earlier
    version) match nothing.
    """
    existing = [path for path in map(resolve, paths) if path.exists() and not _emptied(path)]
    if not existing:
        raise NotMeasured(
            f"no measured accuracies: none of {', '.join(map(str, paths))} exists; measure them with stage=finetune"
        )
    tables = [_read(path) for path in existing]
    together = pd.concat(tables, ignore_index=True)
    known = together.model_id != ""
    return together.loc[~(known & together.duplicated(list(ROW), keep="last"))].reset_index(drop=True)


def add(path: str | Path, new: Sequence[Mapping[str, object]]) -> None:
    """Add measured rows (with their digest), or rows about them, in the place of those with the same ids and seed.

    A row of an earlier version, without ids, goes where its cell (names and seed) is measured again: it was of no use.
    Under a lock and by renaming: no reader sees half a table, no two processes lose each other's rows. ModelRankError
    where a row has not all of the `ROW`.
    """
    if bad := [row for row in new if not all(str(row.get(column, "")) for column in ROW)]:
        raise ModelRankError(f"{path}: a row without {', '.join(ROW)} could not be found again: {dict(bad[0])}")
    fresh = pd.DataFrame([{key: "" if value is None else str(value) for key, value in row.items()} for row in new])
    fresh = fresh.fillna("")  # what only some of them have
    _merge(Path(path), _vouched(fresh) if "accuracy" in fresh else fresh)


def take(path: str | Path, other: Path) -> None:
    """Add the rows of another ledger that have ids, as they are: without a digest where they have none. Such a row does
    not take the place of one that has a digest; a warning says how many did not. Only seeds are written anew, as
    integers; where that changes the text there is no digest any longer."""
    theirs, read = _text(other), _read(other)
    seeds = read.seed.astype(int).astype(str)
    theirs = theirs.assign(**{"seed": seeds, DIGEST: read[DIGEST].where(seeds == theirs.seed, "")})
    _merge(Path(path), theirs.loc[theirs.model_id != ""])


def vouch(path: Path) -> int:
    """Give the rows that have no digest theirs, in place; how many there were."""
    with _alone(path):
        table = _text(path)
        _intact(table, path)
        bare = table.reindex(columns=[DIGEST], fill_value="")[DIGEST] == ""
        _write(path, pd.concat([table.loc[~bare], _vouched(table.loc[bare])]).fillna("").sort_index())
    return len(table.loc[bare])


def _merge(path: Path, fresh: pd.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path):
        if path.exists() and not _emptied(path):
            old = _text(path)  # as text: rewriting the file must not touch the digits of older rows
            old = old.reindex(columns=[*old, *(column for column in ROW if column not in old)], fill_value="")
            if DIGEST in old and DIGEST in fresh:
                bare = fresh.loc[fresh[DIGEST] == ""]
                held = bare.index[_cells(bare, ROW).isin(_cells(old.loc[old[DIGEST] != ""], ROW))]
                if len(held):
                    log.warning("%s keeps %d measured rows: the new ones have no digest", path, len(held))
                fresh = fresh.drop(index=held)
            again = _cells(old, ROW).isin(_cells(fresh, ROW))
            again |= (old.model_id == "").to_numpy() & _cells(old, CELL).isin(_cells(fresh, CELL))
            fresh = pd.concat([old.loc[~again], fresh], ignore_index=True).fillna("")
        _write(path, fresh.sort_values([*NAMES, "seed"], kind="stable"))


def _alone(path: Path) -> FileLock:
    return FileLock(path.with_name(f".{path.name}.lock"))


def _write(path: Path, table: pd.DataFrame) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writable(path.parent):
        table.to_csv(temporary, index=False, lineterminator="\n")
        temporary.replace(path)


def _vouched(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(**{DIGEST: _digests(table)})


def _digests(table: pd.DataFrame) -> list[str]:
    """Of rows of text. Empty cells have no part, so that a column more changes nothing."""
    rows = table.drop(columns=DIGEST, errors="ignore").to_dict("records")
    return [short({str(name): value for name, value in row.items() if value}) for row in rows]


def _intact(table: pd.DataFrame, path: Path) -> None:
    if DIGEST not in table:
        return
    altered = table.loc[(table[DIGEST] != "") & (table[DIGEST] != _digests(table))]
    if len(altered):
        first = ", ".join(str(altered.iloc[0][column]) for column in CELL)
        raise ModelRankError(
            f"{path}: {len(altered)} rows are not what was measured, first ({first}): their text does not fit their "
            "digest. Remove them, and bring them back by stage=finetune stage.anew=false where they were measured; "
            "for a change that you vouch for empty their digest"
        )


def _unvouched(chosen: pd.DataFrame) -> str:
    bare = list(chosen[DIGEST]).count("") if DIGEST in chosen else len(chosen)
    return f" ({bare} of {len(chosen)} rows without a digest)" if bare else ""


def _cells(table: pd.DataFrame, columns: Sequence[str]) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(table.reindex(columns=columns, fill_value=""))


def _read(path: Path) -> pd.DataFrame:
    """As text first: a name may be NA or 007, and an id all digits."""
    table = _text(path)
    _intact(table, path)
    if missing := [column for column in (*NAMES, "seed", "metric", "accuracy") if column not in table]:
        raise ModelRankError(f"{path} lacks the columns {', '.join(missing)}")
    table = table.reindex(columns=list(dict.fromkeys([*table, *IDS, "commit", DIGEST])), fill_value="").assign(
        file=path.name
    )
    for column in {"seed", "accuracy", "val_accuracy", "lr", "weight_decay"} & set(table):
        table[column] = pd.to_numeric(table[column], errors="coerce")
    table = valid(table, path)
    if (bad := table.seed % 1 != 0).any():  # NaN and infinity as well
        raise ModelRankError(f"{path}: {int(bad.sum())} rows have no seed; give the number of a run, 0, 1, ...")
    twice = table.loc[(table.model_id != "") & table.duplicated(list(ROW))]
    if len(twice):
        first = ", ".join(str(twice.iloc[0][column]) for column in (*NAMES, "seed"))
        raise ModelRankError(f"{path}: {len(twice)} rows are there twice, first ({first}); keep one of them")
    return table


def _text(path: Path) -> pd.DataFrame:
    try:
        return read_text(path)
    except (OSError, ValueError) as error:
        raise ModelRankError(f"cannot read the table of accuracies {path}: {error}; mend or remove it") from error


def _emptied(path: Path) -> bool:
    """A file of no bytes, as a full disk leaves it; what was measured is still in the cache, see `measure`."""
    if empty := not path.stat().st_size:
        log.warning("%s is empty; stage=finetune with stage.anew=false brings back what was measured here", path)
    return empty


def _by_model(chosen: pd.DataFrame, asked: Asked) -> dict[str, dict[int, float]]:
    """name in the hub -> seed -> accuracy."""
    found: dict[str, dict[int, float]] = {}
    for name, identity in asked.models.items():
        own = chosen.loc[chosen.model_id == identity].sort_values("seed")
        if len(own):
            found[name] = {int(s): float(a) for s, a in zip(own.seed, own.accuracy, strict=True)}
    return found


def _means(found: Mapping[str, Mapping[int, float]]) -> dict[str, float]:
    return {model: float(np.mean(list(values.values()))) for model, values in found.items()}


def _largest(group: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """Of several choices of the images of one data set that with most models of the hub."""
    mine = group.loc[group.model_id.isin(list(asked.models.values()))]
    counts = mine.groupby("data_id", sort=False).model_id.nunique()
    return mine.loc[mine.data_id == counts.idxmax()] if len(counts) else mine


def _others(named: pd.DataFrame, asked: Asked) -> str:
    """One sentence on the rows that have the names asked for and are of something else; empty where there are none."""
    if named.empty:
        return ""
    right = {
        "protocol_id": asked.protocol_id,
        "data_id": asked.data_id,
        "model_id": named.model.map(dict(asked.models)),
    }
    wrong = {text.format(**vars(asked)): (named[column] != right[column]).tolist() for column, text in OTHER.items()}
    kinds = Counter(
        " and ".join(text for text, is_wrong in wrong.items() if is_wrong[i])
        if identity
        else "of an earlier version, without ids"
        for i, identity in enumerate(named.model_id)
    )
    listed = "; ".join(f"{count} {kind}" for kind, count in kinds.items())
    files = ", ".join(dict.fromkeys(named.file))
    return f"{len(named)} rows of {files} have these names but are of something else, so they are not used: {listed}"


def _known(own: pd.DataFrame) -> str:
    return f" (of others there are: {', '.join(dict.fromkeys(own.dataset))})" if len(own) else ""
