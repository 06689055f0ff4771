"""`stage=report`: any results.csv of a sweep (or ranking.csv) -> the paper-style table in Markdown, LaTeX and CSV."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from modelrank.report import tables
from modelrank.tracking import Tracker
from modelrank.types import ModelRankError

log = logging.getLogger(__name__)


def report(cfg: DictConfig, tracker: Tracker, *, results: str, metric: str) -> pd.DataFrame:
    """Write table_METRIC.md, .tex and .csv into the run folder and print the first; scorers x data sets, with averages.

    Raises ModelRankError naming the file when it is missing or is no table of rankings.
    """
    path = Path(results).expanduser()
    if not path.is_file():
        raise ModelRankError(f"stage.results={results}: no such file; give a results.csv or a ranking.csv")
    rows = pd.read_csv(path)
    markdown, *others = tables.write(rows, Path(cfg.paths.run), value=metric)
    print(markdown.read_text())
    log.info("tables: %s", ", ".join(map(str, [markdown, *others])))
    return rows
