import re
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


@pytest.mark.parametrize("value", ["/x/my data (1)", "/x/花/数据", "~/images", "/x/a=b,c", "/x/it's", "[a, b"])
def test_a_value_that_hydra_cannot_read_is_answered_with_its_quoted_form(value, tmp_path):
    with pytest.raises(ModelRankError, match="cannot be read") as refusal:
        build.refuse_unreadable([f"dataset.root={value}"])
    (quoted,) = re.findall(r'"(dataset\.root=.*)"$', str(refusal.value))
    build.refuse_unreadable([quoted])
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert compose("config", ["dataset=folder", quoted]).dataset.root == value


def test_what_hydra_can_read_passes():
    given = [
        "hub.names=[a,b]",
        "+a.b=1",
        "~x",
        "++a._target_=b",
        "seed=1,2",
        "--config-dir",
        "my conf",
        "--cfg=job",
        "-m",
    ]
    build.refuse_unreadable(given)
