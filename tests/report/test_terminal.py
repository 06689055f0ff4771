import dataclasses
import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from modelrank.report.terminal import rows, show, sparkline


def shown(report, width=140):
    out = io.StringIO()
    show(report, Console(file=out, width=width, highlight=False))
    return out.getvalue()


def test_the_tables_say_everything(report):
    text = shown(report)
    assert "2,000 images of train + val scored" in text
    assert "registry package" in text
    assert "finetune_short, mean of 2 seeds" in text
    for model in report.models():
        assert model.model in text
    for row in report.agreement():
        assert f"{row.tau_w:.2f}" in text
    assert "Random scores exceed tau_w 0.47 with 11 models, 0.49 with 10 models, in 5 % of cases" in text
    assert "Two seeds of the truth agree" in text
    assert "Fine-tune " in text


def test_reference_rows_stand_apart_below_a_line(report):
    lines = shown(report).splitlines()
    agreement = lines[next(i for i, line in enumerate(lines) if line.startswith("Agreement")) :]
    rules = [i for i, line in enumerate(agreement) if line.startswith("──")]
    assert len(rules) == 2
    assert [line.split()[0] for line in agreement[rules[0] + 1 : rules[1]]] == ["logme", "disco", "leep"]


@pytest.mark.parametrize("width", [80, 120])
def test_nothing_is_cut_off_at_the_usual_widths(report, width):
    text = shown(report, width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("width", [80, 120])
def test_long_names_of_models_cost_the_parts_and_nothing_else(make_report, width):
    report = make_report(models=[f"resnet8_supervised_fashion_mnist_{i}" for i in range(9)])
    text = shown(report, width)
    assert "…" not in text
    assert all(f"{row.model} " in text and f"{row.accuracy:.3f}" in text for row in report.models())


@pytest.mark.parametrize("width", [80, 120])
def test_the_negative_parts_of_a_regression_cut_nothing_off(report, width):
    parts = {model: {**part, "task": -np.asarray(part["task"])} for model, part in report.parts.items()}
    text = shown(dataclasses.replace(report, parts=parts), width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("width", [80, 120])
def test_the_parts_of_a_detection_leave_room_for_what_was_measured(report, width):
    parts = {model: part | {"cls": 0.2922, "reg": -0.1942} for model, part in report.parts.items()}
    text = shown(dataclasses.replace(report, parts=parts), width)
    assert "…" not in text
    models = text.split("Models by")[1].split("Fine-tune")[0]
    assert {"#", "measured"} <= set(models.split())
    assert all(f"{row.accuracy:.3f}" in models for row in report.models())


def test_without_truth_only_the_order_is_shown(make_report):
    text = shown(make_report(with_truth=False, with_interval=False))
    assert "the order is a prediction" in text
    assert "Agreement" not in text
    assert "measured" not in text.split("Models by")[1]
    assert "interval" not in text


def test_brackets_in_names_are_text_not_markup(make_report):
    text = shown(make_report(models=("[bold]a[/bold]", "b", "c", "d"), hub="[red]hub"))
    assert "[bold]a[/bold]" in text
    assert "[red]hub" in text


def test_names_and_heads_are_whole_and_reasons_stand_below_the_table():
    name = "resnet8_supervised_fashion_mnist"
    numbers = ["now", "expected", "low", "high", "val", "steps", "chance_best", "seconds", "latency_ms"]
    table = pd.DataFrame([{"model": name} | dict.fromkeys(numbers, 0.1234) | {"reason": ""}, {"model": "dear"}])
    out = io.StringIO()
    rows(table.assign(reason=["", "left out: " + 20 * "dear "]), "digits", Console(file=out, width=120))
    head, _, first, second, *below = out.getvalue().splitlines()[1:]
    assert head.split() == ["model", *numbers]
    assert first.split() == [name, *["0.1234"] * len(numbers)]
    assert second.split() == ["dear"]
    assert " ".join(below).split()[:4] == ["dear:", "left", "out:", "dear"]


def test_sparkline_goes_from_zero_to_the_largest():
    assert sparkline(np.array([1.0, 0.5, 0.0])) == "█▅▁"
    assert sparkline(np.array([-1.0, 0.0])) == "▁█"
    assert sparkline(np.zeros(3)) == "▁▁▁"
    assert sparkline(np.array([])) == ""
