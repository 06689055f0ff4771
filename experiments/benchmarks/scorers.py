"""What the scorers cost: seconds as ratios to a stated yardstick measured or cited, and memory beyond the features.

    python experiments/benchmarks/scorers.py              # everything in memory, under 6 minutes on 2 quiet cores
    python experiments/benchmarks/scorers.py --disco      # DISCO against its products and in memory alone, 1 minute
    python experiments/benchmarks/scorers.py --stream     # the streaming part alone, 100 000 rows (--rows N)
    python experiments/benchmarks/scorers.py --stream --full     # 1 000 000 x 2048 float16: 4 GB in --folder
    python experiments/benchmarks/scorers.py --quick      # a smoke run of all parts; its numbers mean nothing

Writes disco.csv and scorers.csv (or streaming.csv) and the same name with .json, the machine, into --out. Each
measurement is a process of its own, so that its peak memory is its own. Rows of scorers.csv are CPU seconds of one
thread, which other work hardly changes; seconds of DISCO and of streaming count only on a quiet machine.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, cast

import numpy as np
import torch
from formulas import FORMULAS
from measuring import alone, cpu_in_turn, cpu_timed, machine, row, save, status, timed

import modelrank
from modelrank.features.file import FeatureFile
from modelrank.root import CONF
from modelrank.scorers.contract import facts_of
from modelrank.types import FeatureSet

# Of scorers whose formula takes more than some lines of numpy (formulas.py has the others): their authors' code on one
# thread at N = 10 000, D = 1024, C = 100, seconds, on another machine.
REFERENCE = {"disco": 36.5, "sfda": 4.9, "nleep": 47.0, "parc": 32.0, "pactran_gaussian": 10.0, "ped": 5.7, "ncti": 0.5}
# Scorers of one group share a process and their moments, so its peak is a bound for each of them.
STREAMED = (("disco", "ncc"), ("gbc",), ("logme", "hscore", "hscore_shrinkage", "transrate", "sfda"))
MAPPED = {"MALLOC_MMAP_THRESHOLD_": str(1 << 16)}  # environment of a process whose memory is measured
LEFT_OUT = {"static_order", "imagenet_accuracy", "parameters", "etran_regression"}  # no features; needs boxes


def problem(n: int, d: int, classes: int, seed: int = 0) -> FeatureSet:
    """Rectified, correlated features whose classes overlap, as penultimate features are; logits of 1000 classes."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randperm(n, generator=draw) % classes
    mixing = torch.randn(64, d, generator=draw) / 8
    centres = torch.randn(classes, 64, generator=draw)
    x = torch.empty(n, d)
    for part in torch.arange(n).split(10_000):
        latent = centres[labels[part]] + 1.5 * torch.randn(len(part), 64, generator=draw)
        x[part] = torch.addmm(torch.randn(len(part), d, generator=draw), latent, mixing, beta=0.3).relu_()
    logits = torch.randn(classes, 1000, generator=draw)[labels] + torch.randn(n, 1000, generator=draw)
    facts = {"parameters": 1e6, "imagenet_accuracy": 0.7, "mean_rank_elsewhere": 2.0}
    return FeatureSet(x, labels, logits=logits, general=x[:1000].flip(1).contiguous(), facts=facts)


def scorers() -> dict[str, Callable[..., Any]]:
    """Every single scorer of conf/scorer that is for classification and looks at images."""
    from hydra import compose, initialize_config_dir

    from modelrank import build

    with initialize_config_dir(str(CONF), version_base="1.3"):
        every = build.scorers(compose("config", ["scorer=all"]))
    return {n: s for n, s in every.items() if "classes" in facts_of(s).reads and n not in LEFT_OUT}


def beyond_features(n: int, d: int, classes: int) -> int:
    """Most resident bytes while disco runs, above those before it: the kernel's own high-water mark, set back first.

    To be run with MAPPED, so that every array above 64 kB is mapped anew and given back: else a warm process hides what
    it needs in memory that it had before. Thread pools, the buffers that BLAS keeps for ever and small objects are
    there after a first run, and so not counted. Linux and glibc only.
    """
    data, disco = problem(n, d, classes), scorers()["disco"]
    disco(replace(data, memo={}))
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    start = status("VmRSS")
    disco(replace(data, memo={}))
    return status("VmHWM") - start


def disco_against_products(n: int, d: int, classes: int) -> list[float]:
    """Median seconds of `modelrank.score("disco", ...)`, of the four products N x D x 138 of a randomised PCA, and of
    the floor: these and what else no DISCO can leave out, one eigendecomposition 138 x 138 of D x 138 numbers in
    float64, the turning of N x 138 numbers, and the softmax of N x classes logits in each of eight groups; of the floor
    and the two orthonormal bases of the published decomposition, by QR of D x 138 and Cholesky of N x 138 numbers."""
    data = problem(n, d, classes)
    thin, tall, turn = torch.randn(d, 138), torch.randn(n, 138), torch.randn(138, 128)
    groups, means = torch.randn(8, n, 16), torch.randn(8, 16, classes)

    def products() -> None:
        for _ in range(2):
            data.features @ thin
            data.features.T @ tall

    def floor() -> None:
        products()
        exact = thin.double()
        torch.linalg.eigh(exact.T @ exact)
        tall @ turn
        for rows in torch.arange(n).split(max(1, (1 << 18) // (8 * classes))):
            torch.log_softmax(groups[:, rows] @ means, 2)

    def bases() -> None:
        floor()
        torch.linalg.qr(thin)
        exact = tall.double()
        torch.linalg.cholesky(exact.T @ exact)

    return in_turn(lambda: modelrank.score("disco", data.features, data.targets), products, floor, bases)


def in_turn(*functions: Callable[[], Any], repeats: int = 7) -> list[float]:
    """Median seconds of each, side by side, so that all see the same machine; the first of each is not counted."""
    rounds = [[timed(function) for function in functions] for _ in range(repeats + 1)]
    return [median(seconds) for seconds in zip(*rounds[1:], strict=True)]


def against_formulas(n: int, d: int, classes: int, repeats: int) -> dict[str, tuple[float, float, float]]:
    """By scorer: least CPU seconds of it and of its formula in plain numpy, in turn; the relative difference of the
    two scores. All in float64."""
    data, found = problem(n, d, classes), {}
    assert data.logits is not None
    x, y, z = data.features.double().numpy(), data.targets.numpy(), data.logits.double().numpy()
    for name, formula in FORMULAS.items():
        scores: dict[str, float] = {}

        def ours(name: str = name, scores: dict[str, float] = scores) -> None:
            scores["ours"] = modelrank.score(name, x, y, logits=z).value

        def plain(formula: Callable[..., float] = formula, scores: dict[str, float] = scores) -> None:
            scores["plain"] = formula(x, y, z)

        seconds = cpu_in_turn(ours, plain, repeats)
        apart = abs(scores["ours"] / scores["plain"] - 1)
        assert apart < 1e-6, f"{name}: it differs from its formula by {apart:.1e} of the score"
        found[name] = (*seconds, apart)
    return found


def disco_alone(n: int, d: int, classes: int) -> float:
    data, disco = problem(n, d, classes), scorers()["disco"]
    disco(problem(500, d, 5))  # libraries loaded
    return timed(lambda: disco(data))


def one_by_one(n: int, d: int, classes: int) -> dict[str, float]:
    """CPU seconds of each scorer alone."""
    data, seconds = problem(n, d, classes), {}
    for name, scorer in scorers().items():
        data.memo.clear()
        seconds[name] = cpu_timed(lambda scorer=scorer: scorer(data))
    return seconds


def one_pass(n: int, d: int, classes: int) -> float:
    """CPU seconds of the whole set on one feature set, whose memo they share."""
    data, every = problem(n, d, classes), scorers()
    return cpu_timed(lambda: [scorer(data) for scorer in every.values()])


def on_gpu(n: int, d: int, classes: int) -> dict[str, tuple[float, float]]:
    data = problem(n, d, classes)
    arrays = ("features", "targets", "logits", "general")
    there = FeatureSet(**{array: getattr(data, array).cuda() for array in arrays}, facts=data.facts)
    found = {}
    for name, scorer in scorers().items():
        seconds = []
        for one in (data, there):
            one.memo.clear()
            scorer(one)
            one.memo.clear()
            seconds.append(scorer(one).seconds)  # a scorer waits for the device before it stops its watch
        found[name] = (seconds[0], seconds[1])
    return found


def write_features(path: Path, n: int, d: int, classes: int, seed: int = 0) -> np.ndarray:
    """An n x d float16 .npy, written by blocks; the labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, n)
    mixing, centres = random.normal(size=(64, d)).astype("f4") / 8, random.normal(size=(classes, 64)).astype("f4")
    file = np.lib.format.open_memmap(path, "w+", "<f2", (n, d))
    for start in range(0, n, 10_000):
        part = slice(start, min(start + 10_000, n))
        latent = centres[labels[part]] + 1.5 * random.standard_normal((part.stop - start, 64), dtype="f4")
        noise = 0.3 * random.standard_normal((part.stop - start, d), dtype="f4")
        file[part] = np.maximum(latent @ mixing + noise, 0)
        file.flush()
    return labels


def stream(names: Sequence[str], path: str, labels: np.ndarray) -> tuple[list[float], list[float], int]:
    """Values and seconds of scorers, one after the other on one file, and the peak resident bytes of the process (the
    interpreter and its libraries included). Not `ru_maxrss`, which a process inherits from the one that started it."""
    data = FeatureSet(cast(torch.Tensor, FeatureFile(path)), torch.from_numpy(labels))
    every = scorers()
    found = [every[name](data) for name in names]
    return [score.value for score in found], [score.seconds for score in found], status("VmHWM")


def passes(names: Sequence[str], path: str, labels: np.ndarray) -> list[float]:
    """For each scorer how many times each row is read, the check for NaN included."""
    read, count = FeatureFile.__getitem__, 0

    def counted(self: FeatureFile, rows: slice | torch.Tensor) -> torch.Tensor:
        nonlocal count
        found = read(self, rows)
        count += len(found)
        return found

    FeatureFile.__getitem__ = counted
    totals = [0]
    for name in names:
        modelrank.score(name, path, labels)
        totals.append(count)
    return (np.diff(totals) / len(labels)).tolist()


def in_memory(names: Sequence[str], path: str, labels: np.ndarray) -> list[float]:
    return [modelrank.score(name, np.load(path), labels).value for name in names]


SMALL = (600, 64, 5)  # sizes of a quick run


def measure_disco(quick: bool) -> list[dict[str, Any]]:
    rows, large = [], SMALL if quick else (10_000, 2048, 100)
    for n, d, classes in (large, SMALL if quick else (1_000, 1280, 100)):
        for threads in (2, 1):
            own, products, floor, bases = alone(disco_against_products, threads, n, d, classes)
            label, bar = f"disco N={n} D={d} C={classes}, threads: {threads}", 1.5 if threads == 2 else None
            rows.append(row(label, own / products, bar, "x four products", seconds=own, yardstick=products))
            rows.append(row(label, own / floor, None, "x these, eigh, softmax", seconds=own, yardstick=floor))
            rows.append(row(label, own / bases, None, "x these, two bases", seconds=own, yardstick=bases))
    beyond = alone(beyond_features, 2, *large, **MAPPED)
    label = "disco N={} D={} C={}, 2 threads: memory beyond the features".format(*large)
    rows.append(row(label, beyond / (large[0] * 4), 200, "x N float32", bytes=beyond))
    n, d, classes = SMALL if quick else (50_000, 2048, 397)
    seconds = alone(disco_alone, 2, n, d, classes)
    beyond = alone(beyond_features, 2, n, d, classes, **MAPPED)
    rows.append(row(f"disco N={n} D={d} C={classes}, 2 threads", seconds, 6.0, "s", seconds=seconds))
    rows.append(row(f"disco N={n} D={d} C={classes}: memory", beyond / 1e9, 1.0, "GB beyond features", bytes=beyond))
    return rows


def measure_in_memory(quick: bool) -> list[dict[str, Any]]:
    rows = []
    n, d, classes = SMALL if quick else (10_000, 1024, 100)
    for name, (own, yardstick, apart) in alone(against_formulas, 1, n, d, classes, 1 if quick else 2).items():
        label = f"{name} N={n} D={d} C={classes}, 1 thread, float64"
        facts = {"seconds": own, "yardstick": yardstick, "difference": apart}
        rows.append(row(label, own / yardstick, 1.0, "x its formula in numpy", **facts))
    singles = alone(one_by_one, 1, n, d, classes)
    for name, seconds in singles.items():
        label, reference = f"{name} N={n} D={d} C={classes}, 1 thread", REFERENCE.get(name)
        if reference is None:
            unit = "s (its formula: above)" if name in FORMULAS else "s (no reference)"
            rows.append(row(label, seconds, None, unit, seconds=seconds))
        else:
            rows.append(row(label, seconds / reference, 1.0, f"x reference {reference:g} s", seconds=seconds))
    together = alone(one_pass, 1, n, d, classes)
    slowest = sorted(singles, key=singles.__getitem__)[-3:]
    three = sum(singles[name] for name in slowest)
    label = f"all {len(singles)} on one feature set"
    rows.append(row(label, together / three, 1.5, f"x {' + '.join(slowest)}", seconds=together, yardstick=three))
    if torch.cuda.is_available():
        for name, (cpu, gpu) in alone(on_gpu, 2, n, d, classes).items():
            rows.append(row(f"{name}: CUDA against CPU with 2 threads", gpu / cpu, None, "x", seconds=gpu))
    return rows


def measure_streaming(
    n: int, d: int, classes: int, folder: Path, compare: bool, groups: Sequence[Sequence[str]] = STREAMED
) -> list[dict[str, Any]]:
    """compare: also in memory, for the same value; leave it out where the array does not fit."""
    rows = []
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path, sample = Path(temporary, "features.npy"), Path(temporary, "sample.npy")
        labels = write_features(path, n, d, classes)
        few = min(n, max(5 * d // 2, 1000))
        np.save(sample, np.load(path, mmap_mode="r")[:few])
        for names in groups:
            times = alone(passes, 2, names, str(sample), labels[:few])
            whole = alone(in_memory, 2, names, str(path), labels) if compare else []
            values, seconds, most = alone(stream, 2, names, str(path), labels)
            for i, name in enumerate(names):
                facts = {"together_with": " ".join(names), "seconds": seconds[i], "passes_alone": times[i]}
                facts |= {"score": values[i]}
                rows.append(row(f"{name} from a file of {n} x {d}: peak resident", most / 1e9, 1.5, "GB", **facts))
                if compare:
                    rows.append(row(f"{name}: against in memory", abs(values[i] / whole[i] - 1), 1e-4, "relative"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, both parts")
    parser.add_argument("--disco", action="store_true", help="of the part in memory DISCO alone")
    parser.add_argument("--stream", action="store_true", help="the streaming part instead of the one in memory")
    parser.add_argument("--full", action="store_true", help="streaming: 1 000 000 rows, not compared with in memory")
    parser.add_argument("--rows", type=int, default=100_000, help="streaming: rows of 2048 columns")
    parser.add_argument("--folder", type=Path, default=None, help="where the streamed file is made (it is removed)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    facts, results = machine(), {}
    if given.quick or not given.stream:
        results["disco"] = measure_disco(given.quick)
        if not given.disco:
            results["scorers"] = measure_in_memory(given.quick)
    if given.quick:
        results["streaming"] = measure_streaming(3000, 64, 10, given.folder, compare=True, groups=[("disco", "ncc")])
    elif given.stream:
        n = 1_000_000 if given.full else given.rows
        results["streaming"] = measure_streaming(n, 2048, 100, given.folder, compare=not given.full)
    for name, rows in results.items():
        save(name, given.out, facts, rows)


if __name__ == "__main__":
    main()
