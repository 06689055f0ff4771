"""Named tensors out of weight files of any make: which of a file's parts is the network. Runs no code from a file."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from modelrank.types import ModelRankError

log = logging.getLogger(__name__)

RULES = 2  # of which part of a file is taken; part of the identity of the user's weights
# Where training scripts keep the network, in timm's order: an average over the training before its last state.
CONTAINERS = ("state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict", "resnet")
# What may stand beside tensors: options, numbers and arrays of them, under NumPy's old and new names.
HARMLESS: list[Any] = [argparse.Namespace, np.dtype, np.ndarray, *{type(np.dtype(c)) for c in "?bhilqBHILQefdSU"}]
HARMLESS += [
    (make, f"numpy.{core}.multiarray.{name}")
    for name, make in (("scalar", np.float64(0).__reduce__()[0]), ("_reconstruct", np.zeros(1).__reduce__()[0]))
    for core in ("core", "_core")
]


def read_checkpoint(path: Path, key: str = "") -> dict[str, Tensor]:
    """The named tensors of *.safetensors, or of anything that `torch.load(weights_only=True)` reads.

    key: where in the file the network is, 'model_state_dict' or 'states.model'; "" = the first of CONTAINERS, else the
         only part that maps names to tensors. Where there are several, the log says which was taken.

    ModelRankError for a file that cannot be read, in which nothing or more than one thing may be the network.
    """
    content = _content(path)
    if key:
        return _tensors(_at(content, key, path)) or _refuse(content, f"{path}: hub.key={key} holds no tensors")
    parts = {name: found for name, part in _items(content) if (found := _tensors(part))}
    itself = _tensors(content)
    if (named := next((name for name in CONTAINERS if name in parts), None)) is None:
        if itself and len(itself) > max(map(len, parts.values()), default=0):
            return itself
        if len(parts) > 1:
            raise ModelRankError(f"{path} holds tensors under {', '.join(parts)}; say which with hub.key={min(parts)}")
        named = next(iter(parts), None)
    if named is None:
        return _refuse(content, f"{path} holds no mapping of names to tensors")
    if others := [name for name in parts if name != named]:
        log.info("%s: the weights are those of %r; it also holds %s (hub.key=NAME)", path, named, ", ".join(others))
    return parts[named]


def _content(path: Path) -> Any:
    try:
        if path.suffix.lower() == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file of anything is read as a pickle, which can fail in any way
        # torch's own advice is to run the file's code: withheld
        if foreign := _foreign(path):
            raise ModelRankError(
                f"{path} holds more than tensors: {foreign}, and reading that would run code of the file; save its "
                "state dict alone and use that"
            ) from None
        raise ModelRankError(f"{path} is damaged, or no file of tensors; mend or remove it") from error


def _foreign(path: Path) -> str:
    """The classes and functions that a file names and that are not known to be harmless."""
    with suppress(Exception), torch.serialization.safe_globals(HARMLESS):  # of a damaged file
        names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
        return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    return ""


def _items(content: Any) -> list[tuple[str, Any]]:
    return [(name, part) for name, part in content.items() if isinstance(name, str)] if _maps(content) else []


def _maps(content: Any) -> bool:
    return isinstance(content, Mapping)


def _tensors(content: Any) -> dict[str, Tensor]:
    """What of a mapping is a tensor with a name; as it is where that is all of it: it may carry module versions."""
    if isinstance(content, dict) and all(isinstance(x, Tensor) and isinstance(n, str) for n, x in content.items()):
        return content
    return {name: value for name, value in _items(content) if isinstance(value, Tensor)}


def _at(content: Any, key: str, path: Path) -> Any:
    """`key` as it is, or part by part between its dots."""
    if _maps(content) and key in content:
        return content[key]
    first, _, rest = key.partition(".")
    if rest and _maps(content) and first in content:
        return _at(content[first], rest, path)
    return _refuse(content, f"{path}: hub.key={key}: there is no {key}")


def _refuse(content: Any, sentence: str) -> Any:
    keys = f"its keys are {', '.join(map(str, list(content)[:6]))}" if _maps(content) else "it has no keys"
    raise ModelRankError(f"{sentence}; {keys}. Name the part that is the network with hub.key=NAME")
