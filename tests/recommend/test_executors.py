"""The trials of the real command by workers of Ray, one of them killed: the same arms and rows as in turn."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from modelrank.recommend.executors import InTurn, OnRay
from modelrank.types import ModelRankError

ROOT = Path(__file__).parents[2]
SMALL = [
    "stage=recommend",
    "hub=self_supervised_offline",
    *("~models.densenet_rotation_fashion_mnist", "~models.mobilenet_rotation_cifar10", "~models.vgg6_byol_cifar10"),
    *("~models.resnet8_simclr_cifar10", "~models.vgg6_barlow_twins_cifar10", "~models.vgg6_moco_fashion_mnist"),
    "~models.resnet8_supervised_fashion_mnist",  # resnet8_random and vgg6_supervised_cifar10 are left
    "dataset=digits",
    "dataset.subsample={train:200,val:60,test:60}",
    "protocol.image_size=32",
    "protocol.steps=24",
    "protocol.racing.rung=8",
    "protocol.learning_rates=[3.0e-4,1.0e-3,3.0e-3]",
    "protocol.checkpoint_every=2",
    "extraction.workers=0",
    "scorer=disco",
    "logger=none",
    "budget=2h",
    "sure=1.0",  # so all is trained, whatever is chosen first
]


def test_in_turn_a_trial_is_done_when_it_is_waited_for():
    done = []

    def advance(model, rung, before):
        done.append(model)
        if model == "bad":
            raise MemoryError
        return {0: {"value": 0.5}}

    with InTurn(advance) as executor:
        executor.start("good", 1, None)
        assert not done
        assert executor.wait() == ("good", 1, {0: {"value": 0.5}}, "")
        executor.start("bad", 0, None)
        assert executor.wait() == ("bad", 0, {}, "MemoryError")


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModelRankError, match=r"pip install 'modelrank\[ray\]'"):
        OnRay(lambda *trial: {}, address="local", workers=None, accelerator="cpu")


class Died(Exception):
    pass


class FakeRay:
    """As much of Ray as is used: a trial is done when it is asked for; so many workers die of theirs."""

    exceptions = SimpleNamespace(RayError=Died)

    def __init__(self, cores=2, deaths=0):
        self.cores, self.deaths, self.hired, self.up = cores, deaths, 0, False

    def init(self, **settings):
        if settings["address"] == "nowhere":
            raise ConnectionError("nobody answers")
        self.up = True

    def shutdown(self):
        self.up = False

    def cluster_resources(self):
        return {"CPU": float(self.cores)}

    def put(self, given):
        return given

    def remote(self, **needs):
        def actor(kind):
            def hire(given):
                self.hired += 1
                worker = kind(given)
                return SimpleNamespace(advance=SimpleNamespace(remote=lambda *trial: partial(worker.advance, *trial)))

            return SimpleNamespace(remote=hire)

        return actor

    def wait(self, calls):
        return calls[:1], calls[1:]

    def get(self, call):
        if self.deaths:
            self.deaths -= 1
            raise Died
        return call()


def on_fake_ray(monkeypatch, ray, address="local", workers=None, accelerator="cpu"):
    monkeypatch.setitem(sys.modules, "ray", ray)
    return OnRay(
        lambda model, rung, before: {0: {"value": 0.5}}, address=address, workers=workers, accelerator=accelerator
    )


@pytest.mark.parametrize("deaths", [0, 1, 2])
def test_a_worker_that_dies_is_replaced_once(monkeypatch, caplog, deaths):
    ray = FakeRay(deaths=deaths)
    with on_fake_ray(monkeypatch, ray) as executor:
        executor.start("a", 1, None)
        executor.start("b", 0, None)
        first, second = executor.wait(), executor.wait()
        assert {first.model, second.model} == {"a", "b"}
        assert first.found == second.found == {0: {"value": 0.5}}
        executor.start("a", 2, {})
        assert executor.wait() == ("a", 2, {0: {"value": 0.5}}, "")
    assert ray.hired == 2 + deaths
    assert caplog.text.count("another goes on") == deaths
    assert not ray.up


def test_a_model_that_two_workers_die_of_is_out(monkeypatch):
    with on_fake_ray(monkeypatch, FakeRay(cores=1, deaths=2)) as executor:
        assert executor.workers == 1
        executor.start("a", 1, None)
        ended = executor.wait()
        assert ended[:3] == ("a", 1, {})
        assert "two workers died of it (Died)" in ended.reason


def test_as_many_workers_as_there_are_cores_or_as_wanted(monkeypatch):
    for workers, expected in ((None, 5), (3, 3), (9, 5)):
        ray = FakeRay(cores=5)
        with on_fake_ray(monkeypatch, ray, workers=workers) as executor:
            assert executor.workers == expected
        assert not ray.hired  # none before there is work


def test_without_gpus_or_a_cluster_it_says_so(monkeypatch):
    with pytest.raises(ModelRankError, match="Ray has no GPU"), on_fake_ray(monkeypatch, FakeRay(), accelerator="gpu"):
        pass
    with pytest.raises(ModelRankError, match="nobody answers"), on_fake_ray(monkeypatch, FakeRay(), address="nowhere"):
        pass


def started(out: Path, *overrides: str) -> subprocess.Popen:
    given = [*SMALL, *overrides, f"hydra.run.dir={out}", f"paths.cache={out.parent / 'cache'}{out.name}"]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}  # as Ray gives its workers: sums are the same
    with (out.parent / f"{out.name}.log").open("w") as said:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "run.py"), *given], env=one_thread, stdout=said, stderr=said
        )


def trainings(folder: Path) -> pd.DataFrame:
    rows = pd.read_csv(folder / "race.csv").sort_values(["model", "rung"], ignore_index=True)
    return rows[["model", "rung", "steps", "value", "lr"]]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="the extra `ray` is not installed")
def test_ray_trains_what_is_trained_in_turn_though_a_worker_is_killed(tmp_path):
    alone, several = tmp_path / "in_turn", tmp_path / "ray"
    assert started(alone).wait(timeout=500) == 0
    run = started(several, "executor=ray", "executor.workers=2")
    while not (list(several.parent.glob("cacheray/races/*/*/*/last.ckpt")) and (workers := working(run.pid))):
        assert run.poll() is None
        time.sleep(0.05)
    os.kill(workers[0], signal.SIGKILL)
    assert run.wait(timeout=500) == 0
    assert (tmp_path / "ray.log").read_text().count("its worker died") == 1
    pd.testing.assert_frame_equal(trainings(several), trainings(alone))
    assert len(trainings(several)) == 2 * 4  # the head and three rungs
    ledgers = [
        pd.read_csv(tmp_path / f"cache{out.name}/truth/raced.csv")[["model_id", "data_id", "protocol_id", "accuracy"]]
        for out in (alone, several)
    ]
    pd.testing.assert_frame_equal(*ledgers)
    rows = [pd.read_csv(out / "recommend.csv").set_index("model").sort_index() for out in (alone, several)]
    pd.testing.assert_frame_equal(*(table[["val", "steps", "lr"]] for table in rows))
    assert (several / "model" / "model.safetensors").is_file()


def working(driver: int) -> list[int]:
    """Workers of this run that are in the middle of a trial: Ray names a process after what it does."""
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout.splitlines()
    found = [int(line.split()[0]) for line in listed if line.split()[1].startswith("ray::Worker.advance")]
    return [pid for pid in found if driver in ancestors(pid)]


def ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()[1])
        found.append(pid)
    return found
