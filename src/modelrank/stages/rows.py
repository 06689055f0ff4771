"""What every stage does with its rows: the facts that each row carries, and writing, tracking and judging the table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from modelrank.provenance import versions
from modelrank.tracking import Tracker
from modelrank.types import ModelRankError


def run_facts(cfg: DictConfig) -> dict[str, Any]:
    """The columns that every row of a run shares."""
    return {"hub": cfg.hub.name, "dataset": str(cfg.dataset.name), "seed": cfg.seed, "versions": versions()}


def finish(cfg: DictConfig, tracker: Tracker, name: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Write NAME.csv into the run folder and mirror it to the tracker."""
    rows.to_csv(Path(cfg.paths.run) / f"{name}.csv", index=False)
    tracker.table(name, rows)
    return rows


@contextmanager
def rows_of(cfg: DictConfig, tracker: Tracker, name: str) -> Iterator[list[dict[str, Any]]]:
    """A list to put rows into; when the work is stopped (Ctrl-C, SIGTERM) those that are there become NAME.csv.

    Lightning turns the KeyboardInterrupt of a running trainer into a SystemExit.
    """
    rows: list[dict[str, Any]] = []
    try:
        yield rows
    except (KeyboardInterrupt, SystemExit):
        if rows:
            finish(cfg, tracker, name, pd.DataFrame(rows))
        raise


def raise_for_failed(rows: pd.DataFrame, what: str) -> None:
    """After everything else is done: the exit code must say that some rows failed."""
    failed = rows[rows.status == "failed"]
    if len(failed):
        names = ", ".join(dict.fromkeys(failed.model))
        raise ModelRankError(f"{len(failed)} of {len(rows)} {what} failed ({names}); their rows give the reason")
