import pandas as pd
import pytest

from modelrank.report.drawing import BLUE, GREY, ORANGE
from modelrank.report.race import draw, write

TRIALS = pd.DataFrame(
    [
        {"model": "a<b>", "steps": 24, "value": 0.5},
        {"model": "a<b>", "steps": 240, "value": 0.8},
        {"model": "$c$", "steps": 24, "value": 0.4},
        {"model": "broken", "steps": 24, "value": None},
    ]
)
MODELS = pd.DataFrame(
    [
        {"model": "a<b>", "now": 0.8, "expected": 0.8, "low": 0.7, "high": 0.9, "val": 0.8, "steps": 240, "lr": 3e-4}
        | {"chance_best": 0.9, "seconds": 12.0, "latency_ms": 1.0, "parameters": 1e6, "memory_gb": 0.1, "reason": ""},
        {"model": "dear", "reason": "left out: <script>alert(1)</script>"},
    ]
)
MADE = {"hub": "h", "data set": "<i>mine</i>", "metric": "accuracy", "command": "python run.py"}


def test_page_holds_the_answer_and_the_figure_and_runs_nothing(tmp_path, check_page):
    race = draw(TRIALS, "a<b>", "accuracy", 240)
    told = {"test": 0.79, "test_images": 60, "steps": 240, "lr": 3e-4}
    text = write(tmp_path, "a<b>: 0.8; tied with b; sure", MODELS, race, told, MADE, "import timm").read_text()
    tree = check_page(text)
    assert ">Fine-tune a&lt;b&gt;: 0.8<" in text
    assert ">Expected accuracy with its 80 % interval. Tied with b. Sure.<" in text
    assert "measured once on the 60 test images: 0.7900" in text
    (drawn,) = tree.iter("figure")
    assert {"a<b>", "$c$"} <= set(drawn.itertext())
    assert "import timm" in text
    for tag in ("<script>alert", "<i>", "<b>"):
        assert tag not in text


def test_a_column_without_a_word_is_left_out(tmp_path):
    assert ">remark<" in write(tmp_path, "a", MODELS, None, {}, MADE, "").read_text()
    assert ">remark<" not in write(tmp_path, "a", MODELS[:1], None, {}, MADE, "").read_text()


@pytest.mark.parametrize("trials", [TRIALS[:0], TRIALS[3:], pd.DataFrame()])
def test_without_a_training_there_is_no_figure(tmp_path, trials):
    race = draw(trials, "a", "accuracy", 240)
    assert race is None
    assert "<figure" not in write(tmp_path, "a", MODELS, race, {}, MADE, "").read_text()


def test_models_that_were_not_trained_to_their_end_are_grey():
    trials = pd.DataFrame([{"model": m, "steps": s, "value": 0.5} for m in "ab" for s in (0, 24)])

    def colours(end):
        return [line.get_color() for line in draw(trials, "a", "accuracy", end).axes[0].lines]

    assert colours(24) == [ORANGE, BLUE]
    assert colours(240) == [ORANGE, GREY]
