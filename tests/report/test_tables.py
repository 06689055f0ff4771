import math
import re

import pandas as pd
import pytest

from modelrank.report import tables
from modelrank.types import ModelRankError


def rows(*values, hub="offline", protocol="finetune_short"):
    return pd.DataFrame(
        [{"hub": hub, "protocol": protocol, "scorer": s, "dataset": d, "tau_w": v} for s, d, v in values]
    )


RANKING = rows(
    ("disco", "cifar10", 0.8),
    ("log_me", "cifar10", 0.9001),
    ("knn", "cifar10", 0.9003),
    ("disco", "glyphs", 0.5),
    ("log_me", "glyphs", float("nan")),
    ("knn", "glyphs", 0.25),
)


def test_markdown_golden():
    (table,) = tables.pivots(RANKING).values()
    assert tables.markdown(table) == (
        "| scorer | cifar10 | glyphs | average |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| disco | 0.800 | **0.500** | **0.650** |\n"
        "| log_me | **0.900** | - | - |\n"
        "| knn | **0.900** | 0.250 | 0.575 |\n"
    )


def test_second_best_is_underlined_and_regret_is_best_low():
    (table,) = tables.pivots(rows(("a", "d", 0.1), ("b", "d", 0.2), ("c", "d", 0.3))).values()
    assert "| c | **0.30** |\n" in tables.markdown(table, digits=2)
    assert "| b | <u>0.20</u> |\n" in tables.markdown(table, digits=2)
    assert "| a | **0.30** |\n" not in tables.markdown(table, digits=2, higher_is_better=False)
    assert "| a | **0.10** |\n" in tables.markdown(table, digits=2, higher_is_better=False)


def test_latex_marks_and_escapes():
    (table,) = tables.pivots(rows(("log_me", "a&b", 0.3), ("b", "a&b", 0.2), ("c", "a&b", 0.1))).values()
    assert tables.latex(table, digits=1) == (
        "\\begin{tabular}{lr}\n\\toprule\nscorer & a\\&b \\\\\n\\midrule\n"
        "log\\_me & \\textbf{0.3} \\\\\nb & \\underline{0.2} \\\\\nc & 0.1 \\\\\n\\bottomrule\n\\end{tabular}\n"
    )


def test_a_scorer_without_a_data_set_has_no_average():
    (table,) = tables.pivots(RANKING).values()
    assert table.loc["disco", "average"] == pytest.approx(0.65)
    assert math.isnan(table.loc["log_me", "average"])


def test_seeds_are_averaged_and_failed_jobs_left_out():
    sweep = pd.concat([rows(("a", "d", 0.2), ("a", "d", 0.4), ("b", "d", 0.1)), pd.DataFrame([{"job_error": "x"}])])
    (table,) = tables.pivots(sweep).values()
    assert table["d"].to_dict() == {"a": pytest.approx(0.3), "b": 0.1}


def test_a_mean_over_fewer_seeds_is_none():
    values = {("a", 0): float("nan"), ("a", 1): 0.9, ("b", 0): 0.2, ("b", 1): 0.8, ("c", 1): 0.7}
    cells = [rows((scorer, "d", value)).assign(seed=seed) for (scorer, seed), value in values.items()]
    (table,) = tables.pivots(pd.concat(cells, ignore_index=True)).values()
    assert table["d"].to_dict() == pytest.approx({"a": float("nan"), "b": 0.5, "c": float("nan")}, nan_ok=True)


def test_hubs_and_protocols_are_not_mixed(tmp_path):
    both = pd.concat([RANKING, rows(("disco", "cifar10", 0.1), protocol="linear_probe")])
    assert list(tables.pivots(both)) == [("offline", "finetune_short"), ("offline", "linear_probe")]
    paths = tables.write(both, tmp_path / "new")
    assert [path.name for path in paths] == ["table_tau_w.md", "table_tau_w.tex", "table_tau_w.csv"]
    assert all("linear_probe" in path.read_text() for path in paths)
    back = pd.read_csv(paths[2])
    assert back.columns.tolist() == ["hub", "protocol", "scorer", "cifar10", "glyphs", "average"]
    assert len(back) == 4


def test_rows_that_are_no_ranking_say_what_is_missing():
    with pytest.raises(ModelRankError, match=r"lack scorer, tau_w"):
        tables.pivots(pd.DataFrame({"hub": ["h"], "protocol": ["p"], "dataset": ["d"]}))
    with pytest.raises(ModelRankError, match="every job"):
        tables.pivots(RANKING.assign(scorer=None))


def test_rows_of_single_models_are_no_ranking_and_are_named():
    reason = "leep needs logits"
    scores = [
        {"hub": "offline", "protocol": "finetune_short", "scorer": "leep", "dataset": "cifar10", "seed": 0}
        | {"model": model, "status": "not_applicable", "reason": reason, "seconds": 1.0, "overrides": "scorer=leep"}
        for model in "ab"
    ]
    sweep = pd.concat([RANKING.assign(seed=0, overrides="scorer=x"), pd.DataFrame(scores)], ignore_index=True)
    ranked, left = tables.rankings(sweep)
    assert left == f"leep on cifar10 ({reason})"
    assert len(ranked) == len(sweep), "what their job was is kept"
    (table,) = tables.pivots(ranked).values()
    assert table.index.tolist() == ["disco", "log_me", "knn"]
    assert tables.rankings(RANKING)[1] == ""
    assert tables.rankings(pd.DataFrame({"model": ["a"]}))[1] == ""
    assert tables.rankings(sweep.drop(columns="reason"))[1] == "leep on cifar10 (no truth)"


def test_rows_that_contradict_each_other_are_not_averaged():
    seeds = RANKING.assign(seed=0, seconds=1.0)
    twice = pd.concat([seeds, seeds.assign(tau_w=0.1)])
    with pytest.raises(ModelRankError, match=r"2 rows of disco on cifar10 differ by tau_w; keep one of them"):
        tables.pivots(twice)
    assert len(tables.pivots(pd.concat([seeds, seeds]))) == 1, "the same table twice says nothing else"
    with pytest.raises(ModelRankError, match=r"differ by a=1, a=2; say what the sweep varies: stage.by=a"):
        tables.pivots(pd.concat([seeds.assign(overrides="a=1"), seeds.assign(overrides="a=2")]))
    with pytest.raises(ModelRankError, match=r"differ by seconds; keep one"):
        tables.pivots(pd.concat([seeds, seeds.assign(seconds=2.0)]).assign(overrides="a=1"))


def test_a_metric_is_a_number():
    with pytest.raises(ModelRankError, match=r"truth of some rows is text, first 'x\.csv'; numbers are in tau_w$"):
        tables.pivots(RANKING.assign(truth="x.csv"), "truth")
    with pytest.raises(ModelRankError, match="tau_w of some rows is text, first 'n/a'; numbers are in none"):
        tables.pivots(RANKING.assign(tau_w=["0.5", "n/a"] * 3))


def test_a_data_set_without_any_value_is_left_out():
    rows = pd.DataFrame(
        [
            {"hub": "h", "protocol": "p", "scorer": "disco", "dataset": dataset, "tau_w": value}
            for dataset, value in {"a": 0.2, "b": 0.4, "unmeasured": float("nan")}.items()
        ]
    )
    (table,) = tables.pivots(rows).values()
    assert table.loc["disco"].to_dict() == {"a": 0.2, "b": 0.4, "average": pytest.approx(0.3)}


def test_tables_of_tau_w_end_in_what_two_seeds_and_random_scores_reach(tmp_path):
    ranking = RANKING.assign(
        n_models=11, truth_seeds_tau_w=RANKING["dataset"].map({"cifar10": 0.7, "glyphs": 0.9}), regret_at_1=0.1
    )
    markdown, tex, flat = (path.read_text() for path in tables.write(ranking, tmp_path))
    assert "| *two seeds of the truth* | 0.700 | 0.900 | 0.800 |\n" in markdown
    assert re.search(r"\| \*random scores, 95 %\* \| 0\.4\d\d \| 0\.4\d\d \| - \|\n", markdown)
    assert "| knn | **0.900** | 0.250 | 0.575 |\n" in markdown  # they take no part in the marks
    assert "\\midrule\ntwo seeds of the truth & 0.700 & 0.900 & 0.800" in tex
    assert "fewest models" not in markdown
    few = ranking.assign(n_models=ranking.scorer.map({"knn": 4}).fillna(11).astype(int))
    text = tables.write(few, tmp_path)[0].read_text()
    assert re.search(r"\| \*random scores, 95 %, fewest models\* \| 0\.8\d\d \| 0\.8\d\d \| - \|\n", text)
    assert "two seeds of the truth" in flat
    assert "two seeds" not in tables.write(ranking, tmp_path, value="regret_at_1")[0].read_text()


def test_published_truth_has_no_seeds_to_compare(tmp_path):
    ranking = RANKING.assign(n_models=11, truth_seeds_tau_w=float("nan"))
    text = tables.write(ranking, tmp_path)[0].read_text()
    assert "two seeds" not in text
    assert "random scores" in text
