"""The figure of `stage=analyse`: what fine-tuning does to the spectral components of each model."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modelrank.report.drawing import BLUE, GREEN, GREY, ORANGE, STYLE


def spectral_change(rows: pd.DataFrame) -> Figure:
    """One line of three panels a model: C_F of each group, its ratio and its task score before and after.

    rows: of analysis.csv, those with a value; `change_between_seeds` may be NaN throughout.
    """
    models = list(dict.fromkeys(rows["model"]))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 0.9 + 1.75 * len(models)), layout="constrained")
        grid = figure.subplots(len(models), 3, squeeze=False, sharex=True, sharey="col")
        for line, model in zip(grid, models, strict=True):
            own = rows.loc[rows["model"].to_numpy() == model]
            _change(line[0], own)
            for axes, name in ((line[1], "ratio"), (line[2], "task")):
                axes.plot(own["group"], own[f"{name}_before"], "o-", color=GREY, ms=4, label="before")
                axes.plot(own["group"], own[f"{name}_after"], "o-", color=ORANGE, ms=4, label="after fine-tuning")
            line[0].set_ylabel(model, fontsize=9)
        titles = ("change C_F, relative to the group's norm", "ratio (share of singular values)", "task score")
        for axes, title in zip(grid[0], titles, strict=True):
            axes.set_title(title, loc="left")
        for axes in grid[-1]:
            axes.set_xlabel("group, leading first")
            axes.set_xticks(sorted(rows["group"].unique()))
        grid[0][0].set_ylim(bottom=0)  # shared, and only now: it ends the scaling to what is drawn
        for axes in grid[0][:2]:
            handles, labels = axes.get_legend_handles_labels()
            figure.legend(
                handles,
                labels,
                loc="outside lower left" if axes is grid[0][0] else "outside lower right",
                ncols=len(labels),
                frameon=False,
                fontsize=8,
            )
    return figure


def _change(axes: Axes, rows: pd.DataFrame) -> None:
    lines = {
        "unrelated": ("unrelated features", GREY, ":", 1.2),
        "change_resampled": ("no change, resampled images", GREY, "--", 1.2),
        "change_between_seeds": ("between two seeds", GREEN, "-", 1.2),
        "change_fixed": ("in the old directions", "#56B4E9", "-", 1.2),
        "change": ("before / after", BLUE, "-", 2.2),
    }
    for column, (label, colour, style, width) in lines.items():
        if len(rows[column].dropna()):
            axes.plot(rows["group"], rows[column], style, color=colour, lw=width, label=label)
