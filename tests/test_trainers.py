"""What trainers share; progress, silence and batches that fit are tested where they are used."""

from functools import partial
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy

from modelrank.trainers import own_device, quiet


@pytest.mark.parametrize(("rank", "device"), [("0", 2), ("1", 3)])
def test_a_rank_has_the_device_that_it_trains_on_for_itself(monkeypatch, rank, device):
    monkeypatch.setenv("LOCAL_RANK", rank)
    devices = [torch.device("cuda", index) for index in (2, 3)]  # trainer.devices=[2,3]

    def trainer(**settings):  # Lightning makes none for devices that the machine lacks
        strategy = DDPStrategy(parallel_devices=devices, cluster_environment=LightningEnvironment())
        return SimpleNamespace(strategy=strategy)

    assert own_device(trainer) == [device]


@pytest.mark.parametrize("settings", [{"devices": 1}, {"devices": 2, "strategy": "ddp"}])
def test_on_a_cpu_it_is_one_process(settings):
    assert own_device(partial(pl.Trainer, accelerator="cpu", **settings)) == 1


def test_where_slurm_is_installed_nobody_is_told_to_start_python_by_srun(tmp_path, monkeypatch):
    (tmp_path / "srun").write_text("")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with quiet():
        pl.Trainer(accelerator="cpu", devices=1, logger=False)
    with pytest.warns(UserWarning, match="srun"):
        pl.Trainer(accelerator="cpu", devices=1, logger=False)
