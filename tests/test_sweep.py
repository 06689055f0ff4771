"""The table of a sweep, without its jobs."""

import os
from types import SimpleNamespace

import pandas as pd
import pytest
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import RunMode
from omegaconf import OmegaConf

from modelrank import sweep

CELLS = {"model": "null", "model_id": "001234567890", "images": "1234e5678901", "commit": "0012345", "score": "0.10"}


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A function (number, **cells of its row): ends a job of the sweep in tmp_path."""

    def ended(number: int, **cells: str) -> None:
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "scores.csv").write_text(f"{','.join(cells)}\n{','.join(cells.values())}\n")
        hydra = SimpleNamespace(
            mode=RunMode.MULTIRUN,
            job=SimpleNamespace(num=number),
            runtime=SimpleNamespace(output_dir=str(folder)),
            sweep=SimpleNamespace(dir=str(tmp_path)),
            overrides=SimpleNamespace(task=[f"seed={number}"]),
        )
        monkeypatch.setattr(sweep.HydraConfig, "get", lambda: hydra)
        sweep.CollectRows().on_job_end(OmegaConf.create(), JobReturn(status=JobStatus.COMPLETED))

    return ended


def test_cells_are_as_the_jobs_wrote_them(tmp_path, job):
    for number in range(3):
        job(number, **CELLS)
    job(3, **CELLS, warning="few")
    rows = pd.read_csv(tmp_path / sweep.RESULTS, dtype=str, keep_default_na=False)
    assert rows[list(CELLS)].to_dict("records") == [CELLS] * 4
    assert rows.warning.tolist() == ["", "", "", "few"]
    assert rows.job.tolist() == ["0", "1", "2", "3"]
    numbers = pd.read_csv(tmp_path / sweep.RESULTS)
    assert numbers.score.tolist() == [0.1] * 4
    assert sweep.already_done()


def test_rows_of_an_earlier_sweep_in_the_folder_are_not_taken(tmp_path, job, monkeypatch):
    monkeypatch.setattr(sweep.CollectRows, "started", os.stat(tmp_path).st_mtime + 3600)
    job(0, **CELLS)
    assert not (tmp_path / sweep.RESULTS).exists()
