import io
import math
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from modelrank.ranking.agreement import null_level
from modelrank.report.content import Report
from modelrank.report.numbers import brief, interval, number, significant
from modelrank.report.page import page
from modelrank.report.terminal import show
from modelrank.types import Truth


def report_of(scores, accuracy=None, **columns):
    rows = pd.DataFrame(
        {"hub": "h", "dataset": "d", "model": m, "scorer": "disco", "score": s, "status": "ok", "reason": ""} | columns
        for m, s in scores.items()
    )
    truth = Truth("d", "p", "accuracy", accuracy, {}, "test") if accuracy is not None else None
    return Report(rows, truth=truth)


def test_models_come_best_first_equals_share_the_better_rank_and_unknown_is_nan():
    rows = report_of({"b": 1.0, "a": 1.0, "c": 3.0, "d": 0.5}, {"a": 0.8, "b": 0.9, "c": 0.8}).models()
    assert [(row.model, row.rank) for row in rows] == [("c", 1), ("a", 2), ("b", 2), ("d", 4)]
    assert [row.accuracy_rank for row in rows[:3]] == [2, 2, 1]
    assert math.isnan(rows[3].accuracy)
    assert math.isnan(rows[3].accuracy_rank)
    assert math.isnan(rows[0].low)


def test_answer_says_what_following_it_costs():
    accuracy = {"a": 0.9, "b": 0.8, "c": 0.7}
    assert report_of({"a": 1.0, "b": 2.0, "c": 0.0}).answer() == "Fine-tune b first."
    assert report_of({"a": 1.0, "b": 2.0, "c": 0.0}, accuracy).answer() == (
        "Fine-tune b first. Measured accuracy: 0.800, place 2; the best was a with 0.900."
    )
    assert "It was the best when measured: accuracy 0.900" in report_of({"a": 1.0, "b": 0.0}, accuracy).answer()
    assert report_of({"a": 1.0, "b": 1.0}, accuracy).answer() == "A tie: a, b."
    assert report_of({"new": 1.0, "b": 0.0}, accuracy).answer() == "Fine-tune new first."


def test_the_best_and_the_places_are_of_all_that_were_measured():
    """c was dropped (`top`), e failed: neither has a score."""
    report = report_of({"a": 1.0, "b": 0.5}, {"a": 0.7, "b": 0.6, "c": 0.95, "e": 0.96})
    assert report.answer() == "Fine-tune a first. Measured accuracy: 0.700, place 3; the best was e with 0.960."
    assert [row.accuracy_rank for row in report.models()] == [3, 4]


def test_doubt_names_the_rivals_and_what_the_order_is_worth(make_report):
    report = make_report()
    first, *others = report.models()
    rivals = [row.model for row in others if row.score + 0.02 >= first.score - 0.02]
    assert report.rivals() == rivals
    own = next(row for row in report.agreement() if row.scorer == "disco")
    assert f"tau_w {own.tau_w:.2f} [" in report.doubt()
    assert f"the {own.chance:.2f} that random scores exceed" in report.doubt()
    for word, low in (("its interval reaches below", 0.2), ("more than", 0.6)):
        ranking = report.ranking.assign(tau_w=0.8, tau_w_low=low, chance=0.5)
        assert f"; {word} the 0.50" in replace(report, ranking=ranking).doubt()
    assert (
        "; less than the 0.50"
        in replace(report, ranking=report.ranking.assign(tau_w=0.2, tau_w_low=0, chance=0.5)).doubt()
    )
    alone = report_of({"a": 1.0, "b": 0.5})
    assert alone.doubt() == "How well the order holds on these images has not been measured."
    apart = replace(alone, scores=alone.scores.assign(score_low=[0.9, 0.4], score_high=[1.1, 0.6]))
    assert "No other 95 % interval reaches its own." in apart.doubt()


def test_models_without_a_score_keep_their_reason():
    report = report_of({"a": 1.0}, status="failed", reason="no weights")
    assert report.models() == []
    assert report.unscored() == {"a": "no weights"}
    assert report.answer() == "disco has no score for any model."


def test_scorers_come_best_first_and_those_without_tau_last(report):
    ranking = report.ranking.copy()
    ranking.loc[ranking["scorer"] == "logme", ["tau_w", "note"]] = [float("nan"), "all models have the same score"]
    changed = Report(report.scores, ranking, report.parts, report.truth, report.context)
    rows = changed.agreement()
    taus = [row.tau_w for row in rows[:-1]]
    assert taus == sorted(taus, reverse=True)
    assert rows[-1].scorer == "logme"
    assert {row.scorer for row in rows if row.reference} == {
        "linear_probe",
        "knn",
        "static_order",
        "imagenet_accuracy",
        "parameters",
    }
    assert changed.level_lines()[-1] == "logme: all models have the same score."


def test_the_level_of_chance_is_that_of_each_number_of_models(make_report):
    report = make_report()  # leep lacks one of eleven
    chance = {row.scorer: row.chance for row in report.agreement()}
    assert chance["disco"] == null_level(11)
    assert chance["leep"] == null_level(10) > null_level(11)
    assert f"{null_level(11):.2f} with 11 models, {null_level(10):.2f} with 10 models" in report.level_lines()[0]
    assert report.uneven()
    assert "compare them by common" in report.level_lines()[1]
    assert math.isnan(make_report(with_truth=False).ceiling())


def test_the_level_of_an_interval_is_that_of_the_run(make_report):
    report = make_report()
    assert report.score_interval() == "95 % interval"
    half = replace(report, context={**report.context, "level": 0.5})
    assert half.score_interval() == "50 % interval"
    assert "50 % interval" in page(half, {})
    written = io.StringIO()
    show(half, Console(width=120, file=written))
    assert "50 % interval" in written.getvalue()


def test_spectra_are_of_spectral_scores_only(report, make_report):
    assert list(report.spectra()) == [row.model for row in report.models()]
    assert make_report(parts=False).spectra() == {}


@pytest.mark.parametrize(
    ("value", "text"), [(0.72, "0.7200"), (12345.6, "1.235e+04"), (-1.5, "-1.500"), (1234.0, "1234"), (math.nan, "-")]
)
def test_scores_have_four_digits(value, text):
    assert significant(value) == text


def test_cells_without_a_value_are_dashes():
    assert (number(math.nan), number(0.125, 3), interval(math.nan, 1.0), interval(0.1, 0.2)) == (
        "-",
        "0.125",
        "",
        "[0.10, 0.20]",
    )


def test_a_prediction_orders_the_models_and_is_said_first(make_report):
    plain = make_report(("a", "b", "c"))
    worst = plain.models()[-1].model
    others = [model for model in "abc" if model != worst]
    prediction = pd.DataFrame(
        {
            "model": [worst, *others],
            "expected": [0.8, 0.7, 0.6],
            "low": 0.5,
            "high": 0.9,
            "chance_best": [0.6, 0.3, 0.1],
            "mean": [0.8, 0.7, 0.6],
        }
    )
    said = {"ties": others[:1], "certainty": 0.55, "rests": "3 scorers", "first_is_best": 0.9}
    report = replace(plain, prediction=prediction, context={**plain.context, **said})
    assert [(row.model, row.rank, row.expected) for row in report.models()] == [
        (worst, 1, 0.8),
        (others[0], 2, 0.7),
        (others[1], 3, 0.6),
    ]
    answer = report.answer()
    assert answer.startswith(f"Fine-tune {worst} first. Expected accuracy 0.80 [0.50, 0.90]; chance that no other is")
    assert f"by 1 point 0.55; may be as good: {others[0]}. By 3 scorers" in answer
    assert "subsets" not in answer
    assert report.models_by("disco") == plain.models()
    assert [(row.model, row.score) for row in report.models_by("prediction")] == [
        (row.model, row.expected) for row in report.models()
    ]
    assert "may score as high" not in report.doubt(), "the answer has named the ties"
    own = report.ranking.iloc[:1].assign(scorer="prediction", tau_w=0.1, tau_w_low=-0.5, tau_w_high=0.4, chance=0.6)
    both = replace(report, ranking=pd.concat([own, report.ranking], ignore_index=True))
    assert "prediction ordered these models at tau_w 0.10 [-0.50, 0.40]; less than the 0.60" in both.doubt()
    text = page(both, {})
    assert "Models by predicted accuracy" in text
    assert "<option selected>prediction: tau_w 0.10" in text
    shown = Console(width=120, record=True, file=io.StringIO())
    show(report, shown)
    assert "Models by predicted accuracy" in (text := shown.export_text())
    assert "[0.50, 0.90]" in text
    easy = replace(report, prediction=prediction.assign(expected=1.0, mean=[1.03, 1.02, 1.01]))
    for rows in (easy.models(), easy.models_by("prediction")):
        assert [(row.model, row.rank) for row in rows] == [(worst, 1), (others[0], 2), (others[1], 3)], "not a tie"


def test_the_predicted_best_comes_first_also_without_a_score_of_the_main_scorer():
    report = report_of({"b": 1.0, "c": 0.5}, {"a": 0.9, "b": 0.8, "c": 0.7})
    none = {"model": "a", "scorer": "disco", "score": math.nan, "status": "not_applicable", "reason": "no logits"}
    scores = pd.concat([report.scores, pd.DataFrame([{"hub": "h", "dataset": "d"} | none])], ignore_index=True)
    prediction = pd.DataFrame(
        {"model": list("abc"), "expected": [0.9, 0.8, 0.7], "low": 0.5, "high": 1.0, "chance_best": [0.8, 0.1, 0.1]}
    )
    prediction["mean"] = prediction.expected
    context = {"certainty": 0.93, "metric": "r2"}
    report = replace(report, scores=scores.assign(seconds=1.0), prediction=prediction, context=context)
    assert [row.model for row in report.models()] == ["a", "b", "c"]
    assert report.answer().startswith("Fine-tune a first. Expected R² 0.90 ")
    assert "It was the best when measured" in report.answer()
    assert "Fine-tune a first" in page(report, {})
    show(report, Console(file=io.StringIO(), width=120))


def test_numbers_in_narrow_places():
    assert [brief(value) for value in (0.25, -0.25, 10.25, -20.5, 0.0)] == [".25", "-.25", "10.25", "-20.50", ".00"]
