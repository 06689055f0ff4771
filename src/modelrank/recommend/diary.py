"""What a race has done so far, in one JSON file: a killed race goes on from it, and its time is not forgotten."""

from __future__ import annotations

import json
import logging
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from modelrank.packages import writable

log = logging.getLogger(__name__)

DAMAGED = "%s is damaged: it is made again"


@dataclass(frozen=True)
class Trial:
    """One model trained up to one rung.

    found: position of the learning rate -> {'value': on val} or {'failed': reason}; value, lr: of the best, None where
    all failed. seconds: of the clock of `machine`. reason: why the model is out of the race, or empty.
    """

    model: str
    rung: int
    steps: int
    found: Mapping[int, Mapping[str, Any]]
    value: float | None
    lr: float | None
    seconds: float
    reason: str = ""
    machine: str = field(default_factory=platform.node)


class Diary:
    """The trials, and the seconds spent in `working`: by this run, by earlier ones, by what was killed in the middle. A
    run that finds all done spends nothing."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """folder: of the race; its newest file tells how long a killed trial had worked."""
        self.folder, self.path, self.clock = folder, folder / "race.json", clock
        self.trials: list[Trial] = []
        self.spent = 0.0
        if kept := read(self.path):
            try:
                trials = [Trial(**{**one, "found": _numbered(one["found"])}) for one in kept["trials"]]
                spent, since = kept["spent"], kept["working_since"]
                self.spent = spent + self._killed(since)
            except (KeyError, TypeError, ValueError, AttributeError):
                log.warning(DAMAGED, self.path)
                return
            self.trials = trials
            if since is not None:  # counted once; what this run writes is no work of that one
                self._write(None)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Around what costs time (a probe, features, a trial): what is killed in it is counted by the next run."""
        began = self.clock()
        self._write(time.time())
        try:
            yield
        finally:
            self.spent += self.clock() - began
            self._write(None)

    def add(self, trial: Trial) -> None:
        self.trials.append(trial)
        self._write(None)

    def _killed(self, since: float | None) -> float:
        if since is None:
            return 0.0
        # The lock is not counted: some versions of filelock write it anew when this run takes it.
        written = [path for path in self.folder.rglob("*") if path.is_file() and path.name != "lock"]
        newest = max((path.stat().st_mtime for path in written), default=since)
        return max(0.0, newest - since)

    def _write(self, since: float | None) -> None:
        content = {"spent": self.spent, "working_since": since, "trials": [asdict(one) for one in self.trials]}
        write(self.path, content)


def read(path: Path) -> dict[str, Any]:
    """What `write` left; empty where there is nothing, or a file that was cut (trainings are kept elsewhere)."""
    if not path.exists():
        return {}
    with suppress(ValueError):
        if isinstance(kept := json.loads(path.read_text()), dict):
            return kept
    log.warning(DAMAGED, path)
    return {}


def write(path: Path, content: Mapping[str, Any]) -> None:
    """By renaming: a kill leaves no half a file. ModelRankError: the disk is full or read-only."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with writable(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(content))
        temporary.replace(path)


def _numbered(found: Mapping[str, Any]) -> dict[int, Any]:
    return {int(index): result for index, result in found.items()}
