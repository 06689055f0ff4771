"""What decides whether a score that was computed before is taken."""

from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_dir

from modelrank.root import CONF
from modelrank.stages import score
from modelrank.types import FeatureSet


@pytest.fixture
def computed(tmp_path, monkeypatch):
    """A function of overrides: scores one model, and says how many scores it computed, and its row."""
    targets = torch.arange(60) % 3
    features = torch.eye(3, 12)[targets] + torch.randn(60, 12, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(
        score, "feature_sets", lambda cfg, models, data: [(models["a"], FeatureSet(features, targets, key="features"))]
    )
    outcome, calls = score._outcome, []
    monkeypatch.setattr(score, "_outcome", lambda *given: (calls.append(1), outcome(*given))[1])

    def run(*overrides: str):
        calls.clear()
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("config", ["scorer=disco", f"paths.cache={tmp_path}", "paths.run=here", *overrides])
        rows = score.score_hub(cfg, {"a": SimpleNamespace(name="a")}, None).rows  # pyright: ignore[reportArgumentType]
        return len(calls), rows.iloc[0]

    return run


def test_another_level_of_the_interval_is_judged_on_the_draws_that_are_there(computed):
    first, wide = computed()
    again, narrow = computed("stability.level=0.5")
    assert (first, again) == (1, 0)
    assert narrow.score_high - narrow.score_low < 0.5 * (wide.score_high - wide.score_low)
    assert (
        computed("stability.resamples=20")[0] == computed("stability.seed=1")[0] == computed("stability=null")[0] == 1
    )
