"""What `pip install` of a wheel brings: the wheel is built, looked into, and used where no clone is."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture
def installed(wheel, tmp_path):
    """`installed(*arguments)`: `python -m modelrank` of the unpacked wheel, run in an empty folder."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "here").mkdir()

    def call(*arguments: str) -> subprocess.CompletedProcess:
        environment = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "MODELRANK_CACHE": str(tmp_path / "cache")}
        command = [sys.executable, "-m", "modelrank", *arguments]
        return subprocess.run(
            command, cwd=tmp_path / "here", env=environment, capture_output=True, text=True, timeout=300
        )

    return call


def test_a_wheel_holds_what_the_commands_read(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        words = archive.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    replayed = [f"experiments/results/replay/{name}.csv" for name in ("verdict", "winners")]
    tracked = subprocess.run(
        ["git", "ls-files", "conf", "src/modelrank", "experiments/truth", "experiments/pretrained", *replayed],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    wanted = {f"modelrank/{path.removeprefix('src/modelrank/')}" for path in tracked}
    assert "modelrank/py.typed" in wanted
    assert {name for name in names if ".dist-info/" not in name} == wanted
    assert "modelrank = modelrank.__main__:run" in words
    assert "Requires-Dist: hydra-core" in metadata
    assert "file:" not in metadata


def test_an_installed_package_has_its_configuration(installed):
    done = installed("--cfg", "job", "hub=offline_small")
    assert done.returncode == 0, done.stderr
    assert "mobilenet_v2_b" in done.stdout


@pytest.mark.slow  # 20 s of CPU: eight networks run
def test_an_installed_package_ranks_and_leaves_its_outputs_where_the_user_stands(installed, tmp_path):
    done = installed(
        "hub=self_supervised_offline", "dataset=digits", "scorer=knn", "logger=none", "extraction.workers=0"
    )
    assert done.returncode == 0, done.stderr
    (scores,) = (tmp_path / "here" / "outputs").rglob("scores.csv")
    assert set(pd.read_csv(scores).status) == {"ok"}
    assert "python -m modelrank hub=self_supervised_offline" in (scores.parent / "report.html").read_text()
    assert not list((tmp_path / "site").rglob("*.lock"))
