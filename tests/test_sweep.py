"""Sweeps of saved features from the command line: no network, no images."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """`run(*overrides)` of a sweep that goes on in tmp_path/sweep."""
    rng = np.random.default_rng(0)
    for name in "abc":
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(80, 4)))
    np.save(tmp_path / "targets.npy", np.arange(80) % 4)
    own = ["hub=files", "dataset=targets", f"hub.folder={tmp_path}", "stability=null", "logger=none", "stage=score"]
    own += [f"hydra.sweep.dir={tmp_path}/sweep", f"paths.cache={tmp_path}/cache"]

    def call(*overrides):
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", ["run.py", "-m", *overrides, *own, "skip_done=true"])
        runpy.run_path(str(ROOT / "run.py"), run_name="__main__")

    return call


def test_an_extended_sweep_keeps_its_folders_whatever_the_order_of_options(run, tmp_path, capsys):
    sweep = tmp_path / "sweep"
    run("scorer=ncc,logme", "seed=1", "verbosity=normal")
    written = {path: path.read_bytes() for path in sweep.glob("*/scores.csv")}
    capsys.readouterr()
    run("verbosity=normal", "seed=1", "scorer=rankme,logme,ncc")
    assert capsys.readouterr().out.count("done already") == 2
    after = {path: path.read_bytes() for path in sweep.glob("*/scores.csv")}
    assert len(after) == 3
    assert after.items() >= written.items()
    rows = pd.read_csv(sweep / "results.csv")
    assert len(rows) == 3 * 3
    for folder, own in rows.groupby("job"):
        assert set(pd.read_csv(sweep / str(folder) / "scores.csv").scorer) == set(own.scorer)
