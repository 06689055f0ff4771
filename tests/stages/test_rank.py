import pandas as pd
from omegaconf import OmegaConf

from modelrank.ranking.order import rank
from modelrank.stages.rank import _agreements
from modelrank.stages.score import ScoredHub
from modelrank.types import Score, Truth


def test_seconds_of_a_prediction_are_unknown_and_not_none():
    accuracy = {"a": 0.9, "b": 0.8, "c": 0.7}
    rows = pd.DataFrame({"model": list(accuracy), "scorer": "disco", "seconds": 2.0, "warning": ""})
    hub = ScoredHub(rows, {"disco": rank("disco", {m: Score(v) for m, v in accuracy.items()})}, {})
    cfg = OmegaConf.create({"hub": {"name": "h"}, "dataset": {"name": "d"}, "seed": 0})
    prediction = pd.DataFrame({"model": list(accuracy), "expected": list(accuracy.values())})
    found = _agreements(cfg, hub, Truth("d", "p", "accuracy", accuracy, {}, "test"), prediction)
    seconds = pd.DataFrame(found).set_index("scorer").seconds
    assert seconds["disco"] == 6
    assert pd.isna(seconds["prediction"])
