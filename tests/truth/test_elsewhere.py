from dataclasses import replace
from unicodedata import normalize

import numpy as np
import pandas as pd
import pytest

from modelrank.truth.elsewhere import elsewhere
from modelrank.truth.ledger import Asked, add
from modelrank.truth.scored import recalled, remember
from modelrank.types import ModelRankError

ASKED = Asked({"a": "A", "b": "B", "c": "C"}, "digits", "D", "tiny", "P")


def rows(dataset, values=(0.5, 0.6, 0.7), seed=0, **changes):
    return [
        {"dataset": dataset, "model": f"called {model}", "protocol": "tiny", "seed": seed, "model_id": model}
        | {"data_id": f"of {dataset}", "protocol_id": "P", "metric": "accuracy", "accuracy": value, "commit": "x"}
        | changes
        for model, value in zip("ABC", values, strict=False)
    ]


def accuracies(*given, **tables):
    return elsewhere(*given, **tables).accuracy


def named(path, *tables):
    parts = [
        {"hub": hub, "dataset": dataset, "model": model, "protocol": "full", "metric": metric, "accuracy": value}
        for hub, dataset, metric, values in tables
        for model, value in values.items()
    ]
    pd.DataFrame(parts).assign(source="a paper").to_csv(path, index=False)
    return path


def test_models_are_known_by_identity_whatever_they_are_called_and_seeds_are_averaged(tmp_path):
    add(tmp_path / "m.csv", rows("one") + rows("one", (0.7, 0.6, 0.5), seed=1) + rows("two", (0.1, 0.2)))
    found = accuracies(ASKED, "accuracy", measured=[tmp_path / "m.csv"], named=[])
    assert found.index.tolist() == ["a", "b", "c"]
    assert found.shape == (3, 1), "two models are no order"
    np.testing.assert_allclose(found.iloc[:, 0], 0.6)


def test_copies_of_one_model_under_two_names_are_both_known(tmp_path):
    asked = replace(ASKED, models={"a": "A", "b": "B", "c": "C", "copy of a": "A"})
    add(tmp_path / "m.csv", rows("one") + rows("two", (0.1, 0.2)))
    found = accuracies(asked, "accuracy", measured=[tmp_path / "m.csv"], named=[])
    assert found.to_numpy().tolist() == [[0.5], [0.6], [0.7], [0.5]]


def test_nothing_of_the_target_is_remembered_by_its_images_or_by_its_name(tmp_path):
    add(tmp_path / "m.csv", rows("digits") + rows("Digit_s") + rows("another name", data_id="D") + rows("ok"))
    add(tmp_path / "m.csv", rows(normalize("NFD", "été")) + rows("ete"))
    same = dict.fromkeys("abc", 0.5)
    path = named(tmp_path / "n.csv", ("h", "digits", "accuracy", same), ("h", "DIGITS ", "accuracy", same))
    found = accuracies(ASKED, "accuracy", measured=[tmp_path / "m.csv"], named=[path])
    assert {title.split()[0] for title in found} == {"ete", "ok", normalize("NFD", "été")}
    found = accuracies(replace(ASKED, dataset="Été"), "accuracy", measured=[tmp_path / "m.csv"], named=[])
    assert {title.split()[0] for title in found} == {"Digit_s", "ete", "ok"}


def test_other_protocols_and_names_count_until_three_sets_are_by_the_same_one(tmp_path):
    other = rows("probed", protocol_id="Q", protocol="probe") + rows("one", protocol_id="Q", protocol="probe")
    path = named(tmp_path / "n.csv", ("h", "pets", "accuracy", {"a": 0.1, "b": 0.2, "c": 0.3, "x": 0.9}))
    add(tmp_path / "m.csv", rows("one") + rows("two") + other)
    found = accuracies(ASKED, "accuracy", measured=[tmp_path / "m.csv"], named=[path, tmp_path / "nothing.csv"])
    assert {title.split()[0] for title in found} == {"one", "two", "probed", "pets"}
    assert found["pets by full (h, n.csv)"].tolist() == [0.1, 0.2, 0.3]
    add(tmp_path / "m.csv", rows("three"))
    found = accuracies(ASKED, "accuracy", measured=[tmp_path / "m.csv"], named=[path])
    assert {title.split()[0] for title in found} == {"one", "two", "three"}


def test_the_same_images_count_once_by_whatever_protocols_and_names_they_are_known(tmp_path):
    asked = replace(ASKED, models=dict(zip("abcd", "ABCD", strict=True)))
    probed = [row | {"model_id": "D"} for row in rows("cats", (0.4,))] + rows("cats")
    table = [row | {"protocol": "probe", "protocol_id": "Q"} for row in probed] + rows("cats", protocol_id="R")
    table += rows("Cats", (0.3, 0.2, 0.1), data_id="a choice of them", protocol_id="Q")
    table += rows("pets", protocol_id="Q") + rows("dogs", data_id="of pets", protocol_id="R")
    add(tmp_path / "m.csv", table)
    of_all = dict(zip("abcd", (0.5, 0.6, 0.7, 0.4), strict=True))
    path = named(tmp_path / "n.csv", ("h", "CATS", "accuracy", of_all), ("h", "dogs", "accuracy", of_all))
    found = accuracies(asked, "accuracy", measured=[tmp_path / "m.csv"], named=[path])
    assert set(found) == {"cats by probe (Q, of cats)", "dogs by full (h, n.csv)"}, "of most models, by ids first"
    add(tmp_path / "m.csv", rows("cats"))
    found = accuracies(asked, "accuracy", measured=[tmp_path / "m.csv"], named=[path])
    assert set(found) == {"cats by tiny (P, of cats)", "dogs by full (h, n.csv)"}, "the protocol in question before all"


def test_images_with_two_names_are_one_table_and_other_models_tell_more_of_the_same_images(tmp_path):
    asked = replace(ASKED, models=dict(zip("abcdef", "ABCDEF", strict=True)))
    add(tmp_path / "m.csv", [*rows("cats", (0.5, 0.6)), rows("pets", data_id="of cats")[2]])
    path = named(tmp_path / "n.csv", ("h", "cats", "accuracy", dict.fromkeys("def", 0.5)))
    found = accuracies(asked, "accuracy", measured=[tmp_path / "m.csv"], named=[path])
    assert found.notna().sum().tolist() == [3, 3]


def test_classification_regression_and_detection_tell_nothing_of_each_other(tmp_path):
    add(tmp_path / "m.csv", rows("angles", metric="r2") + rows("one") + rows("scenes", metric="map"))
    titles = {
        metric: [title.split()[0] for title in accuracies(ASKED, metric, measured=[tmp_path / "m.csv"], named=[])]
        for metric in ("mean_per_class_accuracy", "r2", "map")
    }
    assert titles == {"mean_per_class_accuracy": ["one"], "r2": ["angles"], "map": ["scenes"]}


def test_with_nothing_at_hand_the_table_is_empty(tmp_path):
    found = accuracies(ASKED, "accuracy", measured=[tmp_path / "none.csv"], named=[])
    assert found.shape == (3, 0)


def test_the_shipped_tables_know_the_supervised_hub():
    asked = Asked({name: name for name in ("resnet50", "densenet121", "googlenet")}, "pets", "D", "finetune", "P")
    found = accuracies(asked, "accuracy", measured=[], named=["experiments/truth/published.csv"])
    assert found.shape[1] >= 10
    assert not any(title.startswith("pets") for title in found)


def test_scores_are_remembered_by_identity_and_settings_and_never_of_the_target(tmp_path):
    add(tmp_path / "m.csv", rows("one") + rows("two"))
    path = tmp_path / "scores.csv"

    def score(dataset, scorer="f", settings="F", value=1.0, data_id=None):
        ids = {"data_id": data_id or f"of {dataset}", "scorer_id": settings, "images": 9, "score": value}
        return [{"dataset": dataset, "model": f"called {m}", "scorer": scorer, "model_id": m, **ids} for m in "ABC"]

    remember(path, score("one") + score("one", "g", "G") + score("digits") + score("other name", data_id="D"))
    remember(path, score("Digits") + score("one", value=2.0) + score("two", settings="F with other settings"))
    asked_of = {name: {"f": "F", "g": "G"} for name in "ab"} | {"c": {"f": "F"}}
    assert "of Digits" not in recalled(replace(ASKED, dataset="DIG-ITS"), asked_of, [path])
    found = elsewhere(ASKED, "accuracy", asked_of, measured=[tmp_path / "m.csv"], named=[], scored=[path])
    assert [title.split()[0] for title in found.scores] == ["one"]
    table = next(iter(found.scores.values()))
    assert table.loc[:, ["f", "g"]].fillna(-1).to_numpy().tolist() == [[2, 1], [2, 1], [2, -1]]
    path.write_text("nonsense")
    with pytest.raises(ModelRankError, match=r"cannot read the table of scores .*scores\.csv"):
        elsewhere(ASKED, "accuracy", asked_of, measured=[], named=[], scored=[path])


def test_scores_that_cannot_be_written_are_a_warning(tmp_path, caplog):
    (tmp_path / "file").write_text("no folder, as a read-only or full disk has none to write to")
    remember(tmp_path / "file" / "scores.csv", [])
    assert "are not remembered for other data sets: cannot write" in caplog.text
