"""The options of a job of a sweep, as its row of results.csv has them: `scorer=disco seed=1`."""

from __future__ import annotations

import re


def options(overrides: str) -> list[str]:
    """One by one. A value may hold spaces: an option begins where a key does."""
    return re.split(r" (?=~|\+{0,2}[\w./@:-]+=)", overrides)
