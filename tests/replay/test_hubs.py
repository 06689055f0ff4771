import numpy as np
import pandas as pd
import pytest

from modelrank.replay.game import play, target
from modelrank.replay.hubs import chosen, hub, read, shipped
from modelrank.replay.policies import Halving
from modelrank.root import resolve
from modelrank.truth import curves
from modelrank.truth.ledger import rows as measured_rows
from modelrank.truth.published import published_rows
from modelrank.truth.scored import rows as scored_rows
from modelrank.types import ModelRankError

ROWS = pd.DataFrame({
    "dataset": ["x", "x", "y", "y", "z"],
    "model": ["a", "b", "a", "b", "a"],
    "accuracy": [0.5, 0.6, 0.7, 0.8, 0.9],
    "val_accuracy": [0.4, 0.5, 0.6, 0.7, 0.8],
    "seconds": [10, 20, 30, 40, 50],
    "score:logme": [1.0, 2.0, 3.0, 4.0, 5.0],
    "at:0.5": [0.3, 0.3, 0.3, 0.3, 0.3],
    "at:0.25": [0.2, 0.2, 0.2, 0.2, 0.2],
    "parameters": [10, 20, 10, 20, 10],
    "source": "me",
})  # fmt: skip


def test_a_model_may_be_called_null_and_a_data_set_by_a_year(tmp_path):
    ROWS.replace({"a": "null", "x": "2024", "y": "NA", "z": "007"}).to_csv(tmp_path / "mine.csv", index=False)
    found = read(tmp_path / "mine.csv").accuracy
    assert list(found.index) == ["b", "null"]
    assert list(found) == ["007", "2024", "NA"]


def test_trainings_of_no_seconds_cost_what_the_others_do():
    rows = pd.DataFrame(
        {"dataset": list("xxxxyy"), "model": list("abcdab"), "accuracy": 0.5, "seconds": [0, 0, 0, 8, 0, 0]}
    )
    assert hub(rows, "mine").cost.loc["a"].to_dict() == {"x": 8, "y": 1}


def test_one_csv_is_a_hub(tmp_path):
    ROWS.to_csv(tmp_path / "mine.csv", index=False)
    found = read(tmp_path / "mine.csv", modality="sound")
    assert (found.name, found.modality) == ("mine", "sound")
    assert found.accuracy.loc["b", "y"] == 0.8
    assert np.isnan(found.accuracy.loc["b", "z"])
    assert found.seen.loc["a", "x"] == 0.4
    assert found.cost.loc["a", "z"] == 50
    assert list(found.curves) == [0.25, 0.5]
    assert found.scores["y"].loc["a", "logme"] == 3
    assert list(found.facts) == ["parameters"]


def test_without_them_val_is_accuracy_and_every_training_costs_one():
    found = hub(ROWS[["dataset", "model", "accuracy"]], "plain")
    assert found.seen is found.accuracy
    assert found.cost.loc["a", "x"] == 1
    assert not found.scores
    assert not found.curves


@pytest.mark.parametrize(("change", "says"), [
    (lambda rows: rows.drop(columns="model"), "lacks the columns model; it has dataset, accuracy, "),
    (lambda rows: pd.concat([rows, rows.tail(1)]), "has a on z twice"),
    (lambda rows: rows.assign(accuracy="good"), "value in accuracy is no number"),
    (lambda rows: rows.assign(accuracy=[0.5, None, 0.5, 0.5, 0.5]), "value in accuracy is no number"),
    (lambda rows: rows.assign(parameters="5M"), "value in parameters is no number .5M."),
    (lambda rows: rows.assign(accuracy=[0.5, 90.1, 0.5, 0.5, 0.5]), r"accuracy is 90\.1 for b on x; .*divide by 100"),
    (lambda rows: rows.assign(val_accuracy=50), "val_accuracy is 50.* for a on x; .*divide by 100"),
    (lambda rows: rows.assign(**{"at:0.5": 50}), "at:0.5 is 50.* for a on x; .*divide by 100"),
    (lambda rows: rows.assign(seconds=-5), "seconds is -5.* for a on x; no time is below 0"),
    (lambda rows: rows.assign(model=["a", None, "a", "b", "a"]), "1 rows lack their model or data set"),
    (lambda rows: rows.rename(columns={"at:0.5": "at:1.5"}), "at:1.5 is no at:SHARE, a share between 0 and 1"),
    (lambda rows: rows.rename(columns={"at:0.5": "at:half"}), "at:half is no at:SHARE"),
])  # fmt: skip
def test_a_bad_table_is_refused_with_its_reason(change, says):
    with pytest.raises(ModelRankError, match=says):
        hub(change(ROWS), "bad")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ModelRankError, match=r"cannot read the hub .*nothing\.csv"):
        read(tmp_path / "nothing.csv")


@pytest.fixture(scope="module")
def all_hubs():
    folder = resolve("experiments/truth")
    tables = [measured_rows([folder / "measured.csv"]), scored_rows([folder / "scores.csv"])]
    return shipped(
        folder / "public",
        published_rows(folder / "published.csv"),
        *tables,
        curves.beside([folder / "measured.csv"]),
    )


def test_at_least_thirteen_hubs_of_three_modalities_are_shipped_with_their_sources(all_hubs):
    assert len(all_hubs) >= 13
    assert len({one.modality for one in all_hubs}) >= 3
    folder = resolve("experiments/truth/public")
    sources = pd.read_csv(folder / "sources.csv", index_col="hub")
    files = {path.name.split(".csv")[0] for path in folder.glob("*.csv*")} - {"sources", "models"}
    assert files == set(sources.index)
    assert sources[["modality", "metric", "source", "licence"]].notna().all(axis=None)
    assert sources.source.str.startswith("https://").all()


def test_accuracies_of_the_shipped_hubs_are_possible(all_hubs):
    for one in all_hubs:
        low = -1 if one.name in ("twophase_text", "recycling_bert", "recycling_roberta") else 0  # correlations
        values = one.accuracy.to_numpy()
        assert np.nanmin(values) >= low, one.name
        assert np.nanmax(values) <= 1, one.name
        assert (one.cost.to_numpy()[~np.isnan(values)] > 0).all(), one.name


def test_what_was_measured_here_has_its_scores_and_learning_curves(all_hubs):
    by_name = {one.name: one for one in all_hubs}
    offline, probed = by_name["measured: finetune_offline"], by_name["measured: linear_probe_offline"]
    assert list(offline.curves) == [0.1, 0.25, 0.5]
    assert not probed.curves
    for one in (offline, probed):
        assert {"disco", "logme", "knn"} <= set(one.scores["cifar10"])
        assert one.scores["cifar10"].disco.notna().sum() >= 8
    assert target(offline, "cifar10").shares == (0.1, 0.25, 0.5, 1.0)
    halved = play(Halving(), offline, target(offline, "cifar10"))
    assert 0 < halved[-1].cost < offline.cost["cifar10"].sum()


def test_two_hubs_of_one_name_are_refused():
    one = hub(ROWS, "mine")
    assert chosen([one, hub(ROWS, "other")], ["mine"]) == [one]
    with pytest.raises(ModelRankError, match="two hubs are called mine"):
        chosen([one, hub(ROWS, "mine")], ["mine"])


def test_lines_of_more_fields_than_the_header_are_no_index(tmp_path):
    (tmp_path / "t.csv").write_text("dataset,model,accuracy\nx,a,0,9\n")
    with pytest.raises(ModelRankError, match=r"cannot read the hub .*t\.csv: lines have more fields"):
        read(tmp_path / "t.csv")


def test_where_val_lacks_a_search_sees_accuracy():
    rows = pd.DataFrame(
        {"dataset": ["x"] * 3, "model": list("abc"), "accuracy": [0.5, 0.6, 0.7], "val_accuracy": [0.4, None, 0.8]}
    )
    assert hub(rows, "gap").seen["x"].tolist() == [0.4, 0.6, 0.8]
