"""A page a scorer, from its docstrings, its YAML and its values on the toy data set, and one table of them all."""

from __future__ import annotations

import importlib
import inspect
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import prose
import toy
from omegaconf import DictConfig, OmegaConf

from modelrank import build
from modelrank.scorers.contract import facts_of
from modelrank.types import Ranking

CONF = Path(__file__).parents[2] / "conf" / "scorer"
SECTION = re.compile(r"^([A-Z][a-z ]+):$")
REQUIRED = ("Idea", "Formula", "Source", "Cost", "Fails")
HEADINGS = {"Fails": "When it fails", "Ours": "What is ours"}


@dataclass(frozen=True)
class Documented:
    """What is written about one scorer: its module's and its function's docstring, and its YAML."""

    name: str
    title: str
    sections: Mapping[str, str]  # Idea, Formula, ...: those of the function before those of its module
    returns: str  # what the function's docstring says besides
    yaml: str


def sections(docstring: str) -> tuple[str, dict[str, str]]:
    """(the text before the first section, sections): a section is a line `Idea:` and what is indented below it."""
    before: list[str] = []
    found: dict[str, list[str]] = {}
    into = before
    for line in inspect.cleandoc(docstring).splitlines():
        if match := SECTION.match(line):
            into = found.setdefault(match[1], [])
        elif into is not before and line and not line.startswith(" "):
            into = before
            before.append(line)
        else:
            into.append(line)
    return "\n".join(before).strip(), {name: inspect.cleandoc("\n" + "\n".join(text)) for name, text in found.items()}


@cache
def names() -> tuple[str, ...]:
    """Ids of the scorers, in order; files that are sets of scorers left out."""
    return tuple(path.stem for path in sorted(CONF.glob("*.yaml")) if path.stem in (_yaml(path).get("scorers") or {}))


def _yaml(path: Path) -> DictConfig:
    return cast(DictConfig, OmegaConf.load(path))


def documented(name: str) -> Documented:
    path = CONF / f"{name}.yaml"
    module, function = _yaml(path).scorers[name]._target_.rsplit(".", 1)
    home = importlib.import_module(module)
    title, of_module = sections(home.__doc__ or "")
    returns, of_function = sections(getattr(home, function).__doc__ or "")
    return Documented(name, title, of_module | of_function, returns, path.read_text())


@cache
def on_toy(name: str) -> Ranking:
    scorer = build.scorers(_yaml(CONF / f"{name}.yaml"))[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they warn of is on the page in words
        return toy.ranking(name, scorer)


def page(name: str) -> str:
    """The Markdown page of one scorer."""
    one = documented(name)
    lines = [f"# {name}", "", one.title, ""]
    for section in ("Idea", "Formula", "Ours", "Source", "Cost", "Fails"):
        if section in one.sections:
            text = one.sections[section]
            lines += [f"## {HEADINGS.get(section, section)}", ""]
            lines += ["```text", text, "```", ""] if section == "Formula" else [text, ""]
    lines += ["## Value and settings", "", prose.markdown(one.returns), "", "```yaml", *_settings(one.yaml), "```", ""]
    lines += [*_facts(name), ""]
    lines += [f'`python run.py scorer={name}`, or in Python `modelrank.score("{name}", features, labels)`.', ""]
    lines += ["## On the toy data set", "", *_toy(on_toy(name)), ""]
    return "\n".join(lines)


def _settings(yaml: str) -> list[str]:
    return [line for line in yaml.splitlines() if not line.startswith("# @package")]


def _facts(name: str) -> list[str]:
    facts = facts_of(build.scorers(_yaml(CONF / f"{name}.yaml"))[name])
    subsets = facts.on_subsets
    interval = {None: "none", "components": "from subsets, on 128 principal components", "rows": "from subsets"}.get(
        subsets if isinstance(subsets, str) or subsets is None else "", "from subsets, by a way of its own"
    )
    return [
        "| targets | needs | value over a hub | reads files larger than memory | interval of the score |",
        "|---|---|---|---|---|",
        f"| {', '.join(sorted(facts.reads))} | {', '.join(sorted(facts.needs)).replace('_', ' ')} "
        f"| {'combined from the parts of all models' if facts.combine else 'that of each model'} "
        f"| {'yes' if facts.streams else 'no'} | {interval} |",
    ]


def _toy(found: Ranking) -> list[str]:
    lines = ["| model | value |", "|---|---:|"]
    for model in toy.MODELS:
        value = (
            f"{found.scores[model].value:.4g}" if model in found.scores else f"not applicable: {found.failed[model]}"
        )
        lines.append(f"| {model} | {value} |")
    return [*lines, "", _verdict(found), "", "The models are described on [the page of all scorers](index.md)."]


def _verdict(found: Ranking) -> str:
    """In words: is the order right, does the scale of the features matter, is it taken in by more dimensions?"""
    value = {model: score.value for model, score in found.scores.items()}
    said = [
        "The order of the first three is right."
        if value["separable"] > value["noisy"] > value["random"]
        else "The order of the first three is not `separable`, `noisy`, `random`."
    ]
    scale = abs(value["noisy x 10"] - value["noisy"]) <= 0.01 * abs(value["separable"] - value["random"])
    said.append("Their scale hardly matters." if scale else "The scale of the features matters.")
    if "random, wide" in value:
        taken_in = value["random, wide"] >= value["noisy"]
        said.append(f"`random, wide` is {'not ' * (not taken_in)}put before `noisy`.")
    return " ".join(said)


def overview() -> str:
    """All scorers on the toy data set in one table."""
    lines = [
        "# All scorers",
        "",
        "Higher is better, for every one. Their values are on scales of their own: only the order of models by one",
        "scorer means something. Each page says what is measured, from where, at what cost, and when it fails.",
        "",
        "The toy data set is made when this page is built (`docs/generate/toy.py`, one seed): "
        f"{toy.SAMPLES} samples of {toy.CLASSES}",
        f"classes, and five models whose features have {toy.DIMENSIONS} dimensions:",
        "",
        *(f"- **{model}**: {words}" for model, words in toy.MODELS.items()),
        "",
        "A scorer to trust puts `separable` before `noisy` before `random`, gives `noisy x 10` the value of `noisy`",
        "(else it depends on the scale of the features, which differs between networks), and is not taken in by",
        "`random, wide`. Reference rows that look at no features read numbers that are made up here.",
        "",
        "| scorer | " + " | ".join(toy.MODELS) + " |",
        "|---|" + "---:|" * len(toy.MODELS),
    ]
    for name in names():
        found = on_toy(name)
        values = (f"{found.scores[model].value:.3g}" if model in found.scores else "-" for model in toy.MODELS)
        lines.append(f"| [{name}]({name}.md) | " + " | ".join(values) + " |")
    return "\n".join([*lines, ""])
