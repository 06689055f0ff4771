import pandas as pd
from omegaconf import OmegaConf

from modelrank.ranking.order import rank
from modelrank.stages.rank import _agreements, _shown
from modelrank.stages.score import ScoredHub
from modelrank.types import Score, Truth


def test_a_prediction_has_no_seconds_and_the_order_that_it_had_before_it_was_cut():
    accuracy = {"a": 0.9, "b": 0.8, "c": 0.7}
    rows = pd.DataFrame({"model": list(accuracy), "scorer": "disco", "seconds": 2.0, "warning": ""})
    hub = ScoredHub(rows, {"disco": rank("disco", {m: Score(v) for m, v in accuracy.items()})}, {})
    cfg = OmegaConf.create({"hub": {"name": "h"}, "dataset": {"name": "d"}, "seed": 0})
    prediction = pd.DataFrame({"model": list("cba"), "expected": 1.0, "mean": [1.03, 1.02, 1.01]})
    found = _agreements(cfg, hub, Truth("d", "p", "accuracy", accuracy, {}, "test"), prediction)
    by = pd.DataFrame(found).set_index("scorer")
    assert by.seconds["disco"] == 6
    assert pd.isna(by.seconds["prediction"])
    assert (by.winner["prediction"], by.tau_w["prediction"]) == ("c", -1)


def test_pictures_say_which_models_they_are_of():
    main = rank("disco", {"a": Score(3.0), "b": Score(2.0)}, failed={"c": "no boxes", "d": "no boxes"})
    truth = Truth("d", "p", "map50", {"a": 0.5, "b": 0.4, "c": 0.9, "d": 0.1}, {}, "test")
    assert _shown(main, truth) == {
        "a": "ranked first by disco",
        "c": "best of 4 measured",
        "d": "worst of 4 measured",
    }, "also where they have no score"
    pair = Truth("d", "p", "map50", {"a": 0.5, "b": 0.4}, {}, "test")
    assert _shown(main, pair) == {"a": "ranked first by disco, best of 2 measured", "b": "worst of 2 measured"}
    alone = Truth("d", "p", "map50", {"b": 0.4}, {}, "test")
    assert _shown(main, alone) == {"a": "ranked first by disco", "b": "the only one measured"}
