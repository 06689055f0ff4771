"""How the cost of scoring grows by the number of models: CPU seconds and bytes of the command on files of embeddings.

    python experiments/benchmarks/models.py             # about 10 CPU minutes; writes models.csv and models.json
    python experiments/benchmarks/models.py --quick     # a smoke run; its numbers mean nothing

Files of 300 x 64 numbers, so that what is measured is what a model costs beside its own arithmetic (that is growth.py).
The last row is one sweep over ten data sets, whose rows are all in one results.csv.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measuring import alone, command

ROOT = Path(__file__).resolve().parents[2]
ROWS, COLUMNS, CLASSES = 300, 64, 10
MODELS, SETS = (100, 300, 1000), 10


def embeddings(folder: Path, models: int) -> None:
    """Classes that the models tell apart more or less well."""
    folder.mkdir()
    random = np.random.default_rng(0)
    targets = np.arange(ROWS) % CLASSES
    means = random.normal(size=(CLASSES, COLUMNS))
    for number in range(models):
        noise = random.normal(size=(ROWS, COLUMNS)) * (1 + 4 * number / models)
        np.save(folder / f"model_{number:04d}.npy", (means[targets] + noise).astype(np.float32))
    np.save(folder / "targets.npy", targets)


def scored(overrides: list[str], table: Path) -> tuple[float, int, int]:
    """CPU seconds and most resident bytes of the command, and the rows in `table`."""
    settings = ["stage=score", "hub=files", "dataset=targets", "scorer=disco", "stability=null", "logger=none"]
    subprocess.run([sys.executable, ROOT / "run.py", *overrides, *settings], check=True, cwd=ROOT, capture_output=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, len(pd.read_csv(table))


def measure(quick: bool, threads: int) -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        most = MODELS[-1] // (20 if quick else 1)
        for models in [*(number // (20 if quick else 1) for number in MODELS[:-1]), most]:
            folder, run = root / str(models), root / f"run{models}"
            embeddings(folder, models)
            one = [f"hub.folder={folder}", f"hydra.run.dir={run}"]
            found = alone(scored, threads, one, run / "scores.csv")
            rows.append(dict(zip(("models", "sets", "cpu_seconds", "bytes", "rows"), (models, 1, *found), strict=True)))
            print(*rows[-1].values(), flush=True)
        for number in range(SETS):  # the same files under ten names: ten data sets
            (root / f"set{number}").symlink_to(root / str(most))
        sweep = root / "sweep"
        every = ",".join(str(root / f"set{number}") for number in range(SETS))
        ten = ["-m", f"hub.folder={every}", f"hydra.sweep.dir={sweep}"]
        found = alone(scored, threads, ten, sweep / "results.csv")
        rows.append(dict(zip(rows[0], (most, SETS, *found), strict=True)))
        print(*rows[-1].values(), flush=True)
    return rows


if __name__ == "__main__":
    command("models", __doc__, measure)
