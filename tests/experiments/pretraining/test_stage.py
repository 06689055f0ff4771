"""`stage=pretrain` as a user calls it: files, record."""

import json
import runpy
import sys
from pathlib import Path

import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra
from tests.experiments.pretraining.conftest import configured

from modelrank import build
from modelrank.hub.checkpoint_files import digest
from modelrank.types import ModelRankError

ROOT = Path(__file__).parents[3]


def test_a_run_leaves_weights_curve_and_record(tmp_path, monkeypatch):
    arguments = [
        "run.py",
        "stage=pretrain",
        "encoder=resnet8",
        "encoder.width=4",
        "objective=rotation",
        "dataset=digits",
        "logger=csv",
        "stage.steps=2",
        "stage.batch_size=16",
        "stage.every=1",
        "stage.snapshots=[1]",
        f"stage.output={tmp_path / 'out'}",
        f"paths.cache={tmp_path / 'cache'}",
        f"hydra.run.dir={tmp_path / 'run'}",
    ]
    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
    name = "resnet8_rotation_digits"
    record = json.loads((tmp_path / "out" / f"{name}.json").read_text())
    assert record["step"] == 2
    assert (record["encoder"], record["objective"], record["dataset"]) == ("resnet8", "rotation", "digits")
    assert "stage=pretrain" in record["command"]
    for file, sha256 in record["sha256"].items():
        assert digest(tmp_path / "out" / file) == sha256
    assert set(record["sha256"]) == {f"{name}.safetensors", f"{name}_step0001.safetensors"}
    curve = pd.read_csv(tmp_path / "run" / "curve.csv")
    assert list(curve.columns) == ["step", "loss", "lr", "knn", "cpu_seconds"]
    pd.testing.assert_frame_equal(curve, pd.read_csv(tmp_path / "out" / f"{name}.csv"))
    assert "knn" in (tmp_path / "run" / "metrics.csv").read_text()


def test_elsewhere_than_in_the_clone_it_says_where_it_belongs(monkeypatch):
    monkeypatch.setattr(build, "find_spec", lambda name: None)  # as from the installed command
    with pytest.raises(ModelRankError, match="an experiment of the clone"):
        build.stage(configured())
