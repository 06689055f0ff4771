import pytest
from torch import nn
from torchvision.models import mobilenet_v2

from modelrank.hub.model import PretrainedModel
from modelrank.recommend.constraints import Constraints
from modelrank.recommend.probe import Probe, probe
from modelrank.types import ModelRankError

SMALL = Probe(parameters=1_000_000, latency_ms=5.0, step_seconds=0.1, memory_gb=0.5)


@pytest.mark.parametrize(
    ("constraints", "reason"),
    [
        (Constraints(), ""),
        (Constraints(1e6, 5.0, 0.5, ["mit*"]), ""),
        (Constraints(max_parameters=999_999), "1,000,000 parameters, more than 999,999"),
        (Constraints(max_latency_ms=4), "5.0 milliseconds an image, more than 4.0"),
        (Constraints(max_memory_gb=0.4), "0.50 GB to fine-tune, more than 0.40"),
        (Constraints(licence=["Apache*"]), "its licence is MIT (this)"),
        (Constraints(licence=["apache*", "MIT*"]), ""),
        (Constraints(licence="Apache*"), "its licence is MIT (this)"),
        (Constraints(licence="MIT*"), ""),
    ],
)
def test_reasons(constraints, reason):
    assert constraints.broken("MIT (this)", SMALL) == reason


@pytest.mark.parametrize("limit", ["max_parameters", "max_latency_ms", "max_memory_gb"])
@pytest.mark.parametrize("value", ["5M", "6e6", -1])
def test_a_limit_that_is_no_number_above_0_is_refused(limit, value):
    with pytest.raises(ModelRankError, match=rf"^constraints\.{limit}={value}: give a number above 0"):
        Constraints(**{limit: value})


def test_probe_measures_what_a_model_costs(tmp_path):
    model = PretrainedModel("it", mobilenet_v2, None, "", "", "")
    small = probe(model, image_size=32, batch_size=8, cache=tmp_path)
    large = probe(model, image_size=64, batch_size=8, cache=tmp_path)
    assert small.parameters == large.parameters == sum(p.numel() for p in mobilenet_v2(num_classes=2).parameters())
    assert large.memory_gb > small.memory_gb > 16 * small.parameters / 1e9
    assert large.step_seconds > 0
    assert large.latency_ms > 0


def test_weights_are_counted_once_and_are_no_activations(tmp_path):
    def wide():
        layers = nn.Linear(3, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 5)
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), *layers)

    found = probe(PretrainedModel("it", wide, None, "", "", ""), image_size=32, batch_size=32, cache=tmp_path)
    assert found.memory_gb == pytest.approx(16 * found.parameters / 1e9, rel=0.1)
