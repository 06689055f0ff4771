"""A matplotlib figure as SVG inside a page: its text is text, its colours are the page's, light or dark."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure

INK, PAPER, AXIS, LINE = "#1b1b1b", "#fefefe", "#8a8a8a", "#dcdcdc"  # PAPER: what lies behind, not white itself
BLUE, ORANGE, GREEN, GREY, SKY = "#0072b2", "#d55e00", "#009e73", "#6f6f6f", "#56b4e9"  # Okabe and Ito's, but the grey
OF_PAGE = {  # the page's own names of them, see page.css; every other colour stays as it is in both modes
    INK: "--ink",
    PAPER: "--paper",
    AXIS: "--axis",
    LINE: "--line",
    BLUE: "--blue",
    ORANGE: "--orange",
    GREEN: "--green",
    GREY: "--grey",
    SKY: "--sky",
}
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": AXIS,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.parse_math": False,  # a model's name may hold a dollar sign
}
WIDE = 640  # pixels; a wider figure shrinks with the window to three quarters and then scrolls, or nobody could read it
NOTHING = dict.fromkeys(("Creator", "Date", "Format", "Type"))
SVG, LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"


def inline(figure: Figure, name: str, alt: str, *, marks: Mapping[str, Mapping[str, str]] | None = None) -> str:
    """The <svg> element. name: unlike that of any other figure of the page; alt: what is seen, in words.

    marks: attributes for artists by their gid; a figure with marks is a group of them and no single image.
    """
    written = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(written, format="svg", transparent=True, metadata=NOTHING)
    root = ElementTree.fromstring(written.getvalue())
    for parent in list(root.iter()):
        for child in [one for one in parent if one.tag in (f"{SVG}style", f"{SVG}metadata")]:
            parent.remove(child)
    asked = {link[1:] for node in root.iter() if (link := node.get(LINK, "")).startswith("#")}
    asked |= {found for node in root.iter() for found in re.findall(r"url\(#(\w+)\)", node.get("clip-path", ""))}
    for node in root.iter():
        _settle(node, name, asked, marks or {})
    width, height = (float(part) * 4 / 3 for part in root.attrib["viewBox"].split()[2:])  # points as pixels
    size = {"width": f"{width:.0f}", "height": f"{height:.0f}"}
    if width > WIDE:
        size["style"] = f"min-width: {0.75 * width:.0f}px"
    kind = {"role": "group" if marks else "img", "aria-label": alt, "class": "plot"}
    root.attrib = {"viewBox": root.attrib["viewBox"], **size, **kind}
    return ElementTree.tostring(root, encoding="unicode")


def _settle(node: ElementTree.Element, name: str, asked: set[str], marks: Mapping[str, Mapping[str, str]]) -> None:
    """Plain names without a namespace, ids only where they are asked for, short numbers, the page's colours."""
    node.tag = node.tag.removeprefix(SVG)
    gid = node.attrib.pop("id", "")
    if gid in asked:
        node.set("id", f"{name}-{gid}")
    node.attrib.update(marks.get(gid, {}))
    if link := node.attrib.pop(LINK, ""):
        node.set("href", f"#{name}-{link[1:]}" if link.startswith("#") else link)
    if "clip-path" in node.attrib:
        node.set("clip-path", node.attrib["clip-path"].replace("#", f"#{name}-"))
    for key in ("d", "x", "y", "transform"):
        if key in node.attrib:
            node.set(key, re.sub(r"(\.\d\d)\d+", r"\1", " ".join(node.attrib[key].split())))
    if style := node.get("style"):
        style = re.sub(r"font: ([\d.]+px)[^;]*", r"font-size: \1", re.sub(r"font: (\w+) ([\d.]+px)[^;]*", _bold, style))
        node.set("style", re.sub(r"#[0-9a-f]{6}", _of_page, style))
    if node.tag != "text" and node.text is not None:
        node.text = node.text.strip()
    node.tail = None


def _bold(found: re.Match[str]) -> str:
    return f"font-weight: {found[1]}; font-size: {found[2]}"


def _of_page(found: re.Match[str]) -> str:
    return f"var({OF_PAGE[found[0]]})" if found[0] in OF_PAGE else found[0]
