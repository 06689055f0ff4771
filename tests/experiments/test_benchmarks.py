"""The benchmark of the scorers runs and leaves its rows; what it measures is for a quiet machine."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "benchmarks" / "scorers.py"


@pytest.mark.slow
def test_quick_run(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), "--quick", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    rows = pd.read_csv(tmp_path / "scorers.csv")
    assert {"logme", "sfda", "parc", "linear_probe"} <= {what.split()[0] for what in rows.what}
    assert rows.value.ge(0).all()
    streamed = pd.read_csv(tmp_path / "streaming.csv")
    assert streamed[streamed.what.str.contains("against")].value.le(1e-4).all()
    passes = streamed.passes_alone.dropna()
    assert passes.between(2, 8).all()
    assert json.loads((tmp_path / "scorers.json").read_text())["cores"] >= 1
