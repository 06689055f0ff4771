"""Classification networks of torchvision with its published weights."""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torchvision.models
from filelock import FileLock
from torch import nn

from modelrank.hub.model import PretrainedModel
from modelrank.hub.preprocessing import Preprocessing
from modelrank.hub.state_dicts import read_checkpoint
from modelrank.keys import digest
from modelrank.packages import impatient
from modelrank.types import Availability, MissingAsset, ModelRankError

# As the published weights want them; the auxiliary heads, which only training uses, stay out.
WITHOUT_AUXILIARY = {"transform_input": True, "aux_logits": False, "init_weights": False}
OPTIONS = {"googlenet": WITHOUT_AUXILIARY, "inception_v3": WITHOUT_AUXILIARY}
log = logging.getLogger(__name__)

AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(\d)")  # its files have norm.1, today's module norm1
KINDS = {torchvision.models: "classification", torchvision.models.detection: "detection"}
LICENCE = "BSD-3-Clause (torchvision); no other terms are stated for the weights"


def pretrained(
    name: str,
    weights: str = "DEFAULT",
    folder: str | None = None,
    preprocessing: Preprocessing | None = None,
    id: str | None = None,
) -> PretrainedModel:
    """One model of torchvision.

    name: of the model; weights: of the entry in its weights enum; id: its name in our results (default: `name`).
    folder: where the user's own copy of the weight file may lie.
    preprocessing: None for torchvision's own.
    """
    entry = weights_entry(name, weights, torchvision.models)
    family = torchvision.models.get_model_builder(name).__module__.rpartition(".")[2]
    published = _published_preprocessing(entry)
    options: dict[str, Any] = dict(OPTIONS.get(name, {}))
    if family == "vision_transformer" and published.size != 224:  # its positions are those of one size
        options["image_size"] = published.size
    return PretrainedModel(
        name=id or name,
        architecture=partial(torchvision.models.get_model, name, **options),
        weights=TorchvisionWeights(entry.url, folder),
        family=family,
        pretraining=f"ImageNet-1k classification ({entry.name})",
        licence=LICENCE,
        preprocessing=preprocessing or published,
        imagenet_accuracy=round(entry.meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100, 5),
    )


def _published_preprocessing(entry: torchvision.models.WeightsEnum) -> Preprocessing:
    rule = entry.transforms()
    (size,), (resize,) = rule.crop_size, rule.resize_size
    return Preprocessing(size, resize, rule.interpolation.value, rule.mean, rule.std)


def hub(names: Sequence[str], folder: str | None = None) -> dict[str, PretrainedModel]:
    """`hub=torchvision 'hub.names=[resnet18, resnet50.IMAGENET1K_V2, vit_*]'`: globs allowed, default weights unless
    named after a dot."""
    return named(names, torchvision.models, partial(pretrained, folder=folder), example="resnet18,vit_*")


def weights_entry(name: str, weights: str, module: ModuleType) -> torchvision.models.WeightsEnum:
    """The entry of a model of this module of torchvision; ModelRankError that lists the right names."""
    known = torchvision.models.list_models(module=module)
    if name not in known:
        raise ModelRankError(f"torchvision has no {KINDS[module]} model {name!r}; it has {', '.join(known)}")
    options = torchvision.models.get_model_weights(name)
    if weights not in options.__members__:
        raise ModelRankError(
            f"torchvision has no weights {weights!r} for {name}; it has {', '.join(options.__members__)}"
        )
    return options[weights]


def named(
    names: Sequence[str], module: ModuleType, make: Callable[..., PretrainedModel], *, example: str
) -> dict[str, PretrainedModel]:
    """`make(name, weights, id=...)` for each of NAME, NAME.WEIGHTS and globs; ModelRankError where there are none."""
    known = torchvision.models.list_models(module=module)
    found: dict[str, PretrainedModel] = {}
    for given in [names] if isinstance(names, str) else names:
        pattern, _, weights = given.partition(".")
        for name in [one for one in known if fnmatchcase(one, pattern)] or [pattern]:
            model = f"{name}.{weights}" if weights else name
            try:
                found[model] = make(name, weights or "DEFAULT", id=model)
            except ModelRankError as error:
                if name == pattern:
                    raise
                log.warning("%s is left out: %s", model, error)  # one of several that a glob brought
    if not found:
        raise ModelRankError(f"hub.names is empty: name models of torchvision, for example 'hub.names=[{example}]'")
    return found


@dataclass(frozen=True)
class TorchvisionWeights:
    """A weight file of torchvision: the user's own in `folder`, else in torch hub's cache, else downloaded there.

    The file's name ends in the first digits of its SHA-256, which are checked whichever way it came.
    """

    url: str
    folder: str | None = None

    def availability(self, cache: Path, name: str) -> Availability:
        if path := self._present():
            return Availability("weights", name, "present", str(path))
        return Availability("weights", name, "fetchable", f"torchvision's download {self.url}")

    def identity(self) -> dict[str, Any]:
        return {"torchvision": Path(self.url).name}

    def load_into(self, model: nn.Module, cache: Path) -> None:
        """MissingAsset when the file is neither here nor to be had, ModelRankError when it is not the published one."""
        path = self._present() or self._fetched()
        if not (found := digest(path)).startswith(self._hash):
            raise ModelRankError(f"{path}: its sha256 is {found}, published is {self._hash}...; remove or replace it")
        state = read_checkpoint(path)
        renamed = OrderedDict(
            (DENSENET.sub(r"\1\2", name), value) for name, value in state.items() if not name.startswith(AUXILIARY)
        )
        if hasattr(state, "_metadata"):  # the versions of the modules: MNASNet and batch normalisation ask for them
            renamed._metadata = state._metadata  # type: ignore[attr-defined]  torch sets it on a plain dict
        try:
            model.load_state_dict(renamed)
        except (RuntimeError, ValueError) as error:
            raise ModelRankError(
                f"{path} does not fit the architecture: {' '.join(str(error).split())[:300]}"
            ) from error

    @property
    def _hash(self) -> str:
        found = re.search(r"-([a-f0-9]{8,})\.", self.url)
        return found[1] if found else ""

    def _own(self) -> Path | None:
        return Path(str(self.folder)).expanduser() / Path(self.url).name if self.folder else None

    def _downloaded(self) -> Path:
        return Path(torch.hub.get_dir()) / "checkpoints" / Path(self.url).name

    def _present(self) -> Path | None:
        return next((path for path in (self._own(), self._downloaded()) if path is not None and path.is_file()), None)

    def _fetched(self) -> Path:
        target = self._downloaded()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(target.with_name(f".{target.name}.lock")), impatient():
                if not target.is_file():
                    torch.hub.download_url_to_file(self.url, str(target), hash_prefix=self._hash)
        except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong hash a RuntimeError
            raise MissingAsset(
                f"cannot download {self.url} ({error}); put the file by hand at {self._own() or target}"
            ) from error
        return target
