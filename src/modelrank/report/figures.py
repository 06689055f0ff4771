"""Figures of one report, drawn without a display. Colours: Okabe and Ito's, told apart by the colour-blind."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # not pyplot: no window, no global figure list
from matplotlib.ticker import MaxNLocator

from modelrank.report.content import Report, Scene
from modelrank.report.drawing import AXIS, BLUE, GREEN, GREY, INK, ORANGE, PAPER, STYLE
from modelrank.report.numbers import brief, interval, significant


def draw(report: Report) -> dict[str, Figure]:
    """What the report has data for, by name, in the order in which they are best read."""
    drawings = {"spectrum": spectrum, "scatter": scatter, "agreement": forest, "scenes": scenes}
    with mpl.rc_context(STYLE):
        drawn = {name: drawing(report) for name, drawing in drawings.items()}
    return {name: figure for name, figure in drawn.items() if figure is not None}


def write(drawn: Mapping[str, Figure], folder: Path) -> dict[str, Path]:
    """name -> PNG in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {name: folder / f"{name}.png" for name in drawn}
    for name, path in written.items():
        save(drawn[name], path)
    return written


def save(figure: Figure, path: Path) -> None:
    path.write_bytes(png(figure))


def png(figure: Figure) -> bytes:
    written = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(written, format="png", dpi=120, facecolor="white")
    return written.getvalue()


def scatter(report: Report) -> Figure | None:
    """Score against accuracy, one panel a scorer, best tau_w first; models are numbered by measured accuracy."""
    if report.truth is None or not report.ranking.size:
        return None
    accuracy = report.truth.accuracy
    ok = report.scores[report.scores["status"] == "ok"]
    values = {
        str(scorer): {m: v for m, v in zip(own["model"], own["score"], strict=True) if m in accuracy}
        for scorer, own in ok.groupby("scorer", sort=False)
    }
    panels = [row for row in report.agreement() if values.get(row.scorer)]
    if not panels:
        return None
    shown = set().union(*(values[row.scorer] for row in panels))
    models = sorted(shown, key=lambda model: (-accuracy[model], model))
    columns = min(4, len(panels))
    lines = math.ceil(len(panels) / columns)
    height = max(2.5 * lines, 1.0 + 0.19 * len(models)) + 0.6
    figure = Figure(figsize=(2.5 * columns + 2.3, height), layout="constrained")
    halves = figure.add_gridspec(1, 2, width_ratios=(2.5 * columns, 2.3))
    plots, key = figure.add_subfigure(halves[0]), figure.add_subfigure(halves[1])
    grid = plots.subplots(lines, columns, squeeze=False, sharey=True)
    for axes, row in zip(grid.flat, panels, strict=False):
        own = values[row.scorer]
        chosen = min(own, key=lambda model: (-own[model], model))
        for depth, (model, value) in enumerate(own.items()):  # a number lies on its own disc, below the next disc
            place, colour = (value, accuracy[model]), ORANGE if model == chosen else BLUE
            axes.scatter(*place, s=135, color=colour, edgecolor=PAPER, lw=0.8, zorder=3 + depth)
            text = {"ha": "center", "va": "center_baseline", "color": PAPER, "fontsize": 6.5, "fontweight": "bold"}
            axes.annotate(str(models.index(model) + 1), place, zorder=3 + depth, **text)
        reach = interval(row.tau_w_low, row.tau_w_high)
        axes.set_title(
            f"{row.scorer}\ntau_w {row.tau_w:.2f} {reach}" if math.isfinite(row.tau_w) else f"{row.scorer}\nno tau_w",
            loc="left",
            color=GREY if row.reference else INK,
        )
        axes.margins(0.12)
        axes.xaxis.set_major_locator(MaxNLocator(4))
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    plots.supxlabel("score", fontsize=9)
    plots.supylabel(f"measured {report.metric}", fontsize=9)
    for i, model in enumerate(models):
        key.text(0.02, 0.93 - i * 0.19 / height, f"{i + 1}", ha="left", fontsize=8, fontweight="bold", color=BLUE)
        key.text(0.13, 0.93 - i * 0.19 / height, f"{model}  {accuracy[model]:.3f}", fontsize=8)
    bottom = 0.93 - (len(models) + 0.6) * 0.19 / height
    key.text(0.02, bottom, "orange: ranked first\ngrey title: reference row", fontsize=8, color=GREY, va="top")
    return figure


def spectrum(report: Report) -> Figure | None:
    """What the score is made of: ratio x task score of each group stacked to the score, and the two as tables."""
    spectra = report.spectra()
    if not spectra:
        return None
    models, groups = list(spectra), max(len(ratio) for ratio, _ in spectra.values())
    ratios, tasks = np.full((2, len(models), groups), np.nan)
    for i, (ratio, task) in enumerate(spectra.values()):
        ratios[i, : len(ratio)], tasks[i, : len(task)] = ratio, task
    height = 1.5 + 0.33 * len(models)
    figure = Figure(figsize=(11.5, height), layout="constrained")
    bars, left, right = figure.subplots(1, 3, sharey=True, width_ratios=(1.15, 1, 1))
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.92, groups))
    y = np.arange(len(models))
    parts = np.nan_to_num(ratios * tasks)
    # stacked away from zero on either side: a regression's task scores are negative
    start = np.cumsum(parts, axis=1) - parts
    for group in range(groups):
        bars.barh(y, parts[:, group], left=start[:, group], color=colours[group], height=0.72, edgecolor=PAPER, lw=0.4)
    for i, total in enumerate(parts.sum(axis=1)):
        right_of_zero = total >= 0
        bars.annotate(
            significant(total),
            (total, i),
            xytext=(4 if right_of_zero else -4, 0),
            textcoords="offset points",
            va="center",
            ha="left" if right_of_zero else "right",
            fontsize=8,
        )
    bars.margins(x=0.16)
    bars.grid(axis="y", visible=False)
    bars.set_yticks(y, models)
    bars.set_ylim(len(models) - 0.5, -0.5)
    bars.set_title("ratio x task score, stacked (dark: leading group)", loc="left")
    of_boxes = any("reg" in parts for parts in report.parts.values())
    bars.set_xlabel("S_cls, the part of the classes" if of_boxes else f"{report.scorer} score")
    for axes, table, title in ((left, ratios, "weight of the group"), (right, tasks, "task score of the group")):
        _heat(axes, table, title)
    return figure


def _heat(axes: Axes, table: np.ndarray, title: str) -> None:
    image = axes.imshow(table, cmap="cividis", aspect="auto", interpolation="nearest")
    low, high = image.get_clim()
    if table.shape[1] <= 16:
        for (i, j), value in np.ndenumerate(table):
            if math.isfinite(value):
                dark = value < low + 0.55 * (high - low)
                axes.text(j, i, brief(value), ha="center", va="center", fontsize=7, color="white" if dark else "black")
    step = max(1, table.shape[1] // 8)
    axes.set_xticks(range(0, table.shape[1], step), [str(j + 1) for j in range(0, table.shape[1], step)])
    axes.tick_params(length=0, labelleft=False)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_title(title, loc="left")
    axes.set_xlabel("group, leading first")


def forest(report: Report) -> Figure | None:
    """tau_w of every scorer with its interval, beside what random scores of as many models reach and what two seeds
    agree at."""
    rows = [row for row in report.agreement() if math.isfinite(row.tau_w)]
    if not rows:
        return None
    rows = [row for row in rows if not row.reference] + [row for row in rows if row.reference]
    figure = Figure(figsize=(5.8, 1.6 + 0.27 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for i, row in enumerate(rows):
        colour = GREY if row.reference else BLUE
        if math.isfinite(row.tau_w_low):
            axes.plot([row.tau_w_low, row.tau_w_high], [i, i], color=colour, lw=2, solid_capstyle="round", alpha=0.55)
        axes.plot(row.tau_w, i, "o", color=colour, ms=7, mfc=PAPER if row.reference else colour, mew=1.8)
        axes.annotate(f"{row.tau_w:.2f}", (1.06, i), xycoords=("axes fraction", "data"), ha="right", va="center")
    chance = [row.chance for row in rows if math.isfinite(row.chance)]
    for i, row in enumerate(rows):
        label = None if i else "random scores, 95 %: " + _span(chance)
        axes.plot([row.chance] * 2, [i - 0.4, i + 0.4], color=ORANGE, ls="--", lw=1.6, label=label, zorder=0)
    if math.isfinite(ceiling := report.ceiling()):
        axes.axvline(ceiling, color=GREEN, ls=":", lw=1.6, label=f"two seeds of the truth: {ceiling:.2f}", zorder=0)
    first_reference = sum(not row.reference for row in rows)
    if 0 < first_reference < len(rows):
        axes.axhline(first_reference - 0.5, color=AXIS, lw=1)
    axes.set_yticks(range(len(rows)), [row.scorer for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(
        min(-0.25, *(np.nan_to_num(row.tau_w_low) for row in rows), *(row.tau_w for row in rows)) - 0.05, 1.03
    )
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"tau_w with 95 % interval over models (hollow: reference rows)\n{report.hub} on {report.dataset}")
    if chance or math.isfinite(ceiling):
        figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=8.5)
    return figure


def _span(values: Sequence[float]) -> str:
    """`0.47`, or `0.47 to 0.81`; empty where there is none."""
    return " to ".join(sorted({f"{value:.2f}" for value in (min(values), max(values))})) if values else ""


def scenes(report: Report) -> Figure | None:
    """A line of pictures a model: its own boxes, those that fit a marked object in colour; marked objects in white."""
    shown: Sequence[Scene] = report.context.get("scenes", ())
    if not shown:
        return None
    models = list(shown[0].found)
    figure = Figure(figsize=(2.1 * len(shown) + 0.3, 2.1 * len(models) + 0.3), layout="constrained")
    grid = figure.subplots(len(models), len(shown), squeeze=False)
    for line, model in zip(grid, models, strict=True):
        for axes, scene in zip(line, shown, strict=True):
            axes.imshow(scene.image)
            axes.set_axis_off()
            _outline(axes, scene.marked.corners, "white", 2.4)
            found = scene.found[model]
            assert found.scores is not None
            for box, label, score in zip(found.corners, found.labels, found.scores, strict=True):
                overlap = _overlaps(box, scene.marked.corners)
                hit = bool(((overlap >= 0.5) & (scene.marked.labels == label)).any())
                colour = ORANGE if hit else GREY
                _outline(axes, box[None], colour, 1.3)
                text = f"{scene.classes[label]} {score:.2f}"
                place = {"va": "bottom", "ha": "left", "fontsize": 6, "color": "white", "clip_on": True}
                pad = {"facecolor": colour, "edgecolor": "none", "pad": 0.6}
                axes.text(box[0], box[1], text, bbox=pad, **place)
        line[0].set_title(model, loc="left")
    return figure


def _outline(axes: Axes, corners: np.ndarray, colour: str, width: float) -> None:
    for left, top, right, bottom in corners:
        axes.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color=colour, lw=width)


def _overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with n."""
    inside = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = inside.clip(min=0).prod(1)
    areas = (others[:, 2:] - others[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    return shared / (areas - shared)
