"""What a tracker leaves: read back by the formats' own definitions."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from PIL import Image
from pytorch_lightning.loggers import MLFlowLogger, TensorBoardLogger
from tests.wandb_records import complete, items

from modelrank.tracking import Labels, MlflowTracker, TensorBoardTracker, Tracker, WandbTracker
from modelrank.types import ModelRankError

CONFIG = OmegaConf.create(
    {
        "hub": {"name": "small"},
        "dataset": {"name": "digits"},
        "protocol": {"name": "finetune"},
        "scorers": {"knn": {"k": 5}},
        "models": {"a": {"rename": {"^x\\.(\\d+)": "y"}}},
        "seed": 3,
        "copy": "${seed}",
    }
)
LABELS = Labels("digits small scorer=knn", "2026-11-29/10-00-00", "rank")
CURVES = pd.DataFrame({"line": ["a lr 0.1", "a lr 0.1", "b lr 0.1"], "step": [4, 8, 4], "value": [0.5, 0.75, 0.25]})


def filled(tracker: Tracker, folder: Path) -> None:
    """Everything that a stage may record."""
    rows = pd.DataFrame({"model": ["a", "b"], "score": [0.5, np.nan]})
    rows.to_csv(folder / "scores.csv", index=False)
    Image.new("RGB", (8, 4), "red").save(folder / "spectrum.png")
    (folder / "report.html").write_text("<!doctype html><title>the report</title>")
    tracker.metrics({"tau_w/knn": 0.25})
    tracker.table("scores", rows)
    tracker.curves("val", CURVES)
    tracker.figure("spectrum", folder / "spectrum.png")
    tracker.page("report", folder / "report.html")


def fail(tracker: Tracker, folder: Path) -> None:
    with tracker:
        filled(tracker, folder)
        raise ZeroDivisionError


def test_wandb_offline(tmp_path):
    settings = {"project": "modelrank", "mode": "offline", "tags": ["mine"]}
    tracker = WandbTracker(run_dir=str(tmp_path), config=CONFIG, labels=LABELS, **settings)
    with pytest.raises(ZeroDivisionError):
        fail(tracker, tmp_path)
    (path,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    found = complete(path)
    run = next(one.run for one in found if one.HasField("run"))
    assert (run.display_name, run.run_group, run.job_type) == (LABELS.name, LABELS.group, "rank")
    assert (run.project, list(run.tags)) == ("modelrank", ["mine"])
    config = items(run.config.update)
    assert config["copy"] == 3
    assert config["models"] == {"a": {"rename": {"^x\\.(\\d+)": "y"}}}
    history = [items(one.history.item) for one in found if one.HasField("history")]
    values = [(step["val/step"], step[line]) for step in history for line in set(CURVES.line.radd("val/")) & set(step)]
    assert values == [(4, 0.5), (8, 0.75), (4, 0.25)]
    axes = {one.metric.name: one.metric.step_metric for one in found if one.HasField("metric")}
    assert axes["val/a lr 0.1"] == "val/step"
    logged = {name: value for step in history for name, value in step.items()}
    kinds = {name: logged[f"{name}._type"] for name in ("scores", "spectrum", "report")}
    assert kinds == {"scores": "table-file", "spectrum": "image-file", "report": "html-file"}
    assert (path.parent / "files" / logged["report.path"]).read_text() == (tmp_path / "report.html").read_text()
    table = json.loads((path.parent / "files" / logged["scores.path"]).read_text())
    assert table["data"] == [["a", 0.5], ["b", None]]
    summary = {}
    for one in found:
        summary |= items(one.summary.update) if one.HasField("summary") else {}
    assert summary["tau_w/knn"] == 0.25
    assert [one.exit.exit_code for one in found if one.HasField("exit")] == [1]


def test_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def make(**given):
        return TensorBoardLogger(**given, default_hp_metric=False)

    with TensorBoardTracker(
        run_dir=str(tmp_path), config=CONFIG, labels=LABELS, logger=make, extra="tensorboard"
    ) as tracker:
        filled(tracker, tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("tau_w/knn")] == [0.25]
    assert [(event.step, event.value) for event in events.Scalars("val/a lr 0.1")] == [(4, 0.5), (8, 0.75)]
    assert events.Images("spectrum")[0].width == 8
    assert "copy: 3" in events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()


@pytest.mark.slow  # it is no requirement of the tests: where it is not installed the test is skipped
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # MLflow's own
def test_mlflow(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)  # artifacts go to mlruns/ there
    uri = f"sqlite:///{tmp_path}/mlflow.db"

    def make(**given):
        return MLFlowLogger(**given, experiment_name="modelrank", tracking_uri=uri)

    tracker = MlflowTracker(run_dir=str(tmp_path), config=CONFIG, labels=LABELS, logger=make, extra="mlflow")
    with pytest.raises(ZeroDivisionError):
        fail(tracker, tmp_path)
    client = mlflow.MlflowClient(uri)
    (experiment,) = client.search_experiments(filter_string="name = 'modelrank'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"
    assert run.info.run_name == LABELS.name
    assert (run.data.tags["group"], run.data.tags["job_type"]) == (LABELS.group, "rank")
    assert run.data.metrics["tau_w/knn"] == 0.25
    assert run.data.params["scorers"] == "knn"
    curve = client.get_metric_history(run.info.run_id, "val/a lr 0.1")
    assert [(point.step, point.value) for point in curve] == [(4, 0.5), (8, 0.75)]
    left = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert left == {"config.yaml", "scores.csv", "spectrum.png", "report.html"}


def test_a_package_that_is_missing_is_named_with_the_way_to_have_it(tmp_path):
    def make(**given):
        raise ModuleNotFoundError("No module named 'mlflow'")

    tracker = MlflowTracker(run_dir=str(tmp_path), config=CONFIG, labels=LABELS, logger=make, extra="mlflow")
    with pytest.raises(ModelRankError, match=r"^logger=mlflow needs .*'mlflow'.*: pip install 'modelrank\[mlflow\]'$"):
        tracker.__enter__()
