"""The command beyond one process, and stopped: joblib, DDP, signals; other launchers: test_launchers.py."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tests.small_run import command, finished

import modelrank

TIMES = os.sysconf("SC_CLK_TCK")


@pytest.mark.slow
def test_joblib_cold_and_warm(tmp_path, cold_cache):
    sweep = [
        "-m",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        "stage=score",
        "scorer=disco,ncc",
        "logger=none",
        "extraction.workers=1",  # daemonic processes may have no children but loaders must have theirs
        f"paths.cache={cold_cache}",
    ]
    tables = []
    for name in ("cold", "warm"):
        finished(*sweep, f"hydra.sweep.dir={tmp_path}/{name}")
        tables.append(pd.read_csv(tmp_path / name / "results.csv").sort_values(["scorer", "model"], ignore_index=True))
    cold, warm = tables
    assert list(cold.status) == ["ok"] * 4
    assert list(cold.job_status) == ["ok"] * 4
    assert cold.score.equals(warm.score)
    assert len(list((cold_cache / "features").glob("*.safetensors"))) == 2  # each model's once, by one of the two jobs


# The command, whose further ranks read a network when the first has saved it; each says which checkpoints it finds.
LATE = """
import os, sys, time
from pathlib import Path
from modelrank.__main__ import run
from modelrank.truth.finetune import FineTuning

measured = FineTuning.measured
def late(*given, folder, **more):
    while os.environ.get("LOCAL_RANK", "0") != "0" and not Path("OUT/model/model.json").exists():
        time.sleep(1)
    print("FOUND", len(list(folder.glob("*/last.ckpt"))), file=sys.stderr)
    return measured(*given, folder=folder, **more)
FineTuning.measured = late
run()
"""


@pytest.mark.registry
def test_ddp_measures_each_test_image_once_and_tracks_and_keeps_one_run(tmp_path, cold_cache):
    out, script = tmp_path / "out", tmp_path / "late.py"
    script.write_text(LATE.replace("OUT", str(out)))
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
        "keep=best",
        f"paths.cache={cold_cache}",
        f"hydra.run.dir={out}",
        script=script,
    )
    (row,) = pd.read_csv(out / "truth.csv").to_dict("records")
    assert row["n_test"] == 41
    assert row["accuracy"] * 41 == pytest.approx(round(row["accuracy"] * 41), abs=1e-4)
    assert row["val_accuracy"] * 31 == pytest.approx(round(row["val_accuracy"] * 31), abs=1e-4)
    assert len(pd.read_csv(cold_cache / "truth" / "measured.csv")) == 1
    assert len(list(out.glob("wandb/offline-run-*"))) == 1
    assert said.count("accuracy 0.") == 1  # said once
    assert said.count("FOUND 1") == 2  # by both, before it is given back
    assert not list(cold_cache.glob("truth/*/*/last.ckpt"))
    assert modelrank.load(out).facts["test"] == pytest.approx(row["accuracy"])
    assert "sync_dist" not in said


@pytest.mark.slow
def test_ddp_extracts_as_one_process_does_and_begins_with_its_head(tmp_path, cold_cache):
    """Features of the first model are extracted before there are two processes, those of the second by one of two."""
    several = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.sync_batchnorm=false"]
    caches = {"one": tmp_path / "one", "two": cold_cache}
    shutil.copytree(cold_cache, caches["one"], symlinks=True)
    for name, cache in caches.items():
        finished(
            "stage=finetune",
            "protocol=finetune_offline",
            "protocol.image_size=32",
            "protocol.learning_rates=[1e-4]",
            "protocol.steps=4",
            "protocol.racing.rung=2",
            "logger=wandb",
            *(several if name == "two" else []),
            f"paths.cache={cache}",
            f"hydra.run.dir={tmp_path}/{name}_run",
        )
        assert len(list((tmp_path / f"{name}_run").glob("wandb/offline-run-*"))) == 1
    one, two = (
        {path.name: load_file(path) for path in cache.glob("features/*.safetensors")} for cache in caches.values()
    )
    assert len(one) == 2
    assert one.keys() == two.keys()
    for name, tensors in one.items():
        torch.testing.assert_close(two[name], tensors, rtol=1e-5, atol=1e-5)  # sums may be by other numbers of threads
        assert tensors["image"].tolist() == list(range(95))
    heads = [
        {path.parts[-3:]: json.loads(path.read_text())["curve"] for path in cache.glob("truth/*/head/*.json")}
        for cache in caches.values()
    ]
    assert len(heads[0]) == 2
    assert heads[0] == heads[1]
    ledgers = [pd.read_csv(cache / "truth" / "measured.csv") for cache in caches.values()]
    same = ["model", "model_id", "data_id", "protocol_id", "seed", "n_train", "n_test"]
    assert ledgers[0][same].values.tolist() == ledgers[1][same].values.tolist()
    assert len(ledgers[1]) == 2


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
def test_a_stopped_run_leaves_its_rows_and_ends_its_tracked_run(tmp_path, cold_cache, stage, sign, kill):
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
            command(*overrides, f"paths.cache={cold_cache}", f"hydra.run.dir={out}"),
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    while len(list(cold_cache.glob(begun))) < 2:
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
