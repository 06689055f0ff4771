"""Every config file composes, and every `_target_` in it names a callable that takes the arguments written there."""

import inspect
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf

CONF = Path(__file__).parents[1] / "conf"
GIVEN_BY_CODE = {  # arguments that the code gives, not the YAML
    "modelrank.tracking": {"run_dir", "config", "labels"},
}


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


CHOICES = [
    f"{group}={name}"
    for group in (
        "stage",
        "hub",
        "dataset",
        "scorer",
        "protocol",
        "truth",
        "trainer",
        "logger",
        "verbosity",
        "debug",
        "experiment",
    )
    for name in options(group)
]
CHOICES += [f"stage=pretrain {group}={name}" for group in ("encoder", "objective") for name in options(group)]
CHOICES += [f"stage=recommend executor={name}" for name in options("executor")]


def targets(node, path=""):
    """Every mapping with a `_target_` below `node`."""
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield path, node
        for key in node:
            if not OmegaConf.is_missing(node, key) and not OmegaConf.is_interpolation(node, key):
                yield from targets(node[key], f"{path}.{key}")
    elif isinstance(node, ListConfig):
        for index, item in enumerate(node):
            yield from targets(item, f"{path}[{index}]")


@pytest.mark.parametrize("choice", CHOICES)
def test_every_target_takes_the_arguments_of_its_yaml(choice):
    config = composed(*choice.split())
    for path, node in targets(config):
        function = get_object(node._target_)
        signature = inspect.signature(function)
        keys = {key: None for key in node if key not in {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}}
        given = next((extra for prefix, extra in GIVEN_BY_CODE.items() if node._target_.startswith(prefix)), set())
        keys |= dict.fromkeys(given)
        try:
            signature.bind_partial(**keys)
        except TypeError as error:
            pytest.fail(f"{choice}: {path or 'top'}: {node._target_}: {error}")


@pytest.mark.parametrize("group", ["model", "scorer"])
def test_the_file_name_is_the_id(group):
    for path in (CONF / group).glob("*.yaml"):
        entries = OmegaConf.load(path).get(f"{group}s")
        if entries is not None:  # a set of scorers has none of its own
            assert list(entries) == [path.stem], f"{path}: its key must be its file name"


def test_every_file_says_what_it_is_for():
    for path in CONF.rglob("*.yaml"):
        first = [line for line in path.read_text().splitlines() if line.strip()][:2]
        assert any(line.startswith("#") and "@package" not in line for line in first), f"{path}: begin with a comment"


def test_home_need_not_be_set_where_the_cache_is(monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setenv("MODELRANK_CACHE", "/somewhere")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert compose("config").paths.cache == "/somewhere"


def test_the_sweep_that_wandb_deals_out_names_what_there_is():
    """The words that an agent of W&B makes of what its server would deal: no server is asked."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    sweep = yaml.safe_load((CONF.parent / "experiments" / "wandb_sweep.yaml").read_text())
    assert (CONF.parent / sweep["program"]).is_file()
    fixed = [word for word in sweep["command"] if "=" in word]
    parameters = sweep["parameters"]
    for number in range(max(len(one["values"]) for one in parameters.values())):
        dealt = {key: {"value": one["values"][number % len(one["values"])]} for key, one in parameters.items()}
        config = composed(*fixed, *create_sweep_command_args({"args": dealt})["args_no_hyphens"])
        assert {key: {"value": OmegaConf.select(config, key)} for key in dealt if key != "dataset"} == {
            key: value for key, value in dealt.items() if key != "dataset"
        }
        assert config.dataset.name == dealt["dataset"]["value"]
        assert f"tau_w/{next(iter(config.scorers))}" == sweep["metric"]["name"]
