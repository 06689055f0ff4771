import base64
import dataclasses
import re
from html.parser import HTMLParser

from modelrank.report import page

VOID = {"meta", "img", "br", "link"}


class Tags(HTMLParser):
    """Every tag is closed in order; collects attributes."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_answers_and_says_how_it_was_made(report, tmp_path):
    text = page.write(report, tmp_path).read_text()
    assert report.answer() in text
    for word in ("python run.py", "abc123", "torch=2.11", "Apache-2.0", "hub: offline", "registry package", "viewport"):
        assert word in text
    for row in report.agreement():
        assert f"{row.tau_w:.2f}" in text
    assert Tags(text).open == []
    assert text.index(">leep<") < text.index(">linear_probe<")


def test_the_page_needs_nothing_else(report, tmp_path):
    text = page.write(report, tmp_path).read_text()
    links = [value for _, attrs in Tags(text).seen for key, value in attrs.items() if key in ("src", "href", "srcset")]
    assert len(links) == 3
    assert all(link.startswith("data:image/png;base64,") for link in links)
    assert base64.b64decode(links[0].split(",")[1]) == (tmp_path / "figures" / "spectrum.png").read_bytes()
    assert not re.search(r"https?:|url\(|@import", text)


def test_names_are_text_not_tags(make_report):
    bad = "<script>alert('x')</script>"
    report = make_report(models=(bad, "b", "c", "d"), scorers=("disco", bad), hub=bad)
    report = dataclasses.replace(
        report,
        context=dict.fromkeys(("source", "versions", "config", "command", "commit"), bad)
        | {"licences": {bad: bad}, "scored": [bad], "n": 10, "notes": [bad]},
        truth=dataclasses.replace(report.truth, source=bad, protocol=bad),
    )
    text = page.page(report, {})
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert Tags(text).open == []


def test_without_truth_the_page_has_the_order_only(make_report):
    text = page.page(make_report(with_truth=False), {})
    assert "the order is a prediction" in text
    assert "How well each scorer ranked" not in text


def test_reasons_of_unscored_models_are_told(report):
    scores = report.scores.copy()
    mine = (scores["model"] == "random") & (scores["scorer"] == "disco")
    scores.loc[mine, ["status", "reason"]] = ["failed", "weights & biases missing"]
    assert "random has no score: weights &amp; biases missing" in page.page(
        dataclasses.replace(report, scores=scores), {}
    )
