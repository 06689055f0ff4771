import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pytest
import torch
from tests.truth.test_finetune import explosive
from torch.nn import functional

from modelrank.features.extract import extract
from modelrank.features.store import FeatureStore
from modelrank.truth.finetune import FineTuning
from modelrank.truth.ledger import add
from modelrank.truth.measure import measure
from modelrank.truth.tuned import chosen_point, tuned
from modelrank.types import ModelRankError

POINT = {"lr": 0.05, "wd": 0.0}


def features(model, data, root, trainer):
    return extract(
        model,
        data,
        store=FeatureStore(root / "features"),
        cache=root,
        trainer=trainer,
        scored=["train", "val"],
        image_size=None,
        batch_size=64,
        workers=0,
    )


def test_features_after_training_feed_the_new_head(tmp_path, digits, model, trainer, protocol):
    after = tuned(model, digits, protocol, POINT, trainer=trainer, seed=0)
    network = after.load(tmp_path)
    assert not any(module.training for module in network.modules())
    found = features(after, digits, tmp_path, trainer)
    images = torch.stack([model.preprocessing.evaluation()(digits.splits["train"][i][0]) for i in range(20)])
    with torch.no_grad():
        hidden = network.get_submodule("pool")(network.get_submodule("backbone")(images))
    torch.testing.assert_close(found.features[:20], hidden, rtol=1e-4, atol=1e-5)
    before = features(model, digits, tmp_path, trainer)
    assert before.features.shape == found.features.shape
    assert functional.mse_loss(before.features, found.features) > 1e-3
    assert (found.logits.argmax(1) == found.targets).double().mean() > 0.6, "it has learnt"


def test_training_is_not_done_again_where_the_features_are_kept(
    tmp_path, digits, model, trainer, protocol, monkeypatch
):
    trained, runs = FineTuning.trained, []
    monkeypatch.setattr(FineTuning, "trained", lambda *a, **k: (runs.append(k["seed"]), trained(*a, **k))[1])

    def run(seed=0, point=POINT, protocol=protocol):
        return features(tuned(model, digits, protocol, point, trainer=trainer, seed=seed), digits, tmp_path, trainer)

    first = run()
    assert torch.equal(first.features, run().features)
    assert runs == [0]
    assert not torch.equal(first.features, run(seed=1).features)
    run(point={"lr": 0.01, "wd": 0.0})
    run(protocol=replace(protocol, steps=5))
    assert runs == [0, 1, 0, 0], "seed, point and protocol each are features of their own"


def test_one_at_a_time_trains_in_the_same_folder(tmp_path, digits, model, trainer, protocol, monkeypatch):
    steps = []

    def trained(*_, **__):
        steps.append("begin")
        time.sleep(0.3)
        steps.append("end")

    monkeypatch.setattr(FineTuning, "trained", trained)
    after = tuned(model, digits, protocol, POINT, trainer=trainer, seed=0)
    with ThreadPoolExecutor() as pool:
        list(pool.map(after.load, [tmp_path] * 3))
    assert steps == ["begin", "end"] * 3


def test_the_point_is_that_of_the_measured_row(tmp_path, digits, model, trainer, protocol):
    table = tmp_path / "measured.csv"
    assert chosen_point([table], model, digits, protocol, seed=0) is None
    short = replace(protocol, learning_rates=[0.001, 0.05], weight_decays=[0.0001], steps=10)
    add(table, [measure(model, digits, short, trainer=trainer, cache=tmp_path)])
    assert chosen_point([table], model, digits, short, seed=0) == {"lr": 0.05, "wd": 0.0001}
    assert chosen_point([table], model, digits, short, seed=1) is None
    assert chosen_point([table], model, digits, protocol, seed=0) is None
    assert chosen_point([table], model, replace(digits, fingerprint="e" * 64), short, seed=0) is None


def test_divergence_is_said_with_the_point(tmp_path, digits, model, trainer, protocol):
    broken = replace(model, architecture=partial(explosive, model.architecture))
    with pytest.raises(ModelRankError, match=r"small train lr0.05_wd0: the loss became nan"):
        tuned(broken, digits, protocol, POINT, trainer=trainer, seed=0).load(tmp_path)
