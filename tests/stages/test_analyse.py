"""The stage on a network without weights and bundled images: no download."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from modelrank.scorers.disco import disco
from modelrank.stages.analyse import compared
from modelrank.truth.finetune import FineTuning
from modelrank.types import FeatureSet

ROOT = Path(__file__).parents[2]
TINY = [
    "stage=analyse",
    "hub=offline_small",
    *(f"~models.{name}" for name in ("mobilenet_v2", "mobilenet_v2_b", "squeezenet1_1")),
    *(f"~models.efficientnet_lite{i}" for i in range(3)),
    "protocol=finetune_short",
    "dataset=digits",
    "dataset.subsample={train: 40, val: 20, test: 20}",
    "truth=none",
    "extraction.workers=0",
    "stage.components=12",
    "stage.groups=3",
]
SHORT = ["protocol.steps=2", "protocol.batch_size=8", "protocol.image_size=32", "protocol.learning_rates=[3.0e-4]"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    def call(*overrides):
        GlobalHydra.instance().clear()
        out = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
        given = [*TINY, *overrides, f"hydra.run.dir={out}", f"paths.cache={tmp_path}/cache"]
        monkeypatch.setattr(sys, "argv", ["run.py", *given])
        runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
        return out

    return call


def test_measures_the_point_trains_and_leaves_rows_and_a_figure(run, capfd, monkeypatch):
    out = run(*SHORT, "logger=csv")
    rows = pd.read_csv(out / "analysis.csv")
    assert rows.group.tolist() == [1, 2, 3]
    assert rows.components.tolist() == ["1-4", "5-8", "9-12"]
    assert set(rows.status) == {"ok"}
    assert set(rows.lr) == {3e-4}
    assert rows.protocol_id.notna().all()
    values = rows[["change", "change_fixed", "change_between_seeds", "change_resampled", "unrelated"]]
    assert (values > 0).all().all()
    assert rows.ratio_before.sum() == pytest.approx(1)
    assert rows.ratio_after.sum() == pytest.approx(1)
    assert (out / "analysis.png").stat().st_size > 10_000
    assert "least_changed_group/mobilenet_v2_random" in (out / "metrics.csv").read_text()
    assert "C_F, two seeds" in capfd.readouterr().out
    monkeypatch.setattr(FineTuning, "trained", lambda *_, **__: pytest.fail("the features are kept"))
    again = pd.read_csv(run(*SHORT, "logger=none") / "analysis.csv")
    pd.testing.assert_frame_equal(rows, again)


@pytest.mark.parametrize(("overrides", "says"), [
    (["protocol=linear_probe", "hub.image_size=32"], "trains no layer"),
    (["stage.control_seed=0"], "run's own seed"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(run, overrides, says):
    with pytest.raises(SystemExit, match=says):
        run(*overrides, "logger=none")


def test_rows_of_one_model_are_those_of_disco_and_of_no_change():
    rng = np.random.default_rng(0)
    labels = torch.arange(90) % 3
    x = torch.from_numpy(rng.normal(size=(90, 12)) * 0.8 ** np.arange(12)) + labels[:, None]
    before = FeatureSet(x, labels)
    found = compared(before, [before], components=8, groups=4)
    parts = disco(before, components=8, groups=4, solver="exact").parts
    for i, row in enumerate(found):
        assert row["change"] == pytest.approx(0, abs=1e-6)
        assert np.isnan(row["change_between_seeds"])
        assert row["ratio_before"] == row["ratio_after"] == pytest.approx(parts["ratio"][i])
        assert row["task_before"] == pytest.approx(parts["task"][i])
        assert row["change_resampled"] > 0


def test_every_column_of_a_row_is_of_the_same_components():
    """Features of rank 20 in 64 dimensions, asked for 32 components: groups over the 20 that there are."""
    rng = np.random.default_rng(0)
    labels = torch.arange(100) % 4
    narrow = torch.from_numpy(rng.normal(size=(100, 20))) * torch.arange(20, 0, -1) + labels[:, None]
    turn = torch.from_numpy(np.linalg.qr(rng.normal(size=(64, 64)))[0])
    before = FeatureSet(torch.nn.functional.pad(narrow, (0, 44)) @ turn, labels)
    rows = compared(before, [FeatureSet(before.features * 1.1, labels)], components=32, groups=4)
    assert [row["components"] for row in rows] == ["1-5", "6-10", "11-15", "16-20"]
    expected = disco(before, components=20, groups=4, solver="exact").parts
    assert [row["ratio_before"] for row in rows] == pytest.approx(list(expected["ratio"]))
    assert [row["task_before"] for row in rows] == pytest.approx(list(expected["task"]))
