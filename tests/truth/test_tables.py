from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from scipy.stats import weightedtau

from modelrank.truth.tables import (
    SHIPPED,
    accuracies,
    append_rows,
    mean_rank_elsewhere,
    measured,
    published,
    published_rows,
)
from modelrank.types import ModelRankError

PUBLISHED = "experiments/truth/published.csv"


def row(**changes):
    return {
        "dataset": "digits",
        "model": "a",
        "protocol": "finetune_short",
        "seed": 0,
        "metric": "accuracy",
        "accuracy": 0.5,
        "commit": "abc",
        "protocol_hash": "h",
    } | changes


def write(path, *rows):
    pd.DataFrame(list(rows)).to_csv(path, index=False)
    return path


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
    assert mean_rank_elsewhere(tables, "x") == {"a": 1.75, "b": 1.25}
    assert mean_rank_elsewhere(tables, "y") == {"a": 1.25, "b": 1.75}


def test_published_scores_rank_as_their_library_says():
    scores = pd.read_csv(SHIPPED / "experiments/truth/published_scores.csv")
    assert scores.source.notna().all()
    for scorer, expected in {"hscore": 0.650, "leep": 0.419, "logme": 0.670, "nce": 0.687}.items():
        taus = [weightedtau(g[scorer], g.accuracy).statistic for _, g in scores.groupby("dataset")]
        assert np.mean(taus) == pytest.approx(expected, abs=2e-3)


def test_published_has_a_source_for_every_number_and_leaves_out_unreliable_columns():
    rows = published_rows(PUBLISHED)
    assert rows.source.str.startswith("https://").all()
    for hub in ("supervised", "self_supervised"):
        for protocol in ("last_block", "linear"):
            with pytest.raises(ModelRankError, match=r"no .* accuracies on sun397 \(known are full: aircraft"):
                published(PUBLISHED, "sun397", protocol, hub=hub)
    assert not len(rows.query("hub == 'self_supervised' and protocol == 'last_block' and dataset == 'cifar10'"))
    truth = published(PUBLISHED, "aircraft", "full", hub="supervised")
    assert truth.metric == "mean_per_class_accuracy"
    assert truth.accuracy["resnet34"] == 0.8406
    assert truth.mean_rank_elsewhere.keys() == truth.accuracy.keys()
    assert min(truth.mean_rank_elsewhere, key=truth.mean_rank_elsewhere.get) == "resnet152"
    assert published(PUBLISHED, "aircraft", "full").mean_rank_elsewhere.items() >= truth.mean_rank_elsewhere.items()
    assert "SFDA" in truth.source


def test_published_tau_has_sources():
    tau = pd.read_csv(SHIPPED / "experiments/truth/published_tau.csv")
    assert tau.groupby(["hub", "scorer"]).size().to_dict()["supervised", "sfda"] == 11
    assert tau.query("hub == 'supervised' and scorer == 'sfda'").tau_w.mean() == pytest.approx(0.710, abs=1e-3)
    assert tau.source.str.startswith("https://").all()


def test_measured_takes_the_mean_over_seeds_and_the_later_file(tmp_path):
    shipped = write(tmp_path / "shipped.csv", row(), row(seed=1, accuracy=0.7), row(model="b", accuracy=0.1))
    own = write(tmp_path / "own.csv", row(accuracy=0.6))
    truth = measured([shipped, own, tmp_path / "absent.csv"], "digits", "finetune_short")
    assert truth.accuracy == {"a": pytest.approx(0.65), "b": 0.1}
    assert truth.per_seed == {0: {"a": 0.6, "b": 0.1}, 1: {"a": 0.7}}
    assert "own.csv" in truth.source
    assert truth.mean_rank_elsewhere == {}
    assert "abc" in truth.source


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(accuracy=np.nan)], "missing or no fraction"),
        ([row(accuracy=84.6)], "missing or no fraction"),
        ([row(), row()], "there twice"),
        ([row(), row(model="b", protocol_hash="other")], "different versions of the protocol"),
        ([row(), row(model="b", metric="map11")], "different metrics"),
        ([{"dataset": "digits", "accuracy": 0.5}], "lacks the columns"),
    ],
)
def test_bad_tables_are_refused(tmp_path, rows, message):
    with pytest.raises(ModelRankError, match=message):
        measured([write(tmp_path / "t.csv", *rows)], "digits", "finetune_short")


def test_the_static_order_of_classifiers_knows_no_regression(tmp_path):
    pair = [("a", 0.9), ("b", 0.1)]
    path = write(
        tmp_path / "m.csv",
        *[row(dataset=d, model=m, accuracy=v) for d in ("x", "y") for m, v in pair],
        *[row(dataset=d, model=m, accuracy=-v, metric="r2") for d in ("angle", "age") for m, v in pair],
    )
    assert measured([path], "x", "finetune_short").mean_rank_elsewhere == {"a": 1, "b": 2}
    assert measured([path], "age", "finetune_short").mean_rank_elsewhere == {"a": 2, "b": 1}


def test_unknown_data_set_lists_the_known_ones(tmp_path):
    table = write(tmp_path / "t.csv", row(), row(dataset="pets"))
    with pytest.raises(ModelRankError, match=r"finetune_short: digits, pets.*stage=finetune"):
        measured([table], "cars", "finetune_short")
    with pytest.raises(ModelRankError, match=r"none of .* exists"):
        measured([tmp_path / "absent.csv"], "cars", "finetune_short")


def test_append_replaces_the_same_cell_and_keeps_digits_of_the_others(tmp_path):
    path = tmp_path / "new" / "measured.csv"
    append_rows(path, [row(accuracy="0.123456789012345678", command='run "x", y')])
    append_rows(path, [row(seed=1, accuracy=0.25, command=None)])
    append_rows(path, [row(seed=1, accuracy=0.75, extra="new column")])
    text = path.read_text()
    assert "0.123456789012345678" in text
    rows = pd.read_csv(path)
    assert len(rows) == 2
    assert rows.set_index("seed").accuracy[1] == 0.75
    assert rows.set_index("seed").command[0] == 'run "x", y'


def test_append_from_many_writers_loses_nothing(tmp_path):
    path = tmp_path / "measured.csv"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seed: append_rows(path, [row(seed=seed)]), range(24)))
    assert sorted(pd.read_csv(path).seed) == list(range(24))
    assert not list(tmp_path.glob("*.tmp"))


def test_many_rows_of_a_cell_are_replaced_together_and_keep_their_order(tmp_path):
    path = tmp_path / "found.csv"
    with ThreadPoolExecutor(8) as pool:
        many = lambda seed: append_rows(path, [row(seed=seed, box=box) for box in (3, 1, 2)])  # noqa: E731
        list(pool.map(many, range(12)))
    append_rows(path, [row(seed=4, box=box) for box in (9, 8)])
    boxes = pd.read_csv(path).groupby("seed").box.apply(list)
    assert len(boxes) == 12
    assert boxes[4] == [9, 8]
    assert all(boxes[seed] == [3, 1, 2] for seed in range(12) if seed != 4)


def test_published_detectors_can_be_selected():
    truth = published(PUBLISHED, "nfl", "full", hub="yolo")
    assert (truth.metric, len(truth.accuracy)) == ("map50", 6)
    assert max(truth.accuracy, key=truth.accuracy.__getitem__) == "yolov5m"
    assert len(truth.mean_rank_elsewhere) == 6
