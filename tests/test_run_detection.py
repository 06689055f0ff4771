"""The real command on a small detection data set, on two networks with random weights: measured, scored, reported."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra
from tests.data.making_detection import coco

ROOT = Path(__file__).parents[1]
HUB = ["mobilenet_v2", "mobilenet_v2_b", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
RUN = [
    "hub=detection_offline",
    *(f"~models.{name}" for name in [*HUB, "resnet50_thin"]),
    "models.squeezenet1_1.weights=null",
    "protocol=detection_short",
    "protocol.steps=2",
    "protocol.learning_rates=[1e-4,1e-3]",
    "protocol.image_size=64",
    "dataset=coco_folder",
    "dataset.metric=map50",
    "dataset.name=made",
    "extraction.workers=0",
    "logger=none",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    rng, images = np.random.default_rng(0), []
    for split, n in (("train", 12), ("val", 4), ("test", 4)):
        for i in range(n):
            left, top = rng.integers(0, 30, 2).tolist()
            objects = [(("ant", "bee", "cat")[i % 3], left, top, left + 24, top + 30), ("ant", 2, 2, 20, 20)]
            images.append((split, f"{split}{i}", (64, 64), objects[: 1 + i % 2]))
    return coco(tmp_path_factory.mktemp("made"), images)


@pytest.fixture
def run(tmp_path, monkeypatch, folder):
    def call(*overrides: str) -> Path:
        GlobalHydra.instance().clear()
        out = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        given = [*RUN, f"dataset.root={folder}", f"paths.cache={tmp_path}/cache", f"hydra.run.dir={out}"]
        monkeypatch.setattr(sys, "argv", ["run.py", *given, *overrides])
        runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
        return out

    return call


def test_measured_scored_and_reported(run, tmp_path):
    truth = pd.read_csv(run("stage=finetune") / "truth.csv")
    assert truth.status.tolist() == ["ok", "ok"]
    assert {"map50", "map"} <= set(truth)
    assert truth.val_accuracy.between(0, 1).all()
    assert len(pd.read_csv(tmp_path / "cache" / "truth" / "found.csv").image.unique()) == 4

    out = run("scorer=detection", f"truth.paths=[{tmp_path}/cache/truth/measured.csv]")
    scores = pd.read_csv(out / "scores.csv")
    disco = scores[scores.scorer == "disco"]
    assert disco.n.eq(24).all()  # boxes, not images
    assert disco.classes.eq(3).all()
    assert disco.score.between(0, 2).all()  # each part is scaled over the hub
    for parts in map(json.loads, disco.parts):
        assert 0 < parts["cls"] < 1
        assert -1 < parts["reg"] < 0
    assert set(scores[scores.status != "ok"].scorer) == {"hscore", "imagenet_accuracy", "static_order"}
    assert scores.query("scorer == 'hscore'").status.eq("not_applicable").all()  # 24 boxes of more dimensions
    page = (out / "report.html").read_text()
    assert "24 boxes of train + val scored" in page
    assert '>classes</button></th><th scope="col" class=""><button type="button">boxes</button></th>' in page
    assert (out / "figures" / "scenes.png").stat().st_size > 5000


def test_a_wrong_layer_is_a_row_with_its_reason(run, tmp_path):
    with pytest.raises(SystemExit, match="scores failed"):
        run("scorer=disco", "truth=none", "extraction.boxes.layer=[7]", f"hydra.run.dir={tmp_path}/out")
    assert "has no map at these strides; it has 2, 4, 8" in pd.read_csv(tmp_path / "out" / "scores.csv").reason[0]
