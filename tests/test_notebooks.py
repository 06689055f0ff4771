"""Every notebook (a py:percent script) runs from top to bottom."""

import runpy
from pathlib import Path

import jupytext
import matplotlib as mpl
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.py"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path, monkeypatch):
    """Those that train something do it in the command that they show, on a few dozen images: 45 CPU seconds for all."""
    mpl.use("Agg")
    monkeypatch.chdir(path.parent)
    runpy.run_path(str(path))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_opens_in_jupyter(path):
    cells = jupytext.read(path).cells
    assert cells[0].cell_type == "markdown"
    assert cells[0].source.startswith("# ")
    assert sum(cell.cell_type == "code" for cell in cells) > 2
    assert path.name in (path.parent / "README.md").read_text()
