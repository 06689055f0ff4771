"""Where the trials of a race are done: in this process, one after the other, or by workers of Ray, side by side."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, Self

from modelrank import stopping
from modelrank.recommend.contestant import Found
from modelrank.types import ModelRankError

log = logging.getLogger(__name__)
Advance = Callable[[str, int, Found | None], Found]  # model, rung, results of the rung before -> results


class Ended(NamedTuple):
    """What was found of a model at a rung, or the reason why there is nothing."""

    model: str
    rung: int
    found: Found
    reason: str


class Executor(AbstractContextManager[Any], Protocol):
    """workers: trials that can be under way at a time."""

    workers: int

    def start(self, model: str, rung: int, before: Found | None) -> None:
        """Begin a trial; there must be a worker that is free."""
        ...

    def wait(self) -> Ended:
        """The next trial that comes to its end, of those begun."""
        ...


class InTurn:
    """In this process; a trial is done when it is waited for."""

    workers = 1

    def __init__(self, advance: Advance) -> None:
        self._worker = Worker(advance)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...

    def start(self, model: str, rung: int, before: Found | None) -> None:
        self._begun = model, rung, before

    def wait(self) -> Ended:
        return self._worker.advance(*self._begun)


class OnRay:
    """By workers of Ray: each has one GPU (accelerator: gpu) or one core, and keeps the images that it has decoded.

    All of them see the folder of the race. Where a worker dies, another goes on from the last checkpoint of its
    training; where that one dies too, the model is out.
    """

    def __init__(self, advance: Advance, *, address: str, workers: int | None, accelerator: str) -> None:
        """address: of a running cluster, or local: one of its own. workers: at most so many; None: as many as fit.

        ModelRankError: Ray is not installed.
        """
        try:
            import ray  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise ModelRankError("executor=ray needs Ray: pip install 'modelrank[ray]'") from None
        self._ray, self._advance, self._address, self._most = ray, advance, address, workers
        self._needs = {"num_cpus": 1, "num_gpus": 1 if accelerator == "gpu" else 0}
        self._free: list[Any] = []
        # what will be found -> worker, trial, whether a worker has died of it
        self._running: dict[Any, tuple[Any, tuple[str, int, Found | None], bool]] = {}

    def __enter__(self) -> Self:
        """ModelRankError: Ray does not start, is not where it is looked for, or has nothing to work on."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else it tells its makers
        stop = signal.getsignal(signal.SIGTERM)
        try:
            self._ray.init(address=self._address, include_dashboard=False, log_to_driver=False)
        except Exception as error:  # Ray has no class of its own for these
            raise ModelRankError(f"executor.address={self._address}: no Ray to work with ({error})") from error
        signal.signal(signal.SIGTERM, stop)  # Ray has put its own there, which ends without a word
        kind = "GPU" if self._needs["num_gpus"] else "CPU"
        self.workers = int(self._ray.cluster_resources().get(kind, 0))
        if not self.workers:
            self._ray.shutdown()
            raise ModelRankError(f"executor=ray: Ray has no {kind}; give trainer=cpu, or executor.address of a cluster")
        self.workers = min(self.workers, self._most or self.workers)
        self._given = self._ray.put(self._advance)  # images and all, once
        return self

    def __exit__(self, *error: object) -> None:
        self._ray.shutdown()

    def start(self, model: str, rung: int, before: Found | None) -> None:
        self._begin(self._free.pop() if self._free else self._hired(), (model, rung, before), again=False)

    def wait(self) -> Ended:
        while True:
            (first,), _ = self._ray.wait(list(self._running))
            worker, trial, again = self._running.pop(first)
            try:
                ended = self._ray.get(first)
            except self._ray.exceptions.RayError as error:
                worker, model, rung, lost = self._hired(), *trial[:2], type(error).__name__
                if not again:
                    log.warning("%s: its worker died (%s); another goes on from the last checkpoint", model, lost)
                    self._begin(worker, trial, again=True)
                    continue
                ended = Ended(model, rung, {}, f"two workers died of it ({lost}): does it fit into memory?")
            self._free.append(worker)
            return ended

    def _hired(self) -> Any:
        return self._ray.remote(**self._needs)(Worker).remote(self._given)

    def _begin(self, worker: Any, trial: tuple[str, int, Found | None], *, again: bool) -> None:
        self._running[worker.advance.remote(*trial)] = worker, trial, again


class Worker:
    """Does trials; one bad model must not end the race."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance

    def advance(self, model: str, rung: int, before: Found | None) -> Ended:
        try:
            return Ended(model, rung, self._advance(model, rung, before), "")
        except Exception as error:  # weights that cannot be had, memory that does not do, ...
            stopping.again()
            return Ended(model, rung, {}, str(error) or type(error).__name__)
