"""What a callable of a config is, in plain words: part of the content keys of the caches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any


def described(function: Callable[..., Any]) -> dict[str, Any]:
    """JSON-able name and bound arguments of a function, a class, or a partial of one."""
    bound = function.keywords if isinstance(function, partial) else {}
    positional = function.args if isinstance(function, partial) else ()
    inner = function.func if isinstance(function, partial) else function
    name = f"{inner.__module__}.{getattr(inner, '__qualname__', type(inner).__qualname__)}"
    return {"function": name, "arguments": [*_plain(positional), _plain(bound)]}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if callable(value):
        return described(value)
    return [_plain(item) for item in value]
