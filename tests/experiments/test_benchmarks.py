"""Benchmarks run and leave their rows; what they measure is for a quiet machine."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

BENCHMARKS = Path(__file__).parents[2] / "experiments" / "benchmarks"


def quick_run(name, out):
    """The rows of NAME.csv, and the folder with them."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(BENCHMARKS / f"{name}.py"), "--quick", "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((out / f"{name}.json").read_text())["cores"] >= 1
    return pd.read_csv(out / f"{name}.csv")


@pytest.mark.slow
def test_scorers(tmp_path):
    rows = quick_run("scorers", tmp_path)
    assert {"logme", "sfda", "parc", "linear_probe"} <= {what.split()[0] for what in rows.what}
    assert rows.value.ge(0).all()
    formulas = rows[rows.unit == "x its formula in numpy"]
    assert {"logme", "gbc", "ncc", "leep", "hscore", "transrate", "knn"} <= {what.split()[0] for what in formulas.what}
    assert formulas.difference.le(1e-6).all()
    streamed = pd.read_csv(tmp_path / "streaming.csv")
    assert streamed[streamed.what.str.contains("against")].value.le(1e-4).all()
    passes = streamed.passes_alone.dropna()
    assert passes.between(2, 8).all()


@pytest.mark.registry
def test_top(tmp_path):
    (row,) = quick_run("top", tmp_path).to_dict("records")
    assert (row["models"], row["images"], row["passes_all"]) == (2, 320, 640)
    first, second = 2 * 20, 2 * 40  # 1/16 and 1/8 of the images for both, all of them for those that are left
    assert row["passes_top"] in ({first + 320, first + second + 320} if row["dropped"] else {first + second + 640})
    assert row["cpu_seconds_top"] > 0


@pytest.mark.slow
def test_decoders(tmp_path):
    rows = quick_run("decoders", tmp_path).set_index("what")
    assert rows.value.gt(0).all()
    for size in ("500 x 375", "4000 x 3000"):
        assert rows.mean_difference[f"torchvision, resized by Pillow: JPEGs of {size}"] == 0
        assert rows.mean_difference[f"torchvision, resized by torchvision: JPEGs of {size}"] < 0.1
        assert rows.mean_difference[f"Pillow with draft: JPEGs of {size}"] > 0.1  # another scale is decoded
