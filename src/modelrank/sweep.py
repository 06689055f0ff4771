"""Collects the rows of a sweep: every job adds its own to `results.csv` in the sweep's folder.

It is done job by job, not at the end, because Hydra 1.3 skips the end-of-sweep callback when a job failed, and
because a killed sweep should leave what it had. A job has a row as soon as it begins, since one that is killed (by a
scheduler, for its memory) has no time to say so. A file lock keeps jobs of parallel launchers apart.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from modelrank.keys import short
from modelrank.overrides import options
from modelrank.tracking import Labels

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

RESULTS = "results.csv"
# a job's result: the first of these that it wrote
ROW_FILES = (
    *("ranking.csv", "truth.csv", "analysis.csv", "scores.csv", "features.csv"),
    *("recommend.csv", "verdict.csv", "curve.csv", "assets.csv"),
)


# Overrides that a tracked run's name leaves out: said elsewhere in its labels, or nothing about the result.
SAID = (
    "dataset=",
    "hub=",
    "stage=",
    "experiment=",
    "logger",
    "trainer",
    "skip_done=",
    "paths.",
    "extraction.",
    "tags=",
)


_begun: Path | None = None  # the folder of the sweep that this process has begun and not ended


class CollectRows(Callback):
    """Hydra callback (conf/hydra/modelrank.yaml)."""

    started = 0.0  # of the job, in seconds
    argv: Sequence[str] = ()  # of the command that sweeps; launchers take this object along, to processes of their own

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        global _begun
        self.argv = list(sys.argv)
        _begun = Path(config.hydra.sweep.dir)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        self.started = time.time()
        if self.argv:
            sys.argv = list(self.argv)  # rows say which command made them: not that of a launcher's worker
        if HydraConfig.get().mode == RunMode.MULTIRUN and not already_done():
            _put(None, "unfinished", "it was killed or stopped, or is running; skip_done=true does it again")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        global _begun
        _begun = None
        results = Path(config.hydra.sweep.dir) / RESULTS
        if results.exists():
            log.info("all rows of the sweep: %s", results.absolute())

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        hydra = HydraConfig.get()
        if hydra.mode != RunMode.MULTIRUN:
            return
        rows = _job_rows(Path(hydra.runtime.output_dir), self.started)
        if job_return.status != JobStatus.COMPLETED:
            _put(rows, "failed", _first_line(job_return._return_value))
        elif rows is not None or not already_done():  # else it has skipped itself
            _put(rows, "ok", "")


def _put(rows: pd.DataFrame | None, status: str, error: str) -> None:
    """This job's rows, or one that says how it is, in place of those that it has in results.csv."""
    import pandas as pd
    from filelock import FileLock

    hydra = HydraConfig.get()
    job = {"job": Path(hydra.runtime.output_dir).name, "overrides": _overrides()}
    job |= {"job_status": status, "job_error": error}
    rows = pd.DataFrame([job]) if rows is None else rows.assign(**job)
    results = Path(hydra.sweep.dir) / RESULTS
    with FileLock(str(results.with_name(".results.lock"))):
        earlier = [_without(_as_written(results), job["overrides"])] if results.exists() else []
        together = pd.concat([*earlier, rows], ignore_index=True)
        temporary = results.with_suffix(f".{os.getpid()}.tmp")
        together[[*together.columns.difference(list(job), sort=False), *job]].to_csv(temporary, index=False)
        os.replace(temporary, results)


def left() -> str:
    """What is to be said of a sweep that was begun and did not end well; "" where there is none."""
    if _begun is None or not (_begun / RESULTS).exists():
        return ""
    states = _as_written(_begun / RESULTS).drop_duplicates("overrides").job_status.value_counts()
    said = ", ".join(f"{states[state]} {state}" for state in ("ok", "failed", "unfinished") if state in states)
    return (
        f"not all jobs of the sweep are done (of those begun: {said}; see {(_begun / RESULTS).absolute()}); "
        f"the same command with hydra.sweep.dir={_begun} skip_done=true does the others. "
        "Jobs that a scheduler has may still be running"
    )


def already_done() -> bool:
    """Whether results.csv of this sweep's folder holds this job's rows from an earlier, successful try."""
    hydra = HydraConfig.get()
    results = Path(hydra.sweep.dir) / RESULTS
    if hydra.mode != RunMode.MULTIRUN or not results.exists():
        return False
    rows = _as_written(results)
    return bool(((_jobs(rows) == _sorted(_overrides())) & (rows.job_status == "ok")).any())


def labels(cfg: DictConfig) -> Labels:
    """Of this job: data set, hub and what else was asked for; its sweep's folder; its stage."""
    hydra = HydraConfig.get()
    asked = [given for given in hydra.overrides.task if not given.lstrip("+~").startswith(SAID)]
    sweeping = hydra.mode == RunMode.MULTIRUN
    return Labels(
        name=" ".join([str(cfg.dataset.name), cfg.hub.name, *asked]),
        group="/".join(Path(hydra.sweep.dir).parts[-2:]) if sweeping else "",
        job_type=hydra.runtime.choices["stage"],
    )


def _folder(overrides: Iterable[str]) -> str:
    """The name of a job's folder: by what was asked for, as its number is another one once the sweep is extended."""
    return f"job-{short(_sorted(_asked(overrides)))}"


OmegaConf.register_new_resolver("sweep_job", _folder, replace=True)  # conf/hydra/modelrank.yaml


def _overrides() -> str:
    return _asked(HydraConfig.get().overrides.task)


def _asked(overrides: Iterable[str]) -> str:
    """What makes a job the one that it is; that it may be skipped is no part of that."""
    return " ".join(given for given in overrides if not given.startswith("skip_done="))


def _sorted(overrides: str) -> str:
    """In whatever order they were given."""
    return " ".join(sorted(options(overrides)))


def _jobs(rows: pd.DataFrame) -> pd.Series:
    """The same of the rows of results.csv, also of those of earlier versions."""
    return rows.overrides.str.replace(r"(^| )skip_done=\S+", "", regex=True).map(_sorted)


def _without(rows: pd.DataFrame, overrides: str) -> pd.DataFrame:
    return rows.loc[_jobs(rows) != _sorted(overrides)]  # a job that is run again replaces its rows


def _job_rows(folder: Path, since: float) -> pd.DataFrame | None:
    """What the job wrote, if it did; its folder may hold files of another one, of an earlier sweep with other jobs."""
    import pandas as pd

    for name in ROW_FILES:
        if (folder / name).exists() and (folder / name).stat().st_mtime >= since:
            with suppress(pd.errors.EmptyDataError):  # no scorer had a value: the next file holds the reasons
                if len(rows := _as_written(folder / name)):
                    return rows
    return None


def _as_written(path: Path) -> pd.DataFrame:
    """The cells as text, for they are written again: ids of digits alone, `1e5` and `null` would come back changed."""
    from modelrank.csv_file import read_text

    return read_text(path)


def _first_line(error: Any) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
