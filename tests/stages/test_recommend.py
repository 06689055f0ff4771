"""The real command on small real encoders and real images; needs nothing but what is shipped and scikit-learn."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra
from tests.wandb_records import curves

import modelrank

ROOT = Path(__file__).parents[2]
QUICK = [
    "hub=self_supervised_offline",
    "~models.densenet_rotation_fashion_mnist",
    "~models.mobilenet_rotation_cifar10",
    "~models.resnet8_simclr_cifar10",
    "~models.vgg6_barlow_twins_cifar10",
    "~models.vgg6_byol_cifar10",
    "~models.vgg6_moco_fashion_mnist",
    "~models.vgg6_supervised_cifar10",
    "dataset=digits",
    "dataset.subsample={train:200,val:60,test:60}",
    "protocol.image_size=32",
    "protocol.steps=16",
    "protocol.racing.rung=5",
    "extraction.workers=0",
    "logger=none",
]


@pytest.fixture
def run(tmp_path, monkeypatch):
    def call(*overrides: str) -> Path:
        GlobalHydra.instance().clear()
        out = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        given = [*QUICK, *overrides, f"hydra.run.dir={out}", f"paths.cache={tmp_path / 'cache'}"]
        monkeypatch.setattr(sys, "argv", ["run.py", *given])
        runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
        return out

    return call


def test_recommends_and_leaves_the_model(run):
    out = run("stage=recommend", "budget=10min", "sure=1.0", "logger=wandb")
    rows = pd.read_csv(out / "recommend.csv")
    told = json.loads((out / "recommendation.json").read_text())
    assert set(rows.model) == {"resnet8_random", "resnet8_supervised_fashion_mnist"}
    assert rows.model[0] == told["pick"]
    assert told["sentence"].startswith(told["pick"])
    trials = pd.read_csv(out / "race.csv")
    assert list(trials.groupby("model").rung.max()) == [3, 3]  # the budget did for all of them
    heads, ends = (trials.loc[trials.steps == steps].set_index("model").value for steps in (0, 16))
    better = np.maximum(heads, ends)  # of each model the network that is better on val
    assert rows.set_index("model").val.to_dict() == pytest.approx(better.to_dict())
    assert rows.set_index("model").steps.to_dict() == (16 * (ends >= heads)).to_dict()
    assert told["pick"] == better.idxmax()
    raced = {model: list(zip(own.steps, own.value, strict=True)) for model, own in trials.groupby("model")}
    assert curves(out, "race") == raced
    page = (out / "report.html").read_text()
    assert f">Fine-tune {told['sentence'].split('; ')[0]}<" in page
    assert 'aria-label="value on val of each model after its training steps' in page
    assert 'aria-label="regret of each policy against the share of the cost' in page
    found = modelrank.load(out / "model")
    assert found.facts["name"] == told["pick"]
    assert found.facts["test"] == told["test"]
    assert found.facts["dataset"] == "digits"
    assert found.classes == [str(digit) for digit in range(10)]
    from sklearn.datasets import load_digits

    images = np.repeat((load_digits().images[:20] * 15).astype(np.uint8)[..., None], 3, axis=3)
    assert set(found.predict(list(images))) <= set(found.classes)

    remembered = pd.read_csv(out.parent / "cache/truth/raced.csv").set_index("model")
    assert remembered.accuracy.to_dict() == pytest.approx(ends.to_dict())
    assert (remembered.dataset == "digits").all()
    assert set(pd.read_csv(out.parent / "cache/truth/scores.csv").scorer) >= {"disco", "logme"}

    again = run("stage=recommend", "budget=10min", "sure=1.0")  # goes on where it was: nothing is left to do
    pd.testing.assert_frame_equal(pd.read_csv(again / "race.csv"), trials)
    assert json.loads((again / "recommendation.json").read_text())["test"] == told["test"]

    slow, fast = rows.sort_values("latency_ms", ascending=False).to_dict("records")
    limit = f"constraints.max_latency_ms={(slow['latency_ms'] + fast['latency_ms']) / 2}"
    alone = pd.read_csv(run("stage=recommend", "budget=10min", "sure=1.0", limit) / "recommend.csv").set_index("model")
    assert "milliseconds" in alone.reason[slow["model"]]
    told_alone = alone.loc[fast["model"], ["now", "expected", "low", "high", "val"]].to_dict()
    assert told_alone == pytest.approx({name: fast[name] for name in told_alone}), "the same network, the same number"


def test_of_many_images_some_are_enough(run, capsys):
    """val of 30 images is seen in the values, 60 of train in the features; the race of all images is another one."""
    some = ["race.images={train:60,each:1,val:30}", "protocol.batch_size=8"]  # 16 steps of 8 see 128 of the 200
    out = run("stage=recommend", "budget=10min", "sure=1.0", *some)
    said = capsys.readouterr().out
    assert "of 200 images of train 128 are drawn from for training" in said
    assert "and 60 for scores and heads; of 60 of val 30" in said
    trials = pd.read_csv(out / "race.csv")
    assert np.allclose(trials.value * 30, np.round(trials.value * 30), atol=1e-4)
    right = json.loads((out / "recommendation.json").read_text())["test"] * 60  # all of test
    assert right == pytest.approx(round(right), abs=1e-4)
    headers = [json.loads(text)["images"] for text in _headers(out.parent / "cache" / "features")]
    assert set(headers) == {90}
    whole = run("stage=recommend", "budget=0", "protocol.batch_size=8")  # other images: nothing of that race
    assert not (whole / "model").exists()


def _headers(folder: Path) -> list[str]:
    from safetensors import safe_open

    found = []
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            found.append(file.metadata()["header"])
    return found


def test_where_scores_would_take_the_budget_the_race_begins_without(run, monkeypatch, capsys):
    monkeypatch.setattr("modelrank.stages.recommend.SCORING", 0.0)
    out = run("stage=recommend", "budget=10min", "sure=1.0")
    said = capsys.readouterr().out
    assert "the race begins without them" in said
    assert "goes by facts of the models alone" in said
    assert len(pd.read_csv(out / "race.csv")) == 8
    assert (out / "model").exists()


def test_constraints_leave_models_out_with_a_reason(run):
    with pytest.raises(SystemExit, match=r"no model is left to recommend .* parameters, more than 10"):
        run("stage=recommend", "budget=1s", "constraints.max_parameters=10")


@pytest.mark.parametrize("sure", ["95", "0", "'95%'"])
def test_a_certainty_that_is_no_probability_is_refused(run, sure):
    with pytest.raises(SystemExit, match="give a probability above 0, at most 1"):
        run("stage=recommend", f"sure={sure}")


def test_without_time_to_train_a_pick_is_named_all_the_same(run):
    out = run("stage=recommend", "budget=0", "constraints.licence=['MIT*']")
    told = json.loads((out / "recommendation.json").read_text())
    assert told["pick"] in set(pd.read_csv(out / "recommend.csv").model)
    assert "test" not in told
    assert not (out / "model").exists()


@pytest.mark.slow
def test_keep_best_leaves_the_measured_network(run):
    out = run("stage=finetune", "protocol=finetune_offline", "keep=best", "logger=wandb")
    rows = pd.read_csv(out / "truth.csv")
    best = rows.loc[rows.val_accuracy.idxmax()]
    found = modelrank.load(out / "model")
    assert found.facts["name"] == best.model
    assert found.facts["test"] == best.accuracy
    drawn = curves(out, "val")  # what W&B was given: a line a training, to the last step where it was not dropped
    assert drawn[f"{best.model} lr {best.lr:g} wd {best.weight_decay:g}"][-1] == (16, best.val_accuracy)
    assert {line.split()[0] for line in drawn} == set(rows.model)
    assert not list((out.parent / "cache" / "truth").rglob("*.ckpt"))


def test_keep_knows_one_word(run):
    with pytest.raises(SystemExit, match="give keep=best"):
        run("stage=finetune", "protocol=finetune_offline", "keep=all")


def test_a_network_that_cannot_be_kept_is_recommended_all_the_same(run, monkeypatch, capsys):
    """Detection; its trainings take minutes, so these images stand for it."""
    for stage in ("recommend", "finetune"):
        monkeypatch.setattr(f"modelrank.stages.{stage}.TASKS", ("regression",))
    out = run("stage=recommend", "budget=10min", "sure=1.0", "race.shares=[1.0]", "race.widths=[1]")
    assert "no network is left: one for classification cannot be kept; these can: regression" in capsys.readouterr().out
    told = json.loads((out / "recommendation.json").read_text())
    assert 0 < told["test"] < 1
    assert "recipe" not in told
    assert (out / "report.html").exists()
    assert not (out / "model").exists()
    with pytest.raises(SystemExit, match="keep=best: a network for classification cannot be kept; these can"):
        run("stage=finetune", "keep=best")


def test_where_no_training_works_the_reasons_are_said_and_nothing_is_recommended(run, monkeypatch):
    def broken(*args, **settings):
        raise OSError("no space left")

    monkeypatch.setattr("modelrank.recommend.trainings.Trainings.advance", broken)
    with pytest.raises(SystemExit, match=r"no training worked \(.*: no space left"):
        run("stage=recommend", "budget=10min")


def test_a_large_hub_is_not_probed_beyond_its_share_of_the_budget(run, monkeypatch):
    """Every model is loaded by its probe, on a hub on the network downloaded: with no time only the first is."""
    monkeypatch.setattr("modelrank.stages.recommend.PROBING", 0.0)
    short = run("stage=recommend", "budget=0s")
    rows = pd.read_csv(short / "recommend.csv", keep_default_na=False)
    looked, left = rows.loc[rows.reason == ""], rows.loc[rows.reason != ""]
    assert len(looked) == len(left) == 1
    assert left.reason.tolist() == ["left out: not looked at: the budget went into models that promise more"]
    told = json.loads((short / "recommendation.json").read_text())
    assert (told["looked_at"], told["not_looked_at"]) == (1, 1)
    assert "of the 1 of 2 models looked at (1 was not, for lack of budget)" in told["sentence"]
    # To be sure of one does not end a race that has time for the other.
    more = run("stage=recommend", "budget=10min", "sure=0.5")
    told = json.loads((more / "recommendation.json").read_text())
    assert (told["looked_at"], told["not_looked_at"]) == (2, 0)
    assert "looked at" not in told["sentence"]
    assert pd.read_csv(more / "recommend.csv").reason.isna().all()
