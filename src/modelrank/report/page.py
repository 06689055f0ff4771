"""The report as one HTML page that needs nothing else: it can be mailed, archived, and read on a phone.

Every text that comes from a config, a file name or a data set passes through `html.escape`; figures are inlined.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from pathlib import Path

from modelrank.report import figures
from modelrank.report.content import Report, ScorerRow, interval, number, significant
from modelrank.report.html import document, facts, folded, picture, table, td, tr

CAPTIONS = {
    "spectrum": "What each score is made of: the share of the singular values that a group of spectral components "
    "holds (ratio), times how well that group alone separates the classes (task score).",
    "scenes": "Test images with the objects that are marked in them (white) and what models found after fine-tuning "
    "(colour: right class and an overlap of 0.5 or more; grey: neither), those with a score of at least a third of the "
    "highest in the image.",
    "scatter": "Score against measured accuracy, one panel a scorer. Numbers are the place by measured accuracy.",
    "agreement": "How well each scorer ordered the models. One left of its dash cannot be told from chance.",
}


def write(report: Report, folder: Path) -> Path:
    """Draw the figures into folder/figures, write folder/report.html with them inlined, and return the page's path."""
    drawn = figures.write(report, folder / "figures")
    path = folder / "report.html"
    path.write_text(page(report, {name: png.read_bytes() for name, png in drawn.items()}), encoding="utf-8")
    return path


def page(report: Report, pictures: Mapping[str, bytes]) -> str:
    """The page's text; pictures: name -> PNG."""
    title = f"Which model to fine-tune on {report.dataset}?"
    unscored = "".join(f"<p>{escape(m)} has no score: {escape(why)}</p>" for m, why in report.unscored().items())
    parts = [
        f"<h1>Which model of the hub {escape(report.hub)} should be fine-tuned on {escape(report.dataset)}?</h1>",
        f'<p class="answer">{escape(report.answer())}</p>',
        f'<p class="soft">{escape(report.images())}; {escape(report.truth_line())}</p>',
        f"<h2>Models by {escape(report.scorer)}</h2>",
        _models(report),
        unscored,
        _figure("spectrum", pictures),
    ]
    if report.agreement():
        notes = "".join(f"<li>{escape(line)}</li>" for line in report.level_lines())
        parts += [
            "<h2>How well each scorer ranked</h2>",
            _agreement(report),
            f'<ul class="soft">{notes}</ul>',
            _figure("agreement", pictures),
            _figure("scatter", pictures),
        ]
    if "scenes" in pictures:
        parts += ["<h2>What was found</h2>", _figure("scenes", pictures)]
    parts += ["<h2>How it was made</h2>", _made(report)]
    return document(title, parts)


def _models(report: Report) -> str:
    rows = report.models()
    with_interval = any(not math.isnan(row.low) for row in rows)
    heads = ["#", "model", report.scorer, "", *([report.score_interval()] if with_interval else [])]
    terms = report.terms()
    heads += list(terms)
    heads += [f"measured {report.metric}", "its place"] if report.truth else []
    # bars start at the least score: the scale of most scorers has no meaningful zero
    low, high = min((row.score for row in rows), default=0.0), max((row.score for row in rows), default=0.0)
    body = []
    for row in rows:
        share = 100 * (row.score - low) / (high - low) if high > low else 100
        cells = [td(str(row.rank)), td(row.model, "text"), td(significant(row.score))]
        cells += [f'<td class="bar"><span style="width:{max(share, 1):.0f}%"></span></td>']
        cells += [td(interval(row.low, row.high, 3), "text")] if with_interval else []
        cells += [td(significant(values[row.model])) for values in terms.values()]
        cells += [td(number(row.accuracy, 3)), td(number(row.accuracy_rank, 0))] if report.truth else []
        body.append(tr(cells, "first" if row.rank == 1 else ""))
    return table(heads, [body], text=("model", report.score_interval()))


def _agreement(report: Report) -> str:
    rows, uneven = report.agreement(), report.uneven()
    heads = ["scorer", "tau_w", "95 % interval", "chance", *(["common"] if uneven else [])]
    heads += ["Kendall", "Pearson", "Spearman", "Pr(top-1)", "Rel@1", "regret@1"]

    def line(row: ScorerRow) -> str:
        values = [number(row.chance), *([number(row.tau_w_common)] if uneven else [])]
        values += [number(row.tau), number(row.pearson), number(row.spearman), number(row.pr_top1, 0)]
        values += [number(row.rel_at_1, 3), number(row.regret_at_1, 3), str(row.n_models), number(row.seconds)]
        cells = [td(row.scorer, "text"), td(number(row.tau_w))]
        cells += [td(interval(row.tau_w_low, row.tau_w_high), "text"), *map(td, values)]
        return tr(cells, "first" if row.scorer == report.scorer else "reference" if row.reference else "")

    bodies = [[line(row) for row in rows if row.reference == reference] for reference in (False, True)]
    return table([*heads, "models", "seconds"], bodies, text=("scorer", "95 % interval"))


def _made(report: Report) -> str:
    context = report.context
    made = [
        ("command", context.get("command")),
        ("commit", context.get("commit")),
        ("versions", context.get("versions")),
        ("seconds", number(float(context["seconds"]), 1) if "seconds" in context else None),
        ("images", context.get("source")),
        ("remarks on the images", "; ".join(context.get("notes", ()))),
        ("scored", report.images()),
        ("accuracies", report.truth_line().removeprefix("truth: ")),
    ]
    made += [(f"licence of {name}", licence) for name, licence in context.get("licences", {}).items()]
    config = context.get("config")
    return facts(dict(made)) + (folded("config", str(config)) if config else "")


def _figure(name: str, pictures: Mapping[str, bytes]) -> str:
    return picture(name, pictures[name], CAPTIONS[name]) if name in pictures else ""
