import dataclasses
import hashlib
import math
import re

import numpy as np
import pytest
from PIL import Image
from tests.report.example import checked_page, example_report

from modelrank.report import figures, html, page

BAD = ["<script>alert('x')</script>", '"><img src=x onerror=alert(1)>', "' onfocus='alert(1)", "--></style></svg><b>"]


def text_of(node):
    return " ".join("".join(node.itertext()).split())


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Of the whole page, drawn once for the tests that only read it."""
    return page.write(example_report(), tmp_path_factory.mktemp("page")).read_text()


@pytest.fixture(scope="module")
def tree(text):
    return checked_page(text)


def rows_of(tree, name):
    """The cells of the table with that name, head first."""
    (box,) = [node for node in tree.iter("div") if node.attrib.get("aria-label") == name]
    return [[text_of(cell) for cell in row] for row in box.iter("tr")]


def test_the_page_answers_and_says_how_it_was_made(report, text):
    assert all(sentence in text for sentence in report.sentences())
    assert report.doubt() in text
    for word in ("python run.py", "abc123", "torch=2.11", "Apache-2.0", "hub: offline", "registry package", "viewport"):
        assert word in text
    for row in report.agreement():
        assert f"{row.tau_w:.2f}" in text
        assert f"chance {row.chance:.2f}" in text
    assert text.index(">leep<") < text.index(">linear_probe<")


def test_the_scatter_has_a_panel_a_scorer_and_a_card_a_model(report, tree):
    panels = [node for node in tree.iter("div") if node.attrib.get("class") == "panel"]
    assert len(panels) == len(report.agreement()) == len(list(tree.iter("option")))
    chosen = [text_of(option) for option in tree.iter("option") if "selected" in option.attrib]
    assert [choice.split(":")[0] for choice in chosen] == ["disco"]
    models = report.models()
    for panel, row in zip(panels, report.agreement(), strict=True):
        dots = [node for node in panel.iter() if node.attrib.get("class") == "dot"]
        assert len(dots) == row.n_models
        assert all(dot.attrib["tabindex"] == "0" for dot in dots)
        said = {dot.attrib["aria-label"] for dot in dots}
        first = report.models_by(row.scorer)[0]
        assert any(s.startswith(f"{first.model}: {row.scorer} ") and "(place 1)" in s for s in said)
    cards = {node.attrib["id"]: text_of(node) for node in tree.iter("div") if "model-" in node.attrib.get("id", "")}
    assert len(cards) == len(models)
    assert all("seconds to score, features included8." in card for card in cards.values())
    assert any(models[0].model in card and "groups, leading first" in card for card in cards.values())
    places = [item.attrib["value"] for item in tree.iter("li") if "data-model" in item.attrib]
    assert places == [str(i + 1) for i in range(len(models))]


def test_places_count_measured_models_without_a_score(report):
    truth = dataclasses.replace(report.truth, accuracy={**report.truth.accuracy, "unscored": 1.0})
    tree = checked_page(page.page(dataclasses.replace(report, truth=truth), {}))
    places = [item.attrib["value"] for item in tree.iter("li") if "data-model" in item.attrib]
    assert places == [str(i + 2) for i in range(len(report.models()))]


def test_tables_sort_by_the_values_and_not_by_what_is_printed(report, tree):
    (box,) = [node for node in tree.iter("div") if node.attrib.get("aria-label") == "models by disco"]
    sorted_by = [row[2].attrib["data-sort"] for row in list(box.iter("tr"))[1:]]
    assert [float(value) for value in sorted_by] == [row.score for row in report.models()]
    assert "data-sort" not in html.td("x")
    assert 'data-sort=""' in html.td("-", by=math.nan)


def test_costs_are_those_of_the_rows_and_of_the_truth(tree):
    head, *body = rows_of(tree, "seconds by model and scorer")
    assert head[:4] == ["model", "fine-tuning", "features", "disco"]
    assert body[0][:4] == ["mobilenet_v2", "900", "7.00", "0.20"]
    assert body[-2][:2] == ["random", "-"]
    assert body[-1][:4] == ["all", "9000", "77", "2.20"]


def test_samples_are_small_and_what_was_left_out_is_said(text, tree):
    assert [image.attrib["alt"] for image in tree.iter("img")] == ["a.png (cat)", "b.png (cat)"]
    assert "2 images were left out: unreadable (a.jpg, b.jpg)" in text
    assert "1 of 10 classes" in text
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (3000, 4000, 3), dtype=np.uint8))
    assert len(html.thumbnail(noise, "x")) < 10_000


def test_names_are_text_not_tags():
    bad = " ".join(BAD)
    report = example_report(models=BAD, scorers=("disco", BAD[0]), hub=BAD[1])
    report = dataclasses.replace(
        report,
        context=dict.fromkeys(("source", "versions", "config", "command", "commit"), bad)
        | {"licences": {bad: bad}, "scored": [bad], "n": 10, "notes": [bad], "classes": 2}
        | {"samples": {bad: [(bad, Image.new("RGB", (8, 8)))]}},
        truth=dataclasses.replace(report.truth, source=bad, protocol=bad),
    )
    tree = checked_page(page.page(report, figures.draw(report)))
    assert len(list(tree.iter("img"))) == 1
    assert not list(tree.iter("b"))
    assert all(one in "".join(tree.itertext()) for one in (*BAD, bad))


def test_figures_follow_the_colours_of_the_page(text):
    drawn = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.S))
    for name in ("--ink", "--paper", "--axis", "--line", "--blue", "--orange", "--grey"):
        assert f"var({name})" in drawn
        assert len(re.findall(rf"{name}: #", text)) == 2, "light and dark"
    assert not re.search(r"fill: (#1b1b1b|white)", drawn)


def luminance(colour):
    parts = [int(part, 16) for part in re.findall("..", colour if len(colour) == 6 else "".join(2 * c for c in colour))]
    light = np.array(parts) / 255
    return np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)


def test_what_is_read_has_contrast_in_both_modes():
    light, dark = (html.ASSETS / "page.css").read_text().split("@media (prefers-color-scheme: dark)")
    for css in (light, dark.split("body {")[0]):
        colours = {name: luminance(value) for name, value in re.findall(r"--(\w+): #([0-9a-f]+)", css)}
        for name in ("ink", "soft", "blue", "orange", "green", "sky", "grey"):
            for ground in ("paper", "raised"):
                low, high = sorted((colours[name], colours[ground]))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (name, ground)


def test_without_truth_the_page_has_the_order_only():
    text = page.page(example_report(with_truth=False), {})
    checked_page(text)
    assert "the order is a prediction" in text
    assert "has not been measured" in text
    assert "How well each scorer ranked" not in text
    assert "<select" not in text


def test_reasons_of_unscored_models_are_told(report):
    scores = report.scores.copy()
    mine = (scores["model"] == "random") & (scores["scorer"] == "disco")
    scores.loc[mine, ["status", "reason"]] = ["failed", "weights & biases missing"]
    assert "random has no score: weights &amp; biases missing" in page.page(
        dataclasses.replace(report, scores=scores), {}
    )


def test_the_library_is_the_one_that_was_pinned():
    assert hashlib.sha256((html.ASSETS / "sortable.min.js").read_bytes()).hexdigest() == html.SORTABLE
