"""One tracked run per job: opened with the config, given numbers, tables, curves, pictures and the report, always
finished with how the job ended.

Our rows on disk are the truth, a tracker is their mirror: one that cannot be reached never loses a result.
"""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from omegaconf import DictConfig, OmegaConf

from modelrank.types import ModelRankError

if TYPE_CHECKING:
    import pandas as pd

LONGEST = 128  # characters of a name or group that W&B takes


@dataclass(frozen=True)
class Labels:
    """How a run is found among others: its name, the sweep that it is a job of ('' for a single run), its stage."""

    name: str
    group: str
    job_type: str


class Tracker:
    """Tracks nothing (`logger=none`); the interface of the others."""

    def __init__(self, *, run_dir: str, config: DictConfig, labels: Labels) -> None:
        self.run_dir = Path(run_dir)
        self.config = config
        self.labels = labels

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def metrics(self, values: Mapping[str, float]) -> None:
        """Record named numbers."""

    def table(self, name: str, rows: pd.DataFrame) -> None:
        """Record a table; NAME.csv in the run folder holds the same."""

    def curves(self, name: str, points: pd.DataFrame) -> None:
        """Record curves; the columns are `line` (which curve, str), `step` (int), `value` (float)."""

    def figure(self, name: str, path: Path) -> None:
        """Record a picture."""

    def page(self, name: str, path: Path) -> None:
        """Record a page of HTML that needs no other file."""

    def _plain(self) -> dict[str, Any]:
        """The config with every interpolation resolved."""
        # of a DictConfig it is a dict with names as keys, which its declared type leaves open
        return OmegaConf.to_container(self.config, resolve=True, throw_on_missing=True)  # type: ignore[return-value]


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

    def __init__(
        self, *, run_dir: str, config: DictConfig, labels: Labels, project: str, mode: str, tags: list[str]
    ) -> None:
        super().__init__(run_dir=run_dir, config=config, labels=labels)
        self.settings = {"project": project, "mode": mode, "tags": list(tags)}

    def __enter__(self) -> Self:
        import wandb

        self.run = wandb.init(
            **self.settings,
            name=self.labels.name[:LONGEST],
            group=self.labels.group[-LONGEST:] or None,
            job_type=self.labels.job_type,
            dir=str(self.run_dir),
            config=self._plain(),
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

    def curves(self, name: str, points: pd.DataFrame) -> None:
        """A chart each, over the steps of the training instead of W&B's own count of calls."""
        step = f"{name}/step"
        self.run.define_metric(step, hidden=True)
        for line, own in points.groupby("line", sort=False):
            self.run.define_metric(f"{name}/{line}", step_metric=step)
            for at, value in zip(own.step, own.value, strict=True):
                self.run.log({step: at, f"{name}/{line}": value})

    def figure(self, name: str, path: Path) -> None:
        import wandb

        self.run.log({name: wandb.Image(str(path))})

    def page(self, name: str, path: Path) -> None:
        import wandb

        self.run.log({name: wandb.Html(str(path), inject=False)})


class LightningTracker(Tracker, ABC):
    """What every logger of Lightning can do: numbers, curves, what was chosen, and how the job ended.

    logger: makes one; extra: of this package, that brings what it needs.
    """

    def __init__(
        self, *, run_dir: str, config: DictConfig, labels: Labels, logger: Callable[..., Any], extra: str
    ) -> None:
        super().__init__(run_dir=run_dir, config=config, labels=labels)
        self.make, self.extra = logger, extra

    def __enter__(self) -> Self:
        try:
            self.logger = self.open()
        except ModuleNotFoundError as error:
            raise ModelRankError(
                f"logger={self.extra} needs a package that is not installed ({' '.join(str(error).split())[:200]}): "
                f"pip install 'modelrank[{self.extra}]'"
            ) from error
        chosen = {name: self.config[name].name for name in ("hub", "dataset", "protocol")}
        chosen |= {"stage": self.labels.job_type, "scorers": " ".join(self.config.scorers), "seed": self.config.seed}
        self.logger.log_hyperparams(chosen)  # all of the config has names that these do not take
        self.text("config", OmegaConf.to_yaml(self.config, resolve=True))
        return self

    def open(self) -> Any:
        """The logger, with a run begun."""
        logger = self.make()
        logger.experiment  # noqa: B018 - this begins the run, and fails where the package is missing
        return logger

    @abstractmethod
    def text(self, name: str, text: str) -> None:
        """Record a text (YAML)."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.logger.finalize("success" if error is None else "failed")

    def metrics(self, values: Mapping[str, float]) -> None:
        self.logger.log_metrics(dict(values), 0)

    def curves(self, name: str, points: pd.DataFrame) -> None:
        for line, step, value in zip(points.line, points.step, points.value, strict=True):
            self.logger.log_metrics({f"{name}/{line}": value}, step)


class TensorBoardTracker(LightningTracker):
    """TensorBoard: numbers, curves and pictures, in the run folder; tables and the report lie there too."""

    def open(self) -> Any:
        self.make = partial(self.make, save_dir=str(self.run_dir), name="", version="tensorboard")
        return super().open()

    def text(self, name: str, text: str) -> None:
        self.logger.experiment.add_text(name, f"```\n{text}\n```")

    def figure(self, name: str, path: Path) -> None:
        import numpy as np
        from PIL import Image

        with Image.open(path) as image:
            self.logger.experiment.add_image(name, np.asarray(image.convert("RGB")), dataformats="HWC")


class MlflowTracker(LightningTracker):
    """MLflow: numbers and curves as metrics; tables, pictures and the report as artifacts."""

    def open(self) -> Any:
        tags = {"group": self.labels.group, "job_type": self.labels.job_type}
        self.make = partial(self.make, run_name=self.labels.name, tags=tags)
        return super().open()

    def text(self, name: str, text: str) -> None:
        self.logger.experiment.log_text(self.logger.run_id, text, f"{name}.yaml")

    def table(self, name: str, rows: pd.DataFrame) -> None:
        self._artifact(self.run_dir / f"{name}.csv")

    def figure(self, name: str, path: Path) -> None:
        self._artifact(path)

    def page(self, name: str, path: Path) -> None:
        self._artifact(path)

    def _artifact(self, path: Path) -> None:
        self.logger.experiment.log_artifact(self.logger.run_id, str(path))
