"""How the cost of each scorer grows: CPU seconds and bytes by N, D and C, at three sizes or more each, extrapolated.

    python experiments/benchmarks/growth.py             # about 8 CPU minutes; writes growth.csv and growth.json
    python experiments/benchmarks/growth.py --quick     # a smoke run; its numbers mean nothing
    python experiments/benchmarks/growth.py --plan      # from growth.csv: the tables of experiments/scale.md

One thread. CPU seconds are the least of three runs, bytes the most resident beyond the features while a scorer runs.
"""

from __future__ import annotations

import gc
import heapq
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measuring import alone, command, cpu_timed, status

from scorers import MAPPED, problem, scorers

NAMES = ("disco", "logme", "hscore", "sfda", "gbc", "transrate", "ncc", "parc", "ncti", "nleep", "knn", "linear_probe")
BASE = {"N": 2000, "D": 256, "C": 40}
SIZES = {"N": (1000, 2000, 4000, 8000), "D": (128, 256, 512), "C": (10, 40, 160)}
CHECK = {"N": 16_000, "D": 512, "C": 80}  # not fitted: what the fit says is compared with it
FULL = {"N": 1_000_000, "D": 2048, "C": 1000}
MODELS = 1000
# Assumed, not measured: images a second of one GPU at 224 px in bf16, pipeline included, for networks of three sizes,
# and the share of a hub of each.
ASSUMED = {"small": (4000, 0.4), "medium": (1500, 0.4), "large": (400, 0.2)}


def grown(name: str, sizes: list[dict[str, int]]) -> list[tuple[float, int]]:
    """CPU seconds and bytes of one scorer at each size, in a process of its own."""
    scorer, found = scorers()[name], []
    scorer(problem(300, 32, 3))
    for size in sizes:
        data = problem(size["N"], size["D"], size["C"])
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")
        start = status("VmRSS")
        seconds = min(cpu_timed(lambda data=data: scorer(replace(data, memo={}))) for _ in range(3))
        found.append((seconds, status("VmHWM") - start))
    return found


def measure(quick: bool, threads: int) -> list[dict[str, Any]]:
    shrink = 10 if quick else 1
    sizes = [{**BASE, axis: size} for axis, several in SIZES.items() for size in several]
    sizes = [dict(size) for size in dict.fromkeys(tuple(size.items()) for size in [*sizes, CHECK])]
    sizes = [{**size, "N": size["N"] // shrink, "C": max(2, size["C"] // shrink)} for size in sizes]
    rows = []
    for name in NAMES[:2] if quick else NAMES:
        asked = [size for size in sizes if name not in ("nleep", "linear_probe") or size["N"] <= CHECK["N"] // 4]
        for size, (seconds, most) in zip(asked, alone(grown, threads, name, asked, **MAPPED), strict=True):
            rows.append({"scorer": name, **size, "cpu_seconds": round(seconds, 5), "bytes": most})
            print(*rows[-1].values(), flush=True)
    return rows


def exponents(rows: pd.DataFrame, what: str) -> dict[str, float]:
    """The power of each size by which `what` grows, from the two largest of its sizes, the others at BASE."""
    found = {}
    for axis in SIZES:
        others = [one for one in SIZES if one != axis]
        line = rows[(rows[others] == [BASE[one] for one in others]).all(axis=1)].sort_values(axis)[-2:]
        found[axis] = float(np.diff(np.log(line[what].clip(lower=1e-9)))[0] / np.diff(np.log(line[axis]))[0])
    return found


def extrapolated(rows: pd.DataFrame, what: str, size: dict[str, int]) -> float:
    base = rows[(rows[list(BASE)] == list(BASE.values())).all(axis=1)][what].iloc[0]
    return float(base * np.prod([(size[a] / BASE[a]) ** max(0.0, power) for a, power in exponents(rows, what).items()]))


def finished(seconds: np.ndarray, workers: int, lost: float, random: np.random.Generator) -> float:
    """Seconds until all jobs are done, the longest first, where a share of the tries is lost and begun again."""
    free = [0.0] * workers
    for job in np.sort(seconds)[::-1]:
        start = heapq.heappop(free)
        tries = random.geometric(1 - lost)
        heapq.heappush(free, start + job * (random.random(tries - 1).sum() + 1))
    return max(free)


def plan(table: Path) -> None:
    """Print what scale.md holds."""
    rows, random = pd.read_csv(table), np.random.default_rng(0)
    print(
        "| scorer | base, s | N | D | C | check: fit over measured | bytes at base | N | 1 M x 2048 x 1000, one core |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for name, mine in rows.groupby("scorer", sort=False):
        power, memory = exponents(mine, "cpu_seconds"), exponents(mine, "bytes")
        base = mine[(mine[list(BASE)] == list(BASE.values())).all(axis=1)].iloc[0]
        check = mine[(mine[list(CHECK)] == list(CHECK.values())).all(axis=1)].cpu_seconds
        ratio = f"{extrapolated(mine, 'cpu_seconds', CHECK) / check.iloc[0]:.2f}" if len(check) else ""
        hours = extrapolated(mine, "cpu_seconds", FULL) / 3600
        cells = [f"{base.cpu_seconds:.3f}", *(f"{p:.2f}" for p in power.values()), ratio, f"{base.bytes / 1e6:.0f} MB"]
        print(f"| {name} | {' | '.join(cells)} | {memory['N']:.2f} | {hours:.2g} h |")
    speeds, shares = zip(*ASSUMED.values(), strict=True)
    jobs = FULL["N"] / random.choice(speeds, MODELS, p=shares)
    print(
        "\n| GPUs | features, sum over GPUs | longest first, none lost | 5 % of the tries lost |\n|---:|---:|---:|---:|"
    )
    for workers in (1, 8, 64):
        times = [jobs.sum() / workers, *(finished(jobs, workers, lost, random) for lost in (0.0, 0.05))]
        print(f"| {workers} | {' | '.join(f'{seconds / 3600:.1f} h' for seconds in times)} |")
    print(f"\nfeatures: {MODELS * FULL['N'] * FULL['D'] * 2 / 1e12:.1f} TB as float16")


if __name__ == "__main__":
    if "--plan" in sys.argv:
        plan(Path(__file__).with_name("growth.csv"))
    else:
        command("growth", __doc__, measure)
