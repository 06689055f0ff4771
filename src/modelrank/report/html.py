"""The parts of an HTML page that needs nothing else. Every text passes through `html.escape`; pictures are inlined."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape

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


def document(title: str, parts: Iterable[str]) -> str:
    """A whole page; parts are HTML, empty ones are left out."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def element(tag: str, text: str, kind: str = "") -> str:
    """One element of plain text; kind: its class."""
    return f'<{tag} class="{kind}">{escape(text)}</{tag}>' if kind else f"<{tag}>{escape(text)}</{tag}>"


def picture(name: str, png: bytes, caption: str) -> str:
    image = f'<img alt="{escape(name)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
    return f'<figure><div class="wide">{image}</div><figcaption>{escape(caption)}</figcaption></figure>'


def facts(given: Mapping[str, object]) -> str:
    """A list of names and what they are; what is empty is left out."""
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in given.items() if v) + "</dl>"


def folded(summary: str, text: str) -> str:
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>"


def table(heads: Sequence[str], bodies: Iterable[Sequence[str]], *, text: Sequence[str]) -> str:
    """bodies: rows as `tr` makes them, in groups that are set apart; text: heads of columns that hold words."""
    head = "".join(f'<th class="{"text" if h in text else ""}">{escape(h)}</th>' for h in heads)
    rows = "".join(f"<tbody>{''.join(body)}</tbody>" for body in bodies if body)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead>{rows}</table></div>'


def tr(cells: Sequence[str], kind: str) -> str:
    return f'<tr class="{kind}">{"".join(cells)}</tr>'


def td(content: str, kind: str = "") -> str:
    return f'<td class="{kind}">{escape(content)}</td>'
