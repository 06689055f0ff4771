"""The command on two small networks and 136 digits, in a process of its own."""

import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).parents[1] / "run.py"
LEFT_OUT = ("mobilenet_v2", "mobilenet_v2_b", "mobilenet_v2_random", "efficientnet_lite1", "efficientnet_lite2")
SMALL = [
    "hub=offline_small",
    *(f"~models.{name}" for name in LEFT_OUT),  # squeezenet1_1 and efficientnet_lite0 are left
    "dataset=digits",
    "dataset.subsample={train: 64, val: 31, test: 41}",
    "hub.image_size=32",
    "truth=none",
]


def command(*overrides: str) -> list[str]:
    flags = [word for word in overrides if word.startswith("-")]  # Hydra takes them before the overrides only
    words = [word for word in overrides if not word.startswith("-")]  # the last of two settings of one key counts
    return [sys.executable, str(RUN), *flags, *SMALL, *words]


def finished(*overrides: str, script: Path = RUN) -> str:
    words = command(*overrides)
    words[1] = str(script)
    done = subprocess.run(words, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
