"""Score against measured accuracy, one panel a scorer, with a card for each model: the part of a page that is asked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from modelrank.report.content import ModelRow, Report
from modelrank.report.drawing import BLUE, GREY, ORANGE, PAPER, STYLE, inline
from modelrank.report.html import element, facts
from modelrank.report.numbers import interval, number, significant


def scatter(report: Report, numbers: Mapping[str, int]) -> str:
    """The panels and the list of the models; empty where no scorer has a value for a measured model.

    numbers: model -> number of its card (`cards`).
    """
    panels = []
    for row in report.agreement():
        shown = [one for one in report.models_by(row.scorer) if not math.isnan(one.accuracy)]
        if shown:
            tau = f"{row.scorer}: tau_w {number(row.tau_w)} {interval(row.tau_w_low, row.tau_w_high)}".rstrip()
            chance = "" if math.isnan(row.chance) else f", chance {row.chance:.2f}"
            panels.append((tau + chance + (" (reference)" if row.reference else ""), row.scorer, shown))
    if not panels:
        return ""
    first = next((i for i, (_, scorer, _) in enumerate(panels) if scorer == report.leading), 0)
    options = "".join(
        f"<option{' selected' if i == first else ''}>{escape(title)}</option>" for i, (title, *_) in enumerate(panels)
    )
    measured = {row.model: row.accuracy for *_, rows in panels for row in rows}
    places = {row.model: int(row.accuracy_rank) for *_, rows in panels for row in rows}
    drawn = "".join(
        f'<div class="panel">{_panel(report.metric, i, panels[i], numbers, places)}</div>' for i in range(len(panels))
    )
    listed = "".join(
        f'<li value="{places[model]}" data-model="{numbers[model]}">'
        f'<span class="here" tabindex="0">{escape(model)}</span> {measured[model]:.3f}</li>'
        for model in sorted(measured, key=lambda model: (places[model], model))
    )
    return (
        f'<div class="scatter"><label hidden>Scorer <select>{options}</select></label>'
        f"<div>{drawn}</div><ol>{listed}</ol></div>"
    )


def _panel(
    metric: str,
    index: int,
    panel: tuple[str, str, list[ModelRow]],
    numbers: Mapping[str, int],
    places: Mapping[str, int],
) -> str:
    title, scorer, rows = panel
    with mpl.rc_context({**STYLE, "font.size": 10}):
        figure = Figure(figsize=(5.2, 4.2))
        axes = figure.add_axes((0.12, 0.12, 0.86, 0.8))
        chosen, marks = max(rows, key=lambda row: row.score), {}
        for depth, row in enumerate(reversed(rows)):  # the first on top
            place, colour = (row.score, row.accuracy), ORANGE if row.score == chosen.score else BLUE
            if not math.isnan(row.low):
                axes.plot([row.low, row.high], [row.accuracy] * 2, color=colour, lw=1.4, alpha=0.6, zorder=2)
            gid = f"dot{depth}"
            axes.scatter(*place, s=150, color=colour, edgecolor=PAPER, lw=0.8, zorder=3 + depth, gid=gid)
            text = {"ha": "center", "va": "center_baseline", "color": PAPER, "fontsize": 7, "fontweight": "bold"}
            axes.annotate(str(places[row.model]), place, zorder=3 + depth, gid=f"number{depth}", **text)
            said = f"{row.model}: {scorer} {significant(row.score)} (place {row.rank}), {metric} {row.accuracy:.3f}"
            marks[gid] = {"class": "dot", "tabindex": "0", "role": "img", "aria-label": said}
            marks[gid]["data-model"] = str(numbers[row.model])
            marks[f"number{depth}"] = {"pointer-events": "none", "aria-hidden": "true"}
        axes.margins(0.08)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel(f"score by {scorer} (orange: ranked first; line: its interval)", color=GREY)
        axes.set_ylabel(f"measured {metric}", color=GREY)
        axes.set_title(title, loc="left")
        alt = f"{title}. Score against measured {metric}, {len(rows)} models; numbers are the place by {metric}."
        return inline(figure, f"scatter{index}", alt, marks=marks)


def cards(report: Report, numbers: Mapping[str, int]) -> str:
    """What is shown of a model beside its name or dot."""
    spectra, costs = report.spectra(), report.costs()
    rows = {row.model: row for row in report.models()}
    shown = []
    for model, index in numbers.items():
        row, scored = rows.get(model), costs.loc[model].iloc[1:].sum()
        known = {
            "expected": f"{number(row.expected)} {interval(row.expected_low, row.expected_high)}"
            if row and not math.isnan(row.expected)
            else "",
            f"{report.scorer}": f"{significant(row.score)} {interval(row.low, row.high, 3)}" if row else "no score",
            "place": str(row.rank) if row else "",
            report.metric: number(row.accuracy, 3) if row and not math.isnan(row.accuracy) else "",
            "seconds to score, features included": number(scored, 1) if scored else "",
            "seconds to measure": number(tuned, 0) if (tuned := costs.loc[model, "fine-tuning"]) > 0 else "",
        }
        content = f"<strong>{escape(model)}</strong>{facts(known)}"
        if model in spectra:
            content += _profile(*spectra[model])
        shown.append(f'<div id="model-{index}">{content}</div>')
    return f'<div id="cards">{"".join(shown)}</div>'


def _profile(ratio: np.ndarray, task: np.ndarray) -> str:
    """Bars: ratio times task score of each group, leading first."""
    parts = ratio * task
    top = abs(parts).max() or 1.0
    bars = "".join(f'<i style="height:{100 * abs(part) / top:.0f}%"></i>' for part in parts)
    words = f"ratio x task score of {len(parts)} groups, leading first; largest {significant(top)}"
    return f'<div class="profile">{bars}</div>{element("p", words)}'
