"""A report to test with, and what is asked of every page."""

import re

import html5lib
import numpy as np
import pandas as pd
from PIL import Image

from modelrank.ranking.agreement import agreement, null_level
from modelrank.report.content import Report
from modelrank.report.html import ASSETS
from modelrank.types import Truth

MODELS = (
    "mobilenet_v2",
    "mobilenet_v2_b",
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "squeezenet1_1",
    "resnet50_thin",
    "vgg16_bn_text",
    "vgg16_edges",
    "vit_small",
    "random",
)
SCORERS = ("disco", "logme", "leep", "linear_probe", "knn", "static_order", "imagenet_accuracy", "parameters")


def example_report(models=MODELS, scorers=SCORERS, *, with_truth=True, with_interval=True, parts=True, hub="offline"):
    """A report whose numbers are drawn, but whose rows are made as a run makes them."""
    rng = np.random.default_rng(7)
    accuracy = dict(zip(models, rng.uniform(0.4, 0.95, len(models)).round(3), strict=True))
    rows, spectra = [], {}
    for i, scorer in enumerate(scorers):
        for model in models:
            value = accuracy[model] + rng.normal(0, 0.05 + 0.06 * i)
            if scorer == "disco":
                ratio = np.sort(rng.dirichlet(np.ones(8)))[::-1]
                task = np.linspace(accuracy[model], 0.1, 8)
                spectra[model], value = {"ratio": ratio, "task": task}, float(ratio @ task)
            row = {"hub": hub, "dataset": "cifar10", "model": model, "scorer": scorer, "score": value}
            row |= {
                "status": "ok",
                "reason": "",
                "seconds": 0.2,
                "extraction_seconds": 7.0,
                "n": 2000,
                "d": 512,
                "classes": 10,
                "seed": 0,
            }
            if with_interval and scorer == "disco":
                row |= {"score_low": value - 0.02, "score_high": value + 0.02}
            if scorer == "leep" and model == models[-1]:
                row |= {"score": None, "status": "not_applicable", "reason": "leep needs logits"}
            rows.append(row)
    scores = pd.DataFrame(rows).reindex(columns=[*rows[0], "score_low", "score_high"])
    scores = scores.loc[:, ~scores.columns.duplicated()]
    scores["score"] = pd.to_numeric(scores["score"])
    truth, ranking = None, pd.DataFrame()
    if with_truth:
        seeds = {s: {m: a + rng.normal(0, 0.02) for m, a in accuracy.items()} for s in (0, 1)}
        source, cost = "experiments/truth.csv, commit abc123", dict.fromkeys(models[:-1], 900.0)
        truth = Truth("cifar10", "finetune_short", "accuracy", accuracy, seeds, source, seconds=cost)
        ranking = pd.DataFrame(
            {
                "chance": null_level(len(own)),
                "hub": hub,
                "dataset": "cifar10",
                "scorer": scorer,
                "protocol": "finetune_short",
                "seconds": 1.5,
            }
            | agreement(dict(zip(own["model"], own["score"], strict=True)), accuracy)
            for scorer, own in scores[scores["status"] == "ok"].groupby("scorer", sort=False)
        )
    context = {
        "scored": ["train", "val"],
        "n": 2000,
        "source": "registry package, 6.1 MB",
        "licences": {"mobilenet_v2": "Apache-2.0", "cifar10": "no licence stated"},
        "versions": "python=3.12 torch=2.11",
        "config": "hub: offline\ndataset: cifar10\n",
        "command": "python run.py",
        "commit": "abc123",
        "seconds": 21.3,
        "first_is_best": 0.8,
        "notes": ("2 images were left out: unreadable (a.jpg, b.jpg)",),
        "samples": {"cat": [("a.png", Image.new("RGB", (32, 32))), ("b.png", Image.new("RGB", (300, 200)))]},
        "classes": 10,
    }
    return Report(scores, ranking, spectra if parts else {}, truth, context)


def checked_page(text):
    """The tree of a page that is valid, needs nothing else, runs nothing but its own script, and can be heard."""
    tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)  # raises on what is no HTML
    nodes = [node for node in tree.iter() if isinstance(node.tag, str)]
    links = [value for node in nodes for key, value in node.attrib.items() if str(key).endswith(("src", "href"))]
    assert all(re.match(r"#|data:(image/(png|jpeg)|text/plain;charset=utf-8);base64,", link) for link in links)
    assert not re.search(r"https?:|url\((?!#)|@import", text)
    assert not [key for node in nodes for key in node.attrib if str(key).startswith("on")]
    scripts = [node.text for node in nodes if str(node.tag).endswith("script")]
    assert scripts == [(ASSETS / "sortable.min.js").read_text(), "\n" + (ASSETS / "page.js").read_text()]
    ids = [node.attrib["id"] for node in nodes if "id" in node.attrib]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    for node in nodes:
        if node.tag == "img":
            assert node.attrib["alt"]
        if str(node.tag).endswith("}svg"):
            assert node.attrib["role"] in ("img", "group")
            assert node.attrib["aria-label"]
        if node.attrib.get("class") == "wide":
            assert node.attrib["aria-label"]
    for head in tree.iter("th"):
        assert [child.tag for child in head] == ["button"], "a head of a table sorts it, by keyboard too"
    return tree
