"""The parts of an HTML page that needs nothing else: it can be mailed, archived, and read on a phone.

Every text passes through `html.escape`. Tables are sorted by sortable-tablesort 4.1.7 (npm, Unlicense, 1.8 kB:
assets/sortable.min.js, SHA-256 in `SORTABLE`); figures are drawn by matplotlib as SVG in the page's own colours. A
charting library would be 1.2 MB (plotly-basic), 0.8 MB (vega, vega-lite and vega-embed) or 0.5 MB (d3 and Observable
Plot) in every page, and a second way to draw: what is asked of a page here, hovering and choosing, is page.js (2 kB).
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from PIL import Image

ASSETS = Path(__file__).parent / "assets"
SORTABLE = "a887cf42ad5b69673364c529afe8500b31dfbe3e78c2e623bee6430fc69b990f"
THUMBNAIL = 96  # pixels of the longer side


def document(title: str, parts: Iterable[str]) -> str:
    """A whole page; parts are HTML, empty ones are left out."""
    css, sortable, script = (_asset(name) for name in ("page.css", "sortable.min.js", "page.js"))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{css}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + f"\n</main>\n<script>{sortable}</script>\n<script>\n{script}</script>\n</body>\n</html>\n"
    )


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def element(tag: str, text: str, kind: str = "") -> str:
    """One element of plain text; kind: its class."""
    return f'<{tag} class="{kind}">{escape(text)}</{tag}>' if kind else f"<{tag}>{escape(text)}</{tag}>"


def figure(content: str, caption: str, name: str) -> str:
    """content: an SVG or an image, which scrolls in its box where the window is narrower; name: of that box."""
    return f"<figure>{_wide(content, name)}{element('figcaption', caption)}</figure>"


def picture(png: bytes, alt: str) -> str:
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def thumbnail(image: Image.Image, alt: str) -> str:
    """An image in small; one that is small already is enlarged by the browser, pixel by pixel."""
    small = max(image.size) <= THUMBNAIL
    image = image.convert("RGB")
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    written = io.BytesIO()
    image.save(written, "PNG" if small else "JPEG", **({} if small else {"quality": 80}))
    data = base64.b64encode(written.getvalue()).decode()
    kind, kept = ("png", ' class="small"') if small else ("jpeg", "")
    return f'<img{kept} alt="{escape(alt)}" title="{escape(alt)}" src="data:image/{kind};base64,{data}">'


def facts(given: Mapping[str, object]) -> str:
    """A list of names and what they are; what is empty is left out."""
    known = [f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in given.items() if v]
    return f"<dl>{''.join(known)}</dl>" if known else ""


def origin(given: Mapping[str, object]) -> str:
    """How a page was made; its `config` (YAML text) is folded."""
    config = str(given.get("config") or "")
    made = facts({name: value for name, value in given.items() if name != "config"})
    return f"<h2>How it was made</h2>{made}{folded('config', config) if config else ''}"


def folded(summary: str, text: str) -> str:
    return f'<details><summary>{escape(summary)}</summary><pre tabindex="0">{escape(text)}</pre></details>'


def download(text: str, name: str) -> str:
    """A link that saves a text as a file of that name."""
    data = base64.b64encode(text.encode()).decode()
    return f'<a download="{escape(name)}" href="data:text/plain;charset=utf-8;base64,{data}">{escape(name)}</a>'


def table(name: str, heads: Sequence[str], bodies: Iterable[Sequence[str]], *, text: Sequence[str] = ()) -> str:
    """A table that a click on a head sorts. name: what it is, for those who cannot see it.

    bodies: rows as `tr` makes them, in groups that are set apart and sorted apart; text: heads of columns of words. A
    column without a head is not sorted by.
    """
    cells = []
    for head in heads:
        kind = " ".join(["text"] * (head in text) + ["no-sort"] * (not head))
        content = f'<button type="button">{escape(head)}</button>' if head else ""
        cells.append(f'<th scope="col" class="{kind}">{content}</th>' if head else f'<td class="{kind}"></td>')
    rows = "".join(f"<tbody>{''.join(body)}</tbody>" for body in bodies if body)
    return _wide(f'<table class="sortable n-last"><thead><tr>{"".join(cells)}</tr></thead>{rows}</table>', name)


def _wide(content: str, name: str) -> str:
    return f'<div class="wide" role="region" tabindex="0" aria-label="{escape(name)}">{content}</div>'


def tr(cells: Sequence[str], kind: str = "", *, model: int | None = None) -> str:
    """model: number of the card that is shown beside the row."""
    return f'<tr class="{kind}"{"" if model is None else f" data-model={model}"}>{"".join(cells)}</tr>'


def td(content: str, kind: str = "", *, by: float | None = None, style: str = "") -> str:
    """by: what the cell is sorted by in place of its text; NaN comes last either way."""
    order = "" if by is None else f' data-sort="{"" if math.isnan(by) else repr(float(by))}"'
    shown = f' style="{style}"' if style else ""
    return f'<td class="{kind}"{order}{shown}>{escape(content)}</td>'


def named(name: str) -> str:
    """The cell of a model's name, which the keyboard reaches: the row's card is shown beside it."""
    return f'<td class="text"><span class="here" tabindex="0">{escape(name)}</span></td>'


def bar(share: float) -> str:
    """share: in percent."""
    return f'<td class="bar"><span style="width:{max(share, 1):.0f}%"></span></td>'
