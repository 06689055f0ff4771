"""One tracked run per job: opened with the config, given the tables, always finished with the job's exit code.

Our rows on disk are the truth, W&B is their mirror: a tracker that cannot be reached never loses a result.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    import pandas as pd


class Tracker:
    """Tracks nothing (`logger=none`); the interface of the others."""

    def __init__(self, *, run_dir: str, config: DictConfig) -> None:
        self.run_dir = Path(run_dir)
        self.config = config

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def metrics(self, values: Mapping[str, float]) -> None:
        """Record named numbers."""

    def table(self, name: str, rows: pd.DataFrame) -> None:
        """Record a table."""

    def figure(self, name: str, path: Path) -> None:
        """Record a picture."""


class CsvTracker(Tracker):
    """Numbers go to metrics.csv in the run folder, one `name,value` line each; tables lie beside it already."""

    def metrics(self, values: Mapping[str, float]) -> None:
        path = self.run_dir / "metrics.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["name", "value"])
            writer.writerows(values.items())


class WandbTracker(Tracker):
    """Weights & Biases. Two jobs in one process merge into one run unless each is finished: `__exit__` always does."""

    def __init__(self, *, run_dir: str, config: DictConfig, project: str, mode: str, tags: list[str]) -> None:
        super().__init__(run_dir=run_dir, config=config)
        self.settings = {"project": project, "mode": mode, "tags": list(tags)}

    def __enter__(self) -> Self:
        import wandb

        self.run = wandb.init(
            **self.settings,
            dir=str(self.run_dir),
            # of a DictConfig it is a dict with names as keys, which its declared type leaves open
            config=OmegaConf.to_container(self.config, resolve=True, throw_on_missing=True),  # type: ignore[arg-type]
            reinit="finish_previous",
            settings=wandb.Settings(silent=True),
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.run.finish(exit_code=0 if error is None else 1)

    def metrics(self, values: Mapping[str, float]) -> None:
        self.run.summary.update(dict(values))

    def table(self, name: str, rows: pd.DataFrame) -> None:
        import wandb

        self.run.log({name: wandb.Table(dataframe=rows.astype(object).where(rows.notna(), None))})

    def figure(self, name: str, path: Path) -> None:
        import wandb

        self.run.log({name: wandb.Image(str(path))})
