"""The report as one HTML page that needs nothing else: it can be mailed, archived, and read on a phone.

Every text that comes from a config, a file name or a data set passes through `html.escape`; figures are inlined.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from modelrank.report import figures
from modelrank.report.content import Report, ScorerRow, interval, number, significant

CAPTIONS = {
    "spectrum": "What each score is made of: the share of the singular values that a group of spectral components "
    "holds (ratio), times how well that group alone separates the classes (task score).",
    "scenes": "Test images with the objects that are marked in them (white) and what models found after fine-tuning "
    "(colour: right class and an overlap of 0.5 or more; grey: neither), those with a score of at least a third of the "
    "highest in the image.",
    "scatter": "Score against measured accuracy, one panel a scorer. Numbers are the place by measured accuracy.",
    "agreement": "How well each scorer ordered the models. One left of the dashed line cannot be told from chance.",
}
CSS = """
:root { color-scheme: light; --line: #ddd; --soft: #666; --blue: #0072b2; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; max-width: 64rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.2rem; font-weight: 500; color: var(--soft); margin: .5rem 0; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
.answer { font-size: 1.7rem; line-height: 1.25; font-weight: 650; margin: .2rem 0 .6rem; }
.soft, figcaption, .reference td { color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { white-space: normal; vertical-align: bottom; }
th.text, td.text { text-align: left; }
tr.first td { font-weight: 650; }
tbody + tbody { border-top: 2px solid #888; }
td.bar { min-width: 7rem; } td.bar span { display: block; height: .7rem; background: var(--blue); }
figure { margin: 1rem 0; } img { width: 100%; min-width: 40rem; height: auto; }  /* a phone scrolls sideways */
pre { overflow-x: auto; background: #f6f6f6; padding: .8rem; font-size: .85rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; }
dd { margin: 0; overflow-wrap: anywhere; }
"""


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
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def _models(report: Report) -> str:
    rows = report.models()
    with_interval = any(not math.isnan(row.low) for row in rows)
    heads = ["#", "model", report.scorer, "", *(["95 % interval"] if with_interval else [])]
    terms = report.terms()
    heads += list(terms)
    heads += [f"measured {report.metric}", "its place"] if report.truth else []
    # bars start at the least score: the scale of most scorers has no meaningful zero
    low, high = min((row.score for row in rows), default=0.0), max((row.score for row in rows), default=0.0)
    body = []
    for row in rows:
        share = 100 * (row.score - low) / (high - low) if high > low else 100
        cells = [_cell(str(row.rank)), _cell(row.model, "text"), _cell(significant(row.score))]
        cells += [f'<td class="bar"><span style="width:{max(share, 1):.0f}%"></span></td>']
        cells += [_cell(interval(row.low, row.high, 3), "text")] if with_interval else []
        cells += [_cell(significant(values[row.model])) for values in terms.values()]
        cells += [_cell(number(row.accuracy, 3)), _cell(number(row.accuracy_rank, 0))] if report.truth else []
        body.append(_row(cells, "first" if row.rank == 1 else ""))
    return _table(heads, [body], text=("model", "95 % interval"))


def _agreement(report: Report) -> str:
    heads = ["scorer", "tau_w", "95 % interval", "Kendall", "Pearson", "Spearman", "Pr(top-1)", "Rel@1", "regret@1"]
    rows = report.agreement()

    def line(row: ScorerRow) -> str:
        values = [number(row.tau), number(row.pearson), number(row.spearman), number(row.pr_top1, 0)]
        values += [number(row.rel_at_1, 3), number(row.regret_at_1, 3), str(row.n_models), number(row.seconds)]
        cells = [_cell(row.scorer, "text"), _cell(number(row.tau_w))]
        cells += [_cell(interval(row.tau_w_low, row.tau_w_high), "text"), *map(_cell, values)]
        return _row(cells, "first" if row.scorer == report.scorer else "reference" if row.reference else "")

    bodies = [[line(row) for row in rows if row.reference == reference] for reference in (False, True)]
    return _table([*heads, "models", "seconds"], bodies, text=("scorer", "95 % interval"))


def _made(report: Report) -> str:
    context = report.context
    facts = [
        ("command", context.get("command")),
        ("commit", context.get("commit")),
        ("versions", context.get("versions")),
        ("seconds", number(float(context["seconds"]), 1) if "seconds" in context else None),
        ("images", context.get("source")),
        ("remarks on the images", "; ".join(context.get("notes", ()))),
        ("scored", report.images()),
        ("accuracies", report.truth_line().removeprefix("truth: ")),
    ]
    facts += [(f"licence of {name}", licence) for name, licence in context.get("licences", {}).items()]
    listed = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts if v)
    config = context.get("config")
    folded = f"<details><summary>config</summary><pre>{escape(str(config))}</pre></details>" if config else ""
    return f"<dl>{listed}</dl>{folded}"


def _figure(name: str, pictures: Mapping[str, bytes]) -> str:
    if name not in pictures:
        return ""
    data, caption = base64.b64encode(pictures[name]).decode(), escape(CAPTIONS[name])
    image = f'<img alt="{name}" src="data:image/png;base64,{data}">'
    return f'<figure><div class="wide">{image}</div><figcaption>{caption}</figcaption></figure>'


def _table(heads: Sequence[str], bodies: Iterable[Sequence[str]], *, text: Sequence[str]) -> str:
    head = "".join(f'<th class="{"text" if h in text else ""}">{escape(h)}</th>' for h in heads)
    rows = "".join(f"<tbody>{''.join(body)}</tbody>" for body in bodies if body)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead>{rows}</table></div>'


def _row(cells: Sequence[str], kind: str) -> str:
    return f'<tr class="{kind}">{"".join(cells)}</tr>'


def _cell(content: str, kind: str = "") -> str:
    return f'<td class="{kind}">{escape(content)}</td>'
