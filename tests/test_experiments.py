"""The paper's tables: what their configs sweep over, and that published truth knows all of it."""

import csv
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

ROOT = Path(__file__).parents[1]
DATASETS = "aircraft,caltech101,cars,cifar10,cifar100,dtd,flowers,food,pets,sun397,voc2007"
HUBS = {"supervised": 11, "self_supervised": 12, "vit": 13}


@pytest.mark.parametrize("hub", HUBS)
def test_a_table_sweeps_its_hub_over_the_eleven_data_sets(hub):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", [f"experiment=table_{hub}"], return_hydra_config=True)
    assert cfg.hydra.mode.name == "MULTIRUN"
    assert cfg.hydra.sweeper.params.dataset == DATASETS
    assert cfg.hydra.sweep.dir == f"multirun/table_{hub}/rank", "fixed: the same command goes on where it stopped"
    assert cfg.skip_done
    assert cfg.hub.name == hub
    assert cfg.dataset.subsample is None, "all images, for CIFAR-10 too"
    assert cfg.truth._target_ == "modelrank.truth.published.published"
    assert {"disco", "logme", "static_order", "imagenet_accuracy"} <= set(cfg.scorers)
    with (ROOT / "experiments/truth/published.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if (row["hub"], row["protocol"]) == (hub, cfg.truth.protocol)]
    assert {(row["dataset"], row["model"]) for row in rows} == {(d, m) for d in DATASETS.split(",") for m in cfg.models}
    assert len(cfg.models) == HUBS[hub]
