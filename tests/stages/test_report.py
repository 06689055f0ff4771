import pandas as pd
import pytest
from omegaconf import OmegaConf

from modelrank.stages.report import report
from modelrank.tracking import Labels, Tracker
from modelrank.types import ModelRankError

RANKED = [
    {"hub": "h", "protocol": "p", "scorer": scorer, "dataset": dataset, "seed": 0, "tau_w": value, "n_models": 5}
    | {"overrides": f"scorer={scorer} dataset={dataset}", "job_status": "ok"}
    for dataset in ("reviews", "books")
    for scorer, value in {"disco": 0.5, "knn": 0.4}.items()
]


@pytest.fixture
def reported(tmp_path):
    def call(content, **options):
        (tmp_path / "results.csv").write_bytes(content)
        cfg = OmegaConf.create({"paths": {"run": str(tmp_path)}})
        tracker = Tracker(run_dir=str(tmp_path), config=cfg, labels=Labels("", "", ""))
        report(cfg, tracker, results=str(tmp_path / "results.csv"), metric="tau_w", **({"by": None} | options))
        return (tmp_path / "report.html").read_text()

    return call


@pytest.mark.parametrize("content", [b"", b"\xf7\x00\xff", b"a,b\n1,2\n1,2,3\n"])
def test_a_file_that_is_no_table_is_named(reported, content):
    with pytest.raises(ModelRankError, match=r"stage\.results=.*results\.csv is no table of rankings: "):
        reported(content)


@pytest.mark.parametrize("by", [None, "scorer"])
def test_a_job_without_a_ranking_is_left_out_and_named(reported, caplog, by):
    jobs = [
        {"hub": "h", "protocol": "p", "scorer": "leep", "dataset": "reviews", "seed": 0, "model": model}
        | {
            "status": status,
            "reason": "no logits",
            "overrides": "scorer=leep",
            "job_status": "failed",
            "job_error": "x",
        }
        for model, status in {"a": "not_applicable", "b": "failed"}.items()
    ]
    page = reported(pd.DataFrame(RANKED + jobs).to_csv(index=False).encode(), by=by)
    assert "left out, as there is no ranking of it: leep on reviews (no logits)" in caplog.text
    assert "leep on reviews (no logits)" in page
    assert "1 jobs of the sweep failed or did not end: scorer=leep: x" in page
    assert "2 scorers on 2 data sets" in page


@pytest.mark.parametrize("names", [("null", "NA"), ("007", "8")])
def test_scorers_and_data_sets_are_called_what_they_are_called(reported, tmp_path, names):
    called = dict(zip(("disco", "books"), names, strict=True))
    rows = pd.DataFrame(RANKED).replace({"scorer": called, "dataset": called})
    page = reported(rows.to_csv(index=False).encode())
    assert "2 scorers on 2 data sets" in page
    table = (tmp_path / "table_tau_w.md").read_text()
    assert f"| reviews | {names[1]} |" in table
    assert f"| {names[0]} | **0.500** | **0.500** |" in table


def test_a_single_model_called_null_is_no_ranking(reported, caplog):
    alone = [{"hub": "h", "protocol": "p", "scorer": "leep", "dataset": "reviews", "seed": 0, "model": "null"}]
    alone[0] |= {"overrides": "scorer=leep", "job_status": "ok"}
    reported(pd.DataFrame(RANKED + alone).to_csv(index=False).encode())
    assert "left out, as there is no ranking of it: leep on reviews" in caplog.text


def test_a_job_that_does_not_set_what_is_varied_is_named(reported, caplog):
    groups = [{**row, "overrides": f"{row['overrides']} scorers.disco.groups=8"} for row in RANKED[::2]]
    page = reported(pd.DataFrame(RANKED[:1] + groups).to_csv(index=False).encode(), by="scorers.disco.groups")
    assert "left out, as they do not set scorers.disco.groups: scorer=disco dataset=reviews" in caplog.text
    assert "scorer=disco dataset=reviews (does not set scorers.disco.groups)" in page
