"""The jobs of a sweep by launchers of extras: Ray, SLURM."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cloudpickle
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
    while not _training(cold_cache):
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


# As much of SLURM as submitit asks for: all jobs of an array begin at once, on this machine.
SBATCH = """
cp "$1" "$SLURM/script"
[[ $SLURM_IS == away ]] && exit 1
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$1")
export SLURM_JOB_NUM_NODES=1 SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_JOB_NAME=modelrank
array=$((7 + $(find "$SLURM" -name 'pid*' | wc -l)))  # one that had jobs before has left their results
for task in $(seq 0 "$last"); do
    SLURM_JOB_ID=$task SLURM_ARRAY_JOB_ID=$array SLURM_ARRAY_TASK_ID=$task bash "$1" > /dev/null 2>&1 &
done
echo Submitted batch job "$array"
"""
SRUN = """
while [[ $1 == --* ]]; do [[ $1 == --unbuffered ]] || shift; shift; done
echo $$ > "$SLURM/pid$SLURM_ARRAY_TASK_ID"
exec "$@" > "$SLURM/said$SLURM_ARRAY_TASK_ID" 2>&1
"""
SACCT = "printf 'JobID|State|NodeList\\n7_0|RUNNING|here\\n7_1|RUNNING|here\\n'"
SLURM = [
    "hydra/launcher=submitit_slurm",
    "hydra.launcher.partition=gpu",
    "hydra.launcher.gpus_per_node=1",
    "hydra.launcher.cpus_per_task=8",
    "hydra.launcher.timeout_min=10",
]


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> Path:
    """A folder with the submitted `script`, `pidN` of the jobs and what they `saidN`."""
    pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, script in (("sbatch", SBATCH), ("srun", SRUN), ("sacct", SACCT)):
        (folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM", str(folder))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return folder


def test_a_job_of_slurm_has_one_gpu_its_time_and_our_command(tmp_path, slurm, monkeypatch):
    monkeypatch.setenv("SLURM_IS", "away")
    sweep = tmp_path / "sweep"
    subprocess.run(command("-m", *SLURM, "trainer=gpu", *FINE_TUNINGS, f"hydra.sweep.dir={sweep}"), check=False)
    script = (slurm / "script").read_text()
    asked = dict(line.removeprefix("#SBATCH --").split("=", 1) for line in script.splitlines() if "=" in line[:30])
    wanted = {"array": "0-1%2", "partition": "gpu", "gpus-per-node": "1", "cpus-per-task": "8", "time": "10"}
    assert wanted.items() <= asked.items()
    assert (asked["nodes"], asked["ntasks-per-node"]) == ("1", "1")
    run = script.split("\n# command\n")[1]
    assert run.splitlines()[-1].endswith(f"{sys.executable} -u -m submitit.core._submit {sweep}/.submitit/%j")
    jobs = [cloudpickle.loads(path.read_bytes()) for path in (sweep / ".submitit").glob("*.pkl")]
    assert {job.function.task_function.__module__ for job in jobs} == {"modelrank.__main__"}
    assert sorted(word for job in jobs for word in job.args[0] if word.startswith("seed=")) == ["seed=0", "seed=1"]


@pytest.mark.slow
def test_slurm_fine_tunes_and_a_job_whose_time_is_over_goes_on_by_the_same_command(tmp_path, cold_cache, slurm):
    sweep = tmp_path / "sweep"
    again = command(
        "-m",
        *SLURM,
        *FINE_TUNINGS,
        "skip_done=true",
        f"stage.table={tmp_path}/ledger.csv",
        f"paths.cache={cold_cache}",
        f"hydra.sweep.dir={sweep}",
    )
    models = ["efficientnet_lite0", "squeezenet1_1"]
    results = sweep / "results.csv"
    with subprocess.Popen(again, stderr=subprocess.PIPE, text=True) as run:
        while not (slurm / "pid0").exists() or not (list(sweep.glob("*/.hydra"))[1:] and _training(cold_cache)[1:]):
            assert run.poll() is None
            time.sleep(0.1)
        stopped = int((slurm / "pid0").read_text())
        os.kill(stopped, signal.SIGUSR2)  # as SLURM does it, asked by submitit, some minutes before the time is over
        said = run.communicate(timeout=500)[1]  # it waits for the other job too
    assert run.returncode == 1
    assert "not all jobs of the sweep are done (of those begun: 1 ok, 1 failed; see " in said
    assert "stopped; the rows that were finished" in (slurm / "said0").read_text()
    assert "failed" not in (slurm / "said0").read_text()
    rows = pd.read_csv(results)
    assert rows.seed[rows.job_status == "ok"].tolist() == [1, 1]
    failed = rows.loc[rows.job_status == "failed"]
    assert failed.overrides.str.contains("seed=0").all()
    assert failed.job_error.str.contains("was stopped before it was done (Job not requeued", regex=False).all()
    subprocess.run(again, check=True, timeout=500)
    assert "requeueing" not in (slurm / "said0").read_text()  # Lightning's word on it, once a training
    for table in (tmp_path / "ledger.csv", results):
        rows = pd.read_csv(table).sort_values(["seed", "model"])
        assert rows[["seed", "model"]].values.tolist() == [[seed, model] for seed in (0, 1) for model in models]
        assert rows.command.str.startswith("python run.py -m ").all()
    assert set(pd.read_csv(results).status) == {"ok"}


def _training(cache: Path) -> list[Path]:
    """Trainings that have begun."""
    return list(cache.glob("truth/*/lr*"))


@pytest.mark.slow
def test_submitit_on_this_machine_scores_as_in_turn(tmp_path, cold_cache, monkeypatch):
    pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    tables = {}
    for launcher in ("basic", "submitit_local"):  # the second reads what the first extracted
        sweep = tmp_path / launcher
        finished("-m", f"hydra/launcher={launcher}", *SCORES, f"paths.cache={cold_cache}", f"hydra.sweep.dir={sweep}")
        tables[launcher] = pd.read_csv(sweep / "results.csv").sort_values(["scorer", "model"])
    by_turn, by_submitit = (table[["scorer", "model", "score", "status"]].values.tolist() for table in tables.values())
    assert [row[:2] for row in by_turn] == [
        [scorer, model] for scorer in ("disco", "ncc") for model in ("efficientnet_lite0", "squeezenet1_1")
    ]
    assert by_submitit == by_turn
