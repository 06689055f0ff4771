"""The jobs of a sweep by launchers of extras: Ray, SLURM."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
from tests.small_run import command, finished

RAY = ["hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2", "+hydra.launcher.ray.init.include_dashboard=false"]
SCORES = ["stage=score", "scorer=disco,ncc", "stability=null", "logger=none", "extraction.workers=1"]
FINE_TUNINGS = [
    "stage=finetune",
    "seed=0,1",
    "protocol=finetune_small",
    "protocol.learning_rates=[0.001]",
    "protocol.steps=4",
    "logger=none",
]


@pytest.fixture
def needs_ray(monkeypatch):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as Ray gives its workers: sums are the same elsewhere


@pytest.mark.slow
@pytest.mark.usefixtures("needs_ray")
def test_ray_runs_a_killed_worker_s_job_again(tmp_path, cold_cache):
    sweep = tmp_path / "sweep"
    run = subprocess.Popen(command("-m", *RAY, *SCORES, f"paths.cache={cold_cache}", f"hydra.sweep.dir={sweep}"))
    while not (workers := _jobs_of_ray(sweep)):
        assert run.poll() is None
        time.sleep(0.1)
    os.kill(workers[0], signal.SIGKILL)
    assert run.wait(timeout=500) == 0
    rows = pd.read_csv(sweep / "results.csv")
    assert sorted(zip(rows.scorer, rows.model, strict=True)) == [
        (scorer, model) for scorer in ("disco", "ncc") for model in ("efficientnet_lite0", "squeezenet1_1")
    ]
    assert set(rows.status) == {"ok"}
    assert len(list((cold_cache / "features").glob("*.safetensors"))) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("needs_ray")
def test_ray_fine_tunes_as_in_turn_though_a_worker_is_killed(tmp_path, cold_cache):
    places = {
        name: [f"stage.table={tmp_path}/{name}.csv", f"paths.cache={cold_cache}", f"hydra.sweep.dir={tmp_path}/{name}"]
        for name in ("ray", "in_turn")
    }
    run = subprocess.Popen(command("-m", *RAY, *FINE_TUNINGS, *places["ray"]))
    while not list(cold_cache.glob("truth/*/lr*")):  # one trains
        assert run.poll() is None
        time.sleep(0.1)
    os.kill(_jobs_of_ray(tmp_path / "ray")[0], signal.SIGKILL)
    assert run.wait(timeout=500) == 0
    for measured in cold_cache.glob("truth/*"):
        measured.rename(tmp_path / measured.name)  # else it is found again
    finished("-m", *FINE_TUNINGS, *places["in_turn"])
    ledgers = [pd.read_csv(tmp_path / f"{name}.csv").sort_values(["seed", "model"]) for name in places]
    found = [ledger[["model", "seed", "accuracy", "val_accuracy", "lr"]].values.tolist() for ledger in ledgers]
    assert [row[:2] for row in found[0]] == [
        [model, seed] for seed in (0, 1) for model in ("efficientnet_lite0", "squeezenet1_1")
    ]
    assert found[0] == found[1]
    assert [command.startswith("python run.py -m ") for ledger in ledgers for command in ledger.command] == [True] * 8
    for name in places:
        rows = pd.read_csv(tmp_path / name / "results.csv")
        assert sorted(zip(rows.seed, rows.model, strict=True)) == [(seed, model) for model, seed, *_ in found[0]]
        assert set(rows.status) == {"ok"}


def _jobs_of_ray(sweep: Path) -> list[int]:
    """Processes that have begun a job of this sweep: Ray names them after the function, Hydra has made their folder."""
    if not list(sweep.glob("*/.hydra")):
        return []
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [int(line.split()[0]) for line in listed if line.split()[1].startswith("ray::_run_job")]
