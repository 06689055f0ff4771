"""Values of the configuration that only their use would stumble over: numbers, and texts given for lists."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

from modelrank.types import ModelRankError


def check_number(
    key: str,
    value: object,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    whole: bool = False,
    null: bool = False,
) -> None:
    """ModelRankError unless the value of `key` is a number, `whole` or any, within its limits; or None where `null`."""
    if value is None and null:
        return
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not (least <= number <= most and number > above) or (whole and not isinstance(value, Integral)):
        limits = [f"{word} {limit:g}" for word, limit in (("at least", least), ("above", above), ("at most", most))]
        wanted = " and ".join(limit for limit in limits if "inf" not in limit)
        raise ModelRankError(
            f"{key}={value}: give a {'whole ' * whole}number{f' {wanted}' * bool(wanted)}"
            + (", not text" if isinstance(value, str) else "")
            + (", or null" if null else "")
        )


def numbers(key: str, value: Any, **limits: Any) -> list[Any]:
    """The numbers of a list, at least one; a number alone is a list of one. Limits as for `check_number`."""
    listed = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    if not listed:
        raise ModelRankError(f"{key}=[]: give one number or more")
    for one in listed:
        check_number(key, one, **limits)
    return listed


def texts(value: Any) -> Any:
    """A text that was given for a list of texts is a list of one."""
    return [value] if isinstance(value, str) else value
