"""Every entry of the reference file is reached through `modelrank.score` by its own name and bracketed parameters."""

import re

import pytest
from tests.scorers.golden import BOXES, CASES, EXPECTED, arrays

import modelrank

REGRESSION = {"logme_regression": "logme", "etran_regression": "etran_regression"}  # on the boxes
SIGN = {"pactran_dirichlet": -1, "pactran_gamma": -1, "pactran_gaussian": -1}  # lower is better in the source
LOOSE = {"disco": 2e-5, "pactran_gaussian": 5e-3, "nleep": 1e-4, "ped": 3e-4, "parc": 0.02}  # ped, parc: their tests
ENTRIES = [
    (case, entry)
    for case in (CASES[0], BOXES)
    for entry, fields in EXPECTED[case].items()
    if fields.get("float64", {}).get("value") is not None  # ncti has three parts instead
]


def parsed(entry: str) -> tuple[str, dict]:
    """`gbc[diagonal,components=64]` -> ("gbc", {"gaussian_type": "diagonal", "components": 64})."""
    name, bracket = re.fullmatch(r"(\w+)(?:\[(.*)\])?", entry).groups()
    parameters = {}
    for item in (bracket or "").split(",") if bracket else []:
        key, _, text = item.rpartition("=")
        parameters[key or "gaussian_type"] = (
            float(text) if key == "lda_factor" else int(text) if text.isdigit() else text
        )
    return name, parameters


@pytest.mark.parametrize(("case", "entry"), ENTRIES, ids=str)
def test_reachable_by_its_name(case, entry):
    name, parameters = parsed(entry)
    read = arrays(case)
    arguments = {"task": "regression"} if name in REGRESSION else {}
    found = modelrank.score(
        REGRESSION.get(name, name),
        read["X"].astype(float),
        read["boxes" if name in REGRESSION else "y"],
        logits=read["logits"].astype(float),
        general=read["general_X"].astype(float),
        **arguments,
        **parameters,
    )
    value = found.value * SIGN.get(name, 1) * (100 if name == "knn" else 1)  # a fraction here, percent there
    assert value == pytest.approx(EXPECTED[case][entry]["float64"]["value"], rel=LOOSE.get(name, 1e-6))
