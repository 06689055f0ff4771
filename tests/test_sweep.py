"""Sweeps: their table without its jobs, and from the command line with saved features (no network, no images)."""

import os
import pickle
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import RunMode
from omegaconf import OmegaConf

from modelrank import provenance, sweep

ROOT = Path(__file__).parents[1]
CELLS = {"model": "null", "model_id": "001234567890", "images": "1234e5678901", "commit": "0012345", "score": "0.10"}


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A function (number, **cells of its row): begins and ends a job of the sweep in tmp_path; without cells it is
    killed before its end."""

    def run(number: int, **cells: str) -> None:
        folder = tmp_path / str(number)
        folder.mkdir(exist_ok=True)
        hydra = SimpleNamespace(
            mode=RunMode.MULTIRUN,
            job=SimpleNamespace(num=number),
            runtime=SimpleNamespace(output_dir=str(folder)),
            sweep=SimpleNamespace(dir=str(tmp_path)),
            overrides=SimpleNamespace(task=[f"seed={number}"]),
        )
        monkeypatch.setattr(sweep.HydraConfig, "get", lambda: hydra)
        collect = sweep.CollectRows()
        collect.on_job_start(OmegaConf.create())
        if cells:
            (folder / "scores.csv").write_text(f"{','.join(cells)}\n{','.join(cells.values())}\n")
            collect.on_job_end(OmegaConf.create(), JobReturn(status=JobStatus.COMPLETED))

    return run


def test_a_killed_job_has_a_row_until_it_is_done(tmp_path, job):
    job(0, **CELLS)
    job(1)
    job(2, **CELLS)
    job(0)  # its rows of the first time stay
    rows = pd.read_csv(tmp_path / sweep.RESULTS, dtype=str, keep_default_na=False)
    assert list(rows) == [*CELLS, "job", "overrides", "job_status", "job_error"]
    assert rows.sort_values("job").job_status.tolist() == ["ok", "unfinished", "ok"]
    (error,) = rows.job_error[rows.job_status == "unfinished"]
    assert error == "it was killed or stopped, or is running; skip_done=true does it again"
    job(1, **CELLS)
    assert pd.read_csv(tmp_path / sweep.RESULTS).job_status.tolist() == ["ok"] * 3


def test_a_job_that_leaves_no_rows_is_done_all_the_same(tmp_path, job, monkeypatch):
    monkeypatch.setattr(sweep, "ROW_FILES", ())
    job(0, **CELLS)
    (row,) = pd.read_csv(tmp_path / sweep.RESULTS, keep_default_na=False).to_dict("records")
    assert row == {"job": 0, "overrides": "seed=0", "job_status": "ok", "job_error": ""}


def test_cells_are_as_the_jobs_wrote_them(tmp_path, job):
    for number in range(3):
        job(number, **CELLS)
    job(3, **CELLS, warning="few")
    rows = pd.read_csv(tmp_path / sweep.RESULTS, dtype=str, keep_default_na=False)
    assert rows[list(CELLS)].to_dict("records") == [CELLS] * 4
    assert rows.warning.tolist() == ["", "", "", "few"]
    assert rows.job.tolist() == ["0", "1", "2", "3"]
    numbers = pd.read_csv(tmp_path / sweep.RESULTS)
    assert numbers.score.tolist() == [0.1] * 4
    assert sweep.already_done()


def test_a_job_in_a_launcher_s_process_is_of_the_command_that_swept(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run.py", "-m", "seed=0,1"])
    collect = sweep.CollectRows()
    collect.on_multirun_start(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    monkeypatch.setattr(sys, "argv", ["default_worker.py", "--node-manager-port=46083"])
    taken_along = pickle.loads(pickle.dumps(collect))  # noqa: S301
    monkeypatch.setattr(sweep.HydraConfig, "get", lambda: SimpleNamespace(mode=RunMode.RUN))
    taken_along.on_job_start(OmegaConf.create())
    assert provenance.command() == "python run.py -m seed=0,1"


def test_rows_of_an_earlier_sweep_in_the_folder_are_not_taken(tmp_path, job):
    (tmp_path / "0").mkdir()
    earlier = tmp_path / "0" / "ranking.csv"
    earlier.write_text("tau_w\n1\n")
    os.utime(earlier, (0, 0))
    job(0, **CELLS)
    assert "tau_w" not in pd.read_csv(tmp_path / sweep.RESULTS)


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
        monkeypatch.setattr(sys, "argv", ["run.py", "-m", *own, *overrides, "skip_done=true"])
        runpy.run_path(str(ROOT / "run.py"), run_name="__main__")

    return call


def test_an_extended_sweep_keeps_its_folders_whatever_the_order_of_options(run, tmp_path, capsys):
    folder = tmp_path / "sweep"
    run("scorer=ncc,logme", "seed=1", "verbosity=normal")
    written = {path: path.read_bytes() for path in folder.glob("*/scores.csv")}
    capsys.readouterr()
    run("verbosity=normal", "seed=1", "scorer=rankme,logme,ncc")
    assert capsys.readouterr().out.count("done already") == 2
    after = {path: path.read_bytes() for path in folder.glob("*/scores.csv")}
    assert len(after) == 3
    assert after.items() >= written.items()
    rows = pd.read_csv(folder / "results.csv")
    assert len(rows) == 3 * 3
    for job_folder, own in rows.groupby("job"):
        assert set(pd.read_csv(folder / str(job_folder) / "scores.csv").scorer) == set(own.scorer)


def test_a_sweep_that_ends_by_an_error_says_what_is_left_and_how_to_go_on(run, tmp_path):
    with pytest.raises(SystemExit) as end:
        run("scorer=ncc", f"hub.folder={tmp_path},{tmp_path}/nothing")
    said = str(end.value)
    assert said.startswith("modelrank: not all jobs of the sweep are done (of those begun: 1 ok, 1 failed; see ")
    assert f"the same command with hydra.sweep.dir={tmp_path}/sweep skip_done=true does the others" in said
    run("scorer=ncc", "seed=1")  # the next command of the process has nothing left
    assert sweep.left() == ""


def test_a_word_of_one_value_is_no_word_of_another():
    """Options are told apart where a key begins: folders may have spaces in their names."""
    folders = {
        OmegaConf.create({"folder": "${sweep_job:${task}}", "task": task}).folder
        for task in (["a.x=1 2", "+b=3"], ["+b=3", "a.x=1 2"], ["a.x=1", "+b=3 2"], ["a.x=2 1", "+b=3"])
    }
    assert len(folders) == 3
