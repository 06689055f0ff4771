"""What is to be predicted of some samples, without the samples: the targets of saved embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from modelrank.csv_file import read_csv
from modelrank.data.images import METRICS, check_metric
from modelrank.keys import key
from modelrank.targets import read_targets
from modelrank.types import Availability, ModelRankError, Task

SUFFIXES = (".csv", ".parquet", ".npy")


@dataclass(frozen=True)
class Target:
    """N samples by their targets.

    targets:     N integers, N x C of 0 and 1, or N x K floating, see `types.FeatureSet`.
    ids:         N strings, or empty: rows are then matched by their place.
    fingerprint: of ids and targets, 64 hex digits.
    """

    name: str
    task: Task
    metric: str
    targets: np.ndarray
    ids: Sequence[str]
    licence: str
    source: str
    fingerprint: str
    mirror: ClassVar[bool] = False
    scored: ClassVar[tuple[str, ...]] = ()
    notes: ClassVar[tuple[str, ...]] = ()

    @property
    def split_rule(self) -> str:
        return f"{len(self.targets)} samples, all scored"

    def scored_targets(self) -> np.ndarray:
        return self.targets


@dataclass(frozen=True)
class TargetFile:
    """A file of targets: .csv or .parquet with the column `column` (and `id_column`), or .npy.

    metric: None = the usual one of the task."""

    name: str
    folder: str
    file: str | None
    column: str
    id_column: str
    task: Task | None
    metric: str | None
    licence: str

    def path(self) -> Path:
        folder = Path(str(self.folder)).expanduser()
        if self.file is not None:
            return Path(str(self.file)).expanduser()
        found = [folder / f"targets{suffix}" for suffix in SUFFIXES if (folder / f"targets{suffix}").is_file()]
        if len(found) > 1:
            raise ModelRankError(f"{folder} has {' and '.join(path.name for path in found)}; name one by dataset.file")
        return found[0] if found else folder / "targets.csv"

    def availability(self, cache: Path) -> Availability:
        path = self.path()
        return Availability("targets", self.name, "present" if path.is_file() else "missing", str(path))

    def load(self, cache: Path) -> Target:
        """ModelRankError naming the file where it cannot be read, lacks the column, or holds no targets; and for a
        metric that is not of their task."""
        path = self.path()
        ids: list[str] = []
        try:
            if path.suffix == ".npy":
                values: Any = np.load(path, allow_pickle=False)
            elif path.suffix in (".csv", ".parquet"):
                column, name = str(self.column), str(self.id_column)  # 2024 is the name of a column too
                table = read_csv(path, text=(name,)) if path.suffix == ".csv" else pd.read_parquet(path)
                table = table.reset_index() if name in table.index.names else table  # pandas' index is in a .parquet
                if column not in table:
                    raise ModelRankError(
                        f"{path} has no column {column!r}; name one of {', '.join(map(str, table.columns))} by "
                        "dataset.column"
                    )
                values = table[column]
                if name in table and (missing := len(table) - len(table[name].dropna())):
                    raise ModelRankError(
                        f"{path}: {missing} of {len(table)} ids in the column {name!r} are missing; fill them in, or "
                        "name another column by dataset.id_column"
                    )
                ids = [str(one) for one in table[name]] if name in table else []
            else:
                raise ModelRankError(f"{path}: give targets as {', '.join(SUFFIXES)}")
            targets, task = read_targets(values, self.task)
        except (OSError, ValueError, EOFError, ImportError) as error:
            raise ModelRankError(f"cannot read the targets {path}: {error}") from error
        if len(set(ids)) < len(ids):
            raise ModelRankError(f"{path}: ids in the column {self.id_column!r} are there twice")
        metric = self.metric or METRICS[task][0]
        check_metric(task, metric)
        content = {"ids": ids, "targets": targets.tolist(), "task": task}
        return Target(self.name, task, metric, targets, ids, self.licence, str(path), key(content))
