"""The command beyond one process, and stopped: launchers, DDP, signals."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
LEFT_OUT = ("mobilenet_v2", "mobilenet_v2_b", "mobilenet_v2_random", "efficientnet_lite1", "efficientnet_lite2")
SMALL = [
    "hub=offline_small",
    *(f"~models.{name}" for name in LEFT_OUT),  # squeezenet1_1 and efficientnet_lite0 are left
    "dataset=digits",
    "dataset.subsample={train: 64, val: 31, test: 41}",
    "hub.image_size=32",
    "truth=none",
]
TIMES = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def cache(tmp_path, registry_cache) -> Path:
    """Weights and packages as in the user's cache, nothing extracted or measured yet."""
    fresh = tmp_path / "cache"
    fresh.mkdir()
    for name in ("packages", "weights", "datasets"):
        (registry_cache / name).mkdir(parents=True, exist_ok=True)
        (fresh / name).symlink_to(registry_cache / name)
    return fresh


def command(*overrides: str) -> list[str]:
    flags = [word for word in overrides if word.startswith("-")]  # Hydra takes them before the overrides only
    words = [word for word in overrides if not word.startswith("-")]  # the last of two settings of one key counts
    return [sys.executable, str(ROOT / "run.py"), *flags, *SMALL, *words]


def finished(*overrides: str) -> str:
    done = subprocess.run(command(*overrides), capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_joblib_cold_and_warm(tmp_path, cache):
    sweep = [
        "-m",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        "stage=score",
        "scorer=disco,ncc",
        "logger=none",
        "extraction.workers=1",  # daemonic processes may have no children but loaders must have theirs
        f"paths.cache={cache}",
    ]
    tables = []
    for name in ("cold", "warm"):
        finished(*sweep, f"hydra.sweep.dir={tmp_path}/{name}")
        tables.append(pd.read_csv(tmp_path / name / "results.csv").sort_values(["scorer", "model"], ignore_index=True))
    cold, warm = tables
    assert list(cold.status) == ["ok"] * 4
    assert list(cold.job_status) == ["ok"] * 4
    assert cold.score.equals(warm.score)
    assert len(list((cache / "features").glob("*.safetensors"))) == 2  # each model's once, by one of the two jobs


@pytest.mark.registry
def test_ddp_measures_each_test_image_once_and_tracks_one_run(tmp_path, cache):
    out = tmp_path / "out"
    said = finished(
        "stage=finetune",
        "~models.efficientnet_lite0",  # torch has no batch normalisation over processes on a CPU
        "protocol=finetune_small",
        "protocol.steps=4",
        "protocol.precision=32-true",
        "trainer=ddp",
        "trainer.accelerator=cpu",
        "trainer.devices=2",
        "trainer.sync_batchnorm=false",
        "logger=wandb",
        f"paths.cache={cache}",
        f"hydra.run.dir={out}",
    )
    (row,) = pd.read_csv(out / "truth.csv").to_dict("records")
    assert row["n_test"] == 41
    assert row["accuracy"] * 41 == pytest.approx(round(row["accuracy"] * 41), abs=1e-4)
    assert row["val_accuracy"] * 31 == pytest.approx(round(row["val_accuracy"] * 31), abs=1e-4)
    assert len(pd.read_csv(cache / "truth" / "measured.csv")) == 1
    assert len(list(out.glob("wandb/offline-run-*"))) == 1
    assert said.count("accuracy 0.") == 1  # said once
    assert "sync_dist" not in said


@pytest.mark.slow  # how far the run is when the signal comes depends on the machine
@pytest.mark.parametrize(
    ("stage", "sign", "kill"),
    [
        ("score", signal.SIGTERM, os.kill),
        ("extract", signal.SIGINT, os.killpg),  # a terminal's Ctrl-C goes to the loader's workers too
        ("finetune", signal.SIGTERM, os.killpg),  # and so does a scheduler's stop
        ("finetune", signal.SIGINT, os.kill),
    ],
)
def test_a_stopped_run_leaves_its_rows_and_ends_its_tracked_run(tmp_path, cache, stage, sign, kill):
    out, table = tmp_path / "out", {"score": "scores.csv", "extract": "features.csv", "finetune": "truth.csv"}[stage]
    overrides = [f"stage={stage}", "logger=wandb", "scorer=disco", "stability=null"]
    overrides += ["protocol=finetune_small", "protocol.learning_rates=[0.01]", "protocol.image_size=64"]
    overrides += [f"hub.image_size={64 if stage == 'finetune' else 160}"]  # 64: extracted before the signal comes
    if stage == "finetune":  # the second model trains when it has begun its first point
        overrides += [f"stage.table={tmp_path}/measured.csv", "protocol.steps=12"]
        begun = "truth/*/lr0.01*"
    else:  # it is being extracted when it has its lock
        overrides += ["dataset.subsample.train=500"]
        begun = "features/*.lock"
    with open(tmp_path / "said", "w") as said:
        run = subprocess.Popen(
            command(*overrides, f"paths.cache={cache}", f"hydra.run.dir={out}"),
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    while len(list(cache.glob(begun))) < 2:
        assert run.poll() is None, (tmp_path / "said").read_text()
        time.sleep(0.1)
    time.sleep(1)
    before = sum(int(ticks) for ticks in Path(f"/proc/{run.pid}/stat").read_text().rsplit(")")[-1].split()[11:13])
    kill(run.pid, sign)
    _, status, used = os.wait4(run.pid, 0)
    run.returncode = os.waitstatus_to_exitcode(status)
    assert run.returncode == 128 + sign, (tmp_path / "said").read_text()
    assert (
        used.ru_utime + used.ru_stime - before / TIMES < 5
    )  # seconds of the CPU: other work may go on beside the tests
    rows = pd.read_csv(out / table)
    assert rows.model[0] == "efficientnet_lite0"
    assert set(rows.status) == {"ok"}
    assert "stopped" in (tmp_path / "said").read_text()
    assert "Traceback" not in (tmp_path / "said").read_text()
    assert len(list(out.glob("wandb/offline-run-*/run-*.wandb"))) == 1


@pytest.mark.slow
def test_ray_runs_a_killed_worker_s_job_again(tmp_path, cache):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    sweep = tmp_path / "sweep"
    run = subprocess.Popen(
        command(
            "-m",
            "hydra/launcher=ray",
            "+hydra.launcher.ray.init.num_cpus=2",
            "+hydra.launcher.ray.init.include_dashboard=false",
            "stage=score",
            "scorer=disco,ncc",
            "stability=null",
            "logger=none",
            "extraction.workers=1",
            f"paths.cache={cache}",
            f"hydra.sweep.dir={sweep}",
        )
    )
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
    assert len(list((cache / "features").glob("*.safetensors"))) == 2


def _jobs_of_ray(sweep: Path) -> list[int]:
    """Processes that have begun a job of this sweep: Ray names them after the function, Hydra has made their folder."""
    if not list(sweep.glob("*/.hydra")):
        return []
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [int(line.split()[0]) for line in listed if line.split()[1].startswith("ray::_run_job")]


def test_submitit_slurm_composes():
    pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    shown = finished("--cfg=hydra", "hydra/launcher=submitit_slurm", "hydra.launcher.gres=gpu:1")
    assert "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher" in shown
    assert "gres: gpu:1" in shown


@pytest.mark.slow
def test_submitit_local_runs_the_jobs_of_a_sweep(tmp_path, cache):
    pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    finished(
        "-m",
        "hydra/launcher=submitit_local",
        "stage=score",
        "scorer=disco,ncc",
        "stability=null",
        "logger=none",
        f"paths.cache={cache}",
        f"hydra.sweep.dir={tmp_path}/sweep",
    )
    rows = pd.read_csv(tmp_path / "sweep" / "results.csv")
    assert sorted(rows.scorer) == ["disco", "disco", "ncc", "ncc"]
    assert set(rows.status) == {"ok"}
