"""What the benchmarks share: a process of its own for each measurement, rows with bars, the machine in words."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
import torch

from modelrank.provenance import commit, versions


def status(entry: str) -> int:
    """Bytes, of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(entry + ":"))


def timed(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def alone(job: Callable[..., Any], threads: int, *arguments: Any, **environment: str) -> Any:
    """`job(*arguments)` in a fresh process with so many threads."""
    own = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), **environment}
    with patch.dict(os.environ, own), ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_prepared, job, threads, arguments).result()


def _prepared(job: Callable[..., Any], threads: int, arguments: tuple) -> Any:
    torch.set_num_threads(threads)
    multiprocessing.set_start_method("fork", force=True)  # else its loaders spawn their workers, at 5 s each
    warnings.simplefilter("ignore")
    return job(*arguments)


def row(
    what: str, value: float, bar: float | None, unit: str, *, at_least: bool = False, **more: Any
) -> dict[str, Any]:
    """at_least: the bar is the least that the value should have, else the most."""
    line = {"what": what, "value": round(value, 4), "bar": bar, "unit": unit, **more}
    good = bar is None or (value >= bar if at_least else value <= bar)
    met = "" if bar is None else "  ok" if good else "  NOT MET"
    print(f"{what:58s} {value:10.3f} {unit:28s}{f'bar {bar:g}' if bar is not None else '':10s}{met}", flush=True)
    return line


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gb": round(resource.getpagesize() * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load_before": os.getloadavg()[0],
        "system": platform.platform(),
        "versions": versions(),
        "commit": commit(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def cpu_seconds() -> float:
    """Of this process and of the ended ones that it has started: other work on the machine hardly changes them."""
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


def cpu_timed(function: Callable[[], Any]) -> float:
    start = cpu_seconds()
    function()
    return cpu_seconds() - start


def cpu_in_turn(ours: Callable[[], Any], yardstick: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Least CPU seconds of both, side by side; the first of each is not counted. Other work on the machine takes caches
    away, which only ever adds seconds."""
    ours()
    yardstick()
    pairs = [(cpu_timed(ours), cpu_timed(yardstick)) for _ in range(repeats)]
    return min(a for a, _ in pairs), min(b for _, b in pairs)


def save(name: str, out: Path, facts: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """NAME.csv, and NAME.json with the machine."""
    out.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(out / f"{name}.csv", index=False)
    (out / f"{name}.json").write_text(json.dumps(facts, indent=2) + "\n")


def command(name: str, title: str | None, measure: Callable[[bool, int], list[dict[str, Any]]]) -> None:
    """The command line of a benchmark: `measure(quick, threads)` gives the rows, which are saved as `save` does."""
    parser = argparse.ArgumentParser(description=title, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    facts, start = machine() | {"threads": given.threads}, time.perf_counter()
    rows = measure(given.quick, given.threads)
    save(name, given.out, facts | {"wall_seconds": round(time.perf_counter() - start)}, rows)
