import base64

import numpy as np
import pandas as pd
import pytest

from modelrank.report import sweep_page, sweeps, tables

BAD = "<script>alert(1)</script>"


def sweep(scorers=("disco", "logme", "knn"), datasets=("a", "b", "c", "d", "e", "f")):
    rng = np.random.default_rng(0)
    rows = [
        {"hub": "h", "protocol": "p", "dataset": d, "scorer": s, "tau_w": 0.9 - 0.4 * i + rng.uniform(0, 0.2)}
        | {"tau_w_low": -0.1, "tau_w_high": 1.0, "n_models": 8, "chance": 0.56, "seconds": 2.0, "truth": "x.csv"}
        | {"job": 0, "job_status": "ok", "overrides": "seed=0", "job_error": None}
        for i, s in enumerate(scorers)
        for d in datasets
    ]
    return pd.DataFrame(rows)


def written(rows, folder, metric="tau_w"):
    standing = sweeps.standing(rows, metric)
    drawn = {"ranks": sweeps.rank_diagram(standing, metric)} if standing else {}
    files = tables.write(rows, folder, value=metric)
    kept = {"compared": sweeps.comparisons(rows, metric), "named_first": sweeps.named_first(rows)}
    return sweep_page.write(
        folder, rows, metric, standing=standing, drawn=drawn, **kept, files=files, made={"rows": "x"}
    ).read_text()


def test_the_heat_map_has_the_values_and_the_texts_can_be_taken_along(tmp_path, check_page):
    rows = sweep()
    rows.loc[(rows.scorer == "knn") & (rows.dataset == "a"), "tau_w"] = -0.5
    text = written(rows, tmp_path)
    tree = check_page(text)
    cells = [cell for cell in tree.iter("td") if cell.attrib.get("class", "").startswith("heat")]
    shown = {cell.text: cell.attrib["class"] for cell in cells}
    assert {f"{value:.3f}" for value in rows.tau_w} <= set(shown)
    assert shown["-0.500"] == "heat low"
    links = {link.attrib["download"]: link.attrib["href"] for link in tree.iter("a")}
    assert set(links) == {"table_tau_w.md", "table_tau_w.tex", "table_tau_w.csv"}
    for name, link in links.items():
        assert base64.b64decode(link.split(",")[1]).decode() == (tmp_path / name).read_text()
    assert (
        "disco ranks best on average by tau_w (rank 1.0 of 3 over 6 data sets); logme cannot be told from it." in text
    )
    assert next(tree.iter("summary")).text == "a: hub h, protocol p"
    assert "Against disco, data set by data set" in text


def test_scorers_of_different_models_have_no_average_ranks_and_the_page_says_so(tmp_path):
    rows = sweep()
    assert "No average ranks" not in written(rows, tmp_path)
    assert "No average ranks" in written(rows.assign(n_models=range(len(rows))), tmp_path)


@pytest.mark.parametrize("metric", ["regret_at_1", "rel_at_1"])
def test_the_best_cell_is_the_strongest_whichever_way_is_better(tmp_path, metric, check_page):
    rows = sweep().rename(columns={"tau_w": metric})
    tree = check_page(written(rows, tmp_path, metric))
    shares = {
        float(cell.attrib["data-sort"]): int(cell.attrib["style"].split(": ")[1].rstrip("%"))
        for cell in tree.iter("td")
        if "style" in cell.attrib
    }
    best, worst = (min, max) if metric == "regret_at_1" else (max, min)
    assert shares[best(shares)] == 45
    assert shares[worst(shares)] == 0


def test_failed_jobs_are_told_and_names_are_text(tmp_path, check_page):
    rows = sweep(scorers=("disco", BAD), datasets=("a", BAD))
    failed = {"job": 1, "job_status": "failed", "overrides": "seed=1", "job_error": BAD}
    text = written(pd.concat([rows, pd.DataFrame([failed])], ignore_index=True), tmp_path)
    check_page(text)
    assert "1 jobs of the sweep failed or did not end: seed=1: &lt;script&gt;" in text


def test_a_metric_that_no_row_has_is_said(tmp_path, check_page):
    text = written(sweep().assign(tau_w=float("nan")), tmp_path)
    check_page(text)
    assert "No scorer has tau_w on any data set of h." in text


def test_one_data_set_is_enough(tmp_path, check_page):
    text = written(sweep(datasets=("a",), scorers=("knn",)), tmp_path)
    check_page(text)
    assert "knn, a reference, has the best tau_w on h" in text


def test_the_page_says_how_many_models_each_scorer_names_first(tmp_path, check_page):
    rows = sweep()
    assert "name first?" not in written(rows, tmp_path), "rows of earlier versions do not say"
    text = written(rows.assign(winner=BAD, best=list("abc") * 6), tmp_path)
    tree = check_page(text)
    lines = [[cell.text for cell in line.iter("td")] for line in tree.iter("tr")]
    assert ["measured best", "h", "p", "6", "3", "8", "a", "2"] in lines
    assert ["logme", "h", "p", "6", "1", "8", BAD, "6"] in lines


def test_a_mean_over_fewer_seeds_is_none_on_a_data_set_by_itself_too(tmp_path, check_page):
    rows = pd.concat([sweep(datasets=("a",)).assign(seed=seed, tau_w=0.2 + 0.4 * seed) for seed in (0, 1)])
    rows.loc[(rows.scorer == "knn") & (rows.seed == 0), "tau_w"] = float("nan")
    (alone,) = check_page(written(rows.reset_index(drop=True), tmp_path)).iter("details")
    body = [[cell.text for cell in row.iter("td")] for row in list(alone.iter("tr"))[1:]]
    assert {scorer: tau for scorer, _, tau, *_ in body} == {"disco": "0.40", "logme": "0.40", "knn": "-"}
