"""The stage from the command line, on two small hubs and one of the user's own."""

import runpy
import sys
from pathlib import Path

import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra

ROOT = Path(__file__).parents[2]
OWN = """
def worst_first(target):
    \"\"\"From the model that did worst elsewhere.\"\"\"
    for model in target.elsewhere.mean(axis=1).sort_values().index:
        yield model
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    def call(*overrides, options=()):
        GlobalHydra.instance().clear()
        given = ["stage=replay", *overrides, f"hydra.run.dir={tmp_path}/run", f"paths.cache={tmp_path}/cache"]
        monkeypatch.setattr(sys, "argv", ["run.py", *options, *given, "logger=csv"])
        runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
        return tmp_path / "run"

    return call


def test_one_csv_adds_a_hub_and_one_function_a_policy(run, tmp_path, monkeypatch, capsys):
    rows = pd.read_csv(ROOT / "experiments/truth/public/tllib.csv")
    rows.rename(columns={"score:logme": "score:mine"})[["dataset", "model", "accuracy", "score:mine"]].to_csv(
        tmp_path / "own.csv", index=False
    )
    (tmp_path / "my_policies.py").write_text(OWN)
    (tmp_path / "conf/policy").mkdir(parents=True)
    (tmp_path / "conf/policy/mine.yaml").write_text(
        "# @package stage.policies.mine\n_target_: my_policies.worst_first\n_partial_: true\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    out = run(
        f"stage.files=[{tmp_path}/own.csv]",
        "stage.only=[own,tllib,llm_data_size]",
        "stage.workers=1",
        "+policy=mine",
        options=["--config-dir", f"{tmp_path}/conf"],
    )
    found = pd.read_csv(out / "replay.csv")
    assert set(found.hub) == {"own", "tllib", "llm_data_size"}
    assert {"random", "largest", "static order", "halving", "memory", "recommend", "mine", "scorer mine"} <= set(
        found.policy
    )
    verdict = pd.read_csv(out / "verdict.csv").set_index(["policy", "budget", "amount"])
    assert verdict.relative["mine", "results", 1] > 1 > verdict.relative["static order", "results", 1]
    assert (out / "replay.png").stat().st_size > 20_000
    page = (out / "report.html").read_text()
    assert "of the cost of training all models, " in page
    assert "Is recommend right as often as it says?" in page
    assert "How many different models does each name first?" in page
    winners = pd.read_csv(out / "winners.csv").set_index(["hub", "policy"])
    assert winners.datasets["tllib", "scorer logme"] == winners.datasets["own", "scorer mine"] > 1
    assert winners.models["tllib", "measured best"] > 1
    assert "worst_first" not in page.split("How it was made")[0]
    assert pd.read_csv(out / "calibration.csv").covered.between(0, 1).all()
    assert "static order" in capsys.readouterr().out


def test_an_unknown_hub_is_refused(run):
    with pytest.raises(SystemExit, match="no hub nothing to replay; known are itm20"):
        run("stage.only=[nothing]")


def test_public_tables_alone_can_be_played(run):
    with pytest.raises(SystemExit, match=r"no hub nothing to replay; known are (?!.*measured).*yolo$"):
        run("stage.only=[nothing]", "stage.measured=[]")


def test_a_hub_of_one_model_is_refused(run, tmp_path):
    pd.DataFrame({"dataset": list("xyz"), "model": "a", "accuracy": 0.5}).to_csv(tmp_path / "own.csv", index=False)
    with pytest.raises(SystemExit, match=r"own\.csv has one model; there is nothing to choose from"):
        run(f"stage.files=[{tmp_path}/own.csv]")
