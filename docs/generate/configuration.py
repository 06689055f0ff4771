"""The configuration reference: every YAML of conf/ with its comments, group by group."""

from __future__ import annotations

from pathlib import Path

CONF = Path(__file__).parents[2] / "conf"


def page() -> str:
    lines = [
        "# Configuration",
        "",
        "What can be chosen is one YAML a thing in `conf/`: `group=option` on the command line chooses it, `key=value`",
        "changes a line of it. `python run.py --cfg job` prints what came out of your choice, without running it.",
        "",
        "## config.yaml",
        "",
        *_code((CONF / "config.yaml").read_text()),
    ]
    for group in sorted(path for path in CONF.iterdir() if path.is_dir()):
        lines += ["", f"## {group.name}", ""]
        for path in sorted(group.rglob("*.yaml")):
            option = path.relative_to(group).with_suffix("").as_posix()
            text = path.read_text()
            lines += [f'??? note "`{group.name}={option}`: {_first_comment(text)}"', ""]
            lines += [f"    {line}" if line else "" for line in _code(text)]
            lines.append("")
    return "\n".join(lines)


def _first_comment(text: str) -> str:
    """The first sentence that the file says of itself."""
    said = next(line for line in text.splitlines() if line.startswith("#") and "@package" not in line)
    return said.lstrip("# ").replace('"', "'").replace("`", "'")


def _code(text: str) -> list[str]:
    return ["```yaml", *text.rstrip().splitlines(), "```"]
