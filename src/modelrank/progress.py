"""How far long work is, on the error stream: a bar on a terminal, elsewhere a plain line every few seconds."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm

Item = TypeVar("Item")

QUIET = 2.0  # seconds without a bar: shorter work shows nothing
EVERY = 5.0  # seconds between two lines at the least; in long work a tenth of the time that has passed
BARS: list[tqdm] = []  # that are open, the innermost last: all in one line, which is that one's


class Progress:
    """Counts what is done of `total` (None: unknown); to be used by `with`, or closed.

    done: of an earlier run, no part of the rate. scaled: large counts in thousands and millions (bytes).
    """

    def __init__(
        self, title: str, total: int | None = None, unit: str = "", *, done: int = 0, scaled: bool = False
    ) -> None:
        from tqdm import tqdm

        self.title, self.total, self.unit, self.scaled = title, total, unit, scaled
        self.done = self.before = done
        self.began = time.monotonic()
        self.next_line = self.began + EVERY
        self.bar = None
        self.quiet = logging.getLogger("modelrank").level >= logging.WARNING  # as verbosity=quiet sets it
        if sys.stderr.isatty() and not self.quiet:
            for outer in BARS:
                outer.clear()
            form = {"unit": f" {unit}", "unit_scale": scaled, "dynamic_ncols": True, "position": 0}
            self.bar = tqdm(desc=title, total=total, initial=done, delay=QUIET, leave=False, **form)
            BARS.append(self.bar)

    def update(self, more: int = 1) -> None:
        self.done += more
        now = time.monotonic()
        if self.bar is not None:
            self.bar.update(more)
        elif now >= self.next_line and not self.quiet:
            self.next_line = now + max(EVERY, (now - self.began) / 10)
            print(self._line(now - self.began), file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            BARS[:] = [bar for bar in BARS if bar is not self.bar]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _line(self, seconds: float) -> str:
        of = "" if self.total is None else f" of {self._number(self.total)}"
        rate = (self.done - self.before) / seconds
        line = f"{self.title}: {self._number(self.done)}{of} {self.unit}"
        if not rate:
            return line
        line += f", {self._number(rate)}/s"
        if self.total is None:
            return line
        minutes, left = divmod(round((self.total - self.done) / rate), 60)
        return f"{line}, {minutes} min {left} s left" if minutes else f"{line}, {left} s left"

    def _number(self, value: float) -> str:
        if self.scaled:
            from tqdm import tqdm

            return tqdm.format_sizeof(value)
        return f"{value:.0f}" if value == round(value) or value >= 10 else f"{value:.2g}"


def progress(items: Iterable[Item], title: str, total: int | None = None, unit: str = "") -> Iterator[Item]:
    """The items, one after the other, counted as they are asked for."""
    with Progress(title, total, unit) as shown:
        for item in items:
            yield item
            shown.update()


def spoken(duration: float) -> str:
    """Of seconds: '100 s', '20 min', '1.5 h'."""
    if duration < 300:
        return f"{duration:.0f} s"
    return f"{duration / 60:.0f} min" if duration < 5400 else f"{duration / 3600:.1f} h"
