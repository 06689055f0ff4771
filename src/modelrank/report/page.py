"""The page of a ranking run: the answer and its doubts, the models, the scorers, the images, the cost, the origin."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from modelrank.report import figures, scatter
from modelrank.report.content import Report, ScorerRow
from modelrank.report.drawing import STYLE, inline
from modelrank.report.html import bar, document, element, figure, named, origin, picture, table, td, thumbnail, tr
from modelrank.report.numbers import interval, number, significant

CAPTIONS = {
    "spectrum": "What each score is made of: the weight of a group of spectral components (by default its share of the "
    "singular values), times how well that group alone fits the targets (task score).",
    "scenes": "Test images with the objects that are marked in them (white) and what models found after fine-tuning "
    "(colour: right class and an overlap of 0.5 or more; grey: neither), those with a score of at least a third of the "
    "highest in the image.",
    "agreement": "How well each scorer ordered the models. One left of its dash cannot be told from chance.",
}
SCATTER = (
    "Numbers are places by measured {metric}. Point at a dot or a name, or go there with the tab key, to see what is "
    "known of the model."
)
COSTS = (
    "Seconds of measuring the accuracy by fine-tuning, all learning rates together, where and when that was done; "
    "of one pass over the scored images; and of each scorer (what several share counts for the first of them)."
)


def write(report: Report, folder: Path) -> Path:
    """Draw the figures into folder/figures, write folder/report.html and return its path."""
    drawn = figures.draw(report)
    figures.write(drawn, folder / "figures")
    path = folder / "report.html"
    path.write_text(page(report, drawn), encoding="utf-8")
    return path


def page(report: Report, drawn: Mapping[str, Figure]) -> str:
    """The page's text; drawn: what `figures.draw` gives, or part of it."""
    numbers = {model: i for i, model in enumerate(dict.fromkeys(report.scores["model"]))}
    predicted = report.prediction is not None
    first, *more = report.sentences()
    unscored = [element("p", f"{model} has no score: {why}") for model, why in report.unscored().items()]
    parts = [
        element("h1", f"Which model of the hub {report.hub} should be fine-tuned on {report.dataset}?"),
        element("p", first, "answer"),
        *(element("p", sentence, "said") for sentence in more),
        element("p", report.doubt()) if report.doubt() else "",
        element("p", report.images() + (f"; {report.truth_line()}" if report.truth else ""), "soft"),
        element("h2", f"Models by predicted {report.expected_metric}" if predicted else f"Models by {report.scorer}"),
        _models(report, numbers),
        *unscored,
        _figure("spectrum", drawn, f"Spectral parts of the {report.scorer} score of each model"),
    ]
    if report.agreement():
        shown = scatter.scatter(report, numbers)
        parts += [
            "<h2>Score against measured accuracy</h2>" if shown else "",
            shown,
            element("p", SCATTER.format(metric=report.metric), "soft") if shown else "",
            "<h2>How well each scorer ranked</h2>",
            _agreement(report),
            f'<ul class="soft">{"".join(element("li", line) for line in report.level_lines())}</ul>',
            _figure("agreement", drawn, _spoken(report)),
        ]
    parts += [_images(report)]
    if "scenes" in drawn:
        parts += ["<h2>What was found</h2>", _scenes(drawn["scenes"])]
    parts += ["<h2>What it cost</h2>", _costs(report, numbers), element("p", COSTS, "soft")]
    parts += [_made(report), scatter.cards(report, numbers)]
    return document(f"Which model to fine-tune on {report.dataset}?", parts)


def _models(report: Report, numbers: Mapping[str, int]) -> str:
    rows, terms, predicted = report.models(), report.terms(), report.prediction is not None
    with_interval = any(not math.isnan(row.low) for row in rows)
    heads = ["#", "model", *(["expected", "80 %", "chance to be best"] if predicted else []), report.scorer, ""]
    heads += [*([report.score_interval()] if with_interval else []), *terms]
    heads += [f"measured {report.metric}", "its place"] if report.truth else []
    # bars start at the least score: the scale of most scorers has no meaningful zero
    scores = [row.score for row in rows if not math.isnan(row.score)]
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    body = []
    for row in rows:
        share = 100 * (row.score - low) / (high - low) if high > low else 100
        share = 0 if math.isnan(row.score) else share
        cells = [td(str(row.rank)), named(row.model)]
        if predicted:
            cells += [
                _cell(row.expected),
                td(interval(row.expected_low, row.expected_high), "text", by=row.expected_low),
            ]
            cells += [_cell(row.chance_best)]
        cells += [td(significant(row.score), by=row.score), bar(share)]
        cells += [td(interval(row.low, row.high, 3), "text", by=row.low)] if with_interval else []
        cells += [td(significant(values[row.model]), by=values[row.model]) for values in terms.values()]
        if report.truth:
            cells += [_cell(row.accuracy, 3), _cell(row.accuracy_rank, 0)]
        body.append(tr(cells, "first" if row.rank == 1 else "", model=numbers[row.model]))
    return table(f"models by {report.leading}", heads, [body], text=("model", "80 %", report.score_interval()))


def _agreement(report: Report) -> str:
    rows, uneven = report.agreement(), report.uneven()
    heads = ["scorer", "tau_w", "95 % interval", "chance", *(["common"] if uneven else [])]
    heads += ["Kendall", "Pearson", "Spearman", "Pr(top-1)", "Rel@1", "regret@1"]

    def line(row: ScorerRow) -> str:
        cells = [td(row.scorer, "text"), _cell(row.tau_w)]
        cells += [td(interval(row.tau_w_low, row.tau_w_high), "text", by=row.tau_w_low), _cell(row.chance)]
        cells += [_cell(row.tau_w_common)] if uneven else []
        cells += [_cell(row.tau), _cell(row.pearson), _cell(row.spearman), _cell(row.pr_top1, 0)]
        cells += [_cell(row.rel_at_1, 3), _cell(row.regret_at_1, 3), td(str(row.n_models)), _cell(row.seconds)]
        return tr(cells, "first" if row.scorer == report.leading else "reference" if row.reference else "")

    bodies = [[line(row) for row in rows if row.reference == reference] for reference in (False, True)]
    return table("agreement of scorers", [*heads, "models", "seconds"], bodies, text=("scorer", "95 % interval"))


def _cell(value: float, digits: int = 2) -> str:
    return td(number(value, digits), by=value)


def _spoken(report: Report) -> str:
    """The figure of agreement in words."""
    values = "; ".join(f"{row.scorer} {number(row.tau_w)}" for row in report.agreement())
    return f"tau_w of each scorer with its interval beside what random scores reach: {values}"


def _images(report: Report) -> str:
    """Samples of each class, and what was left out and why."""
    shown = "".join(
        f"<li>{element('h3', heading)}<div>"
        + "".join(thumbnail(image, f"{name} ({heading})") for name, image in images)
        + "</div></li>"
        for heading, images in report.context.get("samples", {}).items()
    )
    classes, headings = report.context.get("classes", 0), len(report.context.get("samples", {}))
    some = f"{headings} of {classes} classes, some of the scored images of each." if headings < classes else ""
    notes = "".join(element("li", note) for note in report.context.get("notes", ()))
    if not shown and not notes:
        return ""
    return (
        "<h2>The images</h2>"
        + (element("p", str(report.context["source"]), "soft") if report.context.get("source") else "")
        + (f"<h3>Left out, or odd</h3><ul>{notes}</ul>" if notes else "")
        + (element("p", some, "soft") if shown and some else "")
        + (f'<ul class="samples">{shown}</ul>' if shown else "")
    )


def _costs(report: Report, numbers: Mapping[str, int]) -> str:
    costs = report.costs().dropna(axis=1, how="all")
    heads = ["model", *map(str, costs.columns)]
    body = [
        tr([named(str(model)), *map(_seconds, line)], model=numbers[str(model)])
        for model, line in zip(costs.index, costs.to_numpy(dtype=float), strict=True)
    ]
    total = tr([td("all", "text"), *map(_seconds, costs.sum(min_count=1))], "first")
    return table("seconds by model and scorer", heads, [body, [total]], text=("model",))


def _seconds(value: float) -> str:
    return td(number(value, 2 if value < 10 else 0), by=value)


def _made(report: Report) -> str:
    context = report.context
    made = {name: context.get(name) for name in ("command", "commit", "versions", "config")}
    made |= {"seconds of scoring": number(float(context["seconds"]), 1) if "seconds" in context else None}
    made |= {"images": context.get("source"), "scored": report.images()}
    made |= {"accuracies": report.truth_line().removeprefix("truth: ")}
    of: dict[str, list[str]] = {}
    for name, licence in context.get("licences", {}).items():
        of.setdefault(licence, []).append(name)
    return origin(made | {"licences": "; ".join(f"{', '.join(names)}: {licence}" for licence, names in of.items())})


def _figure(name: str, drawn: Mapping[str, Figure], alt: str) -> str:
    if name not in drawn:
        return ""
    with mpl.rc_context(STYLE):
        return figure(inline(drawn[name], name, alt), CAPTIONS[name], alt)


def _scenes(drawn: Figure) -> str:
    """Photographs, so no SVG."""
    alt = "test images with the marked objects and those that models found"
    return figure(picture(figures.png(drawn), alt), CAPTIONS["scenes"], alt)
