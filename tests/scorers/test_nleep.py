import pytest
import torch
from tests.scorers.golden import CASES, expected, features

from modelrank.scorers.nleep import nleep
from modelrank.types import ScorerNotApplicable


@pytest.mark.parametrize("case", CASES)
def test_reference_value(case):
    assert nleep(features(case)).value == pytest.approx(expected(case, "nleep")["value"], rel=1e-4)


def test_fixed_seed_and_untouched_global_state():
    first = nleep(features(CASES[0], torch.float32)).value
    torch.manual_seed(7)
    state = torch.get_rng_state()
    assert nleep(features(CASES[0], torch.float32)).value == first
    assert torch.equal(torch.get_rng_state(), state)


def test_too_few_samples_for_the_mixture_is_said():
    data = features(CASES[0])
    with pytest.raises(ScorerNotApplicable, match=r"25 Gaussians .* 20 samples"):
        nleep(features(CASES[0], features=data.features[::30], targets=torch.arange(20) % 5))


def test_no_variance_is_said():
    with pytest.raises(ScorerNotApplicable, match="same features"):
        nleep(features(CASES[0], features=torch.ones(600, 64)))


def test_bad_parameter():
    with pytest.raises(ValueError, match="variance"):
        nleep(features(CASES[0]), variance=1.0)
