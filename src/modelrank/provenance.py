"""Where a number comes from: the command, the commit and the versions that made it."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

from modelrank.root import CLONE

PACKAGES = ("modelrank", "torch", "torchvision", "timm", "pytorch-lightning", "numpy")


@cache
def versions() -> str:
    """Python and the packages that numbers depend on, as one cell of a table."""
    return " ".join([f"python={platform.python_version()}", *(f"{name}={version(name)}" for name in PACKAGES)])


@cache
def commit() -> str:
    """The commit of this code, `-dirty` with changes on top; empty outside a git checkout."""
    if not CLONE:
        return ""  # the package may lie in a checkout of something else
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=12", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def program() -> str:
    """How this run was started: `python run.py`, `modelrank` (the console script) or `python -m modelrank`."""
    script = Path(sys.argv[0])
    return {"__main__": "python -m modelrank", "modelrank": "modelrank"}.get(script.stem, f"python {script.name}")


def command() -> str:
    """The command line as it was typed, without the folder of the script."""
    return shlex.join([*program().split(), *sys.argv[1:]])
