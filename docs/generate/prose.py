"""The docstrings of this project as Markdown: items of `name: ...`, doctests, and sections of scorers."""

from __future__ import annotations

import re

import griffe

ITEM = re.compile(r"^([a-z_]+(?:, [a-z_]+)*): +")


def markdown(text: str) -> str:
    """Lines `name: words` become items of a list, doctests a block of code; all else is left as it is."""
    lines: list[str] = []
    doctest = False
    for line in text.splitlines():
        if line.startswith(">>> ") and not doctest:
            lines.append("\n```python")
            doctest = True
        elif doctest and not line.strip():
            lines.append("```")
            doctest = False
        lines.append(line if doctest else ITEM.sub(r"\n- **\1**: ", line))
    return "\n".join([*lines, "```"] if doctest else lines)


class Prose(griffe.Extension):
    """Gives mkdocstrings the docstrings as Markdown."""

    def on_object(self, *, obj: griffe.Object, **kwargs) -> None:
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)
