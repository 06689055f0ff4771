"""A budget: seconds of this machine, or a share of what fine-tuning every model would cost."""

from __future__ import annotations

import re

from modelrank.types import ModelRankError

UNITS = {"s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(budget: object, everything: float) -> float:
    """`budget`: '20min', '2h', '90s', '1.5h', '1h30m', or a share such as 0.25 of `everything` (seconds).

    ModelRankError for what is neither.
    """
    text = str(budget).strip().lower().replace(" ", "")
    number, unit = r"\d+(?:\.\d*)?|\.\d+", "|".join(sorted(UNITS, key=len, reverse=True))
    if re.fullmatch(rf"(?:(?:{number})(?:{unit}))+", text):
        return sum(float(value) * UNITS[kind] for value, kind in re.findall(rf"({number})({unit})", text))
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ModelRankError(
            f"budget={budget}: give a time (90s, 20min, 2h) or a share of fine-tuning everything (0.25; 1 at most)"
        )
    return share * everything


def spoken(duration: float) -> str:
    """'100 s', '20 min', '1.5 h'."""
    if duration < 300:
        return f"{duration:.0f} s"
    return f"{duration / 60:.0f} min" if duration < 5400 else f"{duration / 3600:.1f} h"
