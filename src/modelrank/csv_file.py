"""A CSV that a user wrote: rows that do not fit their header are refused, not shifted or cut."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pandas as pd


def read_csv(path: str | Path, **options: Any) -> pd.DataFrame:
    """As `pandas.read_csv`, but never with the first column as an index.

    ValueError: empty, no text, or lines of more fields than the header; OSError: it cannot be opened.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            return pd.read_csv(path, index_col=False, **options)
        except pd.errors.ParserWarning:
            raise ValueError("lines have more fields than the header; write numbers as 0.9, not 0,9") from None
        except ValueError as error:
            raise ValueError(" ".join(str(error).split())) from error
