"""Licences of weights and images, as the YAMLs of conf/model and conf/dataset state them."""

from __future__ import annotations

from pathlib import Path

import yaml
from hydra import compose, initialize_config_dir

from modelrank import build

CONF = Path(__file__).parents[2] / "conf"
HUBS = ("offline", "supervised", "self_supervised", "vit", "self_supervised_offline", "checkpoints_offline")


def page() -> str:
    lines = [
        "# Licences of weights and images",
        "",
        "modelrank itself is MIT. Weights and images are not part of it (but for the small encoders that were trained",
        "here): they are fetched from where others publish them, or are yours. Each licence is given as its source",
        "states it, and stands in the report; `stage=recommend 'constraints.licence=[MIT,Apache*]'` looks at it. *none",
        "stated* means that we found none, which is no permission.",
        "",
        "## Weights",
        "",
        "| model | licence | pre-training |",
        "|---|---|---|",
        *(f"| {name} | {licence} | {words} |" for name, licence, words in weights()),
        "",
        "Models of `hub=timm`, `hub=torchvision` and `hub=detection` are looked up when asked for, and so are their",
        "licences.",
        "",
        "## Images",
        "",
        "| data set | licence | what it is |",
        "|---|---|---|",
        *(f"| {name} | {licence} | {words} |" for name, licence, words in images()),
        "",
    ]
    return "\n".join(lines)


def weights() -> list[tuple[str, str, str]]:
    """(id, licence, pre-training) of every model that a hub lists: those of conf/model and the shipped snapshots."""
    rows = {}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for hub in HUBS:
            for name, model in build.models(compose("config", [f"hub={hub}"])).items():
                rows[name] = (name, model.licence, model.pretraining)
    return list(rows.values())


def images() -> list[tuple[str, str, str]]:
    """(id, licence, first comment) of every YAML in conf/dataset."""
    found = []
    for path in sorted((CONF / "dataset").glob("*.yaml")):
        text = path.read_text()
        comment = next(line for line in text.splitlines() if line.startswith("#"))
        found.append((path.stem, yaml.safe_load(text)["licence"], comment.lstrip("# ")))
    return found
