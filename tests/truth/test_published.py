from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import weightedtau

from modelrank.root import ROOT
from modelrank.truth.ledger import Asked
from modelrank.truth.published import accuracies, mean_rank_elsewhere, published, published_rows
from modelrank.types import ModelRankError

PUBLISHED = "experiments/truth/published.csv"


def asked(dataset, hub=None, models=None):
    """All models of the table (of one of its hubs), under their names."""
    rows = published_rows(PUBLISHED)
    known = rows[rows.hub == hub] if hub else rows
    return Asked(dict.fromkeys(known.model if models is None else models, ""), dataset, "", "", "")


@pytest.mark.parametrize(("hub", "models", "expected"), [("supervised", 11, 0.837), ("self_supervised", 12, 0.685)])
def test_static_order_of_the_published_benchmarks(hub, models, expected):
    rows = published_rows(PUBLISHED)
    tables = accuracies(rows[rows.hub == hub], "full")
    assert len(tables) == 11
    taus = []
    for dataset, accuracy in tables.items():
        assert len(accuracy) == models
        rank = mean_rank_elsewhere(tables, dataset)
        taus.append(weightedtau([-rank[m] for m in accuracy], list(accuracy.values())).statistic)
    assert np.mean(taus) == pytest.approx(expected, abs=5e-4)


def test_mean_rank_looks_at_the_other_data_sets_only():
    tables = {"x": {"a": 0.9, "b": 0.1}, "y": {"a": 0.3, "b": 0.4}, "z": {"a": 0.5, "b": 0.5}}
    tables = {name: accuracy | {"c": 0.0} for name, accuracy in tables.items()}
    assert mean_rank_elsewhere(tables, "x") == {"a": 1.75, "b": 1.25, "c": 3}
    assert mean_rank_elsewhere(tables, "X ") == mean_rank_elsewhere(tables, "x")
    assert mean_rank_elsewhere(tables, "y") == {"a": 1.25, "b": 1.75, "c": 3}


def test_published_scores_rank_as_their_library_says():
    scores = pd.read_csv(ROOT / "experiments/truth/published_scores.csv")
    assert scores.source.notna().all()
    for scorer, expected in {"hscore": 0.650, "leep": 0.419, "logme": 0.670, "nce": 0.687}.items():
        taus = [weightedtau(g[scorer], g.accuracy).statistic for _, g in scores.groupby("dataset")]
        assert np.mean(taus) == pytest.approx(expected, abs=2e-3)


def test_published_has_a_source_for_every_number_and_leaves_out_unreliable_columns():
    rows = published_rows(PUBLISHED)
    assert rows.source.str.startswith("https://").all()
    for hub in ("supervised", "self_supervised"):
        for protocol in ("last_block", "linear"):
            with pytest.raises(ModelRankError, match=r"no .* accuracies on sun397 .*\(known are full: aircraft"):
                published(asked("sun397", hub), path=PUBLISHED, protocol=protocol, hub=hub)
    assert not len(rows.query("hub == 'self_supervised' and protocol == 'last_block' and dataset == 'cifar10'"))
    truth = published(asked("aircraft", "supervised"), path=PUBLISHED, protocol="full", hub="supervised")
    assert truth.metric == "mean_per_class_accuracy"
    assert truth.accuracy["resnet34"] == 0.8406
    assert truth.mean_rank_elsewhere.keys() == truth.accuracy.keys()
    assert min(truth.mean_rank_elsewhere, key=truth.mean_rank_elsewhere.get) == "resnet152"
    assert "SFDA" in truth.source
    assert truth.match == "names"


def test_only_the_models_of_the_hub_are_ranked_among_each_other():
    few = asked("aircraft", models=["resnet34", "resnet50", "resnet101"])
    truth = published(few, path=PUBLISHED, protocol="full", hub="supervised")
    assert set(truth.accuracy) == set(few.models)
    assert sum(truth.mean_rank_elsewhere.values()) == pytest.approx(1 + 2 + 3)
    with pytest.raises(ModelRankError, match="no full accuracies on aircraft of this hub's models"):
        published(asked("aircraft", models=["my_own"]), path=PUBLISHED, protocol="full")


def test_accuracies_of_several_hubs_are_no_truth():
    both = asked("aircraft", models=["resnet34", "resnet152", "deit_tiny", "swin_s"])
    with pytest.raises(ModelRankError, match=r"aircraft by several ways \(hub supervised, hub vit\).*truth.hub=superv"):
        published(both, path=PUBLISHED, protocol="full")
    assert set(published(both, path=PUBLISHED, protocol="full", hub="vit").accuracy) == {"deit_tiny", "swin_s"}


def test_published_tau_has_sources():
    tau = pd.read_csv(ROOT / "experiments/truth/published_tau.csv")
    assert tau.groupby(["hub", "scorer"]).size().to_dict()["supervised", "sfda"] == 11
    assert tau.query("hub == 'supervised' and scorer == 'sfda'").tau_w.mean() == pytest.approx(0.710, abs=1e-3)
    assert tau.source.str.startswith("https://").all()


def test_published_detectors_can_be_selected():
    truth = published(replace(asked("nfl", "yolo"), metric="map50"), path=PUBLISHED, protocol="full", hub="yolo")
    assert (truth.metric, len(truth.accuracy)) == ("map50", 6)
    assert max(truth.accuracy, key=truth.accuracy.__getitem__) == "yolov5m"
    assert len(truth.mean_rank_elsewhere) == 6
