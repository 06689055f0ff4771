"""The report as tables on the terminal."""

from __future__ import annotations

import math
import sys

import numpy as np
import pandas as pd
from rich.box import Box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from modelrank.report.content import Report, ScorerRow
from modelrank.report.numbers import brief, interval, number, significant

WIDTH = 120  # of a console that is no terminal (a log file, CI): room for every column; fewer below, down to 80
LEGEND = (
    "tau_w: weighted Kendall (models resampled for its interval); chance: what random scores of as many models exceed "
    "in 5 % of cases; tau: Kendall; r: Pearson; rho: Spearman; "
    "top-1: whether the model ranked first is the best; Rel@1: its share of the best value; "
    "regret: best value - its own; n: models; "
    "seconds: what several scorers share counts for the first of them"
)
BOX = Box("    \n    \n ── \n    \n ── \n    \n    \n    \n")  # a line under the head and between sections, no more
NO_SPECTRUM = (np.array([]), np.array([]))
BARS = "▁▂▃▄▅▆▇█"
PARTS = (  # from the widest table to the narrowest
    {"with_bars": True, "with_numbers": True},
    {"with_bars": True, "with_numbers": False},
    {"with_bars": False, "with_numbers": False},
)


def show(report: Report, console: Console | None = None) -> None:
    """Print the header, the models in order and, where accuracies are known, how well each scorer ranked them."""
    console = console or Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    source = report.context.get("source")
    console.print(f"[bold]{escape(report.hub)}[/] on [bold]{escape(report.dataset)}[/]: {escape(report.images())}")
    if source:
        console.print(escape(f"images: {source}"), style="dim")
    console.print(escape(report.truth_line()), style="dim")
    console.print()
    console.print(models_table(report, console.width))
    for model, reason in report.unscored().items():
        console.print(f"  [yellow]{escape(model)}[/] has no {escape(report.scorer)} score: {escape(reason)}")
    answer(report.answer(), console)
    if len(report.ranking):
        console.print()
        console.print(agreement_table(report, console.width))
        console.print(LEGEND, style="dim")
        for line in report.level_lines():
            console.print(escape(line), style="dim")


def answer(text: str, console: Console | None = None) -> None:
    """What a run was for, in words; printed however quiet it is."""
    (console or _console()).print(f"[bold green]{escape(text)}[/]")


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)


def models_table(report: Report, width: int = WIDTH) -> Table:
    """Columns: rank, score, its interval, accuracy; where there is room the spectral parts as bars, then as numbers."""
    tables = [_models_table(report, width, **parts) for parts in PARTS]
    measuring = Console(width=10 * WIDTH)
    return next((table for table in tables if measuring.measure(table).maximum <= width), tables[-1])


def _models_table(report: Report, width: int, *, with_bars: bool, with_numbers: bool) -> Table:
    rows, spectra, terms = report.models(), report.spectra() if with_bars else {}, report.terms()
    with_interval = any(not math.isnan(row.low) for row in rows)
    predicted = report.prediction is not None
    table = _table(
        f"Models by predicted {report.expected_metric}" if predicted else f"Models by {report.scorer}", width
    )
    table.add_column("#", justify="right")
    table.add_column("model", no_wrap=True)
    if predicted:
        table.add_column("expected", justify="right", no_wrap=True)
        table.add_column("80 %", no_wrap=True)
    table.add_column(escape(report.scorer), justify="right", no_wrap=True)
    if with_interval:
        table.add_column(report.score_interval(), no_wrap=True)
    for name in terms:
        table.add_column(name, justify="right", no_wrap=True)
    if spectra:
        table.add_column("ratio", no_wrap=True)
        table.add_column("task", no_wrap=True)
        if with_numbers:
            table.add_column("ratio x task, leading group first", no_wrap=True)
    if report.truth:
        table.add_column("measured", justify="right")
        table.add_column("#", justify="right")
    for row in rows:
        cells = [str(row.rank), escape(row.model)]
        if predicted:
            cells += [number(row.expected), escape(interval(row.expected_low, row.expected_high))]
        cells += [significant(row.score)]
        if with_interval:
            cells.append(escape(interval(row.low, row.high, 3)))
        cells += [significant(values[row.model]) for values in terms.values()]
        if spectra:
            ratio, task = spectra.get(row.model, NO_SPECTRUM)
            cells += [sparkline(ratio), sparkline(task)]
            if with_numbers:
                cells.append(" ".join(map(brief, ratio * task)))
        if report.truth:
            cells += [number(row.accuracy, 3), number(row.accuracy_rank, 0)]
        table.add_row(*cells, style="bold" if row.rank == 1 else "")
    return table


def agreement_table(report: Report, width: int = WIDTH) -> Table:
    """Scorers best first; the reference rows, best first, below a line."""
    rows, wide = report.agreement(), width >= WIDTH
    table = _table("Agreement with the measured order", width)
    table.add_column("scorer", no_wrap=True)
    table.add_column("tau_w", justify="right")
    table.add_column("95 % interval", no_wrap=True)

    def cells(row: ScorerRow) -> dict[str, str]:
        common = {"common": number(row.tau_w_common)} if report.uneven() else {}
        others = {"tau": number(row.tau), "r": number(row.pearson)} if wide or not common else {}
        return (
            ({"chance": number(row.chance)} if wide else {})
            | common
            | others
            | {"rho": number(row.spearman), "top-1": number(row.pr_top1, 0), "Rel@1": number(row.rel_at_1, 3)}
            | {"regret": number(row.regret_at_1, 3), "n": str(row.n_models)}
            | ({"seconds": number(row.seconds)} if wide else {})
        )

    for heading in cells(rows[0]):
        table.add_column(heading, justify="right", no_wrap=True)
    for reference in (False, True):
        for row in (row for row in rows if row.reference == reference):
            first = [escape(row.scorer), number(row.tau_w), escape(interval(row.tau_w_low, row.tau_w_high))]
            style = "bold" if row.scorer == report.scorer else "dim" if reference else ""
            table.add_row(*first, *cells(row).values(), style=style)
        table.add_section()
    return table


def rows(table: pd.DataFrame, title: str, console: Console | None = None) -> None:
    """Print any small table of rows (the assets of a run, measured accuracies), a column each; what the column `reason`
    says stands below the table, after the first cell of its row."""
    console = console or _console()
    cells, shown = table.drop(columns="reason", errors="ignore"), _table(title, console.width)
    for column in cells.columns:
        numeric = pd.api.types.is_numeric_dtype(cells[column])
        shown.add_column(escape(str(column)), justify="right" if numeric else "left", overflow="fold")
    for row in cells.itertuples(index=False):
        shown.add_row(
            *("" if pd.isna(cell) else escape(f"{cell:.4g}" if isinstance(cell, float) else str(cell)) for cell in row)
        )
    console.print(shown)
    if "reason" in table:
        for first, reason in zip(table.iloc[:, 0], table["reason"], strict=True):
            if isinstance(reason, str) and reason:
                console.print(f"  [yellow]{escape(str(first))}[/]: {escape(reason)}")


def _table(title: str, width: int) -> Table:
    gap = 1 if width >= WIDTH else 0  # beside the one space of the box
    return Table(
        box=BOX,
        title=escape(title),
        title_justify="left",
        title_style="bold",
        padding=(0, gap, 0, 0),
        show_edge=False,
    )


def sparkline(values: np.ndarray) -> str:
    """One bar a value, from 0 to the largest; negative values (a regression's task score) from the least to 0."""
    if not len(values):
        return ""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    scaled = (values - low) / (high - low) if high > low else np.zeros(len(values))
    return "".join(BARS[round(float(v) * (len(BARS) - 1))] for v in scaled)
