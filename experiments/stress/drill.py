"""Runs that are killed, stopped, or share a cache: what comes out must be what an undisturbed run gives.

    python experiments/stress/drill.py KILL 200 > experiments/stress/kill.csv   # SIGKILL at random moments
    python experiments/stress/drill.py TERM 24     # or INT: exit code, traceback, CPU seconds until it is gone
    python experiments/stress/drill.py TOGETHER 8  # so many processes, one cold cache

A chain is one command on a cold cache, ended again and again at a random moment of the time that it takes, and then
left to finish. Each line tells of one try: stage, chain, seconds after which it was ended (empty: it finished), exit
code, and what was wrong (empty: nothing). A killed `recommend` is asked, on a copy of what it left, for its answer with
a budget of a second: pick, its value on val (empty: nothing was trained yet), its expected accuracy; the last line of a
chain has those of the finished run. Small encoders and 300 images of two folders; every try is a fork of one process
that has everything imported, so a try costs one to three CPU seconds. STRESS_SECONDS ends the drill (default: 3600);
STRESS_STAGES=recommend drills that alone; STRESS_WITHIN=0.6 ends each try within its first .6 seconds, while the
configuration is put together.
"""

import csv
import json
import os
import random
import runpy
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

import modelrank.stages.finetune  # what a run imports, once for all tries
import modelrank.stages.recommend  # noqa: F401

ROOT = Path(__file__).parents[2]
COMMON = [
    "hub=self_supervised_offline",
    *("~models.densenet_rotation_fashion_mnist", "~models.mobilenet_rotation_cifar10", "~models.resnet8_random"),
    *("~models.resnet8_supervised_fashion_mnist", "~models.vgg6_barlow_twins_cifar10", "~models.vgg6_byol_cifar10"),
    "~models.vgg6_moco_fashion_mnist",  # resnet8_simclr_cifar10 and vgg6_supervised_cifar10 are left
    "hub.image_size=32",
    "truth=none",
    "stability=null",
    "dataset=folder",
    "scorer=[disco,knn,logme]",
    "extraction.workers=1",
    "extraction.batch_size=16",
    "protocol.steps=12",
    "protocol.checkpoint_every=3",
    "protocol.batch_size=16",
]
STAGES = {  # command; the table to compare; its columns
    "extract": (["stage=extract", "protocol=finetune_small"], "features.csv", ["model", "n", "d", "status"]),
    "score": (["stage=score", "protocol=finetune_small"], "scores.csv", ["model", "scorer", "score", "status"]),
    "finetune": (
        ["stage=finetune", "protocol=finetune_small"],
        "truth.csv",
        ["model", "accuracy", "val_accuracy", "lr", "status"],
    ),
    "recommend": (
        ["stage=recommend", "protocol.image_size=32", "protocol.racing.rung=4", "budget=2h", "sure=1.0"],
        "recommend.csv",
        ["model", "val", "lr", "steps"],
    ),
}
ANSWER = ("pick", "val", "expected")


def images(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for kind in range(2):
        (folder / f"class{kind}").mkdir(parents=True)
        for number in range(150):
            wave = np.sin(np.arange(40)[:, None] / (2 + kind)) * np.cos(np.arange(48) / (3 - kind))
            pixels = np.clip(127 + 15 * wave[..., None] + rng.normal(0, 40, (40, 48, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"class{kind}" / f"{number:03}.png")
    return folder


class Try:
    """One run of the command in a fork."""

    def __init__(self, stage: str, root: Path, cache: Path, out: Path, *further: str) -> None:
        self.out, self.log = out, out.with_suffix(".log")
        given = [f"dataset.root={root}", f"paths.cache={cache}", "logger=none"]
        overrides = [*COMMON, *STAGES[stage][0], *given, *further]
        self.began = time.monotonic()
        self.process = os.fork()
        if self.process == 0:
            self._run([*overrides, f"hydra.run.dir={out}"])

    def _run(self, overrides: list[str]) -> None:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with open(self.log, "w") as said:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
        sys.argv, code = ["run.py", *overrides], 0
        try:
            runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 1
            if isinstance(leaving.code, str):
                print(leaving.code)
        except BaseException:
            import traceback

            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def wait(self, seconds: float | None = None) -> int | None:
        """Exit code (negative: the signal), None while it runs after so many seconds."""
        until = None if seconds is None else time.monotonic() + seconds
        while until is None or time.monotonic() < until:
            ended, status, self.used = os.wait4(self.process, 0 if until is None else os.WNOHANG)
            if ended:
                self.seconds = time.monotonic() - self.began
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        return None

    def cpu(self) -> float:
        fields = Path(f"/proc/{self.process}/stat").read_text().rsplit(")")[-1].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def said(self, word: str) -> bool:
        return word in self.log.read_text()


def found(stage: str, out: Path) -> pd.DataFrame:
    _, name, columns = STAGES[stage]
    keys = [column for column in ("model", "scorer") if column in columns]
    return pd.read_csv(out / name)[columns].sort_values(keys, ignore_index=True)


def answered(out: Path) -> dict[str, object]:
    """pick, val, expected, and what else is said of the network that was left; empty where nothing is recommended."""
    path = out / "recommendation.json"
    if not path.exists():
        return {}
    told, rows = json.loads(path.read_text()), pd.read_csv(out / "recommend.csv").set_index("model")
    said = {name: told.get(name) for name in ("low", "high", "at_end", "certainty", "test", "ties")}
    return {"pick": told["pick"], "val": float(rows.val[told["pick"]]), "expected": told["expected"], **said}


def differs(run: Try, stage: str, reference: Try) -> str:
    """From what an undisturbed run gave."""
    try:
        pd.testing.assert_frame_equal(found(stage, run.out), found(stage, reference.out), rtol=1e-12)
        pd.testing.assert_frame_equal(*(pd.DataFrame([answered(one.out)]) for one in (run, reference)), rtol=1e-12)
    except (AssertionError, OSError) as error:
        return f"another result: {' '.join(str(error).split())[:200]}"
    return ""


def asked(root: Path, cache: Path, out: Path) -> tuple[dict[str, object], str]:
    """What a race that was killed answers when it is asked at once, and what is wrong with that."""
    copy = cache.with_name(f"{cache.name}-copy")
    shutil.copytree(cache, copy) if cache.exists() else copy.mkdir()
    run = Try("recommend", root, copy, out, "budget=1s")
    code = run.wait()
    shutil.rmtree(copy)
    told = answered(out)
    return told, "" if code == 0 and told.get("pick") else f"no pick: exit code {code}"


def main() -> None:
    kind, count = sys.argv[1], int(sys.argv[2])
    deadline = time.monotonic() + float(os.environ.get("STRESS_SECONDS", "3600"))
    within = float(os.environ.get("STRESS_WITHIN", "inf"))
    random.seed(int(os.environ.get("STRESS_SEED", "0")))
    folder = Path(tempfile.mkdtemp(prefix="stress-"))
    root = images(folder / "images")
    table = csv.writer(sys.stdout)
    table.writerow(["drill", "stage", "chain", "ended_after", "code", "cpu_seconds", "wrong", *ANSWER])

    def tell(*cells: object, answer: dict[str, object] | None = None) -> None:
        table.writerow([kind, *cells, *((answer or {}).get(name, "") for name in ANSWER)])
        sys.stdout.flush()

    stages = os.environ.get("STRESS_STAGES", ",".join(STAGES)).split(",")
    references = {}
    for stage in stages:
        references[stage] = run = Try(stage, root, folder / f"cache-{stage}", folder / f"reference-{stage}")
        assert (code := run.wait()) == 0, (code, run.log.read_text()[-2000:])
    done = chain = 0
    if kind == "TOGETHER":
        for stage in stages:
            cache = folder / f"together-{stage}"
            runs = [Try(stage, root, cache, folder / f"together-{stage}-{number}") for number in range(count)]
            for run in runs:
                code = run.wait()
                wrong = differs(run, stage, references[stage]) or ("a traceback" if run.said("Traceback") else "")
                tell(stage, 0, "", code, "", wrong, answer=answered(run.out))
        return
    sign = getattr(signal, f"SIG{kind}")
    while done < count and time.monotonic() < deadline:
        stage = stages[chain % len(stages)]
        cache, chain, tries = folder / f"chain{chain}", chain + 1, 0
        while done < count and tries < 8:
            # a stop is of the process or, as a terminal does it, of all its processes
            everyone = bool(random.getrandbits(1))
            logger = "logger=wandb" if kind != "KILL" and tries == 0 else "logger=none"
            run = Try(stage, root, cache, folder / f"chain{chain}-{tries}", logger)
            after = random.uniform(0.05, min(references[stage].seconds, within))
            if run.wait(after) is not None:
                break
            before = run.cpu()
            (os.killpg if everyone and kind != "KILL" else os.kill)(run.process, sign)
            code = run.wait()
            used = run.used.ru_utime + run.used.ru_stime - before
            wrong, answer = "", answered(run.out)
            if kind != "KILL" and (code not in (128 + sign, 0) or used > 5 or run.said("Traceback")):
                wrong = f"exit code {code}, {used:.1f} s, {'with' if run.said('Traceback') else 'no'} traceback"
            elif code == 0:  # it came too late: all must be there
                wrong = differs(run, stage, references[stage])
            elif stage == "recommend" and kind == "KILL":
                answer, wrong = asked(root, cache, folder / f"chain{chain}-{tries}-asked")
            tell(stage, chain, f"{after:.2f}", code, f"{used:.2f}", wrong, answer=answer)
            done, tries = done + 1, tries + 1
        run = Try(stage, root, cache, folder / f"chain{chain}-end")
        code = run.wait()
        wrong = differs(run, stage, references[stage]) or ("a traceback" if run.said("Traceback") else "")
        tell(stage, chain, "", code, "", wrong, answer=answered(run.out))


if __name__ == "__main__":
    main()
