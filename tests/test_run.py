"""The real command, in this process, on real weights and small real data (needs the package registries once)."""

import os
import runpy
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

ROOT = Path(__file__).parents[1]
QUICK = [
    "hub=offline_small",
    "~models.efficientnet_lite1",
    "~models.efficientnet_lite2",
    "dataset=digits",
    "hub.image_size=32",
    "extraction.workers=0",
    "logger=none",
]


@pytest.fixture
def run(tmp_path, monkeypatch, registry_cache):
    """`run(*overrides)` -> the run folder; a SystemExit carries the message that the user would see."""

    def call(*overrides: str) -> Path:
        GlobalHydra.instance().clear()
        out = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        given = [] if any("hydra.run.dir" in o for o in overrides) else [f"hydra.run.dir={out}"]
        monkeypatch.setattr(sys, "argv", ["run.py", *overrides, *given, f"paths.cache={registry_cache}"])
        runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
        return out

    return call


def terminal(*overrides: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *overrides], capture_output=True, text=True, timeout=120
    )


@pytest.mark.registry
def test_ranks_the_small_hub_and_leaves_rows(run, capsys):
    out = run(*QUICK, "scorer=[disco,logme,parameters]", "truth=none")
    scores = pd.read_csv(out / "scores.csv")
    assert len(scores) == 5 * 3
    assert set(scores.status) == {"ok"}
    assert scores.query("scorer == 'disco'").score.between(0, 1).all()
    assert scores.seconds.gt(0).all()
    assert scores.features_by.str.contains("torch=").all()
    features = scores.query("scorer != 'parameters'")
    assert (features.score_low < features.score).all()
    assert (features.score < features.score_high).all()
    assert features.interval_reason.isna().all()
    rest = scores.query("scorer == 'parameters'")
    assert rest.score_low.isna().all()
    assert set(rest.interval_reason) == {"looks at no image"}
    printed = " ".join(capsys.readouterr().out.split())
    assert "mobilenet_v2_random" in printed
    prediction = pd.read_csv(out / "prediction.csv")
    assert set(prediction.model) == set(scores.model)
    assert prediction.expected.is_monotonic_decreasing
    assert ((prediction.low < prediction.expected) & (prediction.expected < prediction.high)).all()
    assert prediction.chance_best.sum() == pytest.approx(1)
    assert f"Fine-tune {prediction.model[0]} first. Expected accuracy {prediction.expected[0]:.2f} [" in printed
    assert "By 2 scorers and the accuracies on " in printed, "size is no look at the images"
    assert (out / "report.html").exists()


def test_a_wrong_option_answers_at_once_with_the_right_ones():
    start = time.perf_counter()
    done = terminal("scorer=discoo")
    assert time.perf_counter() - start < 3
    assert done.returncode == 1
    assert "logme" in done.stderr
    assert "disco" in done.stderr


def test_a_misspelt_key_is_refused():
    done = terminal("sede=1")
    assert done.returncode == 1
    assert "sede" in done.stderr


def test_cfg_job_prints_the_composed_config_without_running():
    done = terminal("--cfg", "job", "hub=offline_small")
    assert done.returncode == 0
    assert "mobilenet_v2_b" in done.stdout


def test_check_lists_assets_and_fetches_nothing(tmp_path):
    done = terminal("stage=check", f"paths.cache={tmp_path}/cache", f"hydra.run.dir={tmp_path}/out", "logger=none")
    assert done.returncode == 0, done.stderr
    rows = pd.read_csv(tmp_path / "out" / "assets.csv")
    assert set(rows.kind) == {"weights", "images"}
    assert set(rows.state) <= {"present", "fetchable"}
    assert not (tmp_path / "cache" / "packages").exists()


def test_a_value_that_must_be_given_is_named(tmp_path):
    done = terminal("dataset=folder", f"hydra.run.dir={tmp_path}/out")
    assert done.returncode == 1
    assert "dataset.root=" in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_images_stop_the_run_with_one_sentence(tmp_path):
    done = terminal(
        "dataset=folder", f"dataset.root={tmp_path}/nowhere", f"hydra.run.dir={tmp_path}/out", "logger=none"
    )
    assert done.returncode == 1
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(torch.accelerator.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_said_at_once(tmp_path):
    done = terminal("trainer=gpu", f"hydra.run.dir={tmp_path}", "logger=none")
    assert done.returncode == 1
    assert "trainer=cpu" in done.stderr
    assert "Traceback" not in done.stderr


def test_ddp_is_not_swept(tmp_path):
    done = terminal("-m", "trainer=ddp", "seed=0,1", f"hydra.sweep.dir={tmp_path}", "logger=none")
    assert done.returncode == 1
    assert "hydra/launcher" in done.stderr + done.stdout


@pytest.mark.registry
def test_a_sweep_collects_one_table_and_resumes(run, tmp_path, capsys):
    sweep = ["-m", *QUICK, "scorer=disco,parameters", "truth=none", "stage=score", f"hydra.sweep.dir={tmp_path}/sweep"]
    run(*sweep)
    rows = pd.read_csv(tmp_path / "sweep" / "results.csv")
    assert len(rows) == 2 * 5
    assert set(rows.scorer) == {"disco", "parameters"}
    assert set(rows.job_status) == {"ok"}
    written = (tmp_path / "sweep" / "results.csv").stat().st_mtime_ns
    capsys.readouterr()
    run(*sweep, "skip_done=true")
    assert capsys.readouterr().out.count("done already") == 2
    assert (tmp_path / "sweep" / "results.csv").stat().st_mtime_ns == written
    other = [given.replace("disco,parameters", "parameters,disco") for given in sweep]  # each in the other's folder
    run(*other, "skip_done=true")
    assert (tmp_path / "sweep" / "results.csv").stat().st_mtime_ns == written
    run(*sweep, "skip_done=false")
    assert len(pd.read_csv(tmp_path / "sweep" / "results.csv")) == 2 * 5, (
        "rows of a job that is run again replace its own"
    )


@pytest.mark.registry
def test_a_sweep_of_extractions_leaves_rows(run, tmp_path):
    run("-m", *QUICK, "stage=extract", "seed=0,1", f"hydra.sweep.dir={tmp_path}/sweep")
    rows = pd.read_csv(tmp_path / "sweep" / "results.csv")
    assert sorted(rows.seed) == [0] * 5 + [1] * 5
    assert set(rows.status) == {"ok"}


def test_a_precision_that_nothing_reads_is_refused():
    done = terminal("trainer.precision=bf16-mixed", "logger=none")
    assert done.returncode == 1
    assert "protocol.precision" in done.stderr


@pytest.mark.registry
def test_a_bad_model_has_a_row_with_its_reason_and_the_others_go_on(run, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        run(
            *QUICK,
            "models.mobilenet_v2.architecture._target_=torchvision.models.resnet18",
            "scorer=disco",
            "truth=none",
            f"hydra.run.dir={tmp_path}/out",
        )
    assert "mobilenet_v2" in str(stopped.value)
    rows = pd.read_csv(tmp_path / "out" / "scores.csv").set_index("model")
    assert rows.status.to_dict() == {
        "mobilenet_v2": "failed",
        "mobilenet_v2_b": "ok",
        "efficientnet_lite0": "ok",
        "squeezenet1_1": "ok",
        "mobilenet_v2_random": "ok",
    }
    assert rows.reason["mobilenet_v2"]


@pytest.mark.registry
def test_wandb_leaves_a_finished_offline_run(run):
    out = run(*QUICK, "logger=wandb", "scorer=parameters", "truth=none")
    assert len(list(out.glob("wandb/offline-run-*/run-*.wandb"))) == 1
    assert list(out.glob("wandb/offline-run-*/files/media/table/*.json"))


@pytest.mark.registry
def test_accuracies_of_other_images_are_told_apart(run, tmp_path, capsys):
    shipped = pd.read_csv(ROOT / "experiments" / "truth" / "quick.csv")
    accuracies = shipped[(shipped.protocol == "finetune_short") & (shipped.dataset == "cifar10") & (shipped.seed == 0)]
    accuracies.assign(dataset="digits", digest="").to_csv(tmp_path / "measured.csv", index=False)
    out = run(*QUICK, "protocol=finetune_short", "scorer=parameters", f"truth.paths=[{tmp_path}/measured.csv]")
    said = "5 on other images named digits"
    assert said in " ".join(capsys.readouterr().out.split())
    assert said in (out / "report.html").read_text()
    assert not (out / "ranking.csv").exists()


QUICK_TRUTH = "truth.paths=[experiments/truth/quick.csv]"


@pytest.mark.registry
def test_other_settings_of_a_protocol_have_no_shipped_truth(run, capsys):
    settings = ["hub=offline_small", *QUICK[1:3], "dataset=mnist", *QUICK[5:], "scorer=parameters"]
    out = run(*settings, "protocol=finetune_short", "protocol.steps=5", "hub.image_size=56", QUICK_TRUTH)
    assert "by other settings of finetune_short" in " ".join(capsys.readouterr().out.split())
    assert not (out / "ranking.csv").exists()


def test_the_key_of_wandb_is_in_nothing_that_a_run_leaves(tmp_path):
    key, out = "0123456789abcdef" * 2 + "01234567", tmp_path / "out"
    command = [sys.executable, str(ROOT / "run.py"), "hub=self_supervised_offline", "dataset=digits", "truth=none"]
    command += ["scorer=knn", "stability=null", "hub.image_size=32", "extraction.workers=0", "logger=wandb"]
    command += [f"hydra.run.dir={out}", f"paths.cache={tmp_path}/cache"]
    environment = os.environ | {"WANDB_API_KEY": key, "WANDB_MODE": "offline"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    assert (out / "report.html").exists()
    last = done.stdout.splitlines()[-1]
    assert f"left in {out}: " in last
    assert {"report.html", "scores.csv", "wandb"} <= set(last.rpartition(": ")[2].split(", "))
    assert [path for path in out.rglob("report_*.html") if path.read_text() == (out / "report.html").read_text()]
    (tracked,) = out.rglob("*.wandb")
    for label in ("digits self_supervised_offline truth=none scorer=knn stability=null hub.image_size=32", "rank"):
        assert label.encode() in tracked.read_bytes()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if key.encode() in path.read_bytes()] == []
    assert key not in done.stdout + done.stderr


def test_the_cache_may_be_below_home(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(40, 4)))
    np.save(tmp_path / "targets.npy", np.arange(40) % 2)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    GlobalHydra.instance().clear()
    given = ["hub=files", "dataset=targets", "hub.folder=.", "truth=none", "logger=none"]
    monkeypatch.setattr(sys, "argv", ["run.py", *given, "hydra.run.dir=out", "paths.cache='~/kept'"])
    runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
    assert (tmp_path / "kept").is_dir()
    assert not (tmp_path / "~").exists()
