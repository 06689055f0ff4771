"""From the composed config to objects: the only file that calls `hydra.utils.instantiate`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, QuotedString, Sweep
from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from modelrank import ranks, sweep
from modelrank.root import CONF, resolve
from modelrank.types import ModelRankError

if TYPE_CHECKING:
    from modelrank.data.spec import DatasetSpec
    from modelrank.hub.model import PretrainedModel
    from modelrank.recommend.constraints import Constraints
    from modelrank.recommend.executors import Executor
    from modelrank.tracking import Tracker


LIBRARIES = ("modelrank.", "torchvision.models.", "timm.", "torch.nn.", "torch.optim.", "pytorch_lightning.Trainer")
# Settings of a trainer that change what a measurement is, while its identity is that of the protocol.
DECIDING = re.compile("fast_dev_run|overfit_batches|accumulate_grad_batches|(limit|max|min|gradient_clip)_")
TARGET = re.compile(r"""_target_['"]?\s*[=:]\s*['"]?([^'",}\s]*)""")


def _single_scorers() -> list[str]:
    """Every file of conf/scorer that holds a scorer, and not other files."""
    files = sorted((CONF / "scorer").glob("*.yaml"))
    return [file.stem for file in files if re.search("^scorers:", file.read_text(), re.MULTILINE)]


ConfigStore.instance().store("all", {"defaults": _single_scorers()}, group="scorer", package="_global_")


def _folder_name(*, _parent_: DictConfig) -> str:
    """Of root=~/photos/leaves/ 'leaves', of root=. the folder that the user stands in."""
    if OmegaConf.is_missing(_parent_, "root") or _parent_.root is None:
        return "folder"  # of the cache; where the root must be given, that is said elsewhere
    return Path(str(_parent_.root)).expanduser().absolute().name or "root"


OmegaConf.register_new_resolver("folder_name", _folder_name, replace=True)  # conf/dataset/folder.yaml


def _made(spec: DictConfig) -> Any:
    """The object of a config; what the user can mend is said in its own words, not wrapped in Hydra's."""
    try:
        return instantiate(spec)
    except InstantiationException as error:
        if isinstance(error.__cause__, ModelRankError):
            raise error.__cause__ from None
        if located := re.match(r"Error locating target '([\w.]+)\.(\w+)'", str(error)):
            _refuse_absent(*located.groups())
        if isinstance(cause := error.__cause__, TypeError | ValueError | AttributeError):
            where = re.search(r"full_key: (\S+)", str(error))
            raise ModelRankError(f"{where[1] if where else 'the configuration'} cannot be made: {cause}") from error
        raise


def _refuse_absent(module: str, name: str) -> None:
    """What a `_target_` names is not there; not where it is and cannot be imported."""
    try:
        known = dir(import_module(module))
    except ModuleNotFoundError as missing:
        if module.startswith(str(missing.name)):
            raise ModelRankError(f"_target_={module}.{name}: there is no module {missing.name} here") from None
        return
    if name not in known:
        close = " or ".join(get_close_matches(name, known, 3))
        raise ModelRankError(
            f"_target_={module}.{name}: {module} has no {name}" + (f"; did you mean {close}?" if close else "")
        )


def stage(cfg: DictConfig) -> Callable[[DictConfig, Tracker], Any]:
    """The stage function of `conf/stage`, its own settings bound."""
    if cfg.stage._target_.startswith("experiments.") and find_spec("experiments") is None:
        raise ModelRankError("stage=pretrain is an experiment of the clone: run `python run.py stage=pretrain` there")
    return instantiate(cfg.stage)


def tracker(cfg: DictConfig) -> Tracker:
    """The tracker of `conf/logger`, a context manager; it is given the whole config to record."""
    make = instantiate(cfg.logger, _partial_=True)  # `config` is a parameter of instantiate itself
    return make(run_dir=cfg.paths.run, config=cfg, labels=sweep.labels(cfg))


def models(cfg: DictConfig) -> dict[str, PretrainedModel]:
    """The models of the hub by name: those that it lists as YAMLs, then those that it finds by itself. ModelRankError
    where two have one name: all rows of one would be taken for the other's."""
    listed = {name: _made(spec) for name, spec in cfg.get("models", {}).items()}
    found = _made(cfg.hub.expand) if "expand" in cfg.hub else {}
    if not (listed or found):
        raise ModelRankError(f"hub={cfg.hub.name} holds no model; name some in its YAML or in hub.names")
    for name, model in listed.items():
        if model.name != name:
            raise ModelRankError(f"models.{name}.name={model.name}: give the model the name of its key, {name}")
        if name in found:
            raise ModelRankError(
                f"hub={cfg.hub.name} has two models {name}: models.{name} and one that it finds by itself; leave one "
                "out, or give the first another key and name"
            )
    return listed | found


def dataset(cfg: DictConfig) -> DatasetSpec:
    """The target data set."""
    return _made(cfg.dataset)


def general_dataset(cfg: DictConfig) -> DatasetSpec:
    """General-domain images (`dataset@general=NAME`)."""
    return _made(cfg.general)


def scorers(cfg: DictConfig) -> dict[str, Callable[..., Any]]:
    """Scorers by their id (the YAML's file name), hyper-parameters bound; ModelRankError for those that it does not
    have."""
    from modelrank.scorers.contract import check_hyperparameters

    made = {name: instantiate(spec) for name, spec in cfg.scorers.items()}
    for name, one in made.items():
        try:
            check_hyperparameters(one.func, one.keywords)
        except ModelRankError as error:
            raise ModelRankError(f"scorers.{name}: {error}") from None
    return made


def protocol(cfg: DictConfig) -> Any:
    """How ground truth is measured."""
    return _made(cfg.protocol)


def executor(cfg: DictConfig) -> Callable[..., Executor]:
    """A function that makes what the trials of `stage=recommend` are done by, a context manager."""
    return instantiate(cfg.executor)


def constraints(cfg: DictConfig) -> Constraints:
    """What a model must keep to be recommended."""
    return _made(cfg.constraints)


def encoder(cfg: DictConfig) -> Callable[[], Any]:
    """A function that makes the untrained network of `stage=pretrain`."""
    return instantiate(cfg.encoder)


def objective(cfg: DictConfig) -> Callable[..., Any]:
    """What the network of `stage=pretrain` is to learn: a class of experiments/pretraining, settings bound."""
    return instantiate(cfg.objective)


def truth(cfg: DictConfig) -> Any:
    """The table that measured or published accuracies are read from, or None."""
    return instantiate(cfg.truth)


def memory(cfg: DictConfig) -> Callable[..., Any]:
    """A function that gives the accuracies of the hub's models on other data sets."""
    return instantiate(cfg.memory)


def trainer(cfg: DictConfig) -> Callable[..., Any]:
    """A function that makes a `Trainer`; Lightning is imported only when one is made."""
    return partial(instantiate, cfg.trainer)


def refuse_unreadable(arguments: Sequence[str]) -> None:
    """Say how to quote a value that Hydra's grammar cannot read: a path with spaces, brackets, other letters, ~."""
    parser = OverridesParser.create()
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or argument.startswith("-"):
            continue
        try:
            parser.parse_override(argument)
        except HydraException:
            quoted = value.replace("\\'", "'").replace("'", "\\'")
            raise ModelRankError(
                f"{argument} cannot be read: a value with spaces, brackets, ~ or letters other than a to z is quoted "
                f"for Hydra, and once more for the shell: \"{key}='{quoted}'\""
            ) from None


def refuse_unknown(arguments: Sequence[str]) -> None:
    """Say what was likely meant by an option that nobody reads, which Hydra would take with a `+` before it, and by a
    name in a list that no file of its group has. Not where a folder of the user's own adds to conf/."""
    if any(argument.startswith(("-cd", "-cp", "--config-", "hydra.searchpath")) for argument in arguments):
        return
    parser, homes = OverridesParser.create(), _homes_of_options()
    given = [parser.parse_override(one) for one in arguments if not one.startswith("-") and "=" in one]
    chosen = {str(override.key_or_group): set(_names(override.value())) for override in given}
    for override in given:
        group = str(override.key_or_group)
        option = re.split("[./]", group)[0]
        if option not in homes:
            raise ModelRankError(f"there is no option {option}{_meant(option, homes)}")
        stages = homes[option]
        if stages and not stages & chosen.get("stage", set()) and not {"experiment", "debug"} & chosen.keys():
            raise ModelRankError(f"{option} is an option of stage={' or '.join(sorted(stages))}")
        if (CONF / group).is_dir() and option != "hydra":
            known = [str(path.relative_to(CONF / group).with_suffix("")) for path in (CONF / group).rglob("*.yaml")]
            for name in _names(override.value()):
                if name not in (*known, "null", "None", "all") and isinstance(override.value(), list | Sweep):
                    raise ModelRankError(f"there is no {group} {name}{_meant(name, known)}")
    _refuse_other_scorers(given)


def _refuse_other_scorers(given: Sequence[Override]) -> None:
    """A setting of a scorer that a job does not have: Hydra would end a sweep at that job."""
    chosen = next((override.value() for override in given if override.key_or_group == "scorer"), None)
    scorers = _single_scorers()
    for override in given:
        first, *rest = str(override.key_or_group).split(".")
        if first != "scorers" or not rest or override.is_add():
            continue
        for choice in chosen.list if isinstance(chosen, ChoiceSweep) else [chosen]:
            names = _names(choice)
            if names and set(names) <= set(scorers) and rest[0] not in names:  # of a set the members are not known here
                both = ",".join([rest[0], *names])
                raise ModelRankError(
                    f"{override.key_or_group} is a setting of {rest[0]}, and a job of scorer={','.join(names)} has no "
                    f"such scorer; give it one (scorer=[{both}]), or run them by commands of their own"
                )


def _homes_of_options() -> dict[str, set[str]]:
    """Option -> the stages that have it, none where all do: what conf/ has at its top."""
    homes: dict[str, set[str]] = {}
    for path in [CONF / "config.yaml", *CONF.glob("*/**/*.yaml")]:
        text = path.read_text()
        if path.parent != CONF and "@package _global_" not in text:
            continue
        for option in re.findall(r"^(\w+):", text, re.MULTILINE):
            stages = {path.stem} if path.parent.name == "stage" else set()
            known = homes.setdefault(option, stages)
            homes[option] = known | stages if known and stages else set()
    return homes | {folder.name: set() for folder in CONF.iterdir() if folder.is_dir()} | {"general": set()}


def _names(value: Any) -> list[str]:
    """The names in a list or a sweep of an override."""
    if isinstance(value, ChoiceSweep):
        value = value.list
    if isinstance(value, list):
        return [name for one in value for name in _names(one)]
    return [] if value is None else [str(value.text if isinstance(value, QuotedString) else value)]


def _meant(name: str, known: Iterable[str]) -> str:
    listed = sorted(known)
    close = get_close_matches(name, listed, 3)
    return f"; did you mean {' or '.join(close)}?" if close else f"; there are {', '.join(listed)}"


def refuse_foreign(arguments: Sequence[str]) -> None:
    """A command that was copied from somewhere must not run what it names: on the command line a `_target_` is one of
    the libraries of networks or of ours. Files are read by who writes or takes them, so they may name anything."""
    for argument in arguments:
        for target in TARGET.findall(argument):
            if not target.startswith(LIBRARIES) or any(part.startswith("_") for part in target.split(".")):
                known = ", ".join(library.strip(".") for library in LIBRARIES)
                raise ModelRankError(
                    f"{argument}: on the command line a _target_ is of {known}, and {target} is not run; if it is "
                    "yours, name it in a YAML of your own, below conf/ or in a folder given by --config-dir"
                )


def refuse_impossible(cfg: DictConfig, *, sweeping: bool) -> None:
    """Say at once what could only fail later: a value that must be given, a table, no GPU, a sweep under DDP.

    Under DDP every further rank runs this command again, so in a sweep each would run the whole sweep.
    """
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise ModelRankError(f"no value for {', '.join(missing)}; give it on the command line: {missing[0]}=...")
    _refuse_absent_tables(cfg)
    if (given := str(cfg.trainer.get("precision", "32-true"))) != "32-true":
        raise ModelRankError(
            f"trainer.precision={given} would change nothing: fine-tuning computes in protocol.precision "
            "(protocol.depthwise_precision for networks with depthwise convolutions), extraction in "
            "extraction.precision"
        )
    if limits := [name for name in cfg.trainer if DECIDING.match(str(name))]:
        raise ModelRankError(
            f"trainer.{limits[0]}={cfg.trainer[limits[0]]} is refused: how much is done is what the protocol and the "
            "images say, by which accuracies and features are found again; take it out (for a short try: "
            "protocol.steps or dataset.subsample)"
        )
    count, batch = ranks.expected(cfg), cfg.protocol.get("batch_size", 0)
    if isinstance(batch, int) and batch % count:
        raise ModelRankError(
            f"protocol.batch_size={batch} images a step cannot be shared equally by {count} processes; "
            "give another protocol.batch_size or trainer.devices"
        )
    if sweeping and ranks.uses_ddp(cfg):
        raise ModelRankError(
            "trainer=ddp cannot be swept with -m: each rank would run the whole sweep again. "
            "Either sweep with one job per GPU (trainer=gpu hydra/launcher=joblib or submitit_slurm), "
            "or run the configurations one by one without -m."
        )
    if ranks.uses_ddp(cfg) and "executor" in cfg:
        raise ModelRankError(
            "stage=recommend with trainer=ddp: each process would race by its own clock. Each training of a race is "
            "on one device: give trainer=gpu or cpu; several at a time: executor=ray"
        )
    if ranks.uses_ddp(cfg) and "control_seed" in cfg.stage:
        raise ModelRankError(
            "stage=analyse with trainer=ddp: its trainings are part of extracting features, which one process does. "
            "Give trainer=gpu or cpu"
        )
    if cfg.trainer.get("accelerator") == "gpu":
        import torch

        if not torch.accelerator.is_available():
            raise ModelRankError("trainer.accelerator=gpu, but torch sees no GPU on this machine; use trainer=cpu")


def _refuse_absent_tables(cfg: DictConfig) -> None:
    """Tables of the memory in the cache come with what is measured there; all others must exist."""
    for name in ("measured", "named", "scored"):
        paths = cfg.memory[name]
        if not isinstance(paths, ListConfig):
            raise ModelRankError(f"memory.{name}={paths}: give a list of tables, [{paths or ''}]")
        for path in paths:
            if not Path(path).is_relative_to(cfg.paths.cache) and not resolve(path).is_file():
                raise ModelRankError(f"memory.{name}={paths}: there is no table {resolve(path)}; mend it")
