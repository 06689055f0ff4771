"""Content keys: what a result was made of, as plain data, and the hash that it is found by.

Every cache and every measured row of the project goes by `key`. Two things that can differ must not have one key, so
`plain` refuses what it cannot take apart rather than leave it out.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import numbers
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from modelrank.types import ModelRankError

if TYPE_CHECKING:
    from torch import Tensor

ID_DIGITS = 12  # of a key, where rows are identified by it


def key(content: object) -> str:
    """SHA-256 of the plain form, 64 hex digits: it depends on every value in it, not on the order of mappings."""
    return hashlib.sha256(json.dumps(plain(content), sort_keys=True, allow_nan=False).encode()).hexdigest()


def short(content: object) -> str:
    """The first 12 hex digits of `key`: the ids of models, images and protocols in tables."""
    return key(content)[:ID_DIGITS]


def digest(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits; reads all of it, about a second per GB."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, dtypes, shapes and bytes of tensors on the CPU, in the order of names (that of a safetensors
    file is its own affair); about 1 GB/s."""
    import torch

    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def declared(of: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a function, or fields of a dataclass: where it declares floats, whole numbers are floats. 100 and
    100.0 are one setting there, True is another."""
    if dataclasses.is_dataclass(of):
        types: Mapping[str, Any] = {field.name: field.type for field in dataclasses.fields(of)}
    else:
        types = getattr(of.__init__ if isinstance(of, type) else of, "__annotations__", {})
    words = {name: set(re.findall(r"\w+", str(kind))) for name, kind in types.items()}
    return {
        name: _floats(value) if words.get(name, set()) & {"float", "int"} == {"float"} else value
        for name, value in given.items()
    }


def _floats(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _floats(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_floats(item) for item in value]
    return float(value) if isinstance(value, numbers.Integral) and not isinstance(value, bool) else value


def plain(value: object, where: str = "") -> Any:
    """`value` as JSON-able data: None, bool, int, float, str, lists, dicts with text as keys.

    A dataclass becomes its class and its fields, a function or class its full name, a partial also its arguments; a
    bound method the name and its object; numbers as `declared`. What a function does is not part of it, only its name.
    ModelRankError for anything else (an instance, a lambda, a function inside a function, NaN); `where` begins its
    message.
    """
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real) and math.isfinite(value):
        return float(value)
    if isinstance(value, Mapping):
        if odd := [name for name in value if not isinstance(name, str)]:
            raise _no_key(odd[0], f"{where}: a name in a mapping")
        return {name: plain(item, f"{where}.{name}") for name, item in value.items()}
    if isinstance(value, partial):
        arguments = [*(plain(item, where) for item in value.args), plain(declared(value.func, value.keywords), where)]
        called = plain(value.func, where)
        whole = called.get("function") if called.get("arguments") == [{}] else called
        return {"function": whole, "arguments": arguments}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {"class": _name(type(value), where), **plain(declared(type(value), fields), where)}
    if isinstance(value, MethodType):
        return {"function": _name(value.__func__, where), "arguments": [plain(value.__self__, where), {}]}
    bound = getattr(value, "__self__", None)  # of a built-in: its module, its class, or an object, which has a content
    if isinstance(value, type | FunctionType) or (
        isinstance(value, BuiltinFunctionType) and isinstance(bound, ModuleType | type | None)
    ):
        return {"function": _name(value, where), "arguments": [{}]}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    raise _no_key(value, where)


def _name(value: Any, where: str) -> str:
    name = f"{value.__module__}.{value.__qualname__}"
    if "<" in name:  # <lambda>, <locals>: the same name for different code, and variables from around it
        raise _no_key(value, where)
    return name


def _no_key(value: object, where: str) -> ModelRankError:
    place = f"{where.lstrip('.')}: " if where.strip(".") else ""
    return ModelRankError(
        f"{place}{value!r} ({type(value).__name__}) has no content key, so its results could be taken for those of "
        "something else; use plain data, a dataclass, a function or class of a module, or functools.partial of one"
    )
