"""Measure ground truth: one model on one data set by one protocol -> one row with its provenance."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pytorch_lightning.utilities import rank_zero_only

from modelrank import provenance
from modelrank.data.images import ImageData
from modelrank.hub.model import PretrainedModel
from modelrank.keys import key
from modelrank.packages import writable
from modelrank.ranks import of_first
from modelrank.truth import curves, found_boxes
from modelrank.truth.grid import remembered
from modelrank.truth.ledger import add, data_id, model_id, protocol_id
from modelrank.truth.protocol import MakeTrainer, Protocol
from modelrank.types import NotMeasured

log = logging.getLogger(__name__)
EARLIER = ("protocol_hash", "data_fingerprint")  # in rows kept by earlier versions; the ids stand for both


def measure(
    model: PretrainedModel,
    data: ImageData,
    protocol: Protocol,
    *,
    trainer: MakeTrainer,
    cache: Path,
    seed: int = 0,
    anew: bool = True,
) -> dict[str, Any]:
    """The row of `experiments/truth/measured.csv` for this model, data set, protocol and seed, with its `trainings`.

    What was finished before, in this or another process, is read from cache/truth/KEY, KEY being a hash of everything
    that decides the result; a second process that wants the same cell waits for the first.

    trainer: makes a `pytorch_lightning.Trainer` from keyword arguments (device and strategy are its own).
    anew:    False = only what was finished before; NotMeasured where that is nothing.
    ModelRankError: weights that cannot be had, or training that failed at every grid point.
    """
    folder = cell_folder(model, data, protocol, cache=cache, seed=seed)

    def compute() -> dict[str, Any]:
        if not anew:  # not there, or damaged
            raise NotMeasured(f"{model.name} on {data.name}, seed {seed}: not measured before by {protocol.name}")
        return of_first(_row(model, data, protocol, trainer, folder, Path(cache), seed))  # ranks count other seconds

    if not anew and not folder.exists():
        compute()
    folder.mkdir(parents=True, exist_ok=True)
    # Under DDP the ranks are one measurement: rank 0 holds the lock for all.
    with Alone(folder, "is measuring this cell") if _first() else nullcontext():
        row = remembered(folder / "row.json", compute)
    names = {"dataset": data.name, "model": model.name, "protocol": protocol.name}  # of today: they decide nothing
    ids = {"model_id": model_id(model), "data_id": data_id(data), "protocol_id": protocol_id(protocol)}
    return names | {"seed": seed} | ids | {name: value for name, value in row.items() if name not in (*EARLIER, *names)}


def record(row: Mapping[str, Any], folder: Path, *, table: Path) -> dict[str, Any]:
    """Add a measurement to `table`, and its learning curves and found boxes beside it; the row without `trainings`.

    folder: of the measurement, see `cell_folder`.
    """
    flat = {key: value for key, value in row.items() if key != "trainings"}
    if not _first():
        return flat
    add(table, [flat])
    curves.append(table, flat, row.get("trainings", ()))  # absent in what was measured before they were kept
    found_boxes.append(table, flat, found_boxes.kept(folder))
    return flat


def give_back(folder: Path) -> None:
    """The disk space of the networks of a measurement."""
    if _first():
        for checkpoint in folder.glob("*/last.ckpt"):
            checkpoint.unlink(missing_ok=True)


def cell_folder(model: PretrainedModel, data: ImageData, protocol: Protocol, *, cache: Path, seed: int) -> Path:
    """Where the parts of one measurement are kept."""
    cell = key(
        {
            "model": model.identity(seed=seed),
            "data": data.fingerprint,
            "protocol": protocol_id(protocol),
            "seed": seed,
            "metric": data.metric,
            "mirror": data.mirror,
        }
    )
    return Path(cache) / "truth" / cell[:32]


def _row(
    model: PretrainedModel,
    data: ImageData,
    protocol: Protocol,
    trainer: MakeTrainer,
    folder: Path,
    cache: Path,
    seed: int,
) -> dict[str, Any]:
    outcome = protocol(model, data, trainer=trainer, folder=folder, cache=cache, seed=seed)
    return {
        "metric": data.metric,
        "accuracy": round(outcome.accuracy, 6),
        "val_accuracy": round(outcome.val_accuracy, 6),
        "lr": outcome.learning_rate,
        "weight_decay": outcome.weight_decay,
        "seconds": round(outcome.seconds, 1),
        "image_size": outcome.image_size,
        "n_train": outcome.n_train,
        "n_test": len(data.splits["test"]),
        "precision": outcome.precision,
        "command": provenance.command(),
        "commit": provenance.commit(),
        "versions": provenance.versions(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        **{name: round(value, 6) for name, value in outcome.beside.items()},
        "trainings": [
            {**one.point, **{name: getattr(one, name) for name in ("until", "curve", "failed", "seconds", "batch")}}
            for one in outcome.trainings
        ],
    }


def _first() -> bool:
    """Whether this process is the only one, or rank 0 of several (known before they are connected)."""
    return getattr(rank_zero_only, "rank", 0) == 0


class Alone:
    """A lock on a folder, for this process; it says so when it has to wait. what: another process may be doing."""

    def __init__(self, folder: Path, what: str) -> None:
        self.folder, self.what, self.lock = folder, what, FileLock(folder / "lock")

    def __enter__(self) -> None:
        with writable(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self.lock.acquire(timeout=0)
        except Timeout:
            log.warning("another process %s (%s); waiting for it", self.what, self.folder)
            self.lock.acquire()

    def __exit__(self, *error: object) -> None:
        self.lock.release()
