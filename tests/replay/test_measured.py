import pandas as pd
import pytest

from modelrank.replay.game import replay
from modelrank.replay.hubs import hub
from modelrank.replay.measured import cells
from modelrank.replay.policies import Believing, Halving, InOrder, Scorer

IDS = {"data_id": "d", "protocol_id": "p"}
NO_SCORES = pd.DataFrame(columns=["model_id", "data_id", "scorer", "score"])
POINTS = ["model_id", "data_id", "protocol_id", "seed", "lr", "weight_decay", "step", "value"]
NO_CURVES = pd.DataFrame(columns=POINTS).astype({"seed": int})


def row(dataset="x", model="a", accuracy=0.5, seed=0, **other):
    given = {"dataset": dataset, "model": model, "seed": seed, "accuracy": accuracy, "val_accuracy": accuracy}
    return given | {"seconds": "10", "model_id": model.upper(), **IDS} | other


def curve(rate, values, **other):
    """Every ten steps."""
    point = {"model_id": "A", "seed": 0, "lr": rate, "weight_decay": 0.0, **IDS, **other}
    return [point | {"step": 10 * (i + 1), "value": value} for i, value in enumerate(values)]


def one(rows, scores=NO_SCORES, curves=NO_CURVES):
    return cells(pd.DataFrame(rows), scores, curves).set_index(["dataset", "model"])


def test_means_over_seeds_of_the_images_with_most_models():
    rows = [row(), row(seed=1, accuracy=0.7), row(model="b"), row(accuracy=0.1, data_id="others")]
    found = one(rows)
    assert found.accuracy["x", "a"] == pytest.approx(0.6)
    assert list(found) == ["accuracy", "val_accuracy", "seconds"]
    assert len(found) == 2


def test_scores_are_those_of_the_same_model_and_images():
    scores = [("A", "d", "knn", 1.0), ("B", "d", "knn", 2.0), ("A", "d", "gbc", 3.0), ("A", "others", "knn", 9.0)]
    scores = pd.DataFrame(scores, columns=list(NO_SCORES))
    found = one([row(), row(model="b"), row(model="c"), row("y", data_id="e")], scores)
    assert found["score:knn"]["x"].dropna().to_dict() == {"a": 1, "b": 2}
    assert found["score:gbc"].dropna().to_dict() == {("x", "a"): 3}
    assert found.loc["y"].filter(like="score:").isna().all(axis=None)


def test_a_look_is_at_all_learning_rates_after_a_share_of_the_steps():
    """Two rates of 40 and 120 steps: a tenth of the 160 is 8 of each, a quarter 20, a half 40."""
    curves = pd.DataFrame([*curve(1e-3, [0.1, 0.3, 0.2, 0.1]), *curve(1e-4, [0.2, 0.25, 0.3, 0.4, *[0.9] * 8])])
    found = one([row()], curves=curves)
    assert found.loc[("x", "a")].filter(like="at:").to_dict() == {"at:0.25": 0.3, "at:0.5": 0.4}


def test_looks_are_means_over_the_seeds_that_were_measured():
    curves = pd.DataFrame([point for seed in range(3) for point in curve(1e-3, [0.1 * seed] * 10, seed=seed)])
    found = one([row(), row(seed=1)], curves=curves)
    assert found["at:0.5"]["x", "a"] == pytest.approx(0.05)


def test_a_data_set_without_scores_or_curves_is_played_with_what_it_has():
    rows = pd.DataFrame([
        row(dataset, model, 0.5 + 0.1 * i + 0.05 * j, data_id=dataset)
        for i, dataset in enumerate("xyz")
        for j, model in enumerate("abcd")
    ])  # fmt: skip
    known = rows.loc[rows.dataset != "z"]
    scores = known.assign(scorer="knn", score=known.accuracy)
    curves = pd.DataFrame([
        point
        for each in known.itertuples()
        for point in curve(1e-3, [each.accuracy] * 10, model_id=each.model_id, data_id=each.dataset)
    ])  # fmt: skip
    policies = {"halving": Halving(), "scorer knn": InOrder(Scorer("knn"))}
    policies["recommend"] = Believing(scores=True, race=True)
    played = replay(hub(cells(rows, scores, curves), "mine"), policies).groupby("policy").dataset.unique()
    assert {name: "".join(sets) for name, sets in played.items()} == {
        "halving": "xy", "recommend": "xyz", "scorer knn": "xy"
    }  # fmt: skip
