"""Reference values of public implementations on seeded inputs (tests/golden; each entry names its source)."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import torch

from modelrank.types import FeatureSet

FOLDER = Path(__file__).parents[1] / "golden"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
CASES = sorted(EXPECTED)
BOXES = "c5_boxes01_500x128"
DIGITS = "c4_digits_1797x64_C10"


@cache
def arrays(case: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{case}.npz") as file:
        return {key: file[key] for key in file.files}


def features(case: str, dtype=torch.float64, **changes) -> FeatureSet:
    """The case as a fresh FeatureSet: own memo, floating arrays in `dtype`."""
    read = arrays(case)

    def tensor(key):
        return torch.from_numpy(read[key]).to(dtype) if key in read else None

    fields = {
        "features": tensor("X"),
        "targets": torch.from_numpy(read["y"]),
        "logits": tensor("logits"),
        "general": tensor("general_X"),
        "boxes": tensor("boxes"),
    }
    return FeatureSet(**{**fields, **changes})


def expected(case: str, entry: str) -> dict:
    """The fields of an entry computed from float64 input."""
    return EXPECTED[case][entry]["float64"]
