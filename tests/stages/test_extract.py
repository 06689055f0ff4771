"""How long a hub whose features are not kept will take."""

from types import SimpleNamespace

import pytest

from modelrank.stages import extract
from modelrank.types import FeatureSet, ModelRankError


@pytest.fixture
def clock(monkeypatch):
    """Seconds that a pass takes: set `clock.seconds`."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(extract, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_after_each_pass_it_is_said_how_long_the_others_take(clock, monkeypatch, caplog):
    took = {"kept": 0.1, "broken": 9.0, "a": 60.0, "b": 180.0, "last": 30.0}

    def features_of(cfg, model, data):
        clock.now += took[model.name]
        if model.name == "broken":
            raise ModelRankError("no weights")
        return FeatureSet.__new__(FeatureSet)

    monkeypatch.setattr(extract, "features_of", features_of)
    models = {name: SimpleNamespace(name=name) for name in took}
    data = SimpleNamespace(source="here", scored=["train"])
    with caplog.at_level("INFO", "modelrank"):
        found = [model.name for model, _ in extract.feature_sets({}, models, data)]
    assert found == list(took)
    said = [line for line in caplog.messages if line.startswith("features of")]
    assert said == [
        "features of 3 of 5 models; the others take about 120 s at most",
        "features of 4 of 5 models; the others take about 120 s at most",
    ]
