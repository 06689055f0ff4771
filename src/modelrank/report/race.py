"""The page of `stage=recommend`: the answer, how far each model came, how to load the winner, what such a choice costs
on other data, how it was made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from modelrank.report.drawing import BLUE, GREY, ORANGE, STYLE, inline
from modelrank.report.html import document, element, figure, origin, table, td, tr
from modelrank.report.numbers import interval, number

CAPTION = (
    "Value on val of each model after its training steps, at the best of its learning rates there. The pick is orange, "
    "other models that were trained to their end are blue; grey ones were given up at their last point."
)


def draw(trials: pd.DataFrame, pick: str, metric: str, end: int) -> Figure | None:
    """The race; None where nothing was trained. trials: rows model, steps, value. end: steps of a whole training."""
    known = trials.dropna(subset=["value"]) if len(trials) else trials
    if not len(known):
        return None
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(6.2, 4.2), layout="constrained")
        axes = drawn.subplots()
        for model, own in known.groupby("model", sort=False):
            finished = bool(own["steps"].to_numpy().max() == end)
            colour = ORANGE if model == pick else BLUE if finished else GREY
            axes.plot(own["steps"], own["value"], marker="o", ms=4, color=colour, lw=2 if model == pick else 1)
            last = own.iloc[-1]
            axes.annotate(
                str(model),
                (last["steps"], last["value"]),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=7.5,
                color=colour,
            )
        axes.set_xlabel("training steps")
        axes.set_ylabel(f"{metric} on val")
        axes.margins(x=0.2)
    return drawn


def write(
    folder: Path,
    sentence: str,
    models: pd.DataFrame,
    race: Figure | None,
    told: Mapping[str, Any],
    made: Mapping[str, Any],
    recipe: str,
    elsewhere: Iterable[str] = (),
) -> Path:
    """folder/report.html. models: rows as recommend.csv; race: as `draw` gives it; told: as recommendation.json; made:
    what is known of how it was made, `config` (YAML text) among it; recipe: Python lines that load the winner;
    elsewhere: parts as `modelrank.report.replay.shipped` gives them."""
    alt = "value on val of each model after its training steps, the pick in orange"
    parts = [
        element("h1", f"Which model of the hub {made['hub']} should be fine-tuned on {made['data set']}?"),
        *_answer(sentence, str(made["metric"])),
        element("p", _measured(told), "soft") if "test" in told else "",
        "<h2>Models</h2>",
        _models(models, str(made["metric"])),
        "<h2>The race</h2>" + figure(inline(race, "race", alt), CAPTION, alt) if race else "",
        '<h2>Use it</h2><pre tabindex="0">' + escape(recipe) + "</pre>" if recipe else "",
        *elsewhere,
        origin(made),
    ]
    path = folder / "report.html"
    path.write_text(document("Which model to fine-tune?", parts), encoding="utf-8")
    return path


def _answer(sentence: str, metric: str) -> list[str]:
    """The pick with what to expect of it in large, what is said besides below it."""
    pick, *besides = sentence.split("; ")
    said = [f"Expected {metric} with its 80 % interval", *(part[:1].upper() + part[1:] for part in besides)]
    return [element("p", f"Fine-tune {pick}", "answer"), element("p", ". ".join(said) + ".")]


def _measured(told: Mapping[str, Any]) -> str:
    return (
        f"Fine-tuned for {told['steps']} steps at a learning rate of {told['lr']:g}; measured once on the "
        f"{told['test_images']} test images: {told['test']:.4f}."
    )


def _models(models: pd.DataFrame, metric: str) -> str:
    heads = [
        "model",
        f"expected {metric} as it is",
        "at the end of its training",
        "80 % interval",
        "on val",
        "steps",
        "learning rate",
        "chance to be best",
    ]
    heads += ["seconds", "ms an image", "million parameters", "GB to fine-tune"]
    remarks = ["remark"] if any(isinstance(reason, str) and reason for reason in models["reason"]) else []
    body = []
    for one in models.to_dict("records"):
        cells = [td(str(one["model"]), "text"), _cell(one["now"], 3), _cell(one["expected"], 3)]
        cells += [td(interval(one["low"], one["high"], 3), "text", by=one["low"]), _cell(one["val"], 3)]
        cells += [_cell(one["steps"], 0), td("" if pd.isna(one["lr"]) else f"{one['lr']:g}", by=one["lr"])]
        cells += [_cell(one["chance_best"], 2), _cell(one["seconds"], 0), _cell(one["latency_ms"], 1)]
        cells += [_cell(one["parameters"] / 1e6, 2), _cell(one["memory_gb"], 2)]
        cells += [td("" if pd.isna(one["reason"]) else str(one["reason"]), "text long") for _ in remarks]
        body.append(tr(cells, "first" if not body else ""))
    return table("models of the race", [*heads, *remarks], [body], text=("model", "80 % interval", "remark"))


def _cell(value: float, digits: int) -> str:
    return td(number(value, digits), by=value)
