"""Every notebook (a py:percent script) runs from top to bottom."""

import runpy
from pathlib import Path

import matplotlib as mpl
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.py"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path, monkeypatch):
    mpl.use("Agg")
    monkeypatch.chdir(path.parent)
    runpy.run_path(str(path))
