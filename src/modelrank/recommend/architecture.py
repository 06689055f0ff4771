"""Networks of fine-tuned models by name: written beside the weights, and built again without running what a file names.

A file that says what to call is an invitation. Only networks of timm, torchvision and this package are built, by their
registered names, from plain arguments, and never with weights of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import timm
import torchvision.models
from torch import nn

from modelrank.hub import architectures, encoders, huggingface_models, pvt
from modelrank.keys import plain
from modelrank.types import ModelRankError

OURS: dict[str, Callable[..., nn.Module]] = {
    f"{made.__module__}.{made.__qualname__}": made
    for made in (
        architectures.mobilenet_v2_trunk,
        architectures.resnet50_trunk,
        architectures.vgg16_trunk,
        architectures.resnet50_thin,
        encoders.ResNet8,
        encoders.VGG6,
        encoders.MobileNet,
        encoders.DenseNet,
        pvt.PyramidVisionTransformer,
        huggingface_models.network,
    )
}
# arguments that would make a builder fetch or read something
FETCHING = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "weights")
FETCHING += ("weights_backbone",)


def described(architecture: Callable[[], nn.Module]) -> dict[str, Any]:
    """JSON-able: {'library': 'timm' | 'torchvision' | 'modelrank', 'name': ..., 'arguments': {...}}, or {'library':
    'other', ...} for a network of the user's own, which `built` must be given."""
    arguments: dict[str, Any] = {}
    positional: list[Any] = []
    function: Any = architecture
    while isinstance(function, partial):
        arguments = {**function.keywords, **arguments}
        positional = [*function.args, *positional]
        function = function.func
    name = f"{function.__module__}.{getattr(function, '__qualname__', type(function).__name__)}"
    if function is timm.create_model or function is torchvision.models.get_model:
        library = "timm" if function is timm.create_model else "torchvision"
        key = "model_name" if library == "timm" else "name"
        name = positional.pop(0) if positional else arguments.pop(key)
    elif function.__module__.startswith("torchvision.models.") and _of_torchvision(function.__name__) is function:
        library, name = "torchvision", function.__name__
    else:
        library = "modelrank" if name in OURS else "other"
    if positional:
        library = "other"  # arguments without a name cannot be written down by name
    try:
        return {"library": library, "name": name, "arguments": plain(arguments)}
    except ModelRankError:
        return {"library": "other", "name": name, "arguments": {}}


def built(description: Mapping[str, Any], own: Callable[[], nn.Module] | None = None) -> nn.Module:
    """The untrained network; `own` builds it where it is of none of the libraries.

    ModelRankError for a name that the library does not have, or arguments that it does not take.
    """
    if own is not None:
        return own()
    try:
        library, name, arguments = description["library"], description["name"], dict(description["arguments"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelRankError(
            f"the architecture is described by {description!r}; it needs library, name, arguments"
        ) from (error)
    if odd := sorted(set(arguments) & set(FETCHING)):
        raise ModelRankError(f"the architecture {name} is given {', '.join(odd)}: it would fetch or read something")
    name, make = str(name), None
    if library == "timm" and timm.is_model(name.partition(".")[0]) and ":" not in name and "/" not in name:
        make = partial(timm.create_model, name)
    elif library == "torchvision":
        make = _of_torchvision(name)
    elif library == "modelrank":
        make = OURS.get(name)
    if make is None:
        raise ModelRankError(
            f"{name} is no network of timm, torchvision or modelrank, and what a file names is not run; "
            "give the function that builds it: modelrank.load(folder, architecture=...)"
        )
    try:
        return make(**arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ModelRankError(f"{library} cannot build {name} with {arguments}: {error}") from error


def recipe(description: Mapping[str, Any], whole: bool, outputs: int) -> str:
    """Python lines that load the weights without this package, '' where that takes its own code.

    whole: whether the head is the library's own classifier, see `winner.assembled`.
    """
    arguments = {name: value for name, value in description["arguments"].items() if name != "num_classes"}
    given = "".join(f", {name}={value!r}" for name, value in arguments.items())
    make = {"timm": "timm.create_model", "torchvision": "torchvision.models.get_model"}.get(description["library"])
    if not whole or make is None:
        return ""
    return (
        f"import {make.partition('.')[0]}\n"
        "from safetensors.torch import load_file\n"
        f"model = {make}({description['name']!r}, num_classes={outputs}{given})\n"
        'model.load_state_dict(load_file("model.safetensors"))\n'
        "model.eval()\n"
    )


def _of_torchvision(name: str) -> Callable[..., nn.Module] | None:
    return torchvision.models.get_model_builder(name) if name in torchvision.models.list_models() else None
