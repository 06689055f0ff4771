"""The figure of `stage=replay`: regret against what was spent."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modelrank.report.figures import BLUE, GREEN, GREY, ORANGE, STYLE

COLOURS = {"random": GREY, "static order": GREEN, "memory": BLUE, "recommend": ORANGE}
OTHERS = ("#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31", "#7F7F7F", "#B0B000", "#A05050", "#5050A0")


def draw(panels: dict[str, pd.DataFrame], path: Path) -> None:
    """One panel a set of hubs: title -> rows of `modelrank.replay.verdict.verdict` over these hubs. Drawn are policies
    that play on nine tenths of them; the band is the 95 % interval of the static order and of recommend."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.6 * len(panels), 4.6), layout="constrained")
        for axes, (title, rows) in zip(
            figure.subplots(1, len(panels), squeeze=False).flat, panels.items(), strict=True
        ):
            _panel(axes, rows)
            axes.set_title(f"{title}: {rows.hubs.max()} hubs, {rows.datasets.max()} data sets", loc="left")
        figure.savefig(path, dpi=120, facecolor="white")


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    shares = rows.loc[(rows.budget == "share") & (rows.hubs >= 0.9 * rows.hubs.max())]
    others = iter(OTHERS * len(shares))
    for policy, own in shares.groupby("policy", sort=False):
        colour = COLOURS.get(str(policy)) or next(others)
        known = policy in COLOURS
        line = {"lw": 2 if known else 1, "ls": "-" if known else "--", "marker": "o", "ms": 3 if known else 2}
        axes.plot(100 * own.amount, own.relative, color=colour, label=str(policy).removeprefix("scorer "), **line)
        if policy in ("static order", "recommend"):
            axes.fill_between(100 * own.amount, own.low, own.high, color=colour, alpha=0.15, lw=0)
    axes.set_ylim(0, 1.05)
    axes.set_xlabel("share of the cost of training all models, %")
    axes.set_ylabel("regret, as a share of a random model's")
    axes.legend(frameon=False, fontsize=7, ncols=2)
