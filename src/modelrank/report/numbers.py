"""How numbers are printed, on the terminal and in pages."""

from __future__ import annotations

import math
import re


def number(value: float, digits: int = 2) -> str:
    """A cell: a dash where there is no value."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def significant(value: float) -> str:
    """A score: scorers differ in scale by orders of magnitude, so four significant digits."""
    return "-" if math.isnan(value) else f"{value:#.4g}".rstrip(".")


def brief(value: float) -> str:
    """Two digits, without the 0 before the point where that is all there is."""
    return re.sub(r"^(-?)0\.", r"\1.", f"{value:.2f}")


def in_points(difference: float) -> str:
    """0.01 is `1 point`."""
    return f"{100 * difference:g} point{'s' * (difference != 0.01)}"


def interval(low: float, high: float, digits: int = 2) -> str:
    return "" if math.isnan(low) or math.isnan(high) else f"[{low:.{digits}f}, {high:.{digits}f}]"
