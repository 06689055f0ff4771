"""Ctrl-C, SIGTERM, a SLURM job at its end: a run keeps the rows it has, ends its tracked run, is gone within seconds.

The first signal is a KeyboardInterrupt in the main thread, whatever it does there, so that everything on the way out
is closed; Lightning makes a SystemExit of it. A second one ends the process at once.

In a job of submitit the signal is its own: it comes before the time is over or the job is preempted, and submitit's
handler asks SLURM for the job again, or raises an error, which would be taken for the fault of one model (`given_up`).
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, MethodType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

ONCE = 1.0  # seconds: a terminal, `timeout` and schedulers may send one stop to the process and to its group


class _Stop:
    """The first signal and the time it came; of the process that began to heed.

    begun: whether there is anything to be closed; while the configuration is put together there is not, and Hydra and
    OmegaConf take an exception there for one of theirs.
    """

    def __init__(self, *, begun: bool) -> None:
        self.begun = begun
        self.process, self.number, self.came = os.getpid(), 0, 0.0
        self.theirs: dict[int, Callable[[int, FrameType | None], object]] = {}  # handlers to be called first
        self.given_up: Exception | None = None  # what they raised
        self.ending = False  # Python has begun to end, or is about to: nothing is left to be stopped
        hook = sys.unraisablehook
        self.otherwise = getattr(hook.__self__, "otherwise", hook) if isinstance(hook, MethodType) else hook

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process:  # a forked loader worker, which has inherited this: its parent does the rest
            os._exit(128 + number)
        if not self.begun:
            os._exit(128 + number)
        if self.number:
            if time.monotonic() - self.came > ONCE:
                os._exit(128 + self.number)
            return
        self.number, self.came = number, time.monotonic()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would report the workers' end as an error of its own
        for worker in multiprocessing.active_children():
            if worker.daemon:  # of a loader; left alone it finishes its batch first
                worker.terminate()
        if number in self.theirs:
            try:
                self.theirs[number](number, frame)
            except Exception as error:
                self.given_up = error
            except SystemExit:
                pass
        raise KeyboardInterrupt

    def ignored(self, what: UnraisableHookArgs) -> None:
        """Where Python has no way to pass an exception on (in a finaliser, around a fork) it would end here: again."""
        if not (self.number and issubclass(what.exc_type, KeyboardInterrupt)):
            self.otherwise(what)
            return
        if not self.ending:
            signal.setitimer(signal.ITIMER_REAL, 0.01)

    def still(self) -> None:
        """An alarm that comes when Python has begun to end would end the process by itself, with its own exit code."""
        self.ending = True
        signal.setitimer(signal.ITIMER_REAL, 0)


_stop = _Stop(begun=True)


def heed(*, begun: bool) -> None:
    """From here on; where somebody else handles Ctrl-C or SIGTERM (a scheduler's plugin, `nohup`), they go on to.

    begun: False where a command begins and there is nothing to be closed: a stop then ends the process at once, and one
    that an earlier command of this process had is forgotten. Afterwards a stop that has come stays asked for.
    """
    global _stop
    if threading.current_thread() is not threading.main_thread():
        return
    before, _stop = _stop, _Stop(begun=begun)
    if begun and before.process == _stop.process:
        _stop.number, _stop.came = before.number, before.came
    sys.unraisablehook = _stop.ignored
    signal.signal(signal.SIGALRM, signal.default_int_handler)  # now: Lightning puts back what was there before it ran
    atexit.register(_stop.still)
    for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) == default or isinstance(signal.getsignal(number), _Stop):
            signal.signal(number, _stop)
    if "SUBMITIT_EXECUTOR" in os.environ:
        number = signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]
        handler = signal.getsignal(number)
        handler = handler.theirs.get(number) if isinstance(handler, _Stop) else handler
        if callable(handler):
            _stop.theirs[number] = handler
            signal.signal(number, _stop)


def again() -> None:
    """KeyboardInterrupt where a stop was asked for: in the steps of long work, since a library may have swallowed the
    first, and where an error is about to be taken for the fault of one model.

    A worker that was ended, or a library that passes the interrupt on as another error, is then what is behind it.
    """
    if asked():
        raise KeyboardInterrupt


def asked() -> bool:
    """Whether a signal to stop has come."""
    return bool(_stop.number)


def given_up() -> Exception | None:
    """Why a job of submitit, stopped, is not begun again. It has to end by an error: its launcher waits for a result,
    and of a job that has none it says no more than that, leaving all others."""
    return _stop.given_up


def leave() -> NoReturn:
    """Exit as shells say it of a stopped command: 130 after Ctrl-C, 143 after SIGTERM."""
    _stop.still()
    raise SystemExit(128 + (_stop.number or signal.SIGINT))
