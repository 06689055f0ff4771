from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from modelrank import build
from modelrank.types import ModelRankError

CONF = Path(__file__).parents[1] / "conf"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["hub=timm"], r"^hub\.names is empty"),
        (["hub=torchvision", "hub.names=[resnet17]"], "^torchvision has no classification model 'resnet17'"),
        (["hub=checkpoints"], r"^hub\.folder=None"),
    ],
)
def test_a_hub_that_cannot_be_made_is_told_in_one_sentence(overrides, message, tmp_path):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [*overrides, f"paths.cache={tmp_path}"])
    with pytest.raises(ModelRankError, match=message):
        build.models(cfg)


def test_a_data_set_that_cannot_be_made_is_told_in_one_sentence():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", ["dataset=pets", "dataset.scored=[test]"])
    with pytest.raises(ModelRankError, match=r"^dataset\.scored=\['test'\]"):
        build.dataset(cfg)
