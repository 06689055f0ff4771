"""`stage=report`: any results.csv of a sweep (or ranking.csv) -> paper-style tables, comparisons, figures, a page."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from modelrank.csv_file import read_csv
from modelrank.provenance import command, commit
from modelrank.report import figures, sweep_page, sweeps, tables
from modelrank.tracking import Tracker
from modelrank.types import ModelRankError

log = logging.getLogger(__name__)


def report(cfg: DictConfig, tracker: Tracker, *, results: str, metric: str, by: str | None) -> pd.DataFrame:
    """Write table_METRIC.{md,tex,csv} and report.html, and print the table; more where the sweep has it.

    Several data sets: comparisons.csv (each scorer against the first, paired), winners.csv (how many different models
    each names first) and average_ranks.png.
    by: the override that an ablation varied; its values become rows of the table and the axis of ablation.png.
    Jobs that ended without a ranking, or did not set `by`, are left out and named. Raises ModelRankError naming the
    file when it is missing or is no table of rankings.
    """
    path, folder = Path(results).expanduser(), Path(cfg.paths.run)
    if not path.is_file():
        raise ModelRankError(f"stage.results={results}: no such file; give a results.csv or a ranking.csv")
    try:
        rows, left = tables.rankings(read_csv(path, text=("model", *tables.CELL)))
    except (OSError, ValueError) as error:
        raise ModelRankError(f"stage.results={results} is no table of rankings: {error}") from error
    if left:
        log.warning("left out, as there is no ranking of it: %s", left)
    drawn, standing, compared = {}, None, pd.DataFrame()
    if by:
        labelled = sweeps.label_by(rows, by)
        others = rows.loc[~rows.index.isin(labelled.index), "overrides"].dropna().unique()
        if len(others):
            log.warning("left out, as they do not set %s: %s", by, "; ".join(others))
            left = "; ".join(filter(None, [left, *(f"{job} (does not set {by})" for job in others)]))
        rows = labelled
    files = tables.write(rows, folder, value=metric)
    print(files[0].read_text())
    if by:
        drawn["ablation"] = sweeps.ablation(rows.dropna(subset="scorer"), by, metric)
        figures.save(drawn["ablation"], folder / "ablation.png")
    if rows.dataset.nunique() > 1 and rows.scorer.nunique() > 1:
        compared = sweeps.comparisons(rows, metric)
        compared.to_csv(folder / "comparisons.csv", index=False)
        if standing := sweeps.standing(rows, metric):
            drawn["ranks"] = sweeps.rank_diagram(standing, metric)
            figures.save(drawn["ranks"], folder / "average_ranks.png")
    if len(first := sweeps.named_first(rows)):
        first.to_csv(folder / "winners.csv", index=False)
    made = {"command": command(), "commit": commit(), "rows": f"{path}, {len(rows)} of them"}
    made |= {name: "; ".join(sorted(set(rows[name].dropna()))) for name in ("truth", "versions") if name in rows}
    made |= {"left out": left} if left else {}
    written = sweep_page.write(
        folder,
        rows,
        metric,
        standing=standing,
        drawn=drawn,
        compared=compared,
        named_first=first,
        files=files,
        made=made,
    )
    tracker.page("report", written)
    return rows
