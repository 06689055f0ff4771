"""The network that a race names is the one whose value on val it knows, whatever became of later stretches."""

from dataclasses import replace

import pytest
import torch

from modelrank.recommend.trainings import Trainings, rules
from modelrank.types import ModelRankError


@pytest.fixture
def trainings(tmp_path, model, digits, protocol, trainer):
    protocol = replace(protocol, learning_rates=[0.05], weight_decays=[0.0], steps=20, checkpoint_every=4)
    raced = rules(protocol, digits, [0.4, 1.0], [1, 1])
    return lambda folder: Trainings(
        {"small": model}, digits, digits, protocol, raced, trainer, tmp_path / folder, tmp_path, 0
    )


@pytest.mark.parametrize("gone", ["later", "none"])
def test_the_tested_network_is_that_of_the_rung(trainings, gone):
    whole, cut = trainings("whole"), trainings("cut")
    first = whole.advance("small", 0, None)
    tested, network = whole.finish("small", 0.05, 0)
    cut.advance("small", 0, None)
    cut.advance("small", 1, first)  # as a stretch that was killed, or diverged, after the rung
    if gone == "none":
        (checkpoint,) = cut.folder.rglob("last.ckpt")
        checkpoint.unlink()
    again, same = cut.finish("small", 0.05, 0)
    assert again["value"] == tested["value"]
    for name, weights in network.state_dict().items():
        torch.testing.assert_close(same.state_dict()[name], weights, rtol=0, atol=0)


def test_a_race_goes_on_with_one_rate_at_least(digits, protocol):
    with pytest.raises(ModelRankError, match=r"race\.widths=\[3, 0\].*of 1 or more"):
        rules(replace(protocol, learning_rates=[0.01, 0.05], weight_decays=[0.0]), digits, [0.4, 1.0], [3, 0])
