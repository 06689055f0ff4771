"""The sets of scorers in conf/scorer compose into what they name."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from modelrank import build  # noqa: F401 - it knows what `all` is

CONF = Path(__file__).parents[2] / "conf"
TABLES = ("all", "default", "detection", "paper")
SETS = (*TABLES, "quick")  # quick is for stage=recommend, which shows no table of scorers


def composed(choice):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [f"scorer={choice}"]).scorers


def test_all_is_every_single_scorer():
    assert set(composed("all")) == {path.stem for path in (CONF / "scorer").glob("*.yaml")} - set(SETS)


@pytest.mark.parametrize("name", SETS)
def test_a_set_holds_the_scorers_as_their_own_files_have_them(name):
    found = composed(name)
    assert len(found) > (10 if name in TABLES else 1)
    assert found.logme == composed("logme").logme


@pytest.mark.parametrize("name", TABLES)
def test_trivial_rows_stand_in_every_table(name):
    assert {"static_order", "imagenet_accuracy", "parameters", "linear_probe", "knn"} <= set(composed(name))
