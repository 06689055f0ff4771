"""All tables in CSV files: names stay as they are written, and rows that do not fit their header are refused."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd


def read_text(path: str | Path) -> pd.DataFrame:
    """Every cell as it is written, an empty one as "".

    ValueError: empty, no text, or lines of more fields than the header; OSError: it cannot be opened.
    """
    return _read(path, dtype=str, keep_default_na=False)


def read_csv(path: str | Path, *, text: Collection[str] = ()) -> pd.DataFrame:
    """Columns of numbers as numbers; those of anything else, and `text`, as they are written: null and NA are names.

    Missing are empty cells, in columns of numbers also nan, NA and the like. Errors as for `read_text`.
    """
    table, written = _read(path), _read(path, dtype=str, keep_default_na=False, na_values=[""])
    words = [name for name in table if name in text or not pd.api.types.is_numeric_dtype(table[name])]
    return table.assign(**{str(name): written[name] for name in words})


def _read(path: str | Path, **options: Any) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            return pd.read_csv(path, index_col=False, **options)
        except pd.errors.ParserWarning:
            raise ValueError("lines have more fields than the header; write numbers as 0.9, not 0,9") from None
        except pd.errors.ParserError as error:
            raise ValueError(" ".join(str(error).split())) from error
