"""`stage=report`: any results.csv of a sweep (or ranking.csv) -> paper-style tables, comparisons, figures."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from modelrank.report import sweeps, tables
from modelrank.tracking import Tracker
from modelrank.types import ModelRankError

log = logging.getLogger(__name__)


def report(cfg: DictConfig, tracker: Tracker, *, results: str, metric: str, by: str | None) -> pd.DataFrame:
    """Write table_METRIC.{md,tex,csv} and print it; more where the sweep has it.

    Several data sets: comparisons.csv (each scorer against the first, paired) and average_ranks.png.
    by: the override that an ablation varied; its values become rows of the table and the axis of ablation.png.
    Raises ModelRankError naming the file when it is missing or is no table of rankings.
    """
    path, folder = Path(results).expanduser(), Path(cfg.paths.run)
    if not path.is_file():
        raise ModelRankError(f"stage.results={results}: no such file; give a results.csv or a ranking.csv")
    rows = pd.read_csv(path)
    if by:
        rows = sweeps.label_by(rows, by)
        sweeps.ablation(rows, by, metric).savefig(folder / "ablation.png", dpi=160, facecolor="white")
    markdown, *_ = tables.write(rows, folder, value=metric)
    print(markdown.read_text())
    if rows.dataset.nunique() > 1 and rows.scorer.nunique() > 1:
        sweeps.comparisons(rows, metric).to_csv(folder / "comparisons.csv", index=False)
        if (diagram := sweeps.rank_diagram(rows, metric)) is not None:
            diagram.savefig(folder / "average_ranks.png", dpi=160, facecolor="white")
    log.info("tables and figures: %s", folder)
    return rows
